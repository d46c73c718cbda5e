//! The first stream and its push, edited, started and stopped together, as the
//! livebox API has it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use tokio::sync::{Mutex, MutexGuard};

use super::control::{Control, ControlState, EditError, Field};
use super::saved;
use crate::base::time;
use crate::config::settings::{self, PushAudio, Settings};
use crate::engine::plan::Plan;
use crate::engine::process::Destination;
use crate::engine::registry::Stream;
use crate::model::ids::PushName;
use crate::model::status::State;
use crate::outputs::push::{Push, destination};
use crate::store::state_file::StateFile;

/// The first stream and its push.
#[derive(Debug)]
pub struct Livebox {
    stream: Arc<Stream>,
    push: Arc<Push>,
    /// The control data of the next start. Locked during every operation.
    control: Mutex<ControlState>,
    /// The control data as the configuration has it.
    configured: Control,
    state_file: Arc<StateFile>,
    /// Whether a reload has replaced it.
    replaced: AtomicBool,
}

/// The phases of a push in the livebox API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    Idle,
    Preparing,
    Streaming,
    Stopping,
}

/// Why an operation is rejected.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum BoxError {
    #[error(transparent)]
    Edit(#[from] EditError),
    #[error("Cannot change control while streaming; stop first")]
    Streaming,
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

impl Livebox {
    /// `push` is the push of `stream`. The control data is what an operator set, or
    /// that of the configuration. `before`, if any, must be retired.
    pub async fn new(
        stream: Arc<Stream>,
        push: Arc<Push>,
        settings: &Settings,
        state_file: Arc<StateFile>,
        before: Option<&Self>,
    ) -> Self {
        let configured = Control::from_settings(settings, push.settings());
        let state = match before {
            Some(before) if before.configured == configured => Some(before.control().await),
            Some(_) | None => saved::control(&state_file, &configured).await,
        };
        let configured_state =
            || ControlState { control: configured.clone(), changed: time::iso_stamp() };
        let control = Mutex::new(state.unwrap_or_else(configured_state));
        Self { stream, push, control, configured, state_file, replaced: AtomicBool::new(false) }
    }

    /// Rejects all operations from now on; earlier ones are done when this returns.
    pub async fn retire(&self) {
        let _state = self.control.lock().await;
        self.replaced.store(true, Ordering::Relaxed);
    }

    /// Applies the control data to the stream if the push is wanted.
    pub async fn apply(&self) {
        let state = self.control.lock().await;
        if self.push.is_wanted() {
            self.stream.set_plan(plan_for(&state.control, self.stream.plan())).await;
        }
    }

    /// Locks the control data for an operation.
    async fn lock(&self) -> Result<MutexGuard<'_, ControlState>, BoxError> {
        let state = self.control.lock().await;
        if self.replaced.load(Ordering::Relaxed) { Err(BoxError::Replaced) } else { Ok(state) }
    }

    /// The name of its own push.
    pub fn push_name(&self) -> &PushName {
        self.push.name()
    }

    pub fn activity(&self, now: Instant) -> Activity {
        activity_of(&self.push, now)
    }

    pub async fn control(&self) -> ControlState {
        self.control.lock().await.clone()
    }

    /// Edits the control data for the next start.
    ///
    /// # Errors
    /// A field is invalid, or the push is running; then nothing changes.
    pub async fn edit(&self, fields: &[Field], now: Instant) -> Result<ControlState, BoxError> {
        let mut state = self.lock().await?;
        let control = state.control.edited(fields)?;
        self.require_idle(now)?;
        self.set_control(&mut state, control).await;
        Ok(state.clone())
    }

    /// As [`Livebox::edit`], for a form that sends every value.
    ///
    /// # Errors
    /// As [`Livebox::edit`].
    pub async fn edit_by_form(&self, fields: &[Field], now: Instant) -> Result<(), BoxError> {
        let mut state = self.lock().await?;
        let control = state.control.edited_by_form(fields)?;
        self.require_idle(now)?;
        self.set_control(&mut state, control).await;
        Ok(())
    }

    /// Edits the control data by a form and starts the push, or does neither.
    ///
    /// # Errors
    /// A field is invalid, or the push is running or has no destination.
    pub async fn go_live(&self, fields: &[Field], now: Instant) -> Result<(), BoxError> {
        let mut state = self.lock().await?;
        let control = state.control.edited_by_form(fields)?;
        if control.url.is_none() {
            return Err(BoxError::NoUrl);
        }
        let activity = self.activity(now);
        if activity != Activity::Idle {
            return Err(BoxError::Started(activity));
        }
        self.set_control(&mut state, control).await;
        self.launch(&self.push, &state, now).await?;
        drop(state);
        saved::save_push(&self.state_file, self.push.settings(), true).await;
        Ok(())
    }

    fn require_idle(&self, now: Instant) -> Result<(), BoxError> {
        match self.activity(now) {
            Activity::Idle => Ok(()),
            Activity::Preparing | Activity::Streaming | Activity::Stopping => {
                Err(BoxError::Streaming)
            }
        }
    }

    async fn set_control(&self, state: &mut ControlState, control: Control) {
        *state = ControlState { control, changed: time::iso_stamp() };
        self.push.forget_failures().await;
        saved::save_control(&self.state_file, &self.configured, state).await;
    }

    /// Starts the push; returns before it is live.
    ///
    /// # Errors
    /// It is running, or has no destination.
    pub async fn start(&self, now: Instant) -> Result<(), BoxError> {
        self.start_push(&self.push, now).await
    }

    /// Stops the push; returns before it has stopped.
    ///
    /// # Errors
    /// It is not running.
    pub async fn stop(&self, now: Instant) -> Result<(), BoxError> {
        self.stop_push(&self.push, now).await
    }

    /// Starts any push, that of the first stream with the control data, others as
    /// configured, and saves that it is wanted.
    ///
    /// # Errors
    /// It is running, or has no destination.
    pub async fn start_push(&self, push: &Push, now: Instant) -> Result<(), BoxError> {
        self.resume(push, now).await?;
        saved::save_push(&self.state_file, push.settings(), true).await;
        Ok(())
    }

    /// As [`Livebox::start_push`], for a push that is saved as wanted already.
    ///
    /// # Errors
    /// As [`Livebox::start_push`].
    pub async fn resume(&self, push: &Push, now: Instant) -> Result<(), BoxError> {
        let state = self.lock().await?;
        self.launch(push, &state, now).await
    }

    async fn launch(
        &self,
        push: &Push,
        state: &ControlState,
        now: Instant,
    ) -> Result<(), BoxError> {
        let activity = activity_of(push, now);
        if activity != Activity::Idle {
            return Err(BoxError::Started(activity));
        }
        if push.name() != self.push.name() {
            let to = destination(push.settings(), push.stream()).ok_or(BoxError::NoUrl)?;
            push.start(to).await;
            return Ok(());
        }
        if state.control.url.is_none() {
            return Err(BoxError::NoUrl);
        }
        self.stream.set_plan(plan_for(&state.control, self.stream.plan())).await;
        push.start(self.own_destination(&state.control).ok_or(BoxError::NoUrl)?).await;
        Ok(())
    }

    /// Retries any push at once.
    ///
    /// # Errors
    /// It is not waiting for a retry.
    pub async fn retry_push(&self, push: &Push, now: Instant) -> Result<(), BoxError> {
        let _state = self.lock().await?;
        match push.state(now) {
            State::Waiting { .. } | State::Over { .. } => push.retry_now().await,
            State::Idle | State::Starting | State::Live { .. } | State::Stopping => {
                return Err(BoxError::NotWaiting(activity_of(push, now)));
            }
        }
        Ok(())
    }

    /// Stops any push, and saves that it is not wanted.
    ///
    /// # Errors
    /// It is not running.
    pub async fn stop_push(&self, push: &Push, now: Instant) -> Result<(), BoxError> {
        let _state = self.lock().await?;
        match activity_of(push, now) {
            Activity::Preparing | Activity::Streaming => push.stop(),
            activity @ (Activity::Idle | Activity::Stopping) => {
                return Err(BoxError::Stopped(activity));
            }
        }
        saved::save_push(&self.state_file, push.settings(), false).await;
        Ok(())
    }

    fn own_destination(&self, control: &Control) -> Option<Destination> {
        let settings = self.push.settings();
        let backup = settings.backup.clone();
        let settings = settings::Push {
            url: control.url.clone(),
            // The backup of another receiver must not get the key.
            backup: backup.filter(|_| control.url == self.configured.url),
            key: control.name.clone(),
            audio: control.audio,
            ..settings.clone()
        };
        destination(&settings, &self.stream)
    }
}

