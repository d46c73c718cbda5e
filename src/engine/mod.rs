//! Pipelines and their lives: who runs when, and what happens when one fails.
//!
//! Only `gst/` names GStreamer; the rest decides and supervises.

mod anchor;
pub mod bytes;
mod command;
mod command_log;
pub mod controls;
pub mod demand;
pub mod encoder;
mod feeder;
pub mod gst;
mod last_words;
pub mod lifecycle;
mod pipe;
pub mod plan;
pub mod process;
pub mod reel;
pub mod roster;
pub mod runs;
pub mod supervisor;
pub mod unit;
pub mod watchdog;
