//! Those who hesitate: a bounded number of them, of whom the one that has
//! hesitated longest makes room for the next.
//!
//! So nobody is kept out by those who only connect, however many they are.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::FutureExt as _;
use tokio::sync::oneshot;

use super::lock::Lock;

/// Those who wait, the oldest first, each with what asks it to make room.
#[derive(Debug)]
pub struct Queue {
    most: usize,
    waiting: Lock<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    all: VecDeque<(u64, oneshot::Sender<()>)>,
}

/// A place in the queue; dropping it leaves.
#[derive(Debug)]
pub struct Place {
    queue: Arc<Queue>,
    number: u64,
    needed: oneshot::Receiver<()>,
}

impl Queue {
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, waiting: Lock::default() })
    }

    /// Where all places are taken, the oldest is asked for.
    pub fn enter(self: &Arc<Self>) -> Place {
        let (ask, needed) = oneshot::channel();
        let mut waiting = self.waiting.lock();
        let number = waiting.next;
        waiting.next += 1;
        waiting.all.push_back((number, ask));
        if waiting.all.len() > self.most {
            // Dropping the sender asks.
            waiting.all.pop_front();
        }
        Place { queue: Arc::clone(self), number, needed }
    }
}

impl Place {
    /// Is there once somebody else needs the place.
    pub fn is_needed(&mut self) -> impl Future<Output = ()> + Send + '_ {
        (&mut self.needed).map(|_| ())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut waiting = self.queue.waiting.lock();
        // Numbers grow along the queue.
        if let Ok(index) = waiting.all.binary_search_by_key(&self.number, |(number, _)| *number) {
            waiting.all.remove(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_makes_room_and_who_has_left_counts_no_more() {
        let queue = Queue::new(2);
        let is_asked = |place: &mut Place| place.is_needed().now_or_never().is_some();
        let (mut first, second, mut third) = (queue.enter(), queue.enter(), queue.enter());
        assert!(is_asked(&mut first));
        assert!(!is_asked(&mut third));

        drop((first, second));
        let mut fourth = queue.enter();
        assert!(!is_asked(&mut third));
        let mut fifth = queue.enter();
        assert!(is_asked(&mut third));
        assert!(!is_asked(&mut fourth) && !is_asked(&mut fifth));
        assert_eq!(queue.waiting.lock().all.len(), 2);
    }
}
