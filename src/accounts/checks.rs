//! The order in which passwords are checked: one at a time, because a check takes
//! 19 MiB and a whole core, and the first check of each address before all others,
//! so that a queue of guesses does not delay a login from elsewhere.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::throttle::Rank;
use crate::base::lock::Lock;

/// Runs one check at a time: two at once made an encoder on a board with two
/// cores drop frames.
#[derive(Debug, Default)]
pub(super) struct Checks(Lock<Queue>);

#[derive(Debug, Default)]
struct Queue {
    is_running: bool,
    next_number: u64,
    /// By rank, then by arrival. The throttle bounds their number.
    waiting: BTreeMap<(Rank, u64), oneshot::Sender<Permit>>,
}

/// The right to run a check; dropping it grants it to the next in the queue.
#[derive(Debug)]
pub(super) struct Permit(Arc<Checks>);

impl Checks {
    /// Waits until a check of this rank may run.
    pub(super) async fn permit(self: &Arc<Self>, rank: Rank) -> Permit {
        let granted = {
            let mut queue = self.0.lock();
            if !queue.is_running {
                queue.is_running = true;
                return Permit(Arc::clone(self));
            }
            let (send, granted) = oneshot::channel();
            let number = queue.next_number;
            queue.next_number += 1;
            queue.waiting.insert((rank, number), send);
            granted
        };
        granted.await.expect("the queue sends a permit before it drops a sender")
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let next = {
            let mut queue = self.0.0.lock();
            let next = queue.waiting.pop_first();
            queue.is_running = next.is_some();
            next
        };
        // If that caller was cancelled, this drops its permit and grants the next.
        if let Some((_, send)) = next {
            drop(send.send(Permit(Arc::clone(&self.0))));
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn first_checks_go_before_the_others_and_one_runs_at_a_time() {
        let checks = Arc::new(Checks::default());
        let running = checks.permit(Rank::Later).await;
        let mut later = Box::pin(checks.permit(Rank::Later));
        let mut first = Box::pin(checks.permit(Rank::First));
        assert!(later.as_mut().now_or_never().is_none());
        assert!(first.as_mut().now_or_never().is_none());

        drop(running);
        let running = first.as_mut().now_or_never().expect("it is first in the queue");
        assert!(later.as_mut().now_or_never().is_none());
        drop(running);
        assert!(later.now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_cancelled_check_does_not_block_the_others() {
        let checks = Arc::new(Checks::default());
        let running = checks.permit(Rank::Later).await;
        let mut cancelled = Box::pin(checks.permit(Rank::First));
        let mut other = Box::pin(checks.permit(Rank::Later));
        assert!(cancelled.as_mut().now_or_never().is_none());
        assert!(other.as_mut().now_or_never().is_none());
        drop(cancelled);

        drop(running);

        assert!(other.now_or_never().is_some());
        assert!(!checks.0.lock().is_running);
    }
}
