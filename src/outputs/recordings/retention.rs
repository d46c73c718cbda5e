//! Which recordings exceed the limits of age, size and free space. Pure.

use std::time::Duration;

use crate::config::settings::Retention;

/// A recording that may be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub age: Duration,
    pub bytes: u64,
}

/// The purpose for which the disk needs free space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Headroom {
    /// To continue recordings.
    Continue,
    /// To start a recording: an eighth more, so that it does not end at once.
    Start,
    /// To write so many bytes at once.
    For(u64),
}

impl Retention {
    /// The number of bytes that must be free on the disk.
    pub fn required_free(&self, headroom: Headroom) -> u64 {
        match headroom {
            Headroom::Continue => self.free,
            Headroom::Start => self.free + self.free / 8,
            Headroom::For(bytes) => self.free.saturating_add(bytes),
        }
    }

    /// How many of `candidates`, sorted from the oldest, must be deleted. `others`
    /// is the size of the recordings that must stay, `free` the free space of the
    /// disk, both in bytes.
    pub fn surplus(
        &self,
        candidates: &[Candidate],
        others: u64,
        free: u64,
        headroom: Headroom,
    ) -> usize {
        let required = self.required_free(headroom);
        let mut all = candidates.iter().map(|one| one.bytes).sum::<u64>() + others;
        let mut free = free;
        let max_age = self.days.map(|days| Duration::from_secs(u64::from(days) * 86_400));
        let mut count = 0;
        for one in candidates {
            let is_too_old = max_age.is_some_and(|max_age| one.age > max_age);
            let is_over_size = self.size.is_some_and(|size| all > size);
            if !(is_too_old || is_over_size || free < required) {
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
    const UNLIMITED: Retention =
        Retention { days: None, size: None, free: 0, clock: WhichClock::Any };

    /// Ten recordings of 10 bytes, an hour each, the oldest first.
    fn candidates() -> Vec<Candidate> {
        (1..=10u32).rev().map(|hours| Candidate { age: HOUR * hours * 6, bytes: 10 }).collect()
    }

    #[test]
    fn without_limits_nothing_is_deleted() {
        assert_eq!(UNLIMITED.surplus(&candidates(), 1000, 0, Headroom::Start), 0);
    }

    #[test]
    fn recordings_older_than_the_limit_are_deleted() {
        let keep = Retention { days: Some(1), ..UNLIMITED };
        assert_eq!(keep.surplus(&candidates(), 0, 0, Headroom::Continue), 6);
    }

    #[test]
    fn the_oldest_are_deleted_until_the_rest_fits_with_running_recordings() {
        let keep = Retention { size: Some(100), ..UNLIMITED };
        assert_eq!(keep.surplus(&candidates(), 0, 0, Headroom::Continue), 0);
        assert_eq!(keep.surplus(&candidates(), 15, 0, Headroom::Continue), 2);
        assert_eq!(keep.surplus(&candidates(), 500, 0, Headroom::Continue), 10);
    }

    #[test]
    fn the_oldest_are_deleted_until_the_disk_has_free_space() {
        let keep = Retention { free: 80, ..UNLIMITED };
        assert_eq!(keep.surplus(&candidates(), 0, 80, Headroom::Continue), 0);
        assert_eq!(keep.surplus(&candidates(), 0, 80, Headroom::Start), 1);
        assert_eq!(keep.surplus(&candidates(), 0, 55, Headroom::Continue), 3);
        assert_eq!(keep.surplus(&candidates(), 0, 80, Headroom::For(25)), 3);
        assert_eq!(keep.surplus(&candidates(), 0, 0, Headroom::For(u64::MAX)), 10);
    }
}
