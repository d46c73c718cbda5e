//! The order in which passwords are checked: one at a time, as each check takes
//! 19 MiB and a whole core, and the first checks of addresses before all others.
//!
//! So a queue of guesses does not delay somebody who logs in.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::throttle::Rank;

/// Lets one check run at a time: with two at once, an encoder on a board with
/// two cores was seen to lose frames.
#[derive(Debug, Default)]
pub(super) struct Checks(Mutex<Queue>);

#[derive(Debug, Default)]
struct Queue {
    is_running: bool,
    next: u64,
    /// By rank, then in the order of arrival. As many as the throttle lets wait.
    waiting: BTreeMap<(Rank, u64), oneshot::Sender<Permit>>,
}

/// The right to check; dropping it passes it on.
#[derive(Debug)]
pub(super) struct Permit(Arc<Checks>);

impl Checks {
    /// Waits until a check of this rank may run.
    pub(super) async fn permit(self: &Arc<Self>, rank: Rank) -> Permit {
        let granted = {
            let mut queue = self.lock();
            if !queue.is_running {
                queue.is_running = true;
                return Permit(Arc::clone(self));
            }
            let (send, granted) = oneshot::channel();
            let number = queue.next;
            queue.next += 1;
            queue.waiting.insert((rank, number), send);
            granted
        };
        granted.await.expect("the queue sends a permit before it drops a sender")
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let next = {
            let mut queue = self.0.lock();
            let next = queue.waiting.pop_first();
            queue.is_running = next.is_some();
            next
        };
        // Where that one has given up, its permit is dropped here and goes on to the next.
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
        let running = first.as_mut().now_or_never().expect("it is its turn");
        assert!(later.as_mut().now_or_never().is_none());
        drop(running);
        assert!(later.now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_check_that_was_given_up_does_not_hold_up_the_others() {
        let checks = Arc::new(Checks::default());
        let running = checks.permit(Rank::Later).await;
        let mut given_up = Box::pin(checks.permit(Rank::First));
        let mut other = Box::pin(checks.permit(Rank::Later));
        assert!(given_up.as_mut().now_or_never().is_none());
        assert!(other.as_mut().now_or_never().is_none());
        drop(given_up);

        drop(running);

        assert!(other.now_or_never().is_some());
        assert!(!checks.lock().is_running);
    }
}
