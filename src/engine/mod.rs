//! Pipelines and their lives: who runs when, and what happens when one fails.
//!
//! Pipelines run in processes of their own (`process`, and `host` on the other side);
//! here is decided and supervised.

pub mod bytes;
mod command;
mod command_log;
pub mod controls;
pub mod demand;
pub mod encoder;
mod feeder;
mod last_words;
pub mod lifecycle;
mod pipe;
pub mod plan;
pub mod process;
pub mod roster;
pub mod runs;
pub mod shared;
pub mod supervisor;
pub mod unit;
pub mod watchdog;
pub mod work;
