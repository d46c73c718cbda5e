//! The operations of operators, each once, for the API, the forms of the dashboard
//! and every other control.
//!
//! The callers check that the user is an operator (`http/access`).

use std::sync::Arc;
use std::time::Instant;

use super::Service;
use super::control::{ControlView, EditError, Field};
use super::first_push::{ControlError, FirstPush};
use super::push_gate::{Activity, PushError};
use super::reloads::{self, Changes};
use super::topology::Topology;
use crate::model::ids::StreamName;
use crate::model::status;
use crate::outputs::push::Push;
use crate::outputs::recordings::{DeleteError, Name, Recordings, StartStopError};

/// Why an operation is rejected. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum OperationError {
    #[error("There is no push {0:?}")]
    NoSuchPush(String),
    #[error("There is no stream {0:?}")]
    NoSuchStream(String),
    #[error("There is nothing to control: livebox encodes no stream")]
    NothingEncoded,
    #[error(
        "Cannot record: livebox has no folder that it may write to; set recordings.folder in \
         the configuration"
    )]
    NoRecordings,
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error(transparent)]
    Recording(#[from] StartStopError),
    #[error(transparent)]
    Deletion(#[from] DeleteError),
    #[error("Not reloaded: {0}")]
    Reload(#[from] reloads::ReloadError),
}

impl From<EditError> for OperationError {
    fn from(error: EditError) -> Self {
        Self::Control(error.into())
    }
}

impl From<PushError> for OperationError {
    fn from(error: PushError) -> Self {
        Self::Control(error.into())
    }
}

impl OperationError {
    /// The problems of the configuration.
    pub fn problems(&self) -> &[String] {
        if let Self::Reload(refused) = self { &refused.problems } else { &[] }
    }
}

type Done<T = ()> = Result<T, OperationError>;

impl Service {
    /// The phase of the push of the first stream; idle if there is none.
    pub fn activity(&self, now: Instant) -> Activity {
        let topology = self.topology();
        topology.first_push.as_ref().map_or(Activity::Idle, |first| first.activity(now))
    }

    /// The control data, with its secrets masked.
    ///
    /// # Errors
    /// livebox encodes no stream.
    pub fn control(&self) -> Done<ControlView> {
        Ok(first_push(&self.topology())?.control().shown())
    }

    /// Edits the control data for the next start.
    ///
    /// # Errors
    /// A field is invalid, or the push is running.
    pub async fn edit(&self, fields: &[Field], now: Instant) -> Done<ControlView> {
        Ok(first_push(&self.topology())?.edit(fields, now).await?.shown())
    }

    /// As [`Service::edit`], for a form that sends every value.
    ///
    /// # Errors
    /// As [`Service::edit`].
    pub async fn edit_by_form(&self, fields: &[Field], now: Instant) -> Done {
        Ok(first_push(&self.topology())?.edit_by_form(fields, now).await?)
    }

    /// Starts the push of the first stream.
    ///
    /// # Errors
    /// It is running, or has no destination.
    pub async fn start(&self, now: Instant) -> Done {
        Ok(first_push(&self.topology())?.start(now).await?)
    }

    /// Edits the control data by a form and starts the push of the first
    /// stream, or does neither.
    ///
    /// # Errors
    /// A field is invalid, or the push is running or has no destination.
    pub async fn go_live(&self, fields: &[Field], now: Instant) -> Done {
        Ok(first_push(&self.topology())?.go_live(fields, now).await?)
    }

    /// Stops the push of the first stream.
    ///
    /// # Errors
    /// It is not running.
    pub async fn stop(&self, now: Instant) -> Done {
        Ok(first_push(&self.topology())?.stop(now).await?)
    }

    /// Starts a push.
    ///
    /// # Errors
    /// There is none of this name, it is running, or has no destination.
    pub async fn start_push(&self, name: &str, now: Instant) -> Done<Arc<Push>> {
        let topology = self.topology();
        let push = push(&topology, name)?;
        topology.start_push(&push, now).await?;
        Ok(push)
    }

    /// Stops a push.
    ///
    /// # Errors
    /// There is none of this name, or it is not running.
    pub async fn stop_push(&self, name: &str, now: Instant) -> Done<Arc<Push>> {
        let topology = self.topology();
        let push = push(&topology, name)?;
        topology.push_gate.stop(&push, now).await?;
        Ok(push)
    }

    /// Retries a push at once.
    ///
    /// # Errors
    /// There is none of this name, or it is not waiting for a retry.
    pub async fn retry_push(&self, name: &str, now: Instant) -> Done<Arc<Push>> {
        let topology = self.topology();
        let push = push(&topology, name)?;
        topology.push_gate.retry(&push, now).await?;
        Ok(push)
    }

    /// Restarts the pipeline or the command of a stream; viewers stay.
    ///
    /// # Errors
    /// There is none of this name.
    pub async fn restart_stream(&self, name: &str) -> Done {
        let topology = self.topology();
        let known = name.parse::<StreamName>().ok();
        let missing = || OperationError::NoSuchStream(name.to_owned());
        let known = known.ok_or_else(missing)?;
        match topology.bytes.find(&known) {
            Some(stream) => stream.restart().await,
            None => topology.registry.find(&known).ok_or_else(missing)?.restart().await,
        }
        Ok(())
    }

    /// Records a stream until an operator stops it.
    ///
    /// # Errors
    /// There is none of this name, it is recorded already, or there is no folder.
    pub async fn start_recording(&self, stream: &str, now: Instant) -> Done<status::Recorded> {
        self.recordings()?.start(stream).await?;
        self.recorded(stream, now)
    }

    /// Stops the recording of a stream until an operator starts it, or its next
    /// scheduled hours begin.
    ///
    /// # Errors
    /// There is none of this name, it is not recorded, or there is no folder.
    pub async fn stop_recording(&self, stream: &str, now: Instant) -> Done<status::Recorded> {
        self.recordings()?.stop(stream).await?;
        self.recorded(stream, now)
    }

    /// Deletes a recording.
    ///
    /// # Errors
    /// It does not exist or is in use, or the disk does not answer.
    pub async fn delete_recording(&self, name: &Name) -> Done {
        Ok(self.recordings()?.delete(name).await?)
    }

    /// The recordings.
    ///
    /// # Errors
    /// There is no folder for them.
    pub fn recordings(&self) -> Done<&Arc<Recordings>> {
        self.recordings.as_ref().ok_or(OperationError::NoRecordings)
    }

    /// Reloads the configuration; returns when the new topology is in force.
    ///
    /// # Errors
    /// The configuration is invalid or cannot be read; then nothing changes.
    pub async fn reload(&self) -> Done<Changes> {
        Ok(self.reloads.request().await?)
    }

    fn recorded(&self, stream: &str, now: Instant) -> Done<status::Recorded> {
        let mut all = self.recording_status(now).streams.into_iter();
        let found = all.find(|one| one.stream.as_str() == stream);
        found.ok_or(OperationError::Recording(StartStopError::NoSuch))
    }
}

fn first_push(topology: &Topology) -> Done<&FirstPush> {
    topology.first_push.as_deref().ok_or(OperationError::NothingEncoded)
}

fn push(topology: &Topology, name: &str) -> Done<Arc<Push>> {
    topology.push(name).cloned().ok_or_else(|| OperationError::NoSuchPush(name.to_owned()))
}
