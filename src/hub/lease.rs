//! Readers that come and go with every request: HLS.
//!
//! A player that fetches playlists and segments is connected for moments only.
//! Each request renews a lease; while it lasts, the stream counts as needed.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::reader::Reader;
use super::stream::Stream;
use crate::base::lock::Lock;

/// Players come again after a target duration at the latest, and pause a while
/// when they stall. A lease lasts for so many, and not less than this.
const TARGETS: u32 = 3;
const LASTS: Duration = Duration::from_secs(10);

/// The lease of one stream; while it runs, a task holds a reader for it.
#[derive(Debug, Default)]
pub(super) struct Lease {
    until: Lock<Option<Instant>>,
}

impl Lease {
    /// Returns whether a task must be started that waits for the end.
    fn renew(&self, until: Instant) -> bool {
        let mut ends = self.until.lock();
        ends.replace(until).is_none()
    }

    /// The end as it stands; takes the lease away if that has passed.
    fn expire(&self, now: Instant) -> Option<Instant> {
        let mut until = self.until.lock();
        until.take_if(|until| *until <= now);
        *until
    }
}

impl Stream {
    /// Counts as a reader from now on for ten seconds or three target durations;
    /// must be called on a runtime.
    pub fn lease(self: &Arc<Self>) {
        let target = Duration::from_secs(self.with_window(|window| window.target()));
        if self.lease.renew(Instant::now() + LASTS.max(TARGETS * target)) {
            tokio::spawn(hold(self.join()));
        }
    }
}

async fn hold(reader: Reader) {
    while let Some(until) = reader.stream().lease.expire(Instant::now()) {
        tokio::time::sleep_until(until).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::Limits;

    #[tokio::test(start_paused = true)]
    async fn a_stream_is_needed_until_ten_seconds_after_the_last_request() {
        let limits = Limits { span: LASTS, bytes: 1 << 20, gop: Duration::from_secs(1) };
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
    async fn a_player_of_long_segments_may_take_longer_until_it_comes_again() {
        let limits = Limits { span: LASTS, bytes: 1 << 20, gop: Duration::from_secs(8) };
        let stream = Stream::new("test".parse().unwrap(), limits);
        stream.lease();
        tokio::time::sleep(Duration::from_secs(23)).await;
        assert_eq!(stream.reader_count(), 1);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(stream.reader_count(), 0);
    }
}
