//! Rate limit of password checks by address. Pure.
//!
//! A few wrong passwords are free; beyond them an address gets one check a
//! second. Waiting checks are bounded, with a higher bound for the first check
//! of an address, so that guessing from a few addresses does not lock out
//! others. No address is refused permanently.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::base::incident::Incident;

/// Bounds of the waiting checks of addresses that have more than one, in total
/// and for each address.
const MAX_WAITING_REPEATED: usize = 128;
const MAX_WAITING_PER_ADDRESS: usize = 16;

/// Bound of all waiting checks. Memory: each holds a password of at most 1 KiB.
const MAX_WAITING: usize = 1024;

/// Wrong passwords that cost an address no delay; beyond them it gets one check
/// a second, and one wrong password is forgiven every ten seconds.
const FREE_WRONG: f64 = 5.0;
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
const FORGIVEN_AFTER: Duration = Duration::from_secs(10);

/// Bound of the addresses in memory; the one that was silent longest is evicted.
const MAX_ADDRESSES: usize = 1024;

/// The network that a password is sent from, if known.
pub(super) type Source = Option<IpAddr>;

/// Waiting checks and wrong passwords by address.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    addresses: HashMap<Source, Address>,
    waiting: usize,
}

/// When a check may begin, and its rank among those that may.
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
    /// Wrong passwords not yet forgiven, at `seen`.
    wrong: f64,
    seen: Instant,
    next_at: Instant,
    waiting: usize,
    incident: Incident,
}

impl Throttle {
    /// Reserves a check for `from`; `None` if too many wait. The caller must
    /// return it by [`Throttle::release`].
    pub(super) fn reserve(&mut self, from: Source, now: Instant) -> Option<Turn> {
        let own_waiting = self.addresses.get(&from).map_or(0, |address| address.waiting);
        let limit = if own_waiting == 0 { MAX_WAITING } else { MAX_WAITING_REPEATED };
        if self.waiting >= limit || own_waiting >= MAX_WAITING_PER_ADDRESS {
            return None;
        }
        self.waiting += 1;
        Some(self.address(from, now).reserve(now))
    }

    /// Releases the reservation of a check that has ended, with any result.
    pub(super) fn release(&mut self, from: Source) {
        if let Some(address) = self.addresses.get_mut(&from) {
            address.waiting = address.waiting.saturating_sub(1);
            self.waiting = self.waiting.saturating_sub(1);
        }
    }

    /// Counts a wrong password of `from`.
    pub(super) fn add_wrong(&mut self, from: Source, now: Instant) {
        let address = self.address(from, now);
        address.wrong = address.unforgiven(now) + 1.0;
        address.seen = now;
    }

    /// Counts a refusal of `from`. Returns the count of this incident where it
    /// is to be logged: the first and each doubling.
    pub(super) fn add_refusal(&mut self, from: Source, now: Instant) -> Option<u64> {
        self.address(from, now).incident.add(now)
    }

    fn address(&mut self, from: Source, now: Instant) -> &mut Address {
        if !self.addresses.contains_key(&from) {
            self.evict(now);
        }
        self.addresses.entry(from).or_insert_with(|| Address::new(now))
    }

    /// Evicts an address if there are too many.
    fn evict(&mut self, now: Instant) {
        if self.addresses.len() < MAX_ADDRESSES {
            return;
        }
        self.addresses.retain(|_, address| address.waiting > 0 || address.unforgiven(now) > 0.0);
        let idle = self.addresses.iter().filter(|(_, address)| address.waiting == 0);
        let oldest = idle.min_by_key(|(_, address)| address.seen).map(|(source, _)| *source);
        if let Some(oldest) = oldest.filter(|_| self.addresses.len() >= MAX_ADDRESSES) {
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
        // All waiting checks may turn out wrong.
        let is_free = wrong + self.waiting as f64 <= FREE_WRONG;
        let begin_at = if is_free { now } else { self.next_at.max(now) };
        self.next_at = begin_at + CHECK_INTERVAL;
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

    /// Runs the check of one wrong password; returns when it began.
    fn guess(throttle: &mut Throttle, from: Source, now: Instant) -> Instant {
        let turn = throttle.reserve(from, now).expect("a check is free");
        throttle.release(from);
        throttle.add_wrong(from, turn.begin_at);
        turn.begin_at
    }

    #[test]
    fn a_guessing_address_waits_and_others_do_not() {
        let (mut throttle, now) = (Throttle::default(), Instant::now());
        for _ in 0..5 {
            assert_eq!(guess(&mut throttle, source(1), now), now);
        }
        let sixth = guess(&mut throttle, source(1), now);
        let seventh = guess(&mut throttle, source(1), sixth);
        assert_eq!((sixth, seventh), (now + CHECK_INTERVAL, now + 2 * CHECK_INTERVAL));
        assert_eq!(guess(&mut throttle, source(2), now), now);

        let rested = seventh + 10 * FORGIVEN_AFTER;
        assert_eq!(guess(&mut throttle, source(1), rested), rested);
    }

    #[test]
    fn ten_addresses_at_their_limit_do_not_lock_out_others() {
        let (mut throttle, now) = (Throttle::default(), Instant::now());
        for number in 0..10 * MAX_WAITING_PER_ADDRESS {
            throttle.reserve(source(number % 10), now);
        }
        assert_eq!(throttle.waiting, MAX_WAITING_REPEATED);

        let first = Turn { begin_at: now, rank: Rank::First };
        for number in 100..200 {
            assert_eq!(throttle.reserve(source(number), now), Some(first));
            assert_eq!(throttle.reserve(source(number), now), None, "its first one waits");
        }
        throttle.release(source(100));
        assert_eq!(throttle.reserve(source(100), now).map(|turn| turn.rank), Some(Rank::First));
    }

    #[test]
    fn waiting_checks_are_bounded_in_total_and_by_address() {
        let (mut throttle, now) = (Throttle::default(), Instant::now());
        let reserved = (0..1000).filter_map(|_| throttle.reserve(source(1), now)).count();
        assert_eq!(reserved, MAX_WAITING_PER_ADDRESS);
        for number in 2..10_000 {
            throttle.reserve(source(number), now);
        }
        assert_eq!(throttle.waiting, MAX_WAITING);
        assert!(throttle.addresses.len() <= MAX_WAITING);
    }

    #[test]
    fn a_check_after_wrong_passwords_ranks_behind_first_ones() {
        let (mut throttle, now) = (Throttle::default(), Instant::now());
        guess(&mut throttle, source(1), now);
        assert_eq!(throttle.reserve(source(1), now).map(|turn| turn.rank), Some(Rank::Later));
        assert!(Rank::First < Rank::Later);
    }

    #[test]
    fn memory_does_not_grow_with_the_number_of_guessing_addresses() {
        let (mut throttle, mut now) = (Throttle::default(), Instant::now());
        for number in 1..5000 {
            now += Duration::from_millis(10);
            guess(&mut throttle, source(number), now);
            throttle.add_refusal(source(number), now);
        }
        assert!(throttle.addresses.len() <= MAX_ADDRESSES);
    }
}
