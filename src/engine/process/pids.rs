//! The process numbers of hosts, by which another part of the service tells a
//! host from a program of an operator.
//!
//! A host may be taken over by what it parses. The Unix socket of the API asks
//! for no password, and a sandbox cannot keep a host with network access from
//! connecting to it. The kernel tells who has connected.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::base::time::now;

/// A host that has ended may have left a connection with a request in it. The
/// number of a process is given again only when all others were used.
const KEPT_AFTER_END: Duration = Duration::from_secs(60);

/// One for the whole process, as hosts are started all over it.
static PIDS: Mutex<Pids> = Mutex::new(Pids { running: Vec::new(), ended: VecDeque::new() });

/// Whether a process is a host of this service, or was one a moment ago.
pub fn is_host(pid: u32) -> bool {
    lock().has(pid, now())
}

/// Keeps the number of a host known as such, and for a minute after it is dropped.
#[derive(Debug)]
pub(super) struct Registered(u32);

impl Registered {
    pub(super) fn new(pid: u32) -> Self {
        lock().running.push(pid);
        Self(pid)
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        lock().end(self.0, now());
    }
}

#[derive(Debug, Default)]
struct Pids {
    /// A number may be there twice: a host that has ended is dropped later.
    running: Vec<u32>,
    ended: VecDeque<(u32, Instant)>,
}

impl Pids {
    fn end(&mut self, pid: u32, now: Instant) {
        if let Some(index) = self.running.iter().position(|running| *running == pid) {
            self.running.swap_remove(index);
        }
        self.ended.push_back((pid, now));
        self.forget(now);
    }

    fn has(&mut self, pid: u32, now: Instant) -> bool {
        self.forget(now);
        self.running.contains(&pid) || self.ended.iter().any(|(ended, _)| *ended == pid)
    }

    fn forget(&mut self, now: Instant) {
        let is_over = |then: Instant| now.saturating_duration_since(then) > KEPT_AFTER_END;
        while self.ended.front().is_some_and(|(_, then)| is_over(*then)) {
            self.ended.pop_front();
        }
    }
}

fn lock() -> MutexGuard<'static, Pids> {
    PIDS.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests choose their own zero")]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_known_while_it_runs_and_for_a_minute_after_its_end() {
        let (mut pids, now) = (Pids { running: vec![7, 8], ..Pids::default() }, Instant::now());
        pids.end(7, now);
        let later = now + KEPT_AFTER_END;
        assert!(pids.has(7, later) && pids.has(8, later) && !pids.has(9, later));
        let later = later + Duration::from_secs(1);
        assert!(!pids.has(7, later) && pids.has(8, later));
    }

    #[test]
    fn a_number_that_the_next_host_was_given_is_that_of_a_host() {
        let (mut pids, now) = (Pids { running: vec![7, 7], ..Pids::default() }, Instant::now());
        pids.end(7, now);
        assert!(pids.has(7, now + 2 * KEPT_AFTER_END));
    }

    #[test]
    fn the_number_of_a_host_is_registered_until_it_is_dropped() {
        let pid = u32::MAX;
        let registered = Registered::new(pid);
        assert!(is_host(pid) && !is_host(pid - 1));
        drop(registered);
        assert!(is_host(pid), "its connections may still be waiting");
    }
}
