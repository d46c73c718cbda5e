//! Settings of the C library's heap, so that freed memory returns to the system.
//!
//! By default, glibc gives each thread its own heap, and stops returning big
//! blocks to the system once the first one was freed. GStreamer allocates on
//! short-lived threads: pictures alone made a process grow from 23 to 115 MiB,
//! with these settings to 39 (measured with 200 of 720p; the processor time is
//! the same).
//!
//! Small blocks return to the system only from the end of a heap, which is
//! mostly in use. After many connections have closed, [`trim`] returns theirs.

/// Configures the heap, except where the environment does (mallopt(3)). To be
/// called before other threads exist. No effect with other C libraries.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "the C library has no safe interface for this")]
pub fn configure() {
    let settings = [
        ("MALLOC_ARENA_MAX", libc::M_ARENA_MAX, 2),
        ("MALLOC_MMAP_THRESHOLD_", libc::M_MMAP_THRESHOLD, 128 << 10),
        ("MALLOC_TRIM_THRESHOLD_", libc::M_TRIM_THRESHOLD, 128 << 10),
    ];
    for (name, parameter, value) in settings {
        if std::env::var_os(name).is_none() {
            // SAFETY: no other thread exists that could allocate.
            unsafe { libc::mallopt(parameter, value) };
        }
    }
}

/// No effect: the settings are those of glibc.
#[cfg(not(target_env = "gnu"))]
pub fn configure() {}

/// Returns free memory to the system. Meanwhile, allocations of other threads
/// may block (measured: 9 ms of processor time for 90 MiB).
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "the C library has no safe interface for this")]
pub fn trim() {
    // SAFETY: malloc_trim(3) is thread-safe.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// No effect: malloc_trim(3) is a function of glibc.
#[cfg(not(target_env = "gnu"))]
pub fn trim() {}

/// Detects that most of many connections have closed. Pure.
#[derive(Debug, Default)]
pub struct PeakTracker {
    peak: usize,
}

impl PeakTracker {
    /// A lower peak is not worth a [`trim`]: these have some 20 MiB.
    const MIN_PEAK: usize = 512;

    /// Whether `count` is at most an eighth of a high peak; then the peak
    /// starts again at `count`.
    pub fn has_fallen(&mut self, count: usize) -> bool {
        self.peak = self.peak.max(count);
        let has_fallen = self.peak >= Self::MIN_PEAK && count <= self.peak / 8;
        if has_fallen {
            self.peak = count;
        }
        has_fallen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fall_from_a_high_peak_is_detected_once() {
        let mut tracker = PeakTracker::default();
        assert!(!tracker.has_fallen(500) && !tracker.has_fallen(0), "a low peak");
        let detected = (0..4096).rev().filter(|count| tracker.has_fallen(*count)).count();
        assert_eq!(detected, 1);
        assert!((0..600).all(|count| !tracker.has_fallen(count)));
        assert!(tracker.has_fallen(10));
    }
}
