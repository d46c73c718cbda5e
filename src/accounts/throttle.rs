//! How fast an address may have passwords checked. Pure.
//!
//! A few wrong passwords are free; after them an address has one checked a
//! second. Checks that wait are bounded, but an address of which none waits gets
//! its first one a place however many others wait, so that guessing from a few
//! addresses locks nobody out. Nobody is refused for good.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::base::incident::Incident;

/// So many checks may wait, in all and from one address.
const WAITING: usize = 128;
const WAITING_PER_ADDRESS: usize = 16;

/// So many may wait where each further one is the only one of its address.
/// Memory: each holds a password of at most 1 KiB.
const WAITING_AT_MOST: usize = 1024;

/// So many wrong ones are free; beyond, an address has one checked a second,
/// and one is forgiven every ten seconds.
const FREE: f64 = 5.0;
const PACE: Duration = Duration::from_secs(1);
const FORGIVEN_AFTER: Duration = Duration::from_secs(10);

/// More addresses are not remembered; the one that was silent longest goes.
const ADDRESSES: usize = 1024;

/// Where a password is shown from, if that is known.
pub(super) type Source = Option<IpAddr>;

/// What the addresses have done.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    addresses: HashMap<Source, Address>,
    waiting: usize,
}

/// When a check may begin, and before which others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) begin_at: Instant,
    pub(super) rank: Rank,
}

/// The order of checks that may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// The only check of an address without wrong passwords.
    First,
    Later,
}

#[derive(Clone, Copy, Debug)]
struct Address {
    /// How many wrong passwords are not forgiven yet, at `seen`.
    wrong: f64,
    seen: Instant,
    next_at: Instant,
    waiting: usize,
    incident: Incident,
}

impl Throttle {
    /// A place for one more check of `from`; nothing if too many wait.
    /// [`Throttle::release`] gives the place back.
    pub(super) fn reserve(&mut self, from: Source, now: Instant) -> Option<Turn> {
        let of_address = self.addresses.get(&from).map_or(0, |address| address.waiting);
        let most = if of_address == 0 { WAITING_AT_MOST } else { WAITING };
        if self.waiting >= most || of_address >= WAITING_PER_ADDRESS {
            return None;
        }
        self.waiting += 1;
        Some(self.address(from, now).reserve(now))
    }

    /// Gives back the place of a check that has ended, whatever it found.
    pub(super) fn release(&mut self, from: Source) {
        if let Some(address) = self.addresses.get_mut(&from) {
            address.waiting = address.waiting.saturating_sub(1);
            self.waiting = self.waiting.saturating_sub(1);
        }
    }

    /// A check has found a password of `from` to be wrong.
    pub(super) fn add_wrong(&mut self, from: Source, now: Instant) {
        let address = self.address(from, now);
        address.wrong = address.unforgiven(now) + 1.0;
        address.seen = now;
    }

    /// `from` has been refused. How many times in this incident, if that is
    /// worth a line in the log: the first time and each doubling.
    pub(super) fn refused(&mut self, from: Source, now: Instant) -> Option<u64> {
        self.address(from, now).incident.add(now)
    }

    fn address(&mut self, from: Source, now: Instant) -> &mut Address {
        if !self.addresses.contains_key(&from) {
            self.make_room(now);
        }
        self.addresses.entry(from).or_insert_with(|| Address::new(now))
    }

    /// Forgets an address where there are too many.
    fn make_room(&mut self, now: Instant) {
        if self.addresses.len() < ADDRESSES {
            return;
        }
        self.addresses.retain(|_, address| address.waiting > 0 || address.unforgiven(now) > 0.0);
        let idle = self.addresses.iter().filter(|(_, address)| address.waiting == 0);
        let oldest = idle.min_by_key(|(_, address)| address.seen).map(|(source, _)| *source);
        if let Some(oldest) = oldest.filter(|_| self.addresses.len() >= ADDRESSES) {
            self.addresses.remove(&oldest);
        }
    }
}

