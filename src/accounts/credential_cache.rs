//! Which passwords are known to be right or wrong, and which are being checked.
//! Pure.
//!
//! A check costs 19 MiB and tens of milliseconds on purpose, so what it has
//! found is kept for a while: under a keyed hash, never the password. How fast
//! an address may have passwords checked is up to the throttle.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::throttle::{Source, Throttle, Turn};

/// A place's hashes and a password, as a keyed hash of both. It is another one
/// when the configuration has another hash.
pub(super) type Digest = [u8; 32];

/// How many right passwords are known, and for how long: an hour of HLS costs
/// one check.
const RIGHT: (usize, Duration) = (256, Duration::from_secs(3600));

/// The same for wrong ones. Players repeat what they were told at the start.
const WRONG: (usize, Duration) = (256, Duration::from_secs(60));

/// So many addresses from which the password of the box was shown, and for how long.
const OPERATORS: (usize, Duration) = (64, Duration::from_secs(3600));

/// What is known, and who waits.
#[derive(Debug, Default)]
pub(super) struct CredentialCache {
    right: Known<Digest>,
    wrong: Known<Digest>,
    operators: Known<Source>,
    running: HashMap<Digest, watch::Receiver<Option<bool>>>,
    pub(super) throttle: Throttle,
}

/// What comes of a question.
#[derive(Debug)]
pub(super) enum Answer {
    Known(bool),
    /// The same is being checked for somebody else.
    Running(watch::Receiver<Option<bool>>),
    /// It must be checked in its turn; what comes of it is told to the book,
    /// and sent.
    Check {
        turn: Turn,
        send: watch::Sender<Option<bool>>,
        told: watch::Receiver<Option<bool>>,
    },
    /// Too many wait already.
    Full,
}

/// What was found and at which time, the oldest first.
#[derive(Debug)]
struct Known<K> {
    at: HashMap<K, Instant>,
    order: VecDeque<K>,
}

impl CredentialCache {
    /// Whether it is known to be right.
    pub(super) fn knows(&self, digest: &Digest, now: Instant) -> bool {
        self.right.has(digest, RIGHT.1, now)
    }

    /// A check of something else has found this out as well.
    pub(super) fn learn(&mut self, digest: Digest, is_right: bool, now: Instant) {
        match is_right {
            true => self.right.add(digest, RIGHT.0, now),
            false => self.wrong.add(digest, WRONG.0, now),
        }
    }

    /// The password of the box was shown from there.
    pub(super) fn add_operator(&mut self, from: Source, now: Instant) {
        self.operators.add(from, OPERATORS.0, now);
    }

    /// Whether that was so of late.
    pub(super) fn has_operated(&self, from: Source, now: Instant) -> bool {
        from.is_some() && self.operators.has(&from, OPERATORS.1, now)
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
        let Some(turn) = self.throttle.reserve(from, now) else { return Answer::Full };
        let (send, told) = watch::channel(None);
        self.running.insert(digest, told.clone());
        Answer::Check { turn, send, told }
    }

    /// A check has found this out.
    pub(super) fn found(&mut self, digest: Digest, from: Source, is_right: bool, now: Instant) {
        self.running.remove(&digest);
        self.throttle.release(from);
        self.learn(digest, is_right, now);
        if !is_right {
            self.throttle.add_wrong(from, now);
        }
    }
}

impl<K> Default for Known<K> {
    fn default() -> Self {
        Self { at: HashMap::new(), order: VecDeque::new() }
    }
}

impl<K: Copy + Eq + Hash> Known<K> {
    fn has(&self, key: &K, lifetime: Duration, now: Instant) -> bool {
        let at = self.at.get(key);
        at.is_some_and(|at| now.saturating_duration_since(*at) < lifetime)
    }

    fn add(&mut self, key: K, most: usize, now: Instant) {
        if self.at.insert(key, now).is_none() {
            self.order.push_back(key);
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
    use std::net::IpAddr;

    use super::*;

    fn digest(number: u16) -> Digest {
        let mut digest = [0; 32];
        digest[..2].copy_from_slice(&number.to_be_bytes());
        digest
    }

    fn source(number: u32) -> Source {
        Some(IpAddr::V4(number.into()))
    }

    fn check(book: &mut CredentialCache, number: u16, from: Source, is_right: bool, now: Instant) {
        let Answer::Check { .. } = book.ask(digest(number), from, now) else {
            panic!("{number} is checked")
        };
        book.found(digest(number), from, is_right, now);
    }

    #[test]
    fn what_is_known_is_not_checked_again_until_it_is_old() {
        let (mut book, now) = (CredentialCache::default(), Instant::now());
        check(&mut book, 1, source(1), true, now);
        check(&mut book, 2, source(1), false, now);

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
        let (mut book, now) = (CredentialCache::default(), Instant::now());
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
    fn an_address_that_guesses_has_its_right_password_known_once_it_was_checked() {
        let (mut book, now) = (CredentialCache::default(), Instant::now());
        (0..6).for_each(|number| check(&mut book, number, source(1), false, now));
        let Answer::Check { turn, .. } = book.ask(digest(9), source(1), now) else { panic!() };
        assert!(turn.begin_at > now);
        book.found(digest(9), source(1), true, turn.begin_at);
        assert!(matches!(book.ask(digest(9), source(1), turn.begin_at), Answer::Known(true)));
    }

    #[test]
    fn guesses_take_no_room_from_the_right_ones() {
        let (mut book, mut now) = (CredentialCache::default(), Instant::now());
        check(&mut book, 0, source(0), true, now);
        for number in 1..5000 {
            now += Duration::from_millis(10);
            check(&mut book, number, source(number.into()), false, now);
        }
        assert!(book.knows(&digest(0), now));
        assert!(book.wrong.at.len() <= WRONG.0 && book.wrong.order.len() <= WRONG.0);
        assert!(book.running.is_empty());
    }
}
