//! Times of a foreign clock on one's own. Pure.
//!
//! What comes first is of the moment at which it comes: it may be the past, all
//! at once. From then on frames keep their distance from each other, however
//! unevenly they come. A clock that goes a little wrong is followed so slowly
//! that no frame is seen to step back, one that was set at once.

use std::time::Duration;

/// Longer than the past takes to be read, and a pipeline to get going.
const SETTLING: i128 = Duration::from_millis(500).as_nanos() as i128;

/// A frame may come this far from its time; beyond, the two clocks have parted.
/// Multiplexers give sound half of that as a head start.
const FAR: i128 = Duration::from_millis(1500).as_nanos() as i128;

/// A clock that goes wrong by one part in so many is still followed smoothly.
/// Quartzes are ten times better.
const CREEP: i128 = 5000;

/// See the module's description.
#[derive(Clone, Debug, Default)]
pub(super) enum Anchor {
    #[default]
    Nowhere,
    /// Frames have no times of their own: each is of the moment at which it comes.
    Coming,
    Settling {
        since: i128,
        /// What the quickest frame says.
        shift: i128,
    },
    Held {
        /// What is added to the foreign time, in nanoseconds.
        shift: i128,
        /// When the last frame came.
        seen: i128,
    },
}

impl Anchor {
    /// The time of a frame that comes at `now`; all in nanoseconds.
    pub(super) fn place(&mut self, foreign: u64, now: u64) -> u64 {
        let (foreign, now) = (i128::from(foreign), i128::from(now));
        let own = now - foreign;
        let (next, placed) = match *self {
            Anchor::Coming => (Anchor::Coming, now),
            Anchor::Nowhere => (Anchor::Settling { since: now, shift: own }, now),
            Anchor::Settling { since, shift } if now - since < SETTLING => {
                (Anchor::Settling { since, shift: shift.min(own) }, now)
            }
            Anchor::Settling { shift, .. } => held(shift, own, foreign, now, 0),
            Anchor::Held { shift, seen } => held(shift, own, foreign, now, now - seen),
        };
        *self = next;
        u64::try_from(placed).unwrap_or(0)
    }
}

/// `own` is the shift that this frame alone would have.
fn held(shift: i128, own: i128, foreign: i128, now: i128, since: i128) -> (Anchor, i128) {
    let wrong = own - shift;
    let shift = if wrong.abs() > FAR {
        own
    } else {
        let step = since.max(0) / CREEP;
        shift + wrong.clamp(-step, step)
    };
    (Anchor::Held { shift, seen: now }, foreign + shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const MS: u64 = 1_000_000;

    /// One second of frames, 40 ms each, that came in time.
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
    fn the_past_leads_up_to_the_moment() {
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
    fn a_clock_that_was_set_is_followed() {
        let mut anchor = settled();
        assert_eq!(anchor.place(5 * SECOND, 5 * SECOND), 5 * SECOND);
        assert_eq!(anchor.place(6 * SECOND, 6 * SECOND), 6 * SECOND);
        assert_eq!(anchor.place(2000 * SECOND, 7 * SECOND), 7 * SECOND);
    }

    #[test]
    fn a_clock_that_goes_wrong_slowly_never_makes_a_jump() {
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
    fn nothing_is_before_the_beginning() {
        let mut anchor = Anchor::default();
        assert_eq!(anchor.place(SECOND, 7), 7);
        assert_eq!(anchor.place(u64::MAX, 2 * SECOND), 2 * SECOND);
        assert_eq!(anchor.place(u64::MAX - 4 * SECOND, 2 * SECOND), 2 * SECOND);
    }
}
