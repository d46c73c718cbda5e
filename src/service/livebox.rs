//! The box as one thing: its first stream and the push of that stream, edited,
//! started and stopped together. What the livebox API steers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use tokio::sync::{Mutex, MutexGuard};

use super::control::{Control, ControlState, Field, Refused};
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
    /// What the next start will use.
    control: Mutex<ControlState>,
    /// The control data as the configuration has it.
    configured: Control,
    state_file: Arc<StateFile>,
    /// Whether another has taken its place.
    replaced: AtomicBool,
}

/// What the livebox API calls the phases of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    Idle,
    Preparing,
    Streaming,
    Stopping,
}

/// Why a request to the box cannot be followed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum BoxError {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("Cannot change control while streaming; stop first")]
    Streaming,
    #[error("Cannot start: it is {} already", .0.word())]
    Started(Activity),
    #[error("Cannot start: 'url' is not set")]
    NoUrl,
    #[error("Cannot stop: it is {} already", .0.word())]
    Stopped(Activity),
    #[error("Cannot try now: it is {}, and waits for nothing", .0.word())]
    NotWaiting(Activity),
    #[error("The configuration has just been read again; try again")]
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
    /// `push` is the one that is steered; the control data is what an operator
    /// left, or what the configuration says. From then on `before` answers no
    /// more.
    pub async fn new(
        stream: Arc<Stream>,
        push: Arc<Push>,
        settings: &Settings,
        state_file: Arc<StateFile>,
        before: Option<&Self>,
    ) -> Self {
        let configured = Control::of(settings, push.settings());
        let held = match before {
            Some(before) if before.configured == configured => Some(before.control().await),
            Some(_) | None => saved::control(&state_file, &configured).await,
        };
        let fresh = || ControlState { control: configured.clone(), changed: time::iso_stamp() };
        let control = Mutex::new(held.unwrap_or_else(fresh));
        Self { stream, push, control, configured, state_file, replaced: AtomicBool::new(false) }
    }

    /// Answers no more; what it was asked before that is done when this returns.
    pub async fn retire(&self) {
        let _held = self.control.lock().await;
        self.replaced.store(true, Ordering::Relaxed);
    }

    /// Sends what is sent as the control data says, where that is sent already.
    pub async fn settle(&self) {
        let held = self.control.lock().await;
        if self.push.is_wanted() {
            self.stream.set_plan(plan_for(&held.control, self.stream.plan())).await;
        }
    }

    /// The control data, to change something by it.
    async fn hold(&self) -> Result<MutexGuard<'_, ControlState>, BoxError> {
        let held = self.control.lock().await;
        if self.replaced.load(Ordering::Relaxed) { Err(BoxError::Replaced) } else { Ok(held) }
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
    /// A field that is refused, or that it is streaming; then nothing changes.
    pub async fn edit(&self, fields: &[Field], now: Instant) -> Result<ControlState, BoxError> {
        let mut held = self.hold().await?;
        let control = held.control.edited(fields)?;
        self.require_idle(now)?;
        self.keep(&mut held, control).await;
        Ok(held.clone())
    }

    /// As [`Livebox::edit`], by a form that sends every value.
    ///
    /// # Errors
    /// Likewise.
    pub async fn edit_by_form(&self, fields: &[Field], now: Instant) -> Result<(), BoxError> {
        let mut held = self.hold().await?;
        let control = held.control.edited_by_form(fields)?;
        self.require_idle(now)?;
        self.keep(&mut held, control).await;
        Ok(())
    }

    /// Edits the control data by a form and starts sending, or does neither.
    ///
    /// # Errors
    /// A field that is refused, or that it runs already or has nowhere to send to.
    pub async fn go_live(&self, fields: &[Field], now: Instant) -> Result<(), BoxError> {
        let mut held = self.hold().await?;
        let control = held.control.edited_by_form(fields)?;
        if control.url.is_none() {
            return Err(BoxError::NoUrl);
        }
        let activity = self.activity(now);
        if activity != Activity::Idle {
            return Err(BoxError::Started(activity));
        }
        self.keep(&mut held, control).await;
        self.launch(&self.push, &held, now).await?;
        drop(held);
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

    async fn keep(&self, held: &mut ControlState, control: Control) {
        *held = ControlState { control, changed: time::iso_stamp() };
        self.push.forget_failures().await;
        saved::save_control(&self.state_file, &self.configured, held).await;
    }

    /// Starts sending; returns when that is under way.
    ///
    /// # Errors
    /// It runs already, or has nowhere to send to.
    pub async fn start(&self, now: Instant) -> Result<(), BoxError> {
        self.start_push(&self.push, now).await
    }

    /// Stops sending; returns when that is under way.
    ///
    /// # Errors
    /// It does not run.
    pub async fn stop(&self, now: Instant) -> Result<(), BoxError> {
        self.stop_push(&self.push, now).await
    }

    /// Starts any push, the box's own with the control data, others as
    /// configured, and remembers that.
    ///
    /// # Errors
    /// It runs already, or has nowhere to send to.
    pub async fn start_push(&self, push: &Push, now: Instant) -> Result<(), BoxError> {
        self.resume(push, now).await?;
        saved::save_push(&self.state_file, push.settings(), true).await;
        Ok(())
    }

    /// As [`Livebox::start_push`], for a push that is remembered already.
    ///
    /// # Errors
    /// Likewise.
    pub async fn resume(&self, push: &Push, now: Instant) -> Result<(), BoxError> {
        let held = self.hold().await?;
        self.launch(push, &held, now).await
    }

    async fn launch(&self, push: &Push, held: &ControlState, now: Instant) -> Result<(), BoxError> {
        let activity = activity_of(push, now);
        if activity != Activity::Idle {
            return Err(BoxError::Started(activity));
        }
        if push.name() != self.push.name() {
            let to = destination(push.settings(), push.stream()).ok_or(BoxError::NoUrl)?;
            push.start(to).await;
            return Ok(());
        }
        if held.control.url.is_none() {
            return Err(BoxError::NoUrl);
        }
        self.stream.set_plan(plan_for(&held.control, self.stream.plan())).await;
        push.start(self.own_destination(&held.control).ok_or(BoxError::NoUrl)?).await;
        Ok(())
    }

    /// Ends the wait of any push between two attempts.
    ///
    /// # Errors
    /// It does not wait.
    pub async fn try_push_now(&self, push: &Push, now: Instant) -> Result<(), BoxError> {
        let _held = self.hold().await?;
        match push.state(now) {
            State::Waiting { .. } | State::Over { .. } => push.retry_now().await,
            State::Idle | State::Starting | State::Live { .. } | State::Stopping => {
                return Err(BoxError::NotWaiting(activity_of(push, now)));
            }
        }
        Ok(())
    }

    /// Stops any push, and remembers that.
    ///
    /// # Errors
    /// It does not run.
    pub async fn stop_push(&self, push: &Push, now: Instant) -> Result<(), BoxError> {
        let _held = self.hold().await?;
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
            // The key must not reach the backup of a receiver that it is not for.
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
        // Wanted again before the last run has let go: it starts right after.
        (State::Stopping, true) => Activity::Preparing,
        (_, false) => Activity::Stopping,
    }
}

fn plan_for(control: &Control, plan: Plan) -> Plan {
    let Plan { mut feed, mut stream } = plan;
    // What the stream has of its own is its own; the rest is its feed's.
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

/// The push that the livebox API steers where the configuration has none for
/// the first stream: without a destination until somebody sets one.
pub fn spare_push(stream: &settings::Stream) -> settings::Push {
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
