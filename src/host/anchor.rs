//! Maps times of a foreign clock to the local one. Pure.
//!
//! The first frames get the time of their arrival: a burst of past frames may come at
//! once. After that frames keep their distance from each other, however unevenly they
//! arrive. Drift of the foreign clock is followed so slowly that time never steps back;
//! a step of it is followed at once.

use std::time::Duration;

/// How long the first frames are used to find the shift: longer than reading a burst and
/// starting a pipeline takes. Nanoseconds.
const SETTLING_NS: i128 = Duration::from_millis(500).as_nanos() as i128;

/// A frame that arrives farther from its time means that a clock was set. Multiplexers
/// send sound early by half of it. Nanoseconds.
const MAX_DEVIATION_NS: i128 = Duration::from_millis(1500).as_nanos() as i128;

/// The largest drift that is followed smoothly: one part in this many. Quartz clocks
/// are ten times better.
const DRIFT_DIVISOR: i128 = 5000;

/// The mapping, by what is known of the foreign clock.
#[derive(Clone, Debug, Default)]
pub(super) enum Anchor {
    #[default]
    Unset,
    /// Frames have no times: each gets the time of its arrival.
    Arrival,
    Settling {
        since: i128,
        /// The smallest shift of a frame so far.
        shift: i128,
    },
    Fixed {
        /// What is added to the foreign time, in nanoseconds.
        shift: i128,
        /// When the last frame arrived.
        arrived: i128,
    },
}

impl Anchor {
    /// The local time of a frame with the time `foreign` that arrives at `now`; all in
    /// nanoseconds.
    pub(super) fn place(&mut self, foreign: u64, now: u64) -> u64 {
        let (foreign, now) = (i128::from(foreign), i128::from(now));
        let own = now - foreign;
        let (next, placed) = match *self {
            Anchor::Arrival => (Anchor::Arrival, now),
            Anchor::Unset => (Anchor::Settling { since: now, shift: own }, now),
            Anchor::Settling { since, shift } if now - since < SETTLING_NS => {
                (Anchor::Settling { since, shift: shift.min(own) }, now)
            }
            Anchor::Settling { shift, .. } => fixed(shift, own, foreign, now, 0),
            Anchor::Fixed { shift, arrived } => fixed(shift, own, foreign, now, now - arrived),
        };
        *self = next;
        u64::try_from(placed).unwrap_or(0)
    }
}

/// The next state and the frame's time. `own` is the shift of this frame alone, `since`
/// the time since the last frame.
fn fixed(shift: i128, own: i128, foreign: i128, now: i128, since: i128) -> (Anchor, i128) {
    let deviation = own - shift;
    let shift = if deviation.abs() > MAX_DEVIATION_NS {
        own
    } else {
        let step = since.max(0) / DRIFT_DIVISOR;
        shift + deviation.clamp(-step, step)
    };
    (Anchor::Fixed { shift, arrived: now }, foreign + shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const MS: u64 = 1_000_000;

    /// After one second of frames, 40 ms each, that arrived in time.
    fn settled() -> Anchor {
        let mut anchor = Anchor::default();
        (0..25).for_each(|index| {
            anchor.place((900_000 + index * 40) * MS, (1000 + index * 40) * MS);
        });
        anchor
    }

    #[test]
    fn frames_keep_their_distance_however_unevenly_they_come() {
        let mut anchor = settled();
        for (index, late) in (25..).zip([0, 90, 50, 10, 200, 0]) {
            let time = anchor.place((900_000 + index * 40) * MS, (1000 + index * 40 + late) * MS);
            assert!(time.abs_diff((1000 + index * 40) * MS) < MS, "frame {index}: {time}");
        }
    }

    #[test]
    fn a_burst_of_past_frames_ends_at_the_live_edge() {
        let mut anchor = Anchor::default();
        // A second of the past within 100 ms, and then live.
        let past = (0..25).map(|index| (index * 40, 1000 + index * 4));
        let live = (25..50).map(|index| (index * 40, 100 + index * 40));
        let times: Vec<u64> =
            past.chain(live).map(|(foreign, now)| anchor.place(foreign * MS, now * MS)).collect();
        assert!(times.is_sorted());
        assert!(times[49].abs_diff((100 + 49 * 40) * MS) < 10 * MS, "{times:?}");
    }

    #[test]
    fn a_step_of_the_foreign_clock_is_followed() {
        let mut anchor = settled();
        assert_eq!(anchor.place(5 * SECOND, 5 * SECOND), 5 * SECOND);
        assert_eq!(anchor.place(6 * SECOND, 6 * SECOND), 6 * SECOND);
        assert_eq!(anchor.place(2000 * SECOND, 7 * SECOND), 7 * SECOND);
    }

    #[test]
    fn a_drifting_clock_is_followed_without_steps() {
        for ppm in [-100, 100] {
            let mut anchor = Anchor::default();
            let mut before = 0;
            for second in 1..40_000 {
                let foreign = second * (SECOND as i64 + ppm * 1000) as u64;
                let time = anchor.place(foreign, second * SECOND);
                assert!(before == 0 || (time - before).abs_diff(SECOND) < MS);
                before = time;
            }
        }
    }

    #[test]
    fn extreme_times_do_not_overflow() {
        let mut anchor = Anchor::default();
        assert_eq!(anchor.place(SECOND, 7), 7);
        assert_eq!(anchor.place(u64::MAX, 2 * SECOND), 2 * SECOND);
        assert_eq!(anchor.place(u64::MAX - 4 * SECOND, 2 * SECOND), 2 * SECOND);
    }
}
