//! The media timeline and the wall clock.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// The runtime's clock: monotonic, and stopped in tests that pause time.
pub fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Beginning of the media timeline: nanoseconds of the monotonic clock.
static BEGAN: OnceLock<u64> = OnceLock::new();

/// A moment on the media timeline, in nanoseconds.
///
/// The service and its pipeline hosts share one timeline. Unlike the running
/// time of a pipeline, it never goes back. It starts at [`MediaTime::ORIGIN`] so
/// that a decoder delay cannot make a time negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MediaTime(pub u64);

impl MediaTime {
    /// Ten seconds, as other servers do it: edit lists and A/V offsets of a
    /// few seconds stay above zero.
    pub const ORIGIN: Self = Self(10_000_000_000);

    /// The current time. The first call begins the timeline.
    pub fn now() -> Self {
        // First, so that the timeline does not begin after the time returned.
        Self::began_ns();
        Self::from_monotonic(monotonic_ns())
    }

    /// The beginning of the timeline, in nanoseconds of `CLOCK_MONOTONIC`, which
    /// all processes of a machine share. The first call begins the timeline.
    pub fn began_ns() -> u64 {
        *BEGAN.get_or_init(monotonic_ns)
    }

    /// Uses the timeline of another process, which began at `began_ns`. To be
    /// called first: it has no effect on a timeline that has begun.
    pub fn begin_at(began_ns: u64) {
        BEGAN.set(began_ns).ok();
    }

    /// The time at which `CLOCK_MONOTONIC` is `ns` nanoseconds; 0 if that is
    /// more than [`MediaTime::ORIGIN`] before the beginning.
    pub fn from_monotonic(ns: u64) -> Self {
        Self(ns.saturating_add(Self::ORIGIN.0).saturating_sub(Self::began_ns()))
    }

    /// The inverse of [`MediaTime::from_monotonic`].
    pub fn monotonic_ns(self) -> u64 {
        self.0.saturating_add(Self::began_ns()).saturating_sub(Self::ORIGIN.0)
    }

    /// This time in units of `timescale` per second, rounded down.
    pub fn ticks(self, timescale: u32) -> u64 {
        let ticks = u128::from(self.0) * u128::from(timescale) / 1_000_000_000;
        u64::try_from(ticks).unwrap_or(u64::MAX)
    }

    /// This time in units of `timescale` per second, rounded to the nearest:
    /// ticks that were converted to nanoseconds convert back to the same ticks.
    pub fn nearest_ticks(self, timescale: u32) -> u64 {
        (self + Duration::from_nanos(500_000_000 / u64::from(timescale))).ticks(timescale)
    }

    /// This time minus `span`, at least 0.
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

fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("Linux has a monotonic clock");
    u64::try_from(Duration::from(now).as_nanos()).unwrap_or(u64::MAX)
}

/// The offset between the media timeline and the wall clock at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WallClock {
    /// Nanoseconds from 1970 to the media time 0.
    zero_ns: i64,
}

impl WallClock {
    /// Reads both clocks.
    pub fn now() -> Self {
        let reading = || {
            let before = MediaTime::now();
            let unix = unix();
            let after = MediaTime::now();
            (after.since(before), Self::showing(unix, before + after.since(before) / 2))
        };
        // The shortest of three readings: a thread may be preempted within one.
        let readings = [reading(), reading(), reading()];
        readings
            .into_iter()
            .min_by_key(|(took, _)| *took)
            .map_or_else(|| reading().1, |best| best.1)
    }

    /// A clock that shows `unix`, the time since 1970, at the media time `at`.
    pub fn showing(unix: Duration, at: MediaTime) -> Self {
        let ns = |ns: u128| i64::try_from(ns).unwrap_or(i64::MAX);
        Self { zero_ns: ns(unix.as_nanos()).saturating_sub(ns(at.0.into())) }
    }

    /// The wall-clock time at the media time `at`, since 1970.
    pub fn unix(self, at: MediaTime) -> Duration {
        let at_ns = i64::try_from(at.0).unwrap_or(i64::MAX);
        Duration::from_nanos(u64::try_from(self.zero_ns.saturating_add(at_ns)).unwrap_or_default())
    }

    /// As [`WallClock::unix`], in milliseconds, rounded down.
    pub fn unix_ms(self, at: MediaTime) -> u64 {
        u64::try_from(self.unix(at).as_millis()).unwrap_or(u64::MAX)
    }

    /// The absolute difference of the two offsets.
    pub fn differs(self, other: Self) -> Duration {
        Duration::from_nanos(self.zero_ns.abs_diff(other.zero_ns))
    }
}

/// The local time in the format of log lines: `2026-11-21 02:58:04.114`.
pub fn log_stamp() -> String {
    local().strftime("%Y-%m-%d %H:%M:%S%.3f").to_string()
}

