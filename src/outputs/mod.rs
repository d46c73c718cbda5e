//! What leaves the box besides HTTP, decided: pushes, RTSP, and the box as one thing.
//!
//! The pipelines themselves are built in `host`.

pub mod announce;
pub mod control;
pub mod lineup;
pub mod livebox;
pub mod memory;
pub mod mjpeg;
pub mod picture;
pub mod preflight;
pub mod push;
pub mod recorder;
pub mod recordings;
pub mod reloads;
pub mod rtsp;
pub mod trial;