fn activity_of(push: &Push, now: Instant) -> Activity {
    match (push.state(now), push.is_wanted()) {
        (State::Idle, false) => Activity::Idle,
        (State::Live { .. }, true) => Activity::Streaming,
        (State::Idle | State::Starting | State::Waiting { .. } | State::Over { .. }, true) => {
            Activity::Preparing
        }
        // Wanted again before the last run has ended: it starts right after that.
        (State::Stopping, true) => Activity::Preparing,
        (_, false) => Activity::Stopping,
    }
}

fn plan_for(control: &Control, plan: Plan) -> Plan {
    let Plan { mut feed, mut stream } = plan;
    // Size and frame rate belong to the stream if it has its own, else to its feed.
    match &mut stream.size {
        Some(size) => *size = control.resolution,
        None => feed.size = control.resolution,
    }
    match &mut stream.fps {
        Some(fps) => *fps = control.fps,
        None => feed.fps = control.fps,
    }
    stream.bitrate = control.bitrate;
    stream.quality = control.quality;
    Plan { feed, stream }
}

/// The push of the first stream if the configuration has none: it has no
/// destination until an operator sets one.
pub fn default_push(stream: &settings::Stream) -> settings::Push {
    settings::Push {
        name: "livebox".parse().expect("a plain word is a name"),
        stream: stream.name.clone(),
        url: None,
        key: None,
        ca: None,
        backup: None,
        audio: PushAudio::Feed,
        start: false,
    }
}
