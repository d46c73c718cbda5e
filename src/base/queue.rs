//! A bounded queue of connections that have sent no request yet. When it is
//! full, a new connection evicts the oldest one.
//!
//! So connections that only connect cannot keep others out, however many there
//! are.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::FutureExt as _;
use tokio::sync::oneshot;

use super::lock::Lock;

/// The queued connections, the oldest first.
#[derive(Debug)]
pub struct Queue {
    capacity: usize,
    state: Lock<State>,
}

#[derive(Debug, Default)]
struct State {
    next_number: u64,
    /// Numbers ascend. Dropping a sender evicts the entry.
    entries: VecDeque<(u64, oneshot::Sender<()>)>,
}

/// A place in the queue; dropping it leaves the queue.
#[derive(Debug)]
pub struct Entry {
    queue: Arc<Queue>,
    number: u64,
    evicted: oneshot::Receiver<()>,
}

impl Queue {
    pub fn new(capacity: usize) -> Arc<Self> {
        Arc::new(Self { capacity, state: Lock::default() })
    }

    /// Adds an entry; evicts the oldest one if there are more than `capacity`.
    pub fn enter(self: &Arc<Self>) -> Entry {
        let (evict, evicted) = oneshot::channel();
        let mut state = self.state.lock();
        let number = state.next_number;
        state.next_number += 1;
        state.entries.push_back((number, evict));
        if state.entries.len() > self.capacity {
            state.entries.pop_front();
        }
        Entry { queue: Arc::clone(self), number, evicted }
    }
}

impl Entry {
    /// Completes when a newer entry has taken this one's place.
    pub fn evicted(&mut self) -> impl Future<Output = ()> + Send + '_ {
        (&mut self.evicted).map(|_| ())
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut state = self.queue.state.lock();
        if let Ok(index) = state.entries.binary_search_by_key(&self.number, |(number, _)| *number) {
            state.entries.remove(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_evicts_the_oldest_entry_and_counts_no_entry_that_has_left() {
        let queue = Queue::new(2);
        let is_evicted = |entry: &mut Entry| entry.evicted().now_or_never().is_some();
        let (mut first, second, mut third) = (queue.enter(), queue.enter(), queue.enter());
        assert!(is_evicted(&mut first));
        assert!(!is_evicted(&mut third));

        drop((first, second));
        let mut fourth = queue.enter();
        assert!(!is_evicted(&mut third));
        let mut fifth = queue.enter();
        assert!(is_evicted(&mut third));
        assert!(!is_evicted(&mut fourth) && !is_evicted(&mut fifth));
        assert_eq!(queue.state.lock().entries.len(), 2);
    }
}
