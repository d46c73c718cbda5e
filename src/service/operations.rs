//! What an operator may do, each once: the API, the forms of the dashboard and
//! whatever else controls the box call these.
//!
//! Whether the caller is an operator is decided before (`http/access`).

use std::sync::Arc;
use std::time::Instant;

use super::Service;
use super::control::{Field, Refused, Shown};
use super::livebox::{Activity, BoxError, Livebox};
use super::reloads::{self, Changes};
use super::topology::Topology;
use crate::model::ids::StreamName;
use crate::model::status;
use crate::outputs::push::Push;
use crate::outputs::recordings::{DeleteError, Name, Recordings, StartStopError};

/// Why an operation is refused. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum OperationError {
    #[error("There is no push {0:?}")]
    NoSuchPush(String),
    #[error("There is no stream {0:?}")]
    NoSuchStream(String),
    #[error("There is nothing to control: no stream of this box is encoded by it")]
    NothingEncoded,
    #[error(
        "Nothing can be recorded: there is no folder that livebox may write to; recordings.folder \
         in the configuration names one"
    )]
    NoRecordings,
    #[error(transparent)]
    Box(#[from] BoxError),
    #[error(transparent)]
    Recording(#[from] StartStopError),
    #[error(transparent)]
    Deletion(#[from] DeleteError),
    #[error("Not reloaded: {0}")]
    Reload(#[from] reloads::Refused),
}

impl From<Refused> for OperationError {
    fn from(refused: Refused) -> Self {
        Self::Box(refused.into())
    }
}

impl OperationError {
    /// What is wrong with the configuration, one by one.
    pub fn problems(&self) -> &[String] {
        if let Self::Reload(refused) = self { &refused.problems } else { &[] }
    }
}

type Done<T = ()> = Result<T, OperationError>;

impl Service {
    /// What the livebox API calls the state of the box.
    pub fn activity(&self, now: Instant) -> Activity {
        let topology = self.topology();
        topology.livebox.as_ref().map_or(Activity::Idle, |livebox| livebox.activity(now))
    }

    /// The control data, the key masked.
    ///
    /// # Errors
    /// The box encodes nothing.
    pub async fn control(&self) -> Done<Shown> {
        Ok(livebox(&self.topology())?.control().await.shown())
    }

    /// Edits the control data for the next start.
    ///
    /// # Errors
    /// A field is refused, or the box is streaming.
    pub async fn edit(&self, fields: &[Field], now: Instant) -> Done<Shown> {
        Ok(livebox(&self.topology())?.edit(fields, now).await?.shown())
    }

    /// As [`Service::edit`], by a form that sends every value.
    ///
    /// # Errors
    /// Likewise.
    pub async fn edit_by_form(&self, fields: &[Field], now: Instant) -> Done {
        Ok(livebox(&self.topology())?.edit_by_form(fields, now).await?)
    }

    /// Starts the push of the first stream.
    ///
    /// # Errors
    /// It runs already, or has no destination.
    pub async fn start(&self, now: Instant) -> Done {
        Ok(livebox(&self.topology())?.start(now).await?)
    }

    /// Edits the control data by a form and starts the push of the first
    /// stream, or does neither.
    ///
    /// # Errors
    /// A field is refused, or the push runs already or has no destination.
    pub async fn go_live(&self, fields: &[Field], now: Instant) -> Done {
        Ok(livebox(&self.topology())?.go_live(fields, now).await?)
    }

    /// Stops the push of the first stream.
    ///
    /// # Errors
    /// It does not run.
    pub async fn stop(&self, now: Instant) -> Done {
        Ok(livebox(&self.topology())?.stop(now).await?)
    }

    /// Starts a push.
    ///
    /// # Errors
    /// There is none of this name, it runs already, or has no destination.
    pub async fn start_push(&self, name: &str, now: Instant) -> Done<Arc<Push>> {
        let topology = self.topology();
        let push = push(&topology, name)?;
        livebox(&topology)?.start_push(&push, now).await?;
        Ok(push)
    }

    /// Stops a push.
    ///
    /// # Errors
    /// There is none of this name, or it does not run.
    pub async fn stop_push(&self, name: &str, now: Instant) -> Done<Arc<Push>> {
        let topology = self.topology();
        let push = push(&topology, name)?;
        livebox(&topology)?.stop_push(&push, now).await?;
        Ok(push)
    }

    /// Ends the wait of a push between two attempts.
    ///
    /// # Errors
    /// There is none of this name, or it does not wait.
    pub async fn retry_push(&self, name: &str, now: Instant) -> Done<Arc<Push>> {
        let topology = self.topology();
        let push = push(&topology, name)?;
        livebox(&topology)?.try_push_now(&push, now).await?;
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

    /// Ends the recording of a stream until it is started, or its next hours come.
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
    /// It is not there or in use, or the disk does not answer.
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

    /// Reads the configuration again; returns when that is done.
    ///
    /// # Errors
    /// It is not used; says why.
    pub async fn reload(&self) -> Done<Changes> {
        Ok(self.reloads.ask().await?)
    }

    fn recorded(&self, stream: &str, now: Instant) -> Done<status::Recorded> {
        let mut all = self.recording_status(now).streams.into_iter();
        let found = all.find(|one| one.stream.as_str() == stream);
        found.ok_or(OperationError::Recording(StartStopError::NoSuch))
    }
}

fn livebox(topology: &Topology) -> Done<&Livebox> {
    topology.livebox.as_deref().ok_or(OperationError::NothingEncoded)
}

fn push(topology: &Topology, name: &str) -> Done<Arc<Push>> {
    topology.push(name).cloned().ok_or_else(|| OperationError::NoSuchPush(name.to_owned()))
}
