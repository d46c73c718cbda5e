//! What hosts may take of the machine, where the configuration says so.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::config::settings::Limits;

/// One for the whole process, as there is one service in it, and hosts are
/// started all over it. 0 is what is usual for the job.
static MEMORY: AtomicU64 = AtomicU64::new(0);

/// Has hosts that are started from now on keep to `limits`.
pub fn set_limits(limits: Limits) {
    MEMORY.store(limits.memory.unwrap_or(0), Ordering::Relaxed);
}

/// Bytes of memory, in place of what is usual for a job.
pub(super) fn memory() -> Option<u64> {
    Some(MEMORY.load(Ordering::Relaxed)).filter(|bytes| *bytes > 0)
}
