//! Results of password checks, and the checks that are running. Pure.
//!
//! A check costs 19 MiB and tens of milliseconds by design, so its result is
//! cached under a keyed hash, never under the password. The throttle decides how
//! fast an address may have passwords checked.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::throttle::{Source, Throttle, Turn};

/// A keyed hash over the hashes of a scope and a password. A changed
/// configuration gives another digest.
pub(super) type Digest = [u8; 32];

/// Bounds of one cache.
#[derive(Clone, Copy, Debug)]
struct Limits {
    entries: usize,
    lifetime: Duration,
}

/// Right passwords: an hour of HLS costs one check.
const RIGHT: Limits = Limits { entries: 256, lifetime: Duration::from_secs(3600) };

/// Wrong passwords: players repeat the credentials they started with.
const WRONG: Limits = Limits { entries: 256, lifetime: Duration::from_secs(60) };

/// Addresses that have sent the password of the box.
const OPERATORS: Limits = Limits { entries: 64, lifetime: Duration::from_secs(3600) };

/// Results by digest, and the running checks.
#[derive(Debug, Default)]
pub(super) struct CredentialCache {
    right: Known<Digest>,
    wrong: Known<Digest>,
    operators: Known<Source>,
    running: HashMap<Digest, watch::Receiver<Option<bool>>>,
    pub(super) throttle: Throttle,
}

/// The result of a lookup.
#[derive(Debug)]
pub(super) enum Lookup {
    Known(bool),
    /// Another caller's check of the same digest is running.
    Running(watch::Receiver<Option<bool>>),
    /// The caller must run the check at its turn, pass the result to
    /// [`CredentialCache::complete`] and then send it.
    Check {
        turn: Turn,
        send: watch::Sender<Option<bool>>,
        result: watch::Receiver<Option<bool>>,
    },
    /// Too many checks are waiting.
    Full,
}

/// Keys with the time of their newest entry; `order` has the oldest first.
#[derive(Debug)]
struct Known<K> {
    entries: HashMap<K, Instant>,
    order: VecDeque<K>,
}

impl CredentialCache {
    /// Whether a check within the last hour found this password to be right.
    pub(super) fn is_verified(&self, digest: &Digest, now: Instant) -> bool {
        self.right.has(digest, RIGHT, now)
    }

    /// Adds the result of a check.
    pub(super) fn insert(&mut self, digest: Digest, is_right: bool, now: Instant) {
        match is_right {
            true => self.right.add(digest, RIGHT, now),
            false => self.wrong.add(digest, WRONG, now),
        }
    }

    /// Records that the password of the box was sent from `from`.
    pub(super) fn add_operator(&mut self, from: Source, now: Instant) {
        self.operators.add(from, OPERATORS, now);
    }

    /// Whether the password of the box was sent from `from` within the last hour.
    pub(super) fn has_operator(&self, from: Source, now: Instant) -> bool {
        from.is_some() && self.operators.has(&from, OPERATORS, now)
    }

    /// Looks up a password that was sent from `from`; reserves a check if there
    /// is no result and no running check.
    pub(super) fn look_up(&mut self, digest: Digest, from: Source, now: Instant) -> Lookup {
        if self.is_verified(&digest, now) {
            return Lookup::Known(true);
        }
        if self.wrong.has(&digest, WRONG, now) {
            return Lookup::Known(false);
        }
        if let Some(result) = self.running.get(&digest) {
            return Lookup::Running(result.clone());
        }
        let Some(turn) = self.throttle.reserve(from, now) else { return Lookup::Full };
        let (send, result) = watch::channel(None);
        self.running.insert(digest, result.clone());
        Lookup::Check { turn, send, result }
    }

    /// Ends a check from `from` with its result.
    pub(super) fn complete(&mut self, digest: Digest, from: Source, is_right: bool, now: Instant) {
        self.running.remove(&digest);
        self.throttle.release(from);
        self.insert(digest, is_right, now);
        if !is_right {
            self.throttle.add_wrong(from, now);
        }
    }
}

