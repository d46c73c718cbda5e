//! Counters of a push, as its host reports them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::base::lock::Lock;
use crate::wire::answer::Sent;

/// The window over which the bit rate is computed.
const RATE_WINDOW: Duration = Duration::from_secs(5);

/// Limit of samples. A host reports at most ten times per second; more frequent reports
/// only shorten the window.
const MAX_SAMPLES: usize = 64;

/// The counters of one push.
#[derive(Debug, Default)]
pub struct Meter {
    /// Over all runs.
    total: AtomicU64,
    /// Written by this run.
    written: AtomicU64,
    /// Acknowledged by the receiver's machine (TCP), of those.
    acknowledged: AtomicU64,
    /// Chunks that this push skipped because it was too slow.
    lost: Arc<AtomicU64>,
    /// Runs that failed since the destination was set.
    failed: AtomicU32,
    /// Samples of the last seconds of this run: time, and bytes sent in total.
    recent: Lock<VecDeque<(Instant, u64)>>,
}

impl Meter {
    /// Bytes sent since the start of the service.
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// Chunks that were skipped since the start of the service.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Bits per second over the last seconds; 0 in the first second of a run, when
    /// buffered data leaves at once.
    pub fn bitrate(&self) -> u64 {
        let recent = self.recent.lock();
        let (Some(first), Some(last)) = (recent.front(), recent.back()) else { return 0 };
        let span = last.0.duration_since(first.0).as_secs_f64();
        let sent = last.1.saturating_sub(first.1);
        if span >= 1.0 { (sent as f64 * 8.0 / span) as u64 } else { 0 }
    }

    /// Whether the current or next run sends to the backup URL.
    pub fn is_on_backup(&self) -> bool {
        !self.failed.load(Ordering::Relaxed).is_multiple_of(2)
    }

    /// Counts a failed run.
    pub(super) fn count_failure(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// The next run sends to the first of the two URLs.
    pub(super) fn forget_failures(&self) {
        self.failed.store(0, Ordering::Relaxed);
    }

    /// Bytes of this run that the receiver's machine has acknowledged.
    pub(in crate::engine) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// The counter of [`Meter::lost`], for the reader of the stream.
    pub(super) fn lost_counter(&self) -> &Arc<AtomicU64> {
        &self.lost
    }

    pub(in crate::engine) fn begin_run(&self) {
        self.recent.lock().clear();
        self.written.store(0, Ordering::Relaxed);
        self.acknowledged.store(0, Ordering::Relaxed);
    }

    /// Takes the totals of this run at `now`.
    pub(in crate::engine) fn record(&self, sent: Sent, now: Instant) {
        let before = self.written.swap(sent.written, Ordering::Relaxed);
        let more = sent.written.saturating_sub(before);
        let total = self.total().saturating_add(more);
        self.total.store(total, Ordering::Relaxed);
        self.acknowledged.store(sent.acknowledged, Ordering::Relaxed);
        let mut recent = self.recent.lock();
        recent.push_back((now, total));
        let is_old = |then: Instant| now.duration_since(then) > RATE_WINDOW;
        while recent.len() > MAX_SAMPLES || recent.front().is_some_and(|(then, _)| is_old(*then)) {
            recent.pop_front();
        }
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
    fn the_bit_rate_is_computed_over_the_last_seconds() {
        let (meter, now) = (Meter::default(), Instant::now());
        meter.begin_run();
        meter.record(sent(900_000), now);
        assert_eq!(meter.bitrate(), 0, "no rate from one sample");
        for second in 1..=10 {
            meter.record(sent(900_000 + second * 1000), now + Duration::from_secs(second));
        }
        assert_eq!(meter.bitrate(), 8000);
        assert_eq!((meter.total(), meter.acknowledged()), (910_000, 910_000));
    }

    #[test]
    fn the_total_counts_all_runs() {
        let (meter, now) = (Meter::default(), Instant::now());
        for _ in 0..2 {
            meter.begin_run();
            assert_eq!(meter.acknowledged(), 0);
            meter.record(sent(1000), now);
            meter.record(sent(3000), now);
        }
        assert_eq!(meter.total(), 6000);
    }

    #[test]
    fn nonsense_of_a_host_is_bounded() {
        let (meter, now) = (Meter::default(), Instant::now());
        for number in 0..10_000 {
            meter.record(sent(if number % 2 == 0 { u64::MAX } else { number }), now);
        }
        assert!(meter.recent.lock().len() <= MAX_SAMPLES);
        assert_eq!(meter.total(), u64::MAX);
        meter.bitrate();
    }
}
