//! Plans, starts and supervises pipelines.
//!
//! Pipelines run in host processes: `process` starts them, `host` is the code that
//! runs inside.

pub mod controls;
pub mod dependencies;
pub mod encoder;
mod feeder;
pub mod first_frame;
pub mod plan;
pub mod process;
pub mod registry;
pub mod shared;
pub mod supervise;
pub mod work;

#[cfg(test)]
pub(crate) mod tests;
