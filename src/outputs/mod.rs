//! What leaves the box besides HTTP, decided: pushes, RTSP, and the box as one thing.
//!
//! The pipelines themselves are built in `host`.

pub mod mjpeg;
pub mod picture;
pub mod preflight;
pub mod push;
pub mod recordings;
