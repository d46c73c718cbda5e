//! Connection slots: bounded in total, and bounded for each address.
//!
//! A connection without progress is marked idle. When no slot is free, a new
//! connection evicts the one that has been idle longest. Some slots are
//! reserved, so that operators can connect however many viewers there are.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::sync::oneshot;

use super::lock::Lock;
use super::sockets::network_of;

/// Maximum numbers of connections.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub total: usize,
    pub per_address: usize,
    /// Slots of `total` that only privileged connections may take.
    pub reserved: usize,
    pub idle: usize,
    /// Evicted connections that have not closed yet. At this number, no further
    /// connection is evicted.
    pub evicting: usize,
}

/// Whether a connection may take a reserved slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    Normal,
    Privileged,
}

#[derive(Debug)]
pub struct Slots {
    limits: Limits,
    state: Lock<State>,
}

/// The slot of one connection; dropping it frees it.
#[derive(Debug)]
pub struct Slot {
    slots: Arc<Slots>,
    number: u64,
}

/// Signals a connection that it must close.
#[derive(Debug)]
pub struct Eviction(Option<oneshot::Receiver<()>>);

#[derive(Debug, Default)]
struct State {
    next_number: u64,
    connections: HashMap<u64, Connection>,
    by_address: HashMap<IpAddr, Count>,
    /// Idle connections by the time from which they may be evicted.
    idle: BTreeSet<(Instant, u64)>,
    /// Number of evicted connections that have not closed.
    evicting: usize,
}

#[derive(Debug)]
struct Connection {
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
        Arc::new(Self { limits, state: Lock::default() })
    }

    /// Takes a slot for a connection from `address`. Returns `None` if no slot
    /// is free and there is no idle connection to evict.
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
        let mut state = self.state.lock();
        let is_at_share = state.count(address).all >= per_address;
        if is_at_share || state.connections.len() >= total {
            let may_evict = |connection: &Connection| !is_at_share || connection.address == address;
            state.evict(self.limits.evicting, now, may_evict)?;
        }
        let (evict, evicted) = oneshot::channel();
        let number = state.next_number;
        state.next_number += 1;
        state.connections.insert(number, Connection { address, idle_from: None, evict });
        state.by_address.entry(address).or_default().all += 1;
        Some((Slot { slots: Arc::clone(self), number }, Eviction(Some(evicted))))
    }

    /// Number of slots in use.
    pub fn taken(&self) -> usize {
        self.state.lock().connections.len()
    }

    pub fn limits(&self) -> Limits {
        self.limits
    }
}

impl Slot {
    /// Marks the connection idle; it may be evicted from `from` on. If more
    /// connections than `Limits::idle` are idle, evicts the one that has been
    /// idle longest: of the same address if that has more than half of them.
    pub fn mark_idle(&self, from: Instant, now: Instant) {
        let mut state = self.slots.state.lock();
        let Some(address) = state.mark(self.number, Some(from)) else { return };
        let max_idle = self.slots.limits.idle;
        if state.idle.len() > max_idle {
            let is_at_share = state.count(address).idle > max_idle / 2;
            let may_evict = |connection: &Connection| !is_at_share || connection.address == address;
            state.evict(self.slots.limits.evicting, now, may_evict);
        }
    }

    /// Marks the connection busy: it is not evicted.
    pub fn mark_busy(&self) {
        self.slots.state.lock().mark(self.number, None);
    }

    pub fn slots(&self) -> &Slots {
        &self.slots
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.slots.state.lock();
        if state.remove(self.number).is_none() {
            state.evicting -= 1;
        }
    }
}

/// Completes when the connection must close; never after its [`Slot`] is dropped.
impl Future for Eviction {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(evicted) = &mut self.0 else { return Poll::Pending };
        match ready!(Pin::new(evicted).poll(cx)) {
            Ok(()) => Poll::Ready(()),
            Err(_) => {
                self.0 = None;
                Poll::Pending
            }
        }
    }
}

impl State {
    fn count(&self, address: IpAddr) -> Count {
        self.by_address.get(&address).copied().unwrap_or_default()
    }

    /// Evicts the connection that has been idle longest of those that
    /// `may_evict` accepts. Returns `None` if there is none, or if
    /// `max_evicting` evicted connections have not closed yet.
    fn evict(
        &mut self,
        max_evicting: usize,
        now: Instant,
        may_evict: impl Fn(&Connection) -> bool,
    ) -> Option<()> {
        if self.evicting >= max_evicting {
            return None;
        }
        let idle = self.idle.iter().take_while(|(from, _)| *from <= now).map(|(_, number)| number);
        let is_candidate = |number: &u64| self.connections.get(number).is_some_and(&may_evict);
        let oldest = idle.copied().find(is_candidate)?;
        let connection = self.remove(oldest)?;
        self.evicting += 1;
        // If the receiver is gone, the connection is closing already.
        connection.evict.send(()).ok();
        Some(())
    }

