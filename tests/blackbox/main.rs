//! livebox as a stranger meets it: the real binary, asked by real clients.
//!
//! Each module is a theme; each test starts a service of its own.

#[expect(unreachable_pub, reason = "the harness is a part of several programs")]
#[path = "../common/mod.rs"]
mod common;

mod access;
mod api;
mod attacks;
mod browser;
mod byte_pictures;
mod bytes;
mod bytes_broken;
mod commands;
mod configuration;
mod cors;
mod crowds;
mod dashboard;
mod deadlines;
mod disks;
mod edge;
mod family_hosts;
mod faults;
mod feeds;
mod files;
mod firefox;
mod guessing;
mod harness;
mod hls;
mod https;
mod kills;
mod mjpeg;
mod overload;
mod pages;
mod passwords;
mod pictures;
mod pipeline_hosts;
mod places;
mod proxies;
mod pulling;
mod push_hosts;
mod pushes;
mod pushing;
mod recording;
mod recordings;
mod recovery;
mod reload;
mod resting;
mod retention;
mod rtsp;
mod rtsp_places;
mod secrets;
mod sharing;
mod shots;
mod shutdown;
mod soak;
mod sounds;
mod startup;
mod stat;
mod systemd;
mod unix_socket;
mod unpacking;
mod watching;
