//! How the C library keeps memory that was given back to it.
//!
//! As it comes, glibc gives each thread a heap of its own, and stops returning
//! big blocks to the system once the first one was freed. GStreamer allocates on
//! threads that live for a moment: pictures alone made a process grow from 23 to
//! 115 MiB, with these settings to 39 (measured with 200 of 720p; the processor
//! time is the same).
//!
//! Small pieces are given back at the end of a heap only, where mostly something
//! is in use. What a crowd of connections had is given back by [`trim`].

/// Settles the heap, but for what the environment says (mallopt(3)); to be called
/// before there are other threads. Other C libraries have their own way.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "the C library has no other way to be told")]
pub fn settle() {
    let settings = [
        ("MALLOC_ARENA_MAX", libc::M_ARENA_MAX, 2),
        ("MALLOC_MMAP_THRESHOLD_", libc::M_MMAP_THRESHOLD, 128 << 10),
        ("MALLOC_TRIM_THRESHOLD_", libc::M_TRIM_THRESHOLD, 128 << 10),
    ];
    for (name, parameter, value) in settings {
        if std::env::var_os(name).is_none() {
            // SAFETY: no other thread allocates meanwhile.
            unsafe { libc::mallopt(parameter, value) };
        }
    }
}

/// Other C libraries have their own way.
#[cfg(not(target_env = "gnu"))]
pub fn settle() {}

/// Gives what is free back to the system. While it runs, other threads may have
/// to wait for memory (measured: 9 ms of processor time for 90 MiB).
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "the C library has no other way to give memory back")]
pub fn trim() {
    // SAFETY: any thread may call it at any time (malloc_trim(3)).
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Other C libraries have their own way.
#[cfg(not(target_env = "gnu"))]
pub fn trim() {}

/// Tells when a crowd has gone. Pure.
#[derive(Debug, Default)]
pub struct Crowd {
    most: usize,
}

impl Crowd {
    /// So many connections are worth giving their memory back: some 20 MiB.
    const MANY: usize = 512;

    /// Whether, with `count` connections, most of a crowd has gone.
    pub fn has_gone(&mut self, count: usize) -> bool {
        self.most = self.most.max(count);
        let has_gone = self.most >= Self::MANY && count <= self.most / 8;
        if has_gone {
            self.most = count;
        }
        has_gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_that_has_gone_is_noticed_once() {
        let mut crowd = Crowd::default();
        assert!(!crowd.has_gone(500) && !crowd.has_gone(0), "these were few");
        let noticed = (0..4096).rev().filter(|count| crowd.has_gone(*count)).count();
        assert_eq!(noticed, 1);
        assert!((0..600).all(|count| !crowd.has_gone(count)));
        assert!(crowd.has_gone(10));
    }
}
