//! The newest picture of a stream as a file of its own: one writer, any number
//! of readers, and nothing but the newest. Who is too slow sees fewer of them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

use crate::base::lock::Lock;

/// One picture.
#[derive(Debug, PartialEq, Eq)]
pub struct Still {
    /// Counts the pictures, from 1 on.
    pub number: u64,
    /// A whole JPEG.
    pub jpeg: Bytes,
    /// When it was taken: since 1970.
    pub taken: Duration,
}

/// Where the newest picture is found.
#[derive(Debug, Default)]
pub struct Stills {
    newest: Lock<Option<Arc<Still>>>,
    /// The number of the newest picture.
    end: watch::Sender<u64>,
}

impl Stills {
    /// Replaces the newest picture.
    pub fn publish(&self, jpeg: Bytes, taken: Duration) {
        let mut newest = self.newest.lock();
        let number = newest.as_ref().map_or(0, |still| still.number) + 1;
        *newest = Some(Arc::new(Still { number, jpeg, taken }));
        drop(newest);
        self.end.send_replace(number);
    }

    pub fn newest(&self) -> Option<Arc<Still>> {
        self.newest.lock().clone()
    }

    /// How many pictures there were.
    pub fn end(&self) -> u64 {
        *self.end.borrow()
    }

    /// Wakes who waits for a picture, though there is none.
    pub fn wake(&self) {
        self.end.send_modify(|_| {});
    }

    /// Changes with every picture.
    pub fn ends(&self) -> watch::Receiver<u64> {
        self.end.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_is_there_and_each_has_its_number() {
        let stills = Stills::default();
        let mut ends = stills.ends();
        assert_eq!((stills.newest(), stills.end()), (None, 0));
        for byte in 1..=3 {
            stills.publish(Bytes::from(vec![byte]), Duration::from_secs(byte.into()));
        }
        let newest = stills.newest().unwrap();
        assert_eq!((newest.number, newest.jpeg.as_ref()), (3, [3].as_slice()));
        assert_eq!(*ends.borrow_and_update(), 3);
    }
}
