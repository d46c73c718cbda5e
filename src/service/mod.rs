//! The box as one thing: what the configuration has made of it, and what operators
//! may do with it.
//!
//! Every server calls this folder, and decides nothing itself.

pub mod announce;
pub mod control;
pub mod livebox;
pub mod probation;
pub mod reloads;
mod saved;
pub mod topology;
