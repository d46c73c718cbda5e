//! The common types: names, access units, tracks, status.
//!
//! Types without behaviour, for use in every higher folder.

pub mod cause;
pub mod failure;
pub mod fault;
pub mod given;
pub mod ids;
pub mod picture;
pub mod push_url;
pub mod recording;
pub mod status;
pub mod track;
pub mod unit;
