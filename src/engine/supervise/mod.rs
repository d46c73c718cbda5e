//! Lives of what runs: when it starts, what a failure means, when it is tried again.
//!
//! `lifecycle` decides and is pure; `supervisor` carries out.

pub mod demand;
pub mod lifecycle;
pub mod runs;
pub mod supervisor;
pub mod unit;
pub mod watchdog;
