//! A supervised pipeline and the feed or stream that it belongs to.

use super::lifecycle::Phase;
use super::supervisor::Supervisor;
use crate::model::ids::{FeedName, StreamName};

/// A supervised pipeline; it runs a feed, a stream, or both in one.
#[derive(Clone, Debug)]
pub struct Unit {
    pub feed: Option<FeedName>,
    pub stream: Option<StreamName>,
    pub supervisor: Supervisor,
}

impl Unit {
    pub fn is_live(&self) -> bool {
        matches!(self.supervisor.report().phase, Phase::Live { .. })
    }
}
