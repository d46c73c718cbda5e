//! Pipelines and their lives: who runs when, and what happens when one fails.
//!
//! Only `gst/` names GStreamer; the rest decides and supervises.

pub mod demand;
pub mod encoder;
pub mod gst;
pub mod lifecycle;
pub mod plan;
pub mod reel;
pub mod roster;
pub mod supervisor;
pub mod watchdog;
