//! Whether the wall clock can be trusted for the ages of recordings.
//!
//! A recording that is deleted because of a wrong age cannot be restored. A board
//! without a battery starts with a time in the past, until the network sets it;
//! a clock may be set wrong by years. All but [`query`] is pure.

use std::process::Stdio;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::process::Command;

use crate::base::program;

/// A larger difference between two checks, in seconds, is a step: no clock drifts
/// that far.
const MAX_DRIFT: u64 = 600;

/// A longer time without recordings, in seconds, may be due to a wrong clock.
const MAX_GAP: u64 = 86_400;

/// After a step nothing is deleted by its age for this long, so that operators
/// can notice.
const GRACE_PERIOD: Duration = Duration::from_secs(86_400);

/// The query takes longer only if the system bus hangs.
const QUERY_TIMEOUT: Duration = Duration::from_secs(10);

/// Whether the network has set the clock since the boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Synchronised {
    Yes,
    No,
    /// The system does not report it, as in a container. Such a clock is trusted.
    #[default]
    Unknown,
}

/// The last check of the clock and its result.
#[derive(Debug, Default)]
pub(super) struct Clock {
    /// The wall clock and the monotonic clock.
    last_check: Option<(Timestamp, Instant)>,
    synchronised: Synchronised,
    doubted_until: Option<Instant>,
}

impl Clock {
    /// Compares the clock with the end of the newest recording of an earlier run
    /// of the service. Returns the difference in seconds if it exceeds a day.
    pub(super) fn check_start(
        &mut self,
        newest: Timestamp,
        wall: Timestamp,
        now: Instant,
    ) -> Option<i64> {
        self.compare(newest, wall, MAX_GAP, now)
    }

    /// Compares the wall clock with the monotonic clock since the last check.
    /// Returns the step in seconds if it exceeds ten minutes.
    pub(super) fn check(&mut self, wall: Timestamp, now: Instant) -> Option<i64> {
        let (before, at) = self.last_check.replace((wall, now))?;
        let expected = before.checked_add(now.saturating_duration_since(at)).ok()?;
        self.compare(expected, wall, MAX_DRIFT, now)
    }

    fn compare(
        &mut self,
        expected: Timestamp,
        wall: Timestamp,
        tolerance: u64,
        now: Instant,
    ) -> Option<i64> {
        let difference = wall.as_second() - expected.as_second();
        if difference.unsigned_abs() <= tolerance {
            return None;
        }
        self.doubted_until = Some(now + GRACE_PERIOD);
        // It may have been set by hand; the system must report it as synchronised again.
        if self.synchronised == Synchronised::Yes {
            self.synchronised = Synchronised::No;
        }
        Some(difference)
    }

    /// Sets the state that the system reports; returns whether it has changed.
    pub(super) fn set_synchronised(&mut self, synchronised: Synchronised) -> bool {
        std::mem::replace(&mut self.synchronised, synchronised) != synchronised
    }

    /// Whether the system reports that the network has set the clock.
    pub(super) fn is_synchronised(&self) -> bool {
        self.synchronised == Synchronised::Yes
    }

    /// Whether a recording that starts now gets the right date, as far as is known.
    pub(super) fn is_set(&self, now: Instant) -> bool {
        match self.synchronised {
            Synchronised::Yes => true,
            Synchronised::No => false,
            Synchronised::Unknown => !self.is_doubted(now),
        }
    }

    /// Whether recordings may be deleted by their age.
    pub(super) fn has_reliable_ages(&self, now: Instant) -> bool {
        self.synchronised != Synchronised::No && !self.is_doubted(now)
    }

    fn is_doubted(&self, now: Instant) -> bool {
        self.doubted_until.is_some_and(|until| now < until)
    }
}

/// Queries systemd, which reads the state from the kernel for any time service.
/// The unit of livebox may not query the kernel itself: adjtimex(2) can also set
/// the clock.
pub(super) async fn query() -> Synchronised {
    let mut command = Command::new("timedatectl");
    command.args(["show", "--property=NTPSynchronized", "--value"]).stderr(Stdio::null());
    let Ok(output) = program::output(command, QUERY_TIMEOUT).await else {
        return Synchronised::Unknown;
    };
    match output.stdout.trim_ascii() {
        b"yes" => Synchronised::Yes,
        b"no" => Synchronised::No,
        _ => Synchronised::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn wall(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[expect(clippy::disallowed_methods, reason = "tests choose their own zero")]
    fn zero() -> Instant {
        Instant::now()
    }

    #[test]
    fn a_clock_without_steps_is_trusted() {
        let (mut clock, now) = (Clock::default(), zero());
        assert_eq!(
            clock.check_start(wall("2026-11-27T10:00:00Z"), wall("2026-11-27T11:00:00Z"), now),
            None
        );
        assert_eq!(clock.check(wall("2026-11-27T11:00:00Z"), now), None);
        assert_eq!(clock.check(wall("2026-11-27T12:00:07Z"), now + HOUR), None);
        assert!(clock.has_reliable_ages(now + HOUR));
    }

    #[test]
    fn a_step_in_either_direction_is_doubted_for_a_day() {
        for (to, away) in [("2028-01-01T12:00:00Z", 400 * 86_400), ("1970-01-01T00:00:00Z", -1)] {
            let (mut clock, now) = (Clock::default(), zero());
            clock.check(wall("2026-11-27T11:00:00Z"), now);
            let step = clock.check(wall(to), now + HOUR).unwrap();
            assert_eq!(step.signum(), i64::from(away).signum(), "{step}");
            assert!(!clock.has_reliable_ages(now + HOUR));
            assert_eq!(clock.check(wall(to), now + HOUR), None, "a step is reported once");
            assert!(!clock.has_reliable_ages(now + 24 * HOUR));
            assert!(clock.has_reliable_ages(now + 26 * HOUR));
        }
    }

    #[test]
    fn a_start_long_after_the_newest_recording_is_doubted() {
        let (mut clock, now) = (Clock::default(), zero());
        let away =
            clock.check_start(wall("2026-11-27T10:00:00Z"), wall("2028-01-01T10:00:00Z"), now);
        assert_eq!(away, Some(400 * 86_400));
        assert!(!clock.is_set(now) && !clock.has_reliable_ages(now));
        clock.set_synchronised(Synchronised::Yes);
        assert!(clock.is_set(now) && !clock.has_reliable_ages(now));
    }

    #[test]
    fn a_clock_that_was_never_set_has_no_reliable_ages() {
        let (mut clock, now) = (Clock::default(), zero());
        assert!(clock.has_reliable_ages(now));
        assert!(
            clock.set_synchronised(Synchronised::No) && !clock.set_synchronised(Synchronised::No)
        );
        assert!(!clock.is_set(now) && !clock.has_reliable_ages(now));
        assert!(clock.set_synchronised(Synchronised::Yes) && clock.has_reliable_ages(now));
        // After a step the earlier report of the system does not count.
        clock.check(wall("2026-11-27T11:00:00Z"), now);
        clock.check(wall("2027-11-27T11:00:00Z"), now + HOUR);
        assert!(!clock.is_synchronised() && !clock.is_set(now + 48 * HOUR));
    }
}
