//! Starts, stops and retries pushes, one operation at a time.
//!
//! A reload closes the gate of the topology that it replaces, so that no operation is
//! lost on a push that is about to end.

use std::time::Instant;

use tokio::sync::{Mutex, MutexGuard};

use super::saved::SavedPushes;
use crate::engine::process::Destination;
use crate::model::status::State;
use crate::outputs::push::{Push, destination};

/// The gate of all pushes of a topology.
#[derive(Debug)]
pub struct PushGate {
    /// Locked during every operation; `true` after a reload has replaced the topology.
    closed: Mutex<bool>,
    saved: SavedPushes,
}

/// The right to operate on pushes; others wait until it is dropped.
#[derive(Debug)]
pub(super) struct Entered<'a> {
    saved: &'a SavedPushes,
    _lock: MutexGuard<'a, bool>,
}

/// The phases of a push in the livebox API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    Idle,
    Preparing,
    Streaming,
    Stopping,
}

/// Why an operation on a push is rejected.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PushError {
    #[error("Cannot start: it is {} already", .0.word())]
    Started(Activity),
    #[error(
        "Enter the receiver's address first, as 'url' (YouTube Studio calls it \"Stream URL\")"
    )]
    NoUrl,
    #[error("Cannot stop: it is {} already", .0.word())]
    Stopped(Activity),
    #[error("Cannot retry: it is {}, not waiting for a retry", .0.word())]
    NotWaiting(Activity),
    #[error("The configuration was just reloaded; try again")]
    Replaced,
}

impl Activity {
    pub fn word(self) -> &'static str {
        match self {
            Activity::Idle => "idle",
            Activity::Preparing => "preparing",
            Activity::Streaming => "streaming",
            Activity::Stopping => "stopping",
        }
    }
}

impl PushGate {
    pub(super) fn new(saved: SavedPushes) -> Self {
        Self { closed: Mutex::new(false), saved }
    }

    /// Rejects all operations from now on; earlier ones are done when this returns.
    pub async fn close(&self) {
        *self.closed.lock().await = true;
    }

    /// Waits for earlier operations.
    ///
    /// # Errors
    /// The gate is closed.
    pub(super) async fn enter(&self) -> Result<Entered<'_>, PushError> {
        let lock = self.closed.lock().await;
        if *lock {
            Err(PushError::Replaced)
        } else {
            Ok(Entered { saved: &self.saved, _lock: lock })
        }
    }

    /// Starts a push as configured, and saves that it is wanted.
    ///
    /// # Errors
    /// It is running, or has no destination.
    pub async fn start(&self, push: &Push, now: Instant) -> Result<(), PushError> {
        let entered = self.enter().await?;
        entered.launch(push, now).await?;
        entered.save_wanted(push, true).await;
        Ok(())
    }

    /// As [`PushGate::start`], for a push that is saved as wanted already.
    ///
    /// # Errors
    /// As [`PushGate::start`].
    pub async fn resume(&self, push: &Push, now: Instant) -> Result<(), PushError> {
        self.enter().await?.launch(push, now).await
    }

    /// Stops a push, and saves that it is not wanted.
    ///
    /// # Errors
    /// It is not running.
    pub async fn stop(&self, push: &Push, now: Instant) -> Result<(), PushError> {
        let entered = self.enter().await?;
        match activity_of(push, now) {
            Activity::Preparing | Activity::Streaming => push.stop(),
            activity @ (Activity::Idle | Activity::Stopping) => {
                return Err(PushError::Stopped(activity));
            }
        }
        entered.save_wanted(push, false).await;
        Ok(())
    }

    /// Retries a push at once.
    ///
    /// # Errors
    /// It is not waiting for a retry.
    pub async fn retry(&self, push: &Push, now: Instant) -> Result<(), PushError> {
        let _entered = self.enter().await?;
        match push.state(now) {
            State::Waiting { .. } | State::Ended { .. } => push.retry_now().await,
            State::Idle | State::Starting | State::Live { .. } | State::Stopping => {
                return Err(PushError::NotWaiting(activity_of(push, now)));
            }
        }
        Ok(())
    }
}

