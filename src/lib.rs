//! livebox: live video from a camera, everywhere at once.
//!
//! The way of the data and the layers are in `ARCHITECTURE.md`.

pub mod accounts;
pub mod app;
pub mod base;
pub mod cli;
pub mod config;
pub mod engine;
pub mod host;
pub mod http;
pub mod hub;
pub mod media;
pub mod model;
pub mod outputs;
pub mod profile;
pub mod rtsp;
pub mod service;
pub mod store;
pub mod wire;
