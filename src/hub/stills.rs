//! The newest picture of a stream as a JPEG: one writer, any number of readers.
//! Only the newest picture is kept; a slow reader sees fewer pictures.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

use crate::base::lock::Lock;

/// One picture.
#[derive(Debug, PartialEq, Eq)]
pub struct Still {
    /// Counts the pictures, starting at 1.
    pub number: u64,
    /// A complete JPEG file.
    pub jpeg: Bytes,
    /// Capture time since 1970.
    pub taken: Duration,
}

/// Publishes the newest picture.
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

    /// Number of pictures published.
    pub fn end(&self) -> u64 {
        *self.end.borrow()
    }

    /// Wakes waiting readers without a new picture.
    pub fn wake(&self) {
        self.end.send_modify(|_| {});
    }

    /// Changes with every picture, and with [`Stills::wake`].
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.end.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_picture_is_kept_and_pictures_are_numbered() {
        let stills = Stills::default();
        let mut numbers = stills.subscribe();
        assert_eq!((stills.newest(), stills.end()), (None, 0));
        for byte in 1..=3 {
            stills.publish(Bytes::from(vec![byte]), Duration::from_secs(byte.into()));
        }
        let newest = stills.newest().unwrap();
        assert_eq!((newest.number, newest.jpeg.as_ref()), (3, [3].as_slice()));
        assert_eq!(*numbers.borrow_and_update(), 3);
    }
}