    /// Marks a connection idle or busy; returns its address unless it was evicted.
    fn mark(&mut self, number: u64, idle_from: Option<Instant>) -> Option<IpAddr> {
        let connection = self.connections.get_mut(&number)?;
        let address = connection.address;
        let before = std::mem::replace(&mut connection.idle_from, idle_from);
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

    fn remove(&mut self, number: u64) -> Option<Connection> {
        let address = self.mark(number, None)?;
        if let Some(count) = self.by_address.get_mut(&address) {
            count.all -= 1;
            if count.all == 0 {
                self.by_address.remove(&address);
            }
        }
        self.connections.remove(&number)
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests choose their own start time")]
mod tests {
    use std::time::Duration;

    use super::*;

    const TEN: Limits = Limits { total: 10, per_address: 5, reserved: 2, idle: 10, evicting: 64 };

    fn address(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    fn enter(slots: &Arc<Slots>, from: u32, now: Instant) -> Option<(Slot, Eviction)> {
        slots.enter(address(from), Priority::Normal, now)
    }

    fn is_evicted((_, eviction): &mut (Slot, Eviction)) -> bool {
        eviction.0.as_mut().is_some_and(|evicted| evicted.try_recv().is_ok())
    }

    #[test]
    fn one_address_gets_at_most_its_share_of_the_slots() {
        let (slots, now) = (Slots::new(TEN), Instant::now());
        let same: Vec<_> = (0..9).filter_map(|_| enter(&slots, 1, now)).collect();
        assert_eq!(same.len(), 5);
        let others: Vec<_> = (2..20).filter_map(|number| enter(&slots, number, now)).collect();
        assert_eq!(others.len(), 3, "two are reserved");

        drop(same);
        assert!(enter(&slots, 1, now).is_some());
        drop(others);
        let state = slots.state.lock();
        assert!(state.connections.is_empty() && state.by_address.is_empty());
    }

    #[test]
    fn privileged_connections_get_a_reserved_slot_when_all_others_are_taken() {
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
    fn when_all_slots_are_taken_only_the_longest_idle_connection_is_evicted() {
        let (slots, now) = (Slots::new(TEN), Instant::now());
        let later = now + Duration::from_secs(1);
        let mut all: Vec<_> = (1..=8).filter_map(|number| enter(&slots, number, now)).collect();
        all[3].0.mark_idle(now, now);
        all[5].0.mark_idle(now + Duration::from_millis(1), now);
        all[6].0.mark_idle(now, now);
        all[6].0.mark_busy();

        let first = enter(&slots, 20, now);
        assert!(first.is_some() && is_evicted(&mut all[3]));
        let second = enter(&slots, 20, later);
        assert!(second.is_some() && is_evicted(&mut all[5]));
        assert!(enter(&slots, 21, later).is_none(), "all others are busy");
        assert_eq!(all.iter_mut().filter_map(|one| is_evicted(one).then_some(())).count(), 0);
        drop(all);
        assert_eq!(slots.state.lock().evicting, 0);
        assert!(slots.state.lock().idle.is_empty());
    }

    #[test]
    fn an_address_with_its_full_share_evicts_only_its_own_connections() {
        let (slots, now) = (Slots::new(TEN), Instant::now());
        let mut other = enter(&slots, 2, now).unwrap();
        other.0.mark_idle(now, now);
        let mut own: Vec<_> = (0..5).filter_map(|_| enter(&slots, 1, now)).collect();
        own[4].0.mark_idle(now, now);
        assert!(enter(&slots, 1, now).is_some());
        assert!(is_evicted(&mut own[4]) && !is_evicted(&mut other));
    }

    #[test]
    fn many_idle_connections_of_one_address_evict_each_other() {
        let limits = Limits { total: 100, per_address: 50, reserved: 0, idle: 10, evicting: 64 };
        let (slots, mut now) = (Slots::new(limits), Instant::now());
        let mut paused = enter(&slots, 2, now).unwrap();
        paused.0.mark_idle(now, now);
        let mut flood = Vec::new();
        for _ in 0..40 {
            now += Duration::from_millis(1);
            let one = enter(&slots, 1, now).unwrap();
            one.0.mark_idle(now, now);
            flood.push(one);
        }
        assert!(!is_evicted(&mut paused));
        assert_eq!(slots.state.lock().idle.len(), 10);
        assert_eq!(flood.iter_mut().filter_map(|one| is_evicted(one).then_some(())).count(), 31);
    }

    #[test]
    fn evicted_connections_that_do_not_close_are_bounded() {
        let limits = Limits { total: 100, per_address: 100, reserved: 0, idle: 100, evicting: 7 };
        let (slots, now) = (Slots::new(limits), Instant::now());
        let enter_idle = || {
            let one = enter(&slots, 1, now)?;
            one.0.mark_idle(now, now);
            Some(one)
        };
        let all: Vec<_> = (0..1000).filter_map(|_| enter_idle()).collect();
        assert_eq!(all.len(), 107);
    }
}
