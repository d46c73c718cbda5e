//! Pipelines and their lives: who runs when, and what happens when one fails.
//!
//! Pipelines run in processes of their own (`process`, and `host` on the other side);
//! here is decided and supervised.

pub mod controls;
pub mod encoder;
mod feeder;
pub mod plan;
pub mod process;
pub mod registry;
pub mod shared;
pub mod supervise;
pub mod work;
