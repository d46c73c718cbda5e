//! The media timeline and the wall clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A moment on the process-wide media timeline, in nanoseconds.
///
/// The timeline starts once per process and never goes back: the running time
/// of a pipeline begins again with every run, this does not. It starts at
/// [`MediaTime::ORIGIN`] so that a decoder delay cannot make a time negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct MediaTime(pub u64);

impl MediaTime {
    /// Ten seconds, as other servers do it: edit lists and A/V offsets of a
    /// few seconds stay above zero.
    pub const ORIGIN: Self = Self(10_000_000_000);

    /// This time in units of `timescale` per second, rounded down.
    pub fn ticks(self, timescale: u32) -> u64 {
        let ticks = u128::from(self.0) * u128::from(timescale) / 1_000_000_000;
        u64::try_from(ticks).unwrap_or(u64::MAX)
    }

    /// This time in units of `timescale` per second, rounded to the nearest:
    /// times that were ticks before they became nanoseconds become the same ticks again.
    pub fn nearest_ticks(self, timescale: u32) -> u64 {
        (self + Duration::from_nanos(500_000_000 / u64::from(timescale))).ticks(timescale)
    }

    /// This time less `span`, or the beginning.
    pub fn before(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// The span from `earlier` to this time; zero if it is not earlier.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl std::ops::Add<Duration> for MediaTime {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// The wall clock as log lines show it: `2026-11-21 02:58:04.114`, local time.
pub fn log_stamp() -> String {
    local().strftime("%Y-%m-%d %H:%M:%S%.3f").to_string()
}

/// The wall clock with the time zone of this machine.
pub fn local() -> jiff::Zoned {
    jiff::Zoned::now()
}

/// The wall clock: since 1970.
pub fn unix() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The wall clock in ISO 8601 with seconds, UTC: `2026-11-21T01:58:04Z`.
pub fn iso_stamp() -> String {
    iso_s(unix().as_secs())
}

/// A moment in ISO 8601 with seconds, UTC: `2026-11-21T01:58:04Z`.
///
/// `seconds` are those since 1970.
pub fn iso_s(seconds: u64) -> String {
    let stamp = jiff::Timestamp::from_second(seconds.cast_signed()).unwrap_or_default();
    stamp.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A moment in ISO 8601 with milliseconds, UTC: `2026-11-21T01:58:04.678Z`.
///
/// `ms` are milliseconds since 1970.
pub fn iso_ms(ms: u64) -> String {
    let stamp = jiff::Timestamp::from_millisecond(ms.cast_signed()).unwrap_or_default();
    stamp.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_do_not_overflow_after_years() {
        let ten_years = MediaTime(10 * 365 * 86_400 * 1_000_000_000);
        assert_eq!(ten_years.ticks(90_000), 10 * 365 * 86_400 * 90_000);
    }

    #[test]
    fn a_log_stamp_has_milliseconds() {
        let stamp = log_stamp();
        assert_eq!(stamp.len(), "2026-11-21 02:58:04.114".len());
        assert_eq!(&stamp[10..11], " ");
        assert_eq!(&stamp[19..20], ".");
    }
}
