//! Resource limits of pipelines.

/// Limits of each pipeline's process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Memory in bytes; `None` for a limit that depends on the job.
    pub memory: Option<u64>,
}
