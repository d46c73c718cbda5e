//! Configured resource limits of hosts.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::config::settings::Limits;

/// Memory limit in bytes; 0 means the default of each job. A static, as there is one
/// service per process and hosts are started in many places.
static MEMORY: AtomicU64 = AtomicU64::new(0);

/// Sets the limits of hosts that are started after this call.
pub fn set_limits(limits: Limits) {
    MEMORY.store(limits.memory.unwrap_or(0), Ordering::Relaxed);
}

/// The configured limit in bytes, which replaces the default of a job.
pub(super) fn memory() -> Option<u64> {
    Some(MEMORY.load(Ordering::Relaxed)).filter(|bytes| *bytes > 0)
}
