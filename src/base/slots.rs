//! Places for connections: bounded in number, and no more than a share of them
//! for one address.
//!
//! A connection that does nothing useful is marked idle. Where places run out,
//! the longest idle connection is evicted for the next one. Some places are
//! reserved, so that the service can be operated however many viewers there are.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::sync::oneshot;

use super::lock::Lock;
use super::sockets::network_of;

/// How many connections there may be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub total: usize,
    pub per_address: usize,
    /// Of the total: for connections that are privileged.
    pub reserved: usize,
    pub idle: usize,
    /// Evicted connections take a moment to end. While so many do, no other is evicted.
    pub leaving: usize,
}

/// Whether a connection may take a reserved place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    Normal,
    Privileged,
}

#[derive(Debug)]
pub struct Slots {
    limits: Limits,
    inside: Lock<Inside>,
}

/// A place; dropping it gives it back.
#[derive(Debug)]
pub struct Slot {
    slots: Arc<Slots>,
    number: u64,
}

/// Tells a connection that it must end.
#[derive(Debug)]
pub struct Eviction(Option<oneshot::Receiver<()>>);

#[derive(Debug, Default)]
struct Inside {
    next: u64,
    taken: HashMap<u64, Taken>,
    by_address: HashMap<IpAddr, Count>,
    /// Idle connections by the time from which they may be evicted.
    idle: BTreeSet<(Instant, u64)>,
    /// Evicted connections that have not ended.
    leaving: usize,
}

#[derive(Debug)]
struct Taken {
    address: IpAddr,
    idle_from: Option<Instant>,
    evict: oneshot::Sender<()>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    all: usize,
    idle: usize,
}

impl Slots {
    pub fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self { limits, inside: Lock::default() })
    }

    /// A place for a connection from `address`. Nothing if there is none, and
    /// no idle connection to evict.
    pub fn enter(
        self: &Arc<Self>,
        address: IpAddr,
        priority: Priority,
        now: Instant,
    ) -> Option<(Slot, Eviction)> {
        let address = network_of(address);
        let Limits { total, per_address, reserved, .. } = self.limits;
        let (total, per_address) = match priority {
            Priority::Normal => (total - reserved, per_address),
            Priority::Privileged => (total, per_address + reserved),
        };
        let mut inside = self.inside.lock();
        let is_greedy = inside.count(address).all >= per_address;
        if is_greedy || inside.taken.len() >= total {
            let may = |taken: &Taken| !is_greedy || taken.address == address;
            inside.evict(self.limits.leaving, now, may)?;
        }
        let (evict, evicted) = oneshot::channel();
        let number = inside.next;
        inside.next += 1;
        inside.taken.insert(number, Taken { address, idle_from: None, evict });
        inside.by_address.entry(address).or_default().all += 1;
        Some((Slot { slots: Arc::clone(self), number }, Eviction(Some(evicted))))
    }

    /// How many places are taken.
    pub fn taken(&self) -> usize {
        self.inside.lock().taken.len()
    }

    pub fn limits(&self) -> Limits {
        self.limits
    }
}

impl Slot {
    /// The connection is idle, and may be evicted from `from` on. Where too
    /// many are idle, the longest idle one is evicted: of the same address if
    /// most of them are from there.
    pub fn idle(&self, from: Instant, now: Instant) {
        let mut inside = self.slots.inside.lock();
        let Some(address) = inside.mark(self.number, Some(from)) else { return };
        let most = self.slots.limits.idle;
        if inside.idle.len() > most {
            let is_greedy = inside.count(address).idle > most / 2;
            let may = |taken: &Taken| !is_greedy || taken.address == address;
            inside.evict(self.slots.limits.leaving, now, may);
        }
    }

    pub fn busy(&self) {
        self.slots.inside.lock().mark(self.number, None);
    }

    pub fn slots(&self) -> &Slots {
        &self.slots
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut inside = self.slots.inside.lock();
        if inside.remove(self.number).is_none() {
            inside.leaving -= 1;
        }
    }
}

/// Is ready once the connection must end; never after it has given its place back.
impl Future for Eviction {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(ordered) = &mut self.0 else { return Poll::Pending };
        match ready!(Pin::new(ordered).poll(cx)) {
            Ok(()) => Poll::Ready(()),
            Err(_) => {
                self.0 = None;
                Poll::Pending
            }
        }
    }
}

impl Inside {
    fn count(&self, address: IpAddr) -> Count {
        self.by_address.get(&address).copied().unwrap_or_default()
    }

    /// Evicts the longest idle connection of those that `may` go; nothing if
    /// there is none.
    fn evict(&mut self, leaving: usize, now: Instant, may: impl Fn(&Taken) -> bool) -> Option<()> {
        if self.leaving >= leaving {
            return None;
        }
        let idle = self.idle.iter().take_while(|(from, _)| *from <= now).map(|(_, number)| number);
        let oldest = idle.copied().find(|number| self.taken.get(number).is_some_and(&may))?;
        let taken = self.remove(oldest)?;
        self.leaving += 1;
        // Where the receiver is gone, the connection is ending by itself.
        taken.evict.send(()).ok();
        Some(())
    }

