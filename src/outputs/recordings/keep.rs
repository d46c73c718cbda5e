//! What is too much, and whether there is room. Pure.

use std::time::Duration;

use crate::config::settings::Keep;

/// A finished recording, as far as its age and size go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    pub age: Duration,
    pub bytes: u64,
}

/// What the disk shall have room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// To go on with what is being recorded.
    Going,
    /// To begin a recording: a little more, so that it does not end at once.
    Begin,
    /// To write so many bytes in one go.
    For(u64),
}

impl Keep {
    /// So much must be free on the disk.
    pub fn wanted(&self, room: Room) -> u64 {
        match room {
            Room::Going => self.free,
            Room::Begin => self.free + self.free / 8,
            Room::For(bytes) => self.free.saturating_add(bytes),
        }
    }

    /// How many of `held`, the oldest first, must go. `others` are the bytes of
    /// recordings that cannot; `free` is free on the disk.
    pub fn surplus(&self, held: &[Held], others: u64, free: u64, room: Room) -> usize {
        let wanted = self.wanted(room);
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
    const NOTHING: Keep = Keep { days: None, size: None, free: 0, clock: WhichClock::Any };

    /// Ten recordings of 10 bytes, an hour each, the oldest first.
    fn held() -> Vec<Held> {
        (1..=10u32).rev().map(|hours| Held { age: HOUR * hours * 6, bytes: 10 }).collect()
    }

    #[test]
    fn without_bounds_everything_stays() {
        assert_eq!(NOTHING.surplus(&held(), 1000, 0, Room::Begin), 0);
    }

    #[test]
    fn what_is_too_old_goes_and_nothing_younger() {
        let keep = Keep { days: Some(1), ..NOTHING };
        assert_eq!(keep.surplus(&held(), 0, 0, Room::Going), 6);
    }

    #[test]
    fn the_oldest_go_until_the_rest_fits_with_what_is_being_recorded() {
        let keep = Keep { size: Some(100), ..NOTHING };
        assert_eq!(keep.surplus(&held(), 0, 0, Room::Going), 0);
        assert_eq!(keep.surplus(&held(), 15, 0, Room::Going), 2);
        assert_eq!(keep.surplus(&held(), 500, 0, Room::Going), 10);
    }

    #[test]
    fn the_oldest_go_until_the_disk_has_room() {
        let keep = Keep { free: 80, ..NOTHING };
        assert_eq!(keep.surplus(&held(), 0, 80, Room::Going), 0);
        assert_eq!(keep.surplus(&held(), 0, 80, Room::Begin), 1);
        assert_eq!(keep.surplus(&held(), 0, 55, Room::Going), 3);
        assert_eq!(keep.surplus(&held(), 0, 80, Room::For(25)), 3);
        assert_eq!(keep.surplus(&held(), 0, 0, Room::For(u64::MAX)), 10);
    }
}
