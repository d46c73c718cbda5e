//! Supervision of pipelines: when a run starts, what a failure means, when to retry.
//!
//! `lifecycle` decides and is pure; `supervisor` carries the decisions out.

pub mod demand;
pub mod lifecycle;
pub mod runs;
pub mod supervisor;
pub mod unit;
pub mod watchdog;
