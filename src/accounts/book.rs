//! Which passwords are known, and when the next one may be checked. Pure.
//!
//! A check costs 19 MiB and tens of milliseconds on purpose, so what it has
//! found is kept for a while: under a keyed hash, never the password. Whoever
//! guesses is made to wait, and with it those who share its address and whose
//! password is not known yet; nobody is turned away for good.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use tokio::sync::watch;

/// A place's hashes and a password, as a keyed hash of both. It is another one
/// when the configuration has another hash.
pub(super) type Digest = [u8; 32];

/// How many right passwords are known, and for how long: an hour of HLS costs
/// one check.
const RIGHT: (usize, Duration) = (256, Duration::from_secs(3600));

/// The same for wrong ones. Players repeat what they were told at the start.
const WRONG: (usize, Duration) = (256, Duration::from_secs(60));

/// So many passwords may wait to be checked, in all and from one address.
const WAITING: u32 = 128;
const WAITING_PER_ADDRESS: u32 = 16;

/// So many wrong ones are free; beyond, an address has one checked a second,
/// and one is forgiven every ten seconds.
const FREE: f64 = 5.0;
const PACE: Duration = Duration::from_secs(1);
const FORGIVEN_AFTER: Duration = Duration::from_secs(10);

/// More addresses are not remembered; the one that was silent longest goes.
const ADDRESSES: usize = 1024;

/// What is known, and who waits.
#[derive(Debug, Default)]
pub(super) struct Book {
    right: Known,
    wrong: Known,
    running: HashMap<Digest, watch::Receiver<Option<bool>>>,
    addresses: HashMap<Source, Address>,
}

/// What comes of a question.
#[derive(Debug)]
pub(super) enum Answer {
    Known(bool),
    /// The same is being checked for somebody else.
    Running(watch::Receiver<Option<bool>>),
    /// It must be checked, not before `begin_at`; what comes of it is told to
    /// the book, and sent.
    Check {
        begin_at: Instant,
        send: watch::Sender<Option<bool>>,
        told: watch::Receiver<Option<bool>>,
    },
    /// Too many wait already.
    Full,
}

/// Where somebody asks from, if that is known.
pub(super) type Source = Option<IpAddr>;

#[derive(Clone, Copy, Debug)]
struct Address {
    /// How many wrong passwords are not forgiven yet, at `seen`.
    wrong: f64,
    seen: Instant,
    next_at: Instant,
    waiting: u32,
}

/// Digests with the time at which each was found, the oldest first.
#[derive(Debug, Default)]
struct Known {
    at: HashMap<Digest, Instant>,
    order: VecDeque<Digest>,
}

impl Book {
    /// Whether it is known to be right.
    pub(super) fn knows(&self, digest: &Digest, now: Instant) -> bool {
        self.right.has(digest, RIGHT.1, now)
    }

    /// What to do about a password that `from` shows.
    pub(super) fn ask(&mut self, digest: Digest, from: Source, now: Instant) -> Answer {
        if self.knows(&digest, now) {
            return Answer::Known(true);
        }
        if self.wrong.has(&digest, WRONG.1, now) {
            return Answer::Known(false);
        }
        if let Some(told) = self.running.get(&digest) {
            return Answer::Running(told.clone());
        }
        if self.running.len() >= WAITING as usize {
            return Answer::Full;
        }
        self.make_room(now);
        let address = self.addresses.entry(from).or_insert_with(|| Address::new(now));
        if address.waiting >= WAITING_PER_ADDRESS {
            return Answer::Full;
        }
        let begin_at = address.begin_at(now);
        let (send, told) = watch::channel(None);
        self.running.insert(digest, told.clone());
        Answer::Check { begin_at, send, told }
    }

    /// A check has found this out.
    pub(super) fn found(&mut self, digest: Digest, from: Source, is_right: bool, now: Instant) {
        self.running.remove(&digest);
        if let Some(address) = self.addresses.get_mut(&from) {
            address.waiting = address.waiting.saturating_sub(1);
            if !is_right {
                address.wrong = address.unforgiven(now) + 1.0;
                address.seen = now;
            }
        }
        match is_right {
            true => self.right.add(digest, RIGHT.0, now),
            false => self.wrong.add(digest, WRONG.0, now),
        }
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
        Self { wrong: 0.0, seen: now, next_at: now, waiting: 0 }
    }

    fn unforgiven(&self, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(self.seen);
        (self.wrong - passed.as_secs_f64() / FORGIVEN_AFTER.as_secs_f64()).max(0.0)
    }

    /// Takes the next place in the queue.
    fn begin_at(&mut self, now: Instant) -> Instant {
        self.waiting += 1;
        // Those that wait may all be wrong.
        let is_free = self.unforgiven(now) + f64::from(self.waiting) <= FREE;
        let begin_at = if is_free { now } else { self.next_at.max(now) };
        self.next_at = begin_at + PACE;
        begin_at
    }
}

