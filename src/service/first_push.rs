//! The push of the first stream with control data, as the livebox API has it.
//!
//! Control data applies to the stream and the push when the push starts.

use std::sync::Arc;
use std::time::Instant;

use super::control::{Control, ControlState, EditError, Field};
use super::push_gate::{Activity, Entered, PushError, PushGate, activity_of, require_idle};
use super::saved::SavedControl;
use crate::base::lock::Lock;
use crate::base::time;
use crate::config::settings::{self, PushAudio};
use crate::engine::plan::Plan;
use crate::engine::process::Destination;
use crate::engine::registry::Stream;
use crate::model::ids::PushName;
use crate::outputs::push::{Push, destination};

/// The first stream and its push.
#[derive(Debug)]
pub struct FirstPush {
    stream: Arc<Stream>,
    push: Arc<Push>,
    gate: Arc<PushGate>,
    /// The control data of the next start. It changes only inside the gate.
    control: Lock<ControlState>,
    saved: SavedControl,
}

/// Why an operation with control data is rejected.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ControlError {
    #[error(transparent)]
    Edit(#[from] EditError),
    #[error("Cannot change control while streaming; stop first")]
    Streaming,
    #[error(transparent)]
    Push(#[from] PushError),
}

impl FirstPush {
    /// `push` is the push of `stream`. The control data is that of `before`, if the
    /// configuration has not changed it, otherwise what was saved, otherwise that of the
    /// configuration. The gate of `before` must be closed.
    pub async fn new(
        stream: Arc<Stream>,
        push: Arc<Push>,
        gate: Arc<PushGate>,
        saved: SavedControl,
        before: Option<&Self>,
    ) -> Self {
        let state = match before {
            Some(before) if before.saved.configured() == saved.configured() => {
                Some(before.control())
            }
            Some(_) | None => saved.load().await,
        };
        let as_configured =
            || ControlState { control: saved.configured().clone(), changed: time::iso_stamp() };
        let control = Lock::new(state.unwrap_or_else(as_configured));
        Self { stream, push, gate, control, saved }
    }

    /// Applies the control data to the stream if the push is wanted.
    pub async fn apply(&self) {
        if self.push.is_wanted() {
            self.apply_to_stream(&self.control().control).await;
        }
    }

    pub fn name(&self) -> &PushName {
        self.push.name()
    }

    pub fn activity(&self, now: Instant) -> Activity {
        activity_of(&self.push, now)
    }

    pub fn control(&self) -> ControlState {
        self.control.lock().clone()
    }

    /// Edits the control data for the next start.
    ///
    /// # Errors
    /// A field is invalid, or the push is running; then nothing changes.
    pub async fn edit(&self, fields: &[Field], now: Instant) -> Result<ControlState, ControlError> {
        let _entered = self.gate.enter().await?;
        let control = self.control().control.edited(fields)?;
        self.require_no_stream(now)?;
        Ok(self.set_control(control).await)
    }

    /// As [`FirstPush::edit`], for a form that sends every value.
    ///
    /// # Errors
    /// As [`FirstPush::edit`].
    pub async fn edit_by_form(&self, fields: &[Field], now: Instant) -> Result<(), ControlError> {
        let _entered = self.gate.enter().await?;
        let control = self.control().control.edited_by_form(fields)?;
        self.require_no_stream(now)?;
        self.set_control(control).await;
        Ok(())
    }

    /// Edits the control data by a form and starts the push, or does neither.
    ///
    /// # Errors
    /// A field is invalid, or the push is running or has no destination.
    pub async fn go_live(&self, fields: &[Field], now: Instant) -> Result<(), ControlError> {
        let entered = self.gate.enter().await?;
        let control = self.control().control.edited_by_form(fields)?;
        if control.url.is_none() {
            return Err(PushError::NoUrl.into());
        }
        require_idle(&self.push, now)?;
        self.set_control(control).await;
        self.launch(&entered, now).await?;
        entered.save_wanted(&self.push, true).await;
        Ok(())
    }

    /// Starts the push, and saves that it is wanted; returns before it is live.
    ///
    /// # Errors
    /// It is running, or has no destination.
    pub async fn start(&self, now: Instant) -> Result<(), PushError> {
        let entered = self.gate.enter().await?;
        self.launch(&entered, now).await?;
        entered.save_wanted(&self.push, true).await;
        Ok(())
    }

    /// As [`FirstPush::start`], if the push is saved as wanted already.
    ///
    /// # Errors
    /// As [`FirstPush::start`].
    pub async fn resume(&self, now: Instant) -> Result<(), PushError> {
        self.launch(&self.gate.enter().await?, now).await
    }

    /// Stops the push; returns before it has stopped.
    ///
    /// # Errors
    /// It is not running.
    pub async fn stop(&self, now: Instant) -> Result<(), PushError> {
        self.gate.stop(&self.push, now).await
    }

    async fn launch(&self, entered: &Entered<'_>, now: Instant) -> Result<(), PushError> {
        require_idle(&self.push, now)?;
        let control = self.control().control;
        if control.url.is_none() {
            return Err(PushError::NoUrl);
        }
        self.apply_to_stream(&control).await;
        entered.launch_to(&self.push, self.destination(&control)).await
    }

    async fn apply_to_stream(&self, control: &Control) {
        self.stream.set_plan(plan_for(control, self.stream.plan())).await;
    }

    fn require_no_stream(&self, now: Instant) -> Result<(), ControlError> {
        require_idle(&self.push, now).map_err(|_| ControlError::Streaming)
    }

    async fn set_control(&self, control: Control) -> ControlState {
        let state = ControlState { control, changed: time::iso_stamp() };
        *self.control.lock() = state.clone();
        self.push.forget_failures().await;
        self.saved.save(&state).await;
        state
    }

    fn destination(&self, control: &Control) -> Option<Destination> {
        let settings = self.push.settings();
        let backup = settings.backup.clone();
        let settings = settings::Push {
            url: control.url.clone(),
            // The backup of another receiver must not get the key.
            backup: backup.filter(|_| control.url == self.saved.configured().url),
            key: control.name.clone(),
            audio: control.audio,
            ..settings.clone()
        };
        destination(&settings, &self.stream)
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