impl Entered<'_> {
    /// Starts a push as configured.
    async fn launch(&self, push: &Push, now: Instant) -> Result<(), PushError> {
        require_idle(push, now)?;
        self.launch_to(push, destination(push.settings(), push.stream())).await
    }

    /// Starts an idle push to `destination`.
    ///
    /// # Errors
    /// There is no destination.
    pub(super) async fn launch_to(
        &self,
        push: &Push,
        destination: Option<Destination>,
    ) -> Result<(), PushError> {
        push.start(destination.ok_or(PushError::NoUrl)?).await;
        Ok(())
    }

    /// Saves whether the push is wanted.
    pub(super) async fn save_wanted(&self, push: &Push, wanted: bool) {
        self.saved.save(push.settings(), wanted).await;
    }
}

/// Rejects a start of a push that is not idle.
pub(super) fn require_idle(push: &Push, now: Instant) -> Result<(), PushError> {
    match activity_of(push, now) {
        Activity::Idle => Ok(()),
        activity @ (Activity::Preparing | Activity::Streaming | Activity::Stopping) => {
            Err(PushError::Started(activity))
        }
    }
}

pub(super) fn activity_of(push: &Push, now: Instant) -> Activity {
    match (push.state(now), push.is_wanted()) {
        (State::Idle, false) => Activity::Idle,
        (State::Live { .. }, true) => Activity::Streaming,
        (State::Idle | State::Starting | State::Waiting { .. } | State::Ended { .. }, true) => {
            Activity::Preparing
        }
        // Wanted again before the last run has ended: it starts right after that.
        (State::Stopping, true) => Activity::Preparing,
        (_, false) => Activity::Stopping,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::base::time::now;
    use crate::config::parse_text;
    use crate::engine::tests::fake::FakePipelines;
    use crate::service::topology::Topology;
    use crate::store::state_file::StateFile;

    const CONFIG: &str = "feeds: {a: {test: clock}}\nstreams: {a: {}, b: {feed: a}}\n\
        pushes: {one: {stream: a}, two: {stream: b}}\n";

    async fn topology() -> Topology {
        let folder = tempfile::tempdir().unwrap();
        let state_file = StateFile::open(folder.path()).await.unwrap();
        let (settings, pipelines) = (parse_text(CONFIG).unwrap(), FakePipelines::default());
        Topology::new(settings, String::new(), state_file, Arc::new(pipelines)).await.0
    }

    async fn after_reload(topology: &Topology, text: &str) -> Topology {
        topology.next(parse_text(text).unwrap(), String::new(), Vec::new()).await.0
    }

    #[tokio::test]
    async fn operations_on_a_replaced_push_are_rejected() {
        let before = topology().await;
        let text = CONFIG.replace("{stream: b}", "{stream: b, audio: tone}");
        let after = after_reload(&before, &text).await;

        for name in ["one", "two"] {
            let replaced = before.start_push(before.push(name).unwrap(), now()).await;
            assert_eq!(replaced, Err(PushError::Replaced));
            let present = after.start_push(after.push(name).unwrap(), now()).await;
            assert_eq!(present, Err(PushError::NoUrl));
        }
    }

    #[tokio::test]
    async fn a_reload_that_keeps_the_pushes_rejects_no_operation() {
        let before = topology().await;
        let _after = after_reload(&before, &format!("{CONFIG}log: {{level: debug}}\n")).await;

        let push = before.push("two").unwrap();
        let idle = before.push_gate.stop(push, now()).await;
        assert_eq!(idle, Err(PushError::Stopped(Activity::Idle)));
        let idle = before.push_gate.retry(push, now()).await;
        assert_eq!(idle, Err(PushError::NotWaiting(Activity::Idle)));
    }
}
