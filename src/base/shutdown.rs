//! The end of the process, told to everyone at once.
//!
//! A task that holds a [`Shutdown`] waits on [`Shutdown::requested`]; whoever
//! holds the [`Trigger`] asks. Dropping the trigger asks as well, so that a
//! panic of its owner ends the process instead of leaving half of it behind.

use tokio::sync::watch;

/// Asks for the end.
#[derive(Debug)]
pub struct Trigger(watch::Sender<bool>);

/// Learns of the end. Cheap to clone.
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
    /// Returns once the end was asked for; at once if that is past.
    pub async fn requested(&mut self) {
        // An error means that the trigger is gone, which asks as well.
        self.0.wait_for(|requested| *requested).await.ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_reaches_those_who_wait_and_those_who_come_later() {
        let (trigger, mut early) = channel();
        let mut late = early.clone();
        trigger.request();
        early.requested().await;
        late.requested().await;
    }

    #[tokio::test]
    async fn a_lost_trigger_asks_too() {
        let (trigger, mut shutdown) = channel();
        drop(trigger);
        shutdown.requested().await;
    }
}
