//! The only folder that names actix: what answers at which URL.
//!
//! Handlers ask and answer; they decide nothing. Errors become statuses in
//! one table (`error.rs`), callers are judged in one place (`access.rs`).

mod access;
mod ambiguity;
mod assets;
mod bell;
mod body;
mod bytes;
mod connection;
mod cors;
mod dashboard;
mod docroot;
mod error;
mod error_page;
mod exchange;
mod files;
mod head;
mod hls;
mod journal;
mod line;
mod live;
mod livebox;
mod media;
mod mjpeg;
mod origin;
mod pages;
mod picture;
mod plain;
mod porch;
mod pushes;
mod recordings;
mod routes;
mod server;
mod stat;
mod table;
mod viewer;

pub use porch::{FILES_FOR_ALL, places};
pub use server::{ServeError, Server, State, stop};