    /// Marks a connection idle or busy; returns its address unless it was evicted.
    fn mark(&mut self, number: u64, idle_from: Option<Instant>) -> Option<IpAddr> {
        let taken = self.taken.get_mut(&number)?;
        let address = taken.address;
        let before = std::mem::replace(&mut taken.idle_from, idle_from);
        let count = self.by_address.entry(address).or_default();
        if let Some(before) = before {
            self.idle.remove(&(before, number));
            count.idle -= 1;
        }
        if let Some(from) = idle_from {
            self.idle.insert((from, number));
            count.idle += 1;
        }
        Some(address)
    }

    fn remove(&mut self, number: u64) -> Option<Taken> {
        let address = self.mark(number, None)?;
        if let Some(count) = self.by_address.get_mut(&address) {
            count.all -= 1;
            if count.all == 0 {
                self.by_address.remove(&address);
            }
        }
        self.taken.remove(&number)
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests choose their own zero")]
mod tests {
    use std::time::Duration;

    use super::*;

    const TEN: Limits = Limits { total: 10, per_address: 5, reserved: 2, idle: 10, leaving: 64 };

    fn address(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    fn enter(slots: &Arc<Slots>, from: u32, now: Instant) -> Option<(Slot, Eviction)> {
        slots.enter(address(from), Priority::Normal, now)
    }

    fn is_evicted((_, eviction): &mut (Slot, Eviction)) -> bool {
        eviction.0.as_mut().is_some_and(|ordered| ordered.try_recv().is_ok())
    }

    #[test]
    fn one_address_gets_its_share_and_all_get_the_rest() {
        let (slots, now) = (Slots::new(TEN), Instant::now());
        let greedy: Vec<_> = (0..9).filter_map(|_| enter(&slots, 1, now)).collect();
        assert_eq!(greedy.len(), 5);
        let others: Vec<_> = (2..20).filter_map(|number| enter(&slots, number, now)).collect();
        assert_eq!(others.len(), 3, "two are reserved");

        drop(greedy);
        assert!(enter(&slots, 1, now).is_some());
        drop(others);
        assert!(slots.inside.lock().taken.is_empty() && slots.inside.lock().by_address.is_empty());
    }

    #[test]
    fn reserved_places_are_there_for_the_privileged_however_many_others_there_are() {
        let (slots, now) = (Slots::new(TEN), Instant::now());
        let privileged = |from| slots.enter(address(from), Priority::Privileged, now);
        let _others: Vec<_> = (1..20).filter_map(|number| enter(&slots, number, now)).collect();
        assert!(enter(&slots, 77, now).is_none());
        let (first, second) = (privileged(77), privileged(77));
        assert!(first.is_some() && second.is_some() && privileged(77).is_none());
        drop(first);
        assert!(enter(&slots, 78, now).is_none());
        assert!(privileged(77).is_some());
    }

    #[test]
    fn where_it_is_full_the_longest_idle_makes_room_and_nobody_else() {
        let (slots, now) = (Slots::new(TEN), Instant::now());
        let later = now + Duration::from_secs(1);
        let mut all: Vec<_> = (1..=8).filter_map(|number| enter(&slots, number, now)).collect();
        all[3].0.idle(now, now);
        all[5].0.idle(now + Duration::from_millis(1), now);
        all[6].0.idle(now, now);
        all[6].0.busy();

        let first = enter(&slots, 20, now);
        assert!(first.is_some() && is_evicted(&mut all[3]));
        let second = enter(&slots, 20, later);
        assert!(second.is_some() && is_evicted(&mut all[5]));
        assert!(enter(&slots, 21, later).is_none(), "all others are busy");
        assert_eq!(all.iter_mut().filter_map(|one| is_evicted(one).then_some(())).count(), 0);
        drop(all);
        assert_eq!(slots.inside.lock().leaving, 0);
        assert!(slots.inside.lock().idle.is_empty());
    }

    #[test]
    fn an_address_that_has_its_share_evicts_its_own() {
        let (slots, now) = (Slots::new(TEN), Instant::now());
        let mut other = enter(&slots, 2, now).unwrap();
        other.0.idle(now, now);
        let mut own: Vec<_> = (0..5).filter_map(|_| enter(&slots, 1, now)).collect();
        own[4].0.idle(now, now);
        assert!(enter(&slots, 1, now).is_some());
        assert!(is_evicted(&mut own[4]) && !is_evicted(&mut other));
    }

    #[test]
    fn a_flood_of_idle_connections_evicts_itself() {
        let limits = Limits { total: 100, per_address: 50, reserved: 0, idle: 10, leaving: 64 };
        let (slots, mut now) = (Slots::new(limits), Instant::now());
        let mut paused = enter(&slots, 2, now).unwrap();
        paused.0.idle(now, now);
        let mut flood = Vec::new();
        for _ in 0..40 {
            now += Duration::from_millis(1);
            let one = enter(&slots, 1, now).unwrap();
            one.0.idle(now, now);
            flood.push(one);
        }
        assert!(!is_evicted(&mut paused));
        assert_eq!(slots.inside.lock().idle.len(), 10);
        assert_eq!(flood.iter_mut().filter_map(|one| is_evicted(one).then_some(())).count(), 31);
    }

    #[test]
    fn evicted_connections_that_do_not_end_are_few() {
        let limits = Limits { total: 100, per_address: 100, reserved: 0, idle: 100, leaving: 7 };
        let (slots, now) = (Slots::new(limits), Instant::now());
        let enter_idle = || {
            let one = enter(&slots, 1, now)?;
            one.0.idle(now, now);
            Some(one)
        };
        let all: Vec<_> = (0..1000).filter_map(|_| enter_idle()).collect();
        assert_eq!(all.len(), 107);
    }
}
