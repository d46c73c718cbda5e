//! The process ids of hosts, to tell a host from a program of an operator.
//!
//! Media that a host parses may exploit it. The API's Unix socket asks for no
//! password, and the sandbox cannot keep a host with network access from connecting
//! to it. So connections of hosts are refused by their peer's process id.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::base::lock::Lock;
use crate::base::time::now;

/// How long the id of an ended host is kept: a connection with a request may be left.
/// The kernel reuses a process id only after all others.
const KEPT_AFTER_END: Duration = Duration::from_secs(60);

/// A static, as hosts are started in many places.
static PIDS: Lock<Pids> = Lock::new(Pids { running: Vec::new(), ended: VecDeque::new() });

/// Whether a process is a host of this service, or was one in the last minute.
pub fn is_host(pid: u32) -> bool {
    PIDS.lock().contains(pid, now())
}

/// Registers the process id of a host until a minute after the guard is dropped.
#[derive(Debug)]
pub(super) struct Registered(u32);

impl Registered {
    pub(super) fn new(pid: u32) -> Self {
        PIDS.lock().running.push(pid);
        Self(pid)
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        PIDS.lock().end(self.0, now());
    }
}

#[derive(Debug, Default)]
struct Pids {
    /// An id may occur twice: the guard of an ended host may be dropped after its id was
    /// reused.
    running: Vec<u32>,
    ended: VecDeque<(u32, Instant)>,
}

impl Pids {
    fn end(&mut self, pid: u32, now: Instant) {
        if let Some(index) = self.running.iter().position(|running| *running == pid) {
            self.running.swap_remove(index);
        }
        self.ended.push_back((pid, now));
        self.drop_expired(now);
    }

    fn contains(&mut self, pid: u32, now: Instant) -> bool {
        self.drop_expired(now);
        self.running.contains(&pid) || self.ended.iter().any(|(ended, _)| *ended == pid)
    }

    fn drop_expired(&mut self, now: Instant) {
        let is_expired = |then: Instant| now.saturating_duration_since(then) > KEPT_AFTER_END;
        while self.ended.front().is_some_and(|(_, then)| is_expired(*then)) {
            self.ended.pop_front();
        }
    }
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
        assert!(pids.contains(7, later) && pids.contains(8, later) && !pids.contains(9, later));
        let later = later + Duration::from_secs(1);
        assert!(!pids.contains(7, later) && pids.contains(8, later));
    }

    #[test]
    fn an_id_that_a_running_host_reuses_does_not_expire() {
        let (mut pids, now) = (Pids { running: vec![7, 7], ..Pids::default() }, Instant::now());
        pids.end(7, now);
        assert!(pids.contains(7, now + 2 * KEPT_AFTER_END));
    }

    #[test]
    fn the_id_of_a_dropped_host_is_kept_for_its_connections() {
        let pid = u32::MAX;
        let registered = Registered::new(pid);
        assert!(is_host(pid) && !is_host(pid - 1));
        drop(registered);
        assert!(is_host(pid), "its connections may still be waiting");
    }
}