impl Known {
    fn has(&self, digest: &Digest, lifetime: Duration, now: Instant) -> bool {
        let at = self.at.get(digest);
        at.is_some_and(|at| now.saturating_duration_since(*at) < lifetime)
    }

    fn add(&mut self, digest: Digest, most: usize, now: Instant) {
        if self.at.insert(digest, now).is_none() {
            self.order.push_back(digest);
        }
        if self.order.len() > most
            && let Some(oldest) = self.order.pop_front()
        {
            self.at.remove(&oldest);
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests choose their own zero")]
mod tests {
    use super::*;

    fn digest(number: u16) -> Digest {
        let mut digest = [0; 32];
        digest[..2].copy_from_slice(&number.to_be_bytes());
        digest
    }

    fn source(number: u32) -> Source {
        Some(IpAddr::V4(number.into()))
    }

    /// Has it checked; returns when that begins.
    fn checked(
        book: &mut Book,
        number: u16,
        from: Source,
        is_right: bool,
        now: Instant,
    ) -> Instant {
        let Answer::Check { begin_at, .. } = book.ask(digest(number), from, now) else {
            panic!("{number} is checked")
        };
        book.found(digest(number), from, is_right, begin_at);
        begin_at
    }

    #[test]
    fn what_is_known_is_not_checked_again_until_it_is_old() {
        let (mut book, now) = (Book::default(), Instant::now());
        checked(&mut book, 1, source(1), true, now);
        checked(&mut book, 2, source(1), false, now);

        assert!(book.knows(&digest(1), now) && !book.knows(&digest(2), now));
        assert!(matches!(book.ask(digest(1), source(2), now), Answer::Known(true)));
        assert!(matches!(book.ask(digest(2), source(2), now), Answer::Known(false)));
        let later = now + WRONG.1;
        assert!(matches!(book.ask(digest(2), source(2), later), Answer::Check { .. }));
        let later = now + RIGHT.1;
        assert!(!book.knows(&digest(1), later));
        assert!(matches!(book.ask(digest(1), source(2), later), Answer::Check { .. }));
    }

    #[test]
    fn five_hundred_who_come_at_once_cost_one_check() {
        let (mut book, now) = (Book::default(), Instant::now());
        let Answer::Check { send, .. } = book.ask(digest(1), source(1), now) else { panic!() };
        for number in 0..500 {
            let answer = book.ask(digest(1), source(number), now);
            let Answer::Running(told) = answer else { panic!("{answer:?}") };
            assert_eq!(*told.borrow(), None);
        }
        send.send_replace(Some(true));
        book.found(digest(1), source(1), true, now);
        assert!(book.knows(&digest(1), now));
    }

    #[test]
    fn who_guesses_waits_and_others_do_not() {
        let (mut book, now) = (Book::default(), Instant::now());
        for number in 0..5 {
            assert_eq!(checked(&mut book, number, source(1), false, now), now);
        }
        let sixth = checked(&mut book, 6, source(1), false, now);
        let seventh = checked(&mut book, 7, source(1), false, sixth);
        assert_eq!((sixth, seventh), (now + PACE, now + 2 * PACE));
        assert_eq!(checked(&mut book, 8, source(2), false, now), now);
        // Who is right is served in its turn, at the same address as well.
        let eighth = checked(&mut book, 9, source(1), true, seventh);
        assert_eq!(eighth, seventh + PACE);
        assert!(matches!(book.ask(digest(9), source(1), eighth), Answer::Known(true)));
        let rested = eighth + 10 * FORGIVEN_AFTER;
        assert_eq!(checked(&mut book, 10, source(1), false, rested), rested);
    }

    #[test]
    fn those_who_wait_are_few() {
        let (mut book, now) = (Book::default(), Instant::now());
        let mut kept = Vec::new();
        for number in 0..1000 {
            kept.push(book.ask(digest(number), source(1), now));
        }
        let full = kept.iter().filter(|answer| matches!(answer, Answer::Full)).count();
        assert_eq!(kept.len() - full, WAITING_PER_ADDRESS as usize);
        for number in 1000..3000 {
            kept.push(book.ask(digest(number), source(number.into()), now));
        }
        assert_eq!(book.running.len(), WAITING as usize);
    }

    #[test]
    fn nothing_grows_with_those_who_guess() {
        let (mut book, mut now) = (Book::default(), Instant::now());
        checked(&mut book, 0, source(0), true, now);
        for number in 1..5000 {
            now += Duration::from_millis(10);
            checked(&mut book, number, source(number.into()), false, now);
        }
        assert!(book.knows(&digest(0), now), "guesses take no room from the right ones");
        assert!(book.wrong.at.len() <= WRONG.0 && book.wrong.order.len() <= WRONG.0);
        assert!(book.addresses.len() <= ADDRESSES);
    }
}
