//! Waiting for a condition, with a deadline and a sentence for the failure.

use std::time::{Duration, Instant};

/// How long a test waits for what has to happen, before it fails. Every limit of the product is far
/// below (the longest: 30 s until a push is tried again, or a disk is given up), so that only a
/// product that hangs comes near it, never a busy machine. The runner ends a test after 180 s.
pub const TIMEOUT: Duration = Duration::from_secs(90);

/// How often a condition is looked at.
const PAUSE: Duration = Duration::from_millis(10);

/// The wall of the tests: the one place that reads the clock.
#[expect(clippy::disallowed_methods, reason = "the one place of the tests that reads the clock")]
pub fn now() -> Instant {
    Instant::now()
}

/// Returns what `look` finds; panics with `what` when `limit` has passed without it.
pub fn until<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    match within(limit, &mut look) {
        Some(found) => found,
        None => panic!("{what}: not within {limit:?}"),
    }
}

/// Returns what `look` finds, or nothing once `limit` has passed.
pub fn within<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let end = now() + limit;
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if now() >= end {
            return None;
        }
        std::thread::sleep(PAUSE);
    }
}

/// The wall clock: since 1970.
pub fn unix() -> Duration {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.expect("the clock stands after 1970")
}