impl Address {
    fn new(now: Instant) -> Self {
        Self { wrong: 0.0, seen: now, next_at: now, waiting: 0, incident: Incident::default() }
    }

    fn unforgiven(&self, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(self.seen);
        (self.wrong - passed.as_secs_f64() / FORGIVEN_AFTER.as_secs_f64()).max(0.0)
    }

    fn reserve(&mut self, now: Instant) -> Turn {
        self.waiting += 1;
        let wrong = self.unforgiven(now);
        // Those that wait may all be wrong.
        let is_free = wrong + self.waiting as f64 <= FREE;
        let begin_at = if is_free { now } else { self.next_at.max(now) };
        self.next_at = begin_at + PACE;
        let rank = if wrong == 0.0 && self.waiting == 1 { Rank::First } else { Rank::Later };
        Turn { begin_at, rank }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests choose their own zero")]
mod tests {
    use super::*;

    fn source(number: usize) -> Source {
        Some(IpAddr::V4((number as u32).into()))
    }

    /// Has one wrong password checked; returns when that begins.
    fn guess(throttle: &mut Throttle, from: Source, now: Instant) -> Instant {
        let turn = throttle.reserve(from, now).expect("there is a place");
        throttle.release(from);
        throttle.add_wrong(from, turn.begin_at);
        turn.begin_at
    }

    #[test]
    fn an_address_that_guesses_waits_and_others_do_not() {
        let (mut throttle, now) = (Throttle::default(), Instant::now());
        for _ in 0..5 {
            assert_eq!(guess(&mut throttle, source(1), now), now);
        }
        let sixth = guess(&mut throttle, source(1), now);
        let seventh = guess(&mut throttle, source(1), sixth);
        assert_eq!((sixth, seventh), (now + PACE, now + 2 * PACE));
        assert_eq!(guess(&mut throttle, source(2), now), now);

        let rested = seventh + 10 * FORGIVEN_AFTER;
        assert_eq!(guess(&mut throttle, source(1), rested), rested);
    }

    #[test]
    fn ten_addresses_with_all_their_checks_in_flight_lock_out_nobody() {
        let (mut throttle, now) = (Throttle::default(), Instant::now());
        for number in 0..10 * WAITING_PER_ADDRESS {
            throttle.reserve(source(number % 10), now);
        }
        assert_eq!(throttle.waiting, WAITING);

        let first = Turn { begin_at: now, rank: Rank::First };
        for number in 100..200 {
            assert_eq!(throttle.reserve(source(number), now), Some(first));
            assert_eq!(throttle.reserve(source(number), now), None, "its second one waits");
        }
        throttle.release(source(100));
        assert_eq!(throttle.reserve(source(100), now).map(|turn| turn.rank), Some(Rank::First));
    }

    #[test]
    fn checks_that_wait_are_few_in_all_and_from_one_address() {
        let (mut throttle, now) = (Throttle::default(), Instant::now());
        let places = (0..1000).filter_map(|_| throttle.reserve(source(1), now)).count();
        assert_eq!(places, WAITING_PER_ADDRESS);
        for number in 2..10_000 {
            throttle.reserve(source(number), now);
        }
        assert_eq!(throttle.waiting, WAITING_AT_MOST);
        assert!(throttle.addresses.len() <= WAITING_AT_MOST);
    }

    #[test]
    fn a_check_after_wrong_passwords_comes_behind_first_ones() {
        let (mut throttle, now) = (Throttle::default(), Instant::now());
        guess(&mut throttle, source(1), now);
        assert_eq!(throttle.reserve(source(1), now).map(|turn| turn.rank), Some(Rank::Later));
        assert!(Rank::First < Rank::Later);
    }

    #[test]
    fn nothing_grows_with_those_who_guess() {
        let (mut throttle, mut now) = (Throttle::default(), Instant::now());
        for number in 1..5000 {
            now += Duration::from_millis(10);
            guess(&mut throttle, source(number), now);
            throttle.refused(source(number), now);
        }
        assert!(throttle.addresses.len() <= ADDRESSES);
    }
}
