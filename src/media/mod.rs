//! Media as bytes: H.264, AAC, fragmented MP4, and the chunks for viewers.
//!
//! Pure functions and state over bytes and times: no clock, no IO, no async.

pub mod aac;
mod bits;
pub mod container;
pub mod edge;
pub mod flv;
pub mod fmp4;
pub mod h264;
pub mod hls;
pub mod jpeg;
pub mod packager;
pub mod padder;
pub mod rtp;
#[cfg(test)]
pub(crate) mod samples;
pub mod ts;
