//! Recordings of streams: by hand, by hours of the week, or always.
//!
//! A recording is a reader like any other: it keeps its feed running and never
//! blocks it. Frames are written as they arrive (`recorder`), the file is
//! remuxed afterwards (`finish`), and deleted when the limits require it
//! (`retention`).

mod catalog;
mod clock;
mod finish;
mod index;
mod manual;
mod name;
pub mod recorder;
mod retention;
mod run;

use std::fs::Metadata;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::info;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::base::backoff::Backoff;
use crate::base::disk::{Disk, DiskFile, Silent};
use crate::base::lock::Lock;
use crate::base::shutdown::Shutdown;
use crate::base::time;
use crate::config::settings::{self, Mode, Record};
use crate::engine::supervise::demand::Demand;
use crate::engine::supervise::lifecycle::{Lifecycle, Limits};
use crate::engine::supervise::supervisor::Supervisor;
use crate::model::failure::Failure;
use crate::model::ids::StreamName;
use crate::model::recording::ManualOverride;
use crate::model::status;
use crate::store::state_file::StateFile;

pub use catalog::{DeleteError, Entry, State};
pub use name::Name;
pub use run::Source;

use catalog::{Catalog, Totals};
use run::{Job, Progress, RecordingPipeline};

/// SD cards may block for many seconds while they collect garbage.
const LIMITS: Limits = Limits {
    start_timeout: Duration::from_secs(30),
    stall_timeout: Duration::from_secs(30),
    stop_timeout: Duration::from_secs(5),
    backoff: Backoff::PUSH,
    spread: 0.0,
    stuck: Failure::no_frames,
};

/// How often the plans are applied.
const PLAN_INTERVAL: Duration = Duration::from_secs(1);

/// A stream that can be recorded.
#[derive(Clone, Debug)]
pub struct Recordable {
    pub name: StreamName,
    pub plan: Record,
    pub source: Source,
}

/// All recordings of the service.
#[derive(Debug)]
pub struct Recordings {
    catalog: Arc<Catalog>,
    state_file: Arc<StateFile>,
    split: watch::Sender<Duration>,
    recordings: Lock<Vec<Arc<RecordingTask>>>,
    tasks: Lock<Vec<JoinHandle<()>>>,
}

/// The recording of one stream.
#[derive(Debug)]
struct RecordingTask {
    name: StreamName,
    plan: Record,
    source: watch::Sender<Source>,
    manual: Lock<ManualOverride>,
    wanted: watch::Sender<usize>,
    file: watch::Receiver<Option<Name>>,
    supervisor: Supervisor,
}

/// Why a recording cannot be started or stopped by hand.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartStopError {
    #[error("There is no such stream")]
    NoSuch,
    #[error("Cannot start: the stream is recorded already")]
    Started,
    #[error("Cannot stop: the stream is not recorded")]
    Stopped,
}

impl Recordings {
    /// Opens `folder` and starts the tasks that maintain it; must be called on a
    /// runtime. Nothing is recorded before [`Recordings::apply`].
    ///
    /// # Errors
    /// The folder does not exist or is not writable. A disk that does not answer
    /// is no error.
    pub async fn open(
        settings: &settings::Recordings,
        folder: PathBuf,
        state_file: Arc<StateFile>,
        shutdown: Shutdown,
    ) -> std::io::Result<Arc<Self>> {
        let catalog = Arc::new(Catalog::open(folder, settings.keep).await?);
        let maintenance = tokio::spawn(finish::maintain(Arc::clone(&catalog), shutdown.clone()));
        let recordings = Arc::new(Self {
            catalog,
            state_file,
            split: watch::Sender::new(settings.split),
            recordings: Lock::default(),
            tasks: Lock::new(vec![maintenance]),
        });
        let plans = tokio::spawn(apply_plans(Arc::downgrade(&recordings), shutdown));
        recordings.tasks.lock().push(plans);
        Ok(recordings)
    }

    /// Replaces the recorded streams. Recordings of unchanged streams continue;
    /// those of removed streams end.
    pub async fn apply(&self, settings: &settings::Recordings, streams: Vec<Recordable>) {
        self.catalog.set_keep(settings.keep);
        self.split.send_replace(settings.split);
        let before = self.all();
        let mut recordings = Vec::new();
        for stream in streams {
            let same = before.iter().find(|recording| {
                recording.name == stream.name
                    && recording.plan == stream.plan
                    && recording.source.borrow().is_continued_by(&stream.source)
            });
            match same {
                Some(recording) => {
                    recording.source.send_replace(stream.source);
                    recordings.push(Arc::clone(recording));
                }
                None => {
                    let manual = manual::saved(&self.state_file, &stream.name, &stream.plan).await;
                    recordings.push(self.spawn(stream, manual));
                }
            }
        }
        *self.recordings.lock() = recordings;
        self.apply_plans();
    }

    fn spawn(&self, stream: Recordable, manual: ManualOverride) -> Arc<RecordingTask> {
        let Recordable { name, plan, source } = stream;
        let (wanted, (file_sender, file)) = (watch::Sender::new(0), watch::channel(None));
        let source = watch::Sender::new(source);
        let job = Job {
            stream: name.clone(),
            source: source.subscribe(),
            catalog: Arc::clone(&self.catalog),
            split: self.split.subscribe(),
            file: file_sender,
            progress: Arc::new(Progress::default()),
        };
        let (supervisor, task) = Supervisor::spawn(
            format!("recording of {name}"),
            Box::new(RecordingPipeline::new(job)),
            Lifecycle::new(LIMITS),
            Demand::new(Mode::Linger(Duration::ZERO)),
            wanted.subscribe(),
        );
        let mut tasks = self.tasks.lock();
        tasks.retain(|task| !task.is_finished());
        tasks.push(task);
        Arc::new(RecordingTask {
            name,
            plan,
            source,
            manual: Lock::new(manual),
            wanted,
            file,
            supervisor,
        })
    }

