//! How far the wall clock can be trusted with the ages of recordings.
//!
//! What is deleted by a wrong age is gone. A board without a battery starts in
//! the past, until the network tells it the time; a clock may be set wrong by
//! years. All but [`ask`] is pure.

use std::process::Stdio;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::process::Command;

use crate::base::program;

/// No clock drifts that far between two looks.
const STEP: u64 = 600;

/// A box that recorded nothing for longer than this may as well have a wrong clock.
const GAP: u64 = 86_400;

/// After a step nothing is deleted by its age for so long: time for somebody to
/// notice.
const GRACE: Duration = Duration::from_secs(86_400);

/// Asking takes longer only where the system bus hangs.
const QUERY_TIMEOUT: Duration = Duration::from_secs(10);

/// Whether the clock was set by the network since the start of the system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Synchronised {
    Yes,
    No,
    /// Nobody can tell, as in a container. Such a clock is believed.
    #[default]
    Unknown,
}

/// What is known of the clock.
#[derive(Debug, Default)]
pub(super) struct Clock {
    seen: Option<(Timestamp, Instant)>,
    synchronised: Synchronised,
    doubted_until: Option<Instant>,
}

impl Clock {
    /// Compares the clock with the end of the newest recording that an earlier
    /// start has left. Returns by how many seconds it is away, if that is much.
    pub(super) fn start(
        &mut self,
        newest: Timestamp,
        wall: Timestamp,
        now: Instant,
    ) -> Option<i64> {
        self.doubt(newest, wall, GAP, now)
    }

    /// Compares the wall clock with the monotonic one since the last look.
    /// Returns by how many seconds it was set, if that is much.
    pub(super) fn look(&mut self, wall: Timestamp, now: Instant) -> Option<i64> {
        let (before, at) = self.seen.replace((wall, now))?;
        let expected = before.checked_add(now.saturating_duration_since(at)).ok()?;
        self.doubt(expected, wall, STEP, now)
    }

    fn doubt(
        &mut self,
        expected: Timestamp,
        wall: Timestamp,
        tolerance: u64,
        now: Instant,
    ) -> Option<i64> {
        let away = wall.as_second() - expected.as_second();
        if away.unsigned_abs() <= tolerance {
            return None;
        }
        self.doubted_until = Some(now + GRACE);
        // Somebody may have set it; the system has to say again that it is right.
        if self.synchronised == Synchronised::Yes {
            self.synchronised = Synchronised::No;
        }
        Some(away)
    }

    /// Takes in what the system says; returns whether that is news.
    pub(super) fn heard(&mut self, synchronised: Synchronised) -> bool {
        std::mem::replace(&mut self.synchronised, synchronised) != synchronised
    }

    /// Whether the system says that the network has set it.
    pub(super) fn is_synchronised(&self) -> bool {
        self.synchronised == Synchronised::Yes
    }

    /// Whether what is recorded now has the true date, as far as is known.
    pub(super) fn is_set(&self, now: Instant) -> bool {
        match self.synchronised {
            Synchronised::Yes => true,
            Synchronised::No => false,
            Synchronised::Unknown => !self.is_doubted(now),
        }
    }

    /// Whether something may be deleted by its age.
    pub(super) fn tells_ages(&self, now: Instant) -> bool {
        self.synchronised != Synchronised::No && !self.is_doubted(now)
    }

    fn is_doubted(&self, now: Instant) -> bool {
        self.doubted_until.is_some_and(|until| now < until)
    }
}

/// Asks systemd, which sees what the kernel knows of any time service: the unit
/// of livebox may not ask the kernel itself (adjtimex(2) is a call that sets
/// clocks as well).
pub(super) async fn ask() -> Synchronised {
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
    fn a_clock_that_keeps_pace_is_believed() {
        let (mut clock, now) = (Clock::default(), zero());
        assert_eq!(
            clock.start(wall("2026-11-27T10:00:00Z"), wall("2026-11-27T11:00:00Z"), now),
            None
        );
        assert_eq!(clock.look(wall("2026-11-27T11:00:00Z"), now), None);
        assert_eq!(clock.look(wall("2026-11-27T12:00:07Z"), now + HOUR), None);
        assert!(clock.tells_ages(now + HOUR));
    }

    #[test]
    fn a_step_in_either_direction_is_doubted_for_a_day() {
        for (to, away) in [("2028-01-01T12:00:00Z", 400 * 86_400), ("1970-01-01T00:00:00Z", -1)] {
            let (mut clock, now) = (Clock::default(), zero());
            clock.look(wall("2026-11-27T11:00:00Z"), now);
            let told = clock.look(wall(to), now + HOUR).unwrap();
            assert_eq!(told.signum(), i64::from(away).signum(), "{told}");
            assert!(!clock.tells_ages(now + HOUR));
            assert_eq!(clock.look(wall(to), now + HOUR), None, "a step is told once");
            assert!(!clock.tells_ages(now + 24 * HOUR));
            assert!(clock.tells_ages(now + 26 * HOUR));
        }
    }

    #[test]
    fn a_start_long_after_the_newest_recording_is_doubted() {
        let (mut clock, now) = (Clock::default(), zero());
        let away = clock.start(wall("2026-11-27T10:00:00Z"), wall("2028-01-01T10:00:00Z"), now);
        assert_eq!(away, Some(400 * 86_400));
        assert!(!clock.is_set(now) && !clock.tells_ages(now));
        clock.heard(Synchronised::Yes);
        assert!(clock.is_set(now) && !clock.tells_ages(now));
    }

    #[test]
    fn a_clock_that_was_never_set_tells_no_ages() {
        let (mut clock, now) = (Clock::default(), zero());
        assert!(clock.tells_ages(now));
        assert!(clock.heard(Synchronised::No) && !clock.heard(Synchronised::No));
        assert!(!clock.is_set(now) && !clock.tells_ages(now));
        assert!(clock.heard(Synchronised::Yes) && clock.tells_ages(now));
        // Set by hand meanwhile: what the system has said counts no longer.
        clock.look(wall("2026-11-27T11:00:00Z"), now);
        clock.look(wall("2027-11-27T11:00:00Z"), now + HOUR);
        assert!(!clock.is_synchronised() && !clock.is_set(now + 48 * HOUR));
    }
}