impl<K> Default for Known<K> {
    fn default() -> Self {
        Self { entries: HashMap::new(), order: VecDeque::new() }
    }
}

impl<K: Copy + Eq + Hash> Known<K> {
    fn has(&self, key: &K, limits: Limits, now: Instant) -> bool {
        let added = self.entries.get(key);
        added.is_some_and(|added| now.saturating_duration_since(*added) < limits.lifetime)
    }

    fn add(&mut self, key: K, limits: Limits, now: Instant) {
        if self.entries.insert(key, now).is_none() {
            self.order.push_back(key);
        }
        if self.order.len() > limits.entries
            && let Some(oldest) = self.order.pop_front()
        {
            self.entries.remove(&oldest);
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

    fn check(cache: &mut CredentialCache, number: u16, from: Source, is_right: bool, now: Instant) {
        let Lookup::Check { .. } = cache.look_up(digest(number), from, now) else {
            panic!("{number} has no cached result")
        };
        cache.complete(digest(number), from, is_right, now);
    }

    #[test]
    fn results_are_cached_until_their_lifetime_ends() {
        let (mut cache, now) = (CredentialCache::default(), Instant::now());
        check(&mut cache, 1, source(1), true, now);
        check(&mut cache, 2, source(1), false, now);

        assert!(cache.is_verified(&digest(1), now) && !cache.is_verified(&digest(2), now));
        assert!(matches!(cache.look_up(digest(1), source(2), now), Lookup::Known(true)));
        assert!(matches!(cache.look_up(digest(2), source(2), now), Lookup::Known(false)));
        let later = now + WRONG.lifetime;
        assert!(matches!(cache.look_up(digest(2), source(2), later), Lookup::Check { .. }));
        let later = now + RIGHT.lifetime;
        assert!(!cache.is_verified(&digest(1), later));
        assert!(matches!(cache.look_up(digest(1), source(2), later), Lookup::Check { .. }));
    }

    #[test]
    fn five_hundred_concurrent_lookups_cost_one_check() {
        let (mut cache, now) = (CredentialCache::default(), Instant::now());
        let Lookup::Check { send, .. } = cache.look_up(digest(1), source(1), now) else { panic!() };
        for number in 0..500 {
            let answer = cache.look_up(digest(1), source(number), now);
            let Lookup::Running(result) = answer else { panic!("{answer:?}") };
            assert_eq!(*result.borrow(), None);
        }
        send.send_replace(Some(true));
        cache.complete(digest(1), source(1), true, now);
        assert!(cache.is_verified(&digest(1), now));
    }

    #[test]
    fn a_guessing_address_has_its_right_password_cached_after_its_check() {
        let (mut cache, now) = (CredentialCache::default(), Instant::now());
        (0..6).for_each(|number| check(&mut cache, number, source(1), false, now));
        let Lookup::Check { turn, .. } = cache.look_up(digest(9), source(1), now) else { panic!() };
        assert!(turn.begin_at > now);
        cache.complete(digest(9), source(1), true, turn.begin_at);
        assert!(matches!(cache.look_up(digest(9), source(1), turn.begin_at), Lookup::Known(true)));
    }

    #[test]
    fn wrong_passwords_do_not_evict_right_ones() {
        let (mut cache, mut now) = (CredentialCache::default(), Instant::now());
        check(&mut cache, 0, source(0), true, now);
        for number in 1..5000 {
            now += Duration::from_millis(10);
            check(&mut cache, number, source(number.into()), false, now);
        }
        assert!(cache.is_verified(&digest(0), now));
        assert!(cache.wrong.entries.len() <= WRONG.entries);
        assert!(cache.wrong.order.len() <= WRONG.entries);
        assert!(cache.running.is_empty());
    }
}
