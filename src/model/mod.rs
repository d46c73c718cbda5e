//! The vocabulary: names, access units, tracks, what is going on.
//!
//! Types without behaviour of their own; every folder above may speak them.

pub mod given;
pub mod ids;
pub mod picture;
pub mod push_url;
pub mod recording;
pub mod status;
pub mod track;
pub mod unit;
