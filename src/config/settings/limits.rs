//! What pipelines may take of the machine.

/// What the process of each pipeline may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory; without a number it depends on what the pipeline does.
    pub memory: Option<u64>,
}