    /// Records the stream until it is stopped by hand, also after a restart of the
    /// service. If the plan records it at this time, the plan applies again.
    ///
    /// # Errors
    /// There is no such stream, or it is recorded already.
    pub async fn start(&self, stream: &str) -> Result<(), StartStopError> {
        let recording = self.find(stream).ok_or(StartStopError::NoSuch)?;
        let now = time::local();
        if recording.manual.lock().is_on(&recording.plan, &now) {
            return Err(StartStopError::Started);
        }
        self.override_plan(&recording, ManualOverride::start(&recording.plan, &now)).await;
        Ok(())
    }

    /// Ends the recording of the stream until it is started by hand or its next
    /// planned hours begin.
    ///
    /// # Errors
    /// There is no such stream, or it is not recorded.
    pub async fn stop(&self, stream: &str) -> Result<(), StartStopError> {
        let recording = self.find(stream).ok_or(StartStopError::NoSuch)?;
        let now = time::local();
        if !recording.manual.lock().is_on(&recording.plan, &now) {
            return Err(StartStopError::Stopped);
        }
        self.override_plan(&recording, ManualOverride::stop(&recording.plan, &now)).await;
        Ok(())
    }

    async fn override_plan(&self, recording: &RecordingTask, manual: ManualOverride) {
        *recording.manual.lock() = manual;
        self.apply_plans();
        let word = if *recording.wanted.borrow() > 0 { "started" } else { "stopped" };
        info!("the recording of {} is {word} by hand", recording.name);
        manual::save(&self.state_file, &recording.name, &recording.plan, manual).await;
    }

    /// Up to `limit` recordings older than `before` of the streams for which
    /// `may_show` is true, the newest first.
    pub fn list(
        &self,
        before: Option<&Name>,
        limit: usize,
        may_show: impl Fn(&StreamName) -> bool,
    ) -> Vec<(Name, Entry)> {
        self.catalog.list(before, limit, may_show)
    }

    /// The file of a recording and its metadata; `None` if there is no such
    /// recording. A running recording has its current length.
    ///
    /// # Errors
    /// The disk does not answer in time.
    pub async fn file(&self, name: &Name) -> Result<Option<(DiskFile, Metadata)>, Silent> {
        let name = name.clone();
        self.catalog.on_disk_in_time(move |catalog| catalog.open_file(&name)).await
    }

    /// Deletes a recording.
    ///
    /// # Errors
    /// It does not exist or is in use, the disk reports an error, or does not
    /// answer in time; in the last case it is deleted later.
    pub async fn delete(&self, name: &Name) -> Result<(), DeleteError> {
        let own = name.clone();
        let deleted = self.catalog.on_disk_in_time(move |catalog| catalog.delete(&own)).await;
        deleted.unwrap_or(Err(DeleteError::Silent)).inspect(|()| info!("{name} is deleted by hand"))
    }

    pub fn status(&self, now: Instant) -> status::Recordings {
        let Totals { usage, free, last_error } = self.catalog.totals();
        let streams = self.all().iter().map(|recording| recording.status(now)).collect();
        status::Recordings { streams, usage, free, last_error }
    }

    /// The disk of the folder.
    pub fn disk(&self) -> &Disk {
        self.catalog.disk()
    }

    pub fn supervisors(&self) -> Vec<Supervisor> {
        self.all().iter().map(|recording| recording.supervisor.clone()).collect()
    }

    /// Ends all recordings; returns when their files are on the disk.
    pub async fn end(&self) {
        self.recordings.lock().clear();
        let tasks = std::mem::take(&mut *self.tasks.lock());
        for task in tasks {
            task.await.ok();
        }
    }

    fn find(&self, stream: &str) -> Option<Arc<RecordingTask>> {
        self.recordings.lock().iter().find(|recording| recording.name.as_str() == stream).cloned()
    }

    fn apply_plans(&self) {
        let now = time::local();
        for recording in self.all() {
            let is_on = recording.manual.lock().is_on(&recording.plan, &now);
            recording.wanted.send_if_modified(|count| {
                let before = std::mem::replace(count, usize::from(is_on));
                before != *count
            });
        }
    }

    fn all(&self) -> Vec<Arc<RecordingTask>> {
        self.recordings.lock().clone()
    }
}

impl RecordingTask {
    fn status(&self, now: Instant) -> status::Recorded {
        let report = self.supervisor.report();
        status::Recorded {
            stream: self.name.clone(),
            plan: self.plan.to_string(),
            wanted: *self.wanted.borrow() > 0,
            state: report.state(now),
            file: self.file.borrow().as_ref().map(ToString::to_string),
            last_failure: report.last_failure,
        }
    }
}

/// Starts and stops recordings by their plans, until `shutdown`.
async fn apply_plans(recordings: std::sync::Weak<Recordings>, mut shutdown: Shutdown) {
    let mut ticks = tokio::time::interval(PLAN_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = shutdown.requested() => return,
        }
        let Some(recordings) = recordings.upgrade() else { return };
        recordings.apply_plans();
    }
}
