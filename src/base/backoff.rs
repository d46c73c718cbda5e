//! The delay before a retry.

use std::time::Duration;

/// A delay that starts at zero and then doubles from `floor` to `ceiling`.
///
/// The first retry is immediate: most failures are short, and viewers should
/// not notice them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    pub floor: Duration,
    pub ceiling: Duration,
}

impl Backoff {
    /// For cameras and other feeds: viewers wait for the picture.
    pub const FEED: Self =
        Self { floor: Duration::from_millis(500), ceiling: Duration::from_secs(5) };

    /// For pushes: frequent retries would load a foreign server.
    pub const PUSH: Self =
        Self { floor: Duration::from_millis(500), ceiling: Duration::from_secs(30) };

    /// Returns the delay after `failures` consecutive failures (1 or more).
    ///
    /// `spread` is in `0.0..=1.0` and reduces the delay by up to a quarter. The
    /// caller passes it so that this function needs no random source.
    pub fn delay(&self, failures: u32, spread: f64) -> Duration {
        let Some(doublings) = failures.checked_sub(2) else {
            return Duration::ZERO;
        };
        let doubled = self.floor.saturating_mul(2u32.saturating_pow(doublings));
        doubled.min(self.ceiling).mul_f64(1.0 - spread.clamp(0.0, 1.0) / 4.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_retry_is_immediate_and_later_ones_double_up_to_the_ceiling() {
        let delays: Vec<_> =
            (1..=9).map(|failures| Backoff::PUSH.delay(failures, 0.0).as_millis()).collect();
        assert_eq!(delays, [0, 500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]);
    }

    #[test]
    fn the_spread_reduces_the_delay_by_at_most_a_quarter() {
        assert_eq!(Backoff::FEED.delay(u32::MAX, 1.0), Duration::from_millis(3750));
        assert_eq!(Backoff::FEED.delay(3, 7.0), Duration::from_millis(750));
    }
}
