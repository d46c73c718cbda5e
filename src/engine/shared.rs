//! A feed that several streams share, as the service sees it: how many need it,
//! and what it gives. Its frames stay in its host.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

use crate::model::given::Given;
use crate::model::ids::FeedName;

/// See the module's description.
#[derive(Debug)]
pub struct SharedFeed {
    name: FeedName,
    needs: watch::Sender<usize>,
    given: watch::Sender<Option<Given>>,
    /// How many runs have begun.
    runs: watch::Sender<u64>,
    frames: AtomicU64,
    dropped: AtomicU64,
}

/// While it lives, the feed is needed.
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

    /// How many need the feed; changes wake the receiver.
    pub fn needs(&self) -> watch::Receiver<usize> {
        self.needs.subscribe()
    }

    pub(super) fn need(self: &Arc<Self>) -> Need {
        self.needs.send_modify(|count| *count += 1);
        Need(Arc::clone(self))
    }

    /// What the feed gives; nothing before its first run has found out.
    pub(super) fn given(&self) -> watch::Receiver<Option<Given>> {
        self.given.subscribe()
    }

    /// It gives this from now on.
    pub(super) fn gives(&self, given: Given) {
        self.given.send_if_modified(|known| {
            let differs = *known != Some(given);
            *known = Some(given);
            differs
        });
    }

    /// How many runs have begun; changes wake the receiver.
    pub(super) fn runs(&self) -> watch::Receiver<u64> {
        self.runs.subscribe()
    }

    pub(super) fn begin_run(&self) {
        self.runs.send_modify(|count| *count += 1);
    }

    /// Frames that the feed lives by, since the start of the service.
    pub(super) fn frames(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }

    /// Frames that were left out because the feed's own pipeline was too slow
    /// for them, since the start of the service.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// So many more frames have come, and so many more were left out.
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
    fn a_feed_is_needed_for_as_long_as_anybody_needs_it() {
        let feed = SharedFeed::new("front".parse().unwrap());
        let count = feed.needs();
        let (one, other) = (feed.need(), feed.need());
        assert_eq!(*count.borrow(), 2);
        drop((one, other));
        assert_eq!(*count.borrow(), 0);
    }

    #[test]
    fn what_a_feed_gives_again_is_no_news() {
        let feed = SharedFeed::new("front".parse().unwrap());
        let mut given = feed.given();
        feed.gives(Given { pictures: None, sound: true });
        assert!(given.has_changed().unwrap());
        given.mark_unchanged();
        feed.gives(Given { pictures: None, sound: true });
        assert!(!given.has_changed().unwrap());
    }
}
