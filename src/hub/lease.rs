//! Demand from HLS players, which hold no connection.
//!
//! A player that fetches playlists and segments is connected only for each
//! request. Each request renews a lease; until it expires, the stream counts as
//! needed.

use std::time::Duration;

use tokio::time::Instant;

use crate::base::lock::Lock;

/// Players send the next request within a target duration, and pause when they
/// stall: a lease lasts for this many target durations, at least [`MIN_LEASE`].
const LEASE_TARGETS: u32 = 3;
const MIN_LEASE: Duration = Duration::from_secs(10);

/// The lease of one stream; until it expires, a task keeps a reader for it.
#[derive(Debug, Default)]
pub(super) struct Lease {
    until: Lock<Option<Instant>>,
}

impl Lease {
    /// Extends the lease for a player with this target duration. Returns whether
    /// the lease is new: then the caller must start the task that keeps the reader.
    pub(super) fn renew(&self, target: Duration, now: Instant) -> bool {
        let until = now + MIN_LEASE.max(LEASE_TARGETS * target);
        self.until.lock().replace(until).is_none()
    }

    /// Returns the expiry, or ends the lease and returns `None` if it has passed.
    pub(super) fn expire(&self, now: Instant) -> Option<Instant> {
        let mut until = self.until.lock();
        until.take_if(|until| *until <= now);
        *until
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::{Limits, Stream};

    #[tokio::test(start_paused = true)]
    async fn a_stream_is_needed_until_ten_seconds_after_the_last_request() {
        let limits = Limits { span: MIN_LEASE, bytes: 1 << 20, gop: Duration::from_secs(1) };
        let stream = Stream::new("test".parse().unwrap(), limits);
        stream.lease();
        tokio::time::sleep(Duration::from_secs(6)).await;
        stream.lease();
        assert_eq!(stream.reader_count(), 1);
        tokio::time::sleep(Duration::from_secs(9)).await;
        assert_eq!(stream.reader_count(), 1);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(stream.reader_count(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_longer_for_a_stream_with_long_segments() {
        let limits = Limits { span: MIN_LEASE, bytes: 1 << 20, gop: Duration::from_secs(8) };
        let stream = Stream::new("test".parse().unwrap(), limits);
        stream.lease();
        tokio::time::sleep(Duration::from_secs(23)).await;
        assert_eq!(stream.reader_count(), 1);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(stream.reader_count(), 0);
    }
}
