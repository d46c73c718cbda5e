//! What a push has sent, as its host tells it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::wire::answer::Sent;

/// The rate of a push is that of its last seconds.
const RATE_OVER: Duration = Duration::from_secs(5);

/// A host tells how much was sent ten times a second at most; one that tells it
/// more often shortens the span of the rate.
const KEPT: usize = 64;

/// What a push has sent.
#[derive(Debug, Default)]
pub struct Meter {
    /// Over all runs.
    total: AtomicU64,
    /// Written by this run.
    written: AtomicU64,
    /// Of that, what the receiver's machine has.
    acknowledged: AtomicU64,
    /// Chunks that the stream gave and this push was too slow for.
    lost: Arc<AtomicU64>,
    /// Runs that failed since the destination was set.
    failed: AtomicU32,
    /// When how many bytes had been sent, over the last seconds of this run.
    recent: Mutex<VecDeque<(Instant, u64)>>,
}

impl Meter {
    /// Bytes sent since the start of the service.
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// Chunks that were left out since the start of the service.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Bits a second over the last seconds; nothing in the first one, when
    /// what had gathered leaves at once.
    pub fn bitrate(&self) -> u64 {
        let recent = self.recent();
        let (Some(first), Some(last)) = (recent.front(), recent.back()) else { return 0 };
        let span = last.0.duration_since(first.0).as_secs_f64();
        let sent = last.1.saturating_sub(first.1);
        if span >= 1.0 { (sent as f64 * 8.0 / span) as u64 } else { 0 }
    }

    /// Whether the run that goes on, or the next one, sends to the backup.
    pub fn is_on_backup(&self) -> bool {
        !self.failed.load(Ordering::Relaxed).is_multiple_of(2)
    }

    pub(super) fn has_failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// The next run sends to the first of the two URLs.
    pub(super) fn forget_failures(&self) {
        self.failed.store(0, Ordering::Relaxed);
    }

    /// Bytes of this run that the receiver's machine has.
    pub(super) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Where a reader counts what it was too slow for.
    pub(super) fn losses(&self) -> &Arc<AtomicU64> {
        &self.lost
    }

    pub(super) fn begin_run(&self) {
        self.recent().clear();
        self.written.store(0, Ordering::Relaxed);
        self.acknowledged.store(0, Ordering::Relaxed);
    }

    /// What was sent so far in this run, at `now`.
    pub(super) fn note(&self, sent: Sent, now: Instant) {
        let before = self.written.swap(sent.written, Ordering::Relaxed);
        let more = sent.written.saturating_sub(before);
        let total = self.total().saturating_add(more);
        self.total.store(total, Ordering::Relaxed);
        self.acknowledged.store(sent.acknowledged, Ordering::Relaxed);
        let mut recent = self.recent();
        recent.push_back((now, total));
        let is_old = |then: Instant| now.duration_since(then) > RATE_OVER;
        while recent.len() > KEPT || recent.front().is_some_and(|(then, _)| is_old(*then)) {
            recent.pop_front();
        }
    }

    fn recent(&self) -> MutexGuard<'_, VecDeque<(Instant, u64)>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests choose their own zero")]
mod tests {
    use super::*;

    fn sent(bytes: u64) -> Sent {
        Sent { written: bytes, acknowledged: bytes }
    }

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let (meter, now) = (Meter::default(), Instant::now());
        meter.begin_run();
        meter.note(sent(900_000), now);
        assert_eq!(meter.bitrate(), 0, "nothing is known of the first moment");
        for second in 1..=10 {
            meter.note(sent(900_000 + second * 1000), now + Duration::from_secs(second));
        }
        assert_eq!(meter.bitrate(), 8000);
        assert_eq!((meter.total(), meter.acknowledged()), (910_000, 910_000));
    }

    #[test]
    fn the_total_is_that_of_all_runs() {
        let (meter, now) = (Meter::default(), Instant::now());
        for _ in 0..2 {
            meter.begin_run();
            assert_eq!(meter.acknowledged(), 0);
            meter.note(sent(1000), now);
            meter.note(sent(3000), now);
        }
        assert_eq!(meter.total(), 6000);
    }

    #[test]
    fn a_host_that_tells_nonsense_all_the_time_does_no_harm() {
        let (meter, now) = (Meter::default(), Instant::now());
        for number in 0..10_000 {
            meter.note(sent(if number % 2 == 0 { u64::MAX } else { number }), now);
        }
        assert!(meter.recent().len() <= KEPT);
        assert_eq!(meter.total(), u64::MAX);
        meter.bitrate();
    }
}
