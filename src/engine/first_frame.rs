//! Waiting for the first frame of a cold feed.

use std::pin::pin;
use std::time::Duration;

use futures_util::FutureExt as _;

/// How long a request waits for the first frame of a cold feed before it is answered
/// with an error; the feed keeps trying meanwhile.
pub const FIRST_FRAME_TIMEOUT: Duration = Duration::from_secs(10);

/// After this many failures in a row, requests do not wait for a feed any more.
pub const MAX_FAILED_RUNS: u32 = 2;

/// Returns the output of `first`, or nothing if `end` or `timeout` comes before it.
/// `first` is polled once more after that, as a source may give its first frame and
/// end at the same moment.
pub async fn first_or_end<T>(
    first: impl Future<Output = T>,
    timeout: Duration,
    end: impl Future<Output = ()>,
) -> Option<T> {
    let mut first = pin!(first);
    let end = tokio::time::timeout(timeout, end);
    tokio::select! {
        biased;
        output = &mut first => Some(output),
        _ = end => first.now_or_never(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn output_at_the_moment_of_the_end_is_not_lost() {
        let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
        let end = async { sender.send("the last").await.unwrap() };
        assert_eq!(
            first_or_end(receiver.recv(), FIRST_FRAME_TIMEOUT, end).await,
            Some(Some("the last"))
        );
        assert_eq!(
            first_or_end(std::future::pending::<()>(), FIRST_FRAME_TIMEOUT, async {}).await,
            None
        );
    }
}
