//! What is too much, and whether there is headroom. Pure.

use std::time::Duration;

use crate::config::settings::Retention;

/// A finished recording, as far as its age and size go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub age: Duration,
    pub bytes: u64,
}

/// What the disk shall have headroom for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Headroom {
    /// To go on with what is being recorded.
    Going,
    /// To begin a recording: a little more, so that it does not end at once.
    Begin,
    /// To write so many bytes in one go.
    For(u64),
}

impl Retention {
    /// So much must be free on the disk.
    pub fn wanted(&self, headroom: Headroom) -> u64 {
        match headroom {
            Headroom::Going => self.free,
            Headroom::Begin => self.free + self.free / 8,
            Headroom::For(bytes) => self.free.saturating_add(bytes),
        }
    }

    /// How many of `held`, the oldest first, must go. `others` are the bytes of
    /// recordings that cannot; `free` is free on the disk.
    pub fn surplus(&self, held: &[Candidate], others: u64, free: u64, headroom: Headroom) -> usize {
        let wanted = self.wanted(headroom);
        let mut all = held.iter().map(|one| one.bytes).sum::<u64>() + others;
        let mut free = free;
        let too_old = self.days.map(|days| Duration::from_secs(u64::from(days) * 86_400));
        let mut count = 0;
        for one in held {
            let is_old = too_old.is_some_and(|span| one.age > span);
            let is_much = self.size.is_some_and(|size| all > size);
            if !(is_old || is_much || free < wanted) {
                break;
            }
            all -= one.bytes;
            free = free.saturating_add(one.bytes);
            count += 1;
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::WhichClock;

    const HOUR: Duration = Duration::from_secs(3600);
    const NOTHING: Retention =
        Retention { days: None, size: None, free: 0, clock: WhichClock::Any };

    /// Ten recordings of 10 bytes, an hour each, the oldest first.
    fn held() -> Vec<Candidate> {
        (1..=10u32).rev().map(|hours| Candidate { age: HOUR * hours * 6, bytes: 10 }).collect()
    }

    #[test]
    fn without_bounds_everything_stays() {
        assert_eq!(NOTHING.surplus(&held(), 1000, 0, Headroom::Begin), 0);
    }

    #[test]
    fn what_is_too_old_goes_and_nothing_younger() {
        let keep = Retention { days: Some(1), ..NOTHING };
        assert_eq!(keep.surplus(&held(), 0, 0, Headroom::Going), 6);
    }

    #[test]
    fn the_oldest_go_until_the_rest_fits_with_what_is_being_recorded() {
        let keep = Retention { size: Some(100), ..NOTHING };
        assert_eq!(keep.surplus(&held(), 0, 0, Headroom::Going), 0);
        assert_eq!(keep.surplus(&held(), 15, 0, Headroom::Going), 2);
        assert_eq!(keep.surplus(&held(), 500, 0, Headroom::Going), 10);
    }

    #[test]
    fn the_oldest_go_until_the_disk_has_room() {
        let keep = Retention { free: 80, ..NOTHING };
        assert_eq!(keep.surplus(&held(), 0, 80, Headroom::Going), 0);
        assert_eq!(keep.surplus(&held(), 0, 80, Headroom::Begin), 1);
        assert_eq!(keep.surplus(&held(), 0, 55, Headroom::Going), 3);
        assert_eq!(keep.surplus(&held(), 0, 80, Headroom::For(25)), 3);
        assert_eq!(keep.surplus(&held(), 0, 0, Headroom::For(u64::MAX)), 10);
    }
}
