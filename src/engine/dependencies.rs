//! The feeds from which a pipeline takes its input. They are kept wanted as long as the
//! pipeline is, also between its runs.

use std::sync::Arc;

use super::shared::{self, SharedFeed};
use crate::hub::bytes::{self, ByteRing};

/// A feed that a pipeline needs.
#[derive(Clone, Debug)]
pub enum Dependency {
    Feed(Arc<SharedFeed>),
    Bytes(Arc<ByteRing>),
}

/// All feeds that a pipeline needs.
#[derive(Debug, Default)]
pub struct Dependencies {
    all: Vec<Dependency>,
    needs: Vec<Need>,
}

/// Keeps a feed wanted until it is dropped.
#[derive(Debug)]
enum Need {
    Feed(#[expect(dead_code, reason = "it takes effect when it is dropped")] shared::Need),
    Bytes(#[expect(dead_code, reason = "it takes effect when it is dropped")] bytes::Need),
}

impl Dependencies {
    pub fn on(all: impl IntoIterator<Item = Dependency>) -> Self {
        Self { all: all.into_iter().collect(), needs: Vec::new() }
    }

    /// Makes the feeds wanted, if they are not yet.
    pub fn acquire(&mut self) {
        if self.needs.is_empty() {
            self.needs = self.all.iter().map(Dependency::need).collect();
        }
    }

    pub fn release(&mut self) {
        self.needs.clear();
    }
}

impl Dependency {
    fn need(&self) -> Need {
        match self {
            Dependency::Feed(feed) => Need::Feed(feed.need()),
            Dependency::Bytes(flow) => Need::Bytes(flow.need()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn feeds_are_wanted_once_until_they_are_released() {
        let (feed, flow) =
            (SharedFeed::new("front".parse().unwrap()), ByteRing::new(None, 1 << 20));
        let all = [Dependency::Feed(Arc::clone(&feed)), Dependency::Bytes(Arc::clone(&flow))];
        let wanted = || (*feed.needs().borrow(), *flow.readers().borrow());
        let mut dependencies = Dependencies::on(all);
        assert_eq!(wanted(), (0, 0));
        dependencies.acquire();
        dependencies.acquire();
        assert_eq!(wanted(), (1, 1));
        dependencies.release();
        assert_eq!(wanted(), (0, 0));
    }
}
