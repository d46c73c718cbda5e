//! Outputs besides the servers: pushes, recordings, pictures, Motion JPEG.
//!
//! Decides what is sent or written and when; the pipelines are built in `host`.

pub mod mjpeg;
pub mod picture;
pub mod preflight;
pub mod push;
pub mod recordings;
