//! The service's side of a feed that several streams share: how many consumers it
//! has, and which media it gives. Its frames stay in its host.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

use crate::model::given::Given;
use crate::model::ids::FeedName;

/// A feed that several streams share.
#[derive(Debug)]
pub struct SharedFeed {
    name: FeedName,
    needs: watch::Sender<usize>,
    given: watch::Sender<Option<Given>>,
    /// The number of runs that have begun.
    runs: watch::Sender<u64>,
    frames: AtomicU64,
    dropped: AtomicU64,
}

/// Keeps the feed wanted until it is dropped.
#[derive(Debug)]
pub(super) struct Need(Arc<SharedFeed>);

impl SharedFeed {
    pub fn new(name: FeedName) -> Arc<Self> {
        Arc::new(Self {
            name,
            needs: watch::Sender::new(0),
            given: watch::Sender::new(None),
            runs: watch::Sender::new(0),
            frames: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        })
    }

    pub fn name(&self) -> &FeedName {
        &self.name
    }

    /// The number of consumers; changes wake the receiver.
    pub fn needs(&self) -> watch::Receiver<usize> {
        self.needs.subscribe()
    }

    /// Counts a consumer until the guard is dropped.
    pub(super) fn need(self: &Arc<Self>) -> Need {
        self.needs.send_modify(|count| *count += 1);
        Need(Arc::clone(self))
    }

    /// The media that the feed gives; none before its first run has found out.
    pub(super) fn given(&self) -> watch::Receiver<Option<Given>> {
        self.given.subscribe()
    }

    /// Sets the media that the feed gives.
    pub(super) fn set_given(&self, given: Given) {
        self.given.send_if_modified(|known| {
            let differs = *known != Some(given);
            *known = Some(given);
            differs
        });
    }

    /// The number of runs that have begun; changes wake the receiver.
    pub(super) fn runs(&self) -> watch::Receiver<u64> {
        self.runs.subscribe()
    }

    pub(super) fn begin_run(&self) {
        self.runs.send_modify(|count| *count += 1);
    }

    /// Captured frames since the start of the service; progress of the feed.
    pub(super) fn frames(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }

    /// Frames dropped because the feed's own pipeline was too slow, since the start of
    /// the service.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Adds captured and dropped frames.
    pub(super) fn count(&self, frames: u64, dropped: u64) {
        self.frames.fetch_add(frames, Ordering::Relaxed);
        self.dropped.fetch_add(dropped, Ordering::Relaxed);
    }
}

impl Drop for Need {
    fn drop(&mut self) {
        self.0.needs.send_modify(|count| *count -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feed_is_needed_until_the_last_guard_is_dropped() {
        let feed = SharedFeed::new("front".parse().unwrap());
        let count = feed.needs();
        let (one, other) = (feed.need(), feed.need());
        assert_eq!(*count.borrow(), 2);
        drop((one, other));
        assert_eq!(*count.borrow(), 0);
    }

    #[test]
    fn unchanged_media_do_not_wake_receivers() {
        let feed = SharedFeed::new("front".parse().unwrap());
        let mut given = feed.given();
        feed.set_given(Given { pictures: None, sound: true });
        assert!(given.has_changed().unwrap());
        given.mark_unchanged();
        feed.set_given(Given { pictures: None, sound: true });
        assert!(!given.has_changed().unwrap());
    }
}
