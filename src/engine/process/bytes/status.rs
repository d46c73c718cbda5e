//! Status of byte streams and byte feeds.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::{Feed, Producer, Registry, Stream};
use crate::model::status::{self, Past, State};

impl Registry {
    /// All feeds, in the order of the configuration.
    pub fn feed_status(&self, now: Instant) -> Vec<status::ByteFeed> {
        self.feeds.iter().map(|feed| feed.status(now)).collect()
    }
}

impl Feed {
    fn status(&self, now: Instant) -> status::ByteFeed {
        let report = self.supervisor.report();
        status::ByteFeed {
            name: self.name.clone(),
            mode: self.mode.to_string(),
            state: report.state(now),
            readers: *self.flow.readers().borrow(),
            bytes: self.flow.bytes_in(),
            past: report.past(now),
            last_failure: report.last_failure,
            streams: self.streams.borrow().clone(),
        }
    }
}

impl Stream {
    /// The state of the stream, or of its feed if that is down.
    pub fn state(&self, now: Instant) -> State {
        let feed = self.feed.as_ref().map(|feed| feed.supervisor.report().state(now));
        let own = match &self.producer {
            Producer::Feed(_) => None,
            Producer::Shared { supervisor, .. } => Some(supervisor.report().state(now)),
            Producer::Exclusive { .. } if self.readers() == 0 => Some(State::Idle),
            Producer::Exclusive { .. } => None,
        };
        match (feed, own) {
            (Some(feed @ (State::Waiting { .. } | State::Ended { .. })), _) => feed,
            (_, Some(own)) => own,
            (Some(feed), None) => feed,
            (None, None) => State::Live { since: Duration::ZERO },
        }
    }

    fn readers(&self) -> usize {
        match &self.producer {
            Producer::Feed(_) | Producer::Shared { .. } => Arc::strong_count(&self.viewers) - 1,
            // A permit is held until its process has ended.
            Producer::Exclusive { permits, max_processes, .. } => {
                max_processes - permits.available_permits()
            }
        }
    }

    pub fn status(&self, now: Instant) -> status::ByteStream {
        let own = match &self.producer {
            Producer::Shared { flow, supervisor } => Some((flow, supervisor.report())),
            Producer::Feed(feed) => Some((&feed.flow, feed.supervisor.report())),
            Producer::Exclusive { .. } => None,
        };
        status::ByteStream {
            name: self.settings.name.clone(),
            url: self.settings.url.clone(),
            feed: self.settings.feed.clone(),
            content_type: self.settings.content_type.clone(),
            state: self.state(now),
            readers: self.readers(),
            bytes_out: self.bytes_out.load(Ordering::Relaxed),
            lost: own.as_ref().map_or(0, |(flow, _)| flow.lost()),
            past: own.as_ref().map_or_else(Past::default, |(_, report)| report.past(now)),
            last_failure: own.and_then(|(_, report)| report.last_failure),
        }
    }
}
