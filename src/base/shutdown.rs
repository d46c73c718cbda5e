//! Signals all tasks that the process is to end.
//!
//! Tasks wait on [`Shutdown::requested`]; the owner of the [`Trigger`] requests
//! the shutdown. Dropping the trigger requests it as well, so that a panic of
//! its owner ends the process instead of leaving half of it running.

use tokio::sync::watch;

/// Requests the shutdown.
#[derive(Debug)]
pub struct Trigger(watch::Sender<bool>);

/// Waits for the shutdown. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<bool>);

/// Returns the two ends of one shutdown.
pub fn channel() -> (Trigger, Shutdown) {
    let (sender, receiver) = watch::channel(false);
    (Trigger(sender), Shutdown(receiver))
}

impl Trigger {
    pub fn request(&self) {
        self.0.send_replace(true);
    }
}

impl Shutdown {
    /// Waits until the shutdown is requested; returns at once if it has been.
    pub async fn requested(&mut self) {
        // An error means that the trigger is dropped, which is a request.
        self.0.wait_for(|requested| *requested).await.ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_reaches_present_and_later_waiters() {
        let (trigger, mut early) = channel();
        let mut late = early.clone();
        trigger.request();
        early.requested().await;
        late.requested().await;
    }

    #[tokio::test]
    async fn a_dropped_trigger_requests_the_shutdown() {
        let (trigger, mut shutdown) = channel();
        drop(trigger);
        shutdown.requested().await;
    }
}