/// The local time with the time zone of this machine.
pub fn local() -> jiff::Zoned {
    jiff::Zoned::now()
}

/// The wall-clock time since 1970.
pub fn unix() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The current time in ISO 8601 with seconds, UTC: `2026-11-21T01:58:04Z`.
pub fn iso_stamp() -> String {
    iso_s(unix().as_secs())
}

/// A time in ISO 8601 with seconds, UTC: `2026-11-21T01:58:04Z`.
///
/// `seconds` count from 1970.
pub fn iso_s(seconds: u64) -> String {
    let stamp = jiff::Timestamp::from_second(seconds.cast_signed()).unwrap_or_default();
    stamp.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A time for people, UTC: `2026-11-21 01:58:04 UTC`.
///
/// `seconds` count from 1970.
pub fn utc_s(seconds: u64) -> String {
    let stamp = jiff::Timestamp::from_second(seconds.cast_signed()).unwrap_or_default();
    stamp.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// A time in ISO 8601 with milliseconds, UTC: `2026-11-21T01:58:04.678Z`.
///
/// `ms` are milliseconds since 1970.
pub fn iso_ms(ms: u64) -> String {
    let stamp = jiff::Timestamp::from_millisecond(ms.cast_signed()).unwrap_or_default();
    stamp.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::io::{Write as _, stdout};
    use std::process::Command;

    use super::*;

    #[test]
    fn a_moment_of_the_monotonic_clock_has_one_media_time() {
        let now = MediaTime::now();
        assert!(now >= MediaTime::ORIGIN, "{now:?}");
        assert_eq!(MediaTime::from_monotonic(now.monotonic_ns()), now);
        assert_eq!(MediaTime::from_monotonic(MediaTime::began_ns()), MediaTime::ORIGIN);
    }

    /// Variable that passes the beginning of the timeline to a child of this test.
    const BEGAN_NS: &str = "BEGAN_NS_OF_A_TEST";

    /// A media time between two readings of the monotonic clock: the closest two
    /// of a thousand attempts.
    fn reading() -> (u64, MediaTime, u64) {
        let readings = (0..1000).map(|_| (monotonic_ns(), MediaTime::now(), monotonic_ns()));
        readings.min_by_key(|(before, _, after)| after - before).unwrap()
    }

    #[test]
    fn another_process_shows_the_same_time_to_the_microsecond() {
        if let Ok(began) = env::var(BEGAN_NS) {
            MediaTime::begin_at(began.parse().unwrap());
            let (before, shown, after) = reading();
            return writeln!(stdout(), "reading {before} {} {after}", shown.0).unwrap();
        }
        let output = Command::new(env::current_exe().unwrap())
            .arg("another_process_shows_the_same_time_to_the_microsecond")
            .env(BEGAN_NS, MediaTime::began_ns().to_string())
            .output()
            .unwrap();
        let output = String::from_utf8(output.stdout).unwrap();
        let numbers = output.split("reading ").nth(1).expect(&output).lines().next().unwrap();
        let numbers: Vec<u64> = numbers.split(' ').map(|one| one.parse().unwrap()).collect();
        let [before, shown, after] = numbers[..] else { panic!("{output}") };
        assert!(after - before <= 1000, "it took {} ns", after - before);
        let (before, after) = (MediaTime::from_monotonic(before), MediaTime::from_monotonic(after));
        assert!((before..=after).contains(&MediaTime(shown)), "{before:?} {shown} {after:?}");
    }

    #[test]
    fn ticks_do_not_overflow_after_years() {
        let ten_years = MediaTime(10 * 365 * 86_400 * 1_000_000_000);
        assert_eq!(ten_years.ticks(90_000), 10 * 365 * 86_400 * 90_000);
    }

    #[test]
    fn the_wall_clock_advances_with_the_media_timeline() {
        let clock = WallClock::showing(Duration::from_secs(1_795_240_290), MediaTime::ORIGIN);
        let later = MediaTime::ORIGIN + Duration::from_micros(1_500_900);
        assert_eq!(clock.unix_ms(later), 1_795_240_291_500);
        let set = WallClock::showing(Duration::from_secs(1_795_240_300), MediaTime::ORIGIN);
        assert_eq!(clock.differs(set), Duration::from_secs(10));

        // A board without a battery-backed clock starts in 1970.
        let unset = WallClock::showing(Duration::from_secs(3), MediaTime::ORIGIN);
        assert_eq!(unset.unix_ms(MediaTime::ORIGIN), 3000);
        assert_eq!(unset.unix_ms(MediaTime(0)), 0);
    }

    #[test]
    fn a_log_stamp_has_milliseconds() {
        let stamp = log_stamp();
        assert_eq!(stamp.len(), "2026-11-21 02:58:04.114".len());
        assert_eq!(&stamp[10..11], " ");
        assert_eq!(&stamp[19..20], ".");
    }
}
