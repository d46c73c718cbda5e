//! Recordings of streams: by hand, by hours of the week, or always.
//!
//! A recording is a reader like any other: it keeps its feed running and never
//! makes it wait. What is recorded is written as it comes (`recorder`), put in
//! order afterwards (`finish`), and kept as long as there is headroom (`keep`).

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
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use log::info;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::base::backoff::Backoff;
use crate::base::disk::{Disk, DiskFile, Silent};
use crate::base::shutdown::Shutdown;
use crate::base::time;
use crate::config::settings::{self, Mode, Record};
use crate::engine::supervise::demand::Demand;
use crate::engine::supervise::lifecycle::{Lifecycle, Limits};
use crate::engine::supervise::supervisor::Supervisor;
use crate::model::ids::StreamName;
use crate::model::recording::ManualOverride;
use crate::model::status;
use crate::store::state_file::StateFile;

pub use catalog::{Entry, NotDeleted, State};
pub use name::Name;
pub use run::Source;

use catalog::{Catalog, Sums};
use run::{Job, Progress, RecordingPipeline};

/// A disk may be busy for long: cards clean up after themselves.
const LIMITS: Limits = Limits {
    start_timeout: Duration::from_secs(30),
    stall_timeout: Duration::from_secs(30),
    stop_timeout: Duration::from_secs(5),
    backoff: Backoff::PUSH,
    spread: 0.0,
};

/// How often plans are asked.
const PLAN_EVERY: Duration = Duration::from_secs(1);

/// A stream that can be recorded.
#[derive(Clone, Debug)]
pub struct Recordable {
    pub name: StreamName,
    pub plan: Record,
    pub source: Source,
}

/// All recordings of this box.
#[derive(Debug)]
pub struct Recordings {
    catalog: Arc<Catalog>,
    state_file: Arc<StateFile>,
    split: watch::Sender<Duration>,
    takers: Mutex<Vec<Arc<RecordingTask>>>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

/// The recording of one stream.
#[derive(Debug)]
struct RecordingTask {
    name: StreamName,
    plan: Record,
    source: watch::Sender<Source>,
    manual: Mutex<ManualOverride>,
    wanted: watch::Sender<usize>,
    file: watch::Receiver<Option<Name>>,
    supervisor: Supervisor,
}

/// Why a recording is neither started nor stopped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotSteered {
    #[error("No stream is called so")]
    NoSuch,
    #[error("Cannot start: it is recorded already")]
    Started,
    #[error("Cannot stop: it is not recorded")]
    Stopped,
}

impl Recordings {
    /// Begins to look after the recordings in `folder`; must be called on a
    /// runtime. Nothing is recorded before [`Recordings::follow`].
    ///
    /// # Errors
    /// The folder is not there or may not be written. One that does not answer is no error.
    pub async fn open(
        settings: &settings::Recordings,
        folder: PathBuf,
        state_file: Arc<StateFile>,
        shutdown: Shutdown,
    ) -> std::io::Result<Arc<Self>> {
        let catalog = Arc::new(Catalog::open(folder, settings.keep).await?);
        let looks = tokio::spawn(finish::look_after(Arc::clone(&catalog), shutdown.clone()));
        let recordings = Arc::new(Self {
            catalog,
            state_file,
            split: watch::Sender::new(settings.split),
            takers: Mutex::default(),
            tasks: Mutex::new(vec![looks]),
        });
        let plans = tokio::spawn(ask_plans(Arc::downgrade(&recordings), shutdown));
        recordings.tasks().push(plans);
        Ok(recordings)
    }

    /// Records these streams from now on. What is the same as before goes on;
    /// the recordings of streams that are gone end.
    pub async fn follow(&self, settings: &settings::Recordings, streams: Vec<Recordable>) {
        self.catalog.set_keep(settings.keep);
        self.split.send_replace(settings.split);
        let before = self.all();
        let mut takers = Vec::new();
        for stream in streams {
            let same = before.iter().find(|taker| {
                taker.name == stream.name
                    && taker.plan == stream.plan
                    && taker.source.borrow().goes_on_in(&stream.source)
            });
            match same {
                Some(taker) => {
                    taker.source.send_replace(stream.source);
                    takers.push(Arc::clone(taker));
                }
                None => {
                    let manual = manual::saved(&self.state_file, &stream.name, &stream.plan).await;
                    takers.push(self.spawn(stream, manual));
                }
            }
        }
        *self.takers() = takers;
        self.ask_plans();
    }

    fn spawn(&self, stream: Recordable, manual: ManualOverride) -> Arc<RecordingTask> {
        let Recordable { name, plan, source } = stream;
        let (wanted, (tell, file)) = (watch::Sender::new(0), watch::channel(None));
        let source = watch::Sender::new(source);
        let job = Job {
            stream: name.clone(),
            source: source.subscribe(),
            catalog: Arc::clone(&self.catalog),
            split: self.split.subscribe(),
            file: tell,
            progress: Arc::new(Progress::default()),
        };
        let (supervisor, task) = Supervisor::spawn(
            format!("recording of {name}"),
            RecordingPipeline::new(job),
            Lifecycle::new(LIMITS),
            Demand::new(Mode::Linger(Duration::ZERO)),
            wanted.subscribe(),
        );
        let mut tasks = self.tasks();
        tasks.retain(|task| !task.is_finished());
        tasks.push(task);
        Arc::new(RecordingTask {
            name,
            plan,
            source,
            manual: Mutex::new(manual),
            wanted,
            file,
            supervisor,
        })
    }

    /// Records the stream until somebody stops it, also over a restart; as
    /// planned, where the plan records it anyway.
    ///
    /// # Errors
    /// There is no such stream, or it is recorded already.
    pub async fn start(&self, stream: &str) -> Result<(), NotSteered> {
        let taker = self.taker(stream).ok_or(NotSteered::NoSuch)?;
        let now = time::local();
        if taker.manual().is_on(&taker.plan, &now) {
            return Err(NotSteered::Started);
        }
        self.override_plan(&taker, ManualOverride::start(&taker.plan, &now)).await;
        Ok(())
    }

    /// Ends the recording of the stream until somebody starts it or its next
    /// hours come.
    ///
    /// # Errors
    /// There is no such stream, or it is not recorded.
    pub async fn stop(&self, stream: &str) -> Result<(), NotSteered> {
        let taker = self.taker(stream).ok_or(NotSteered::NoSuch)?;
        let now = time::local();
        if !taker.manual().is_on(&taker.plan, &now) {
            return Err(NotSteered::Stopped);
        }
        self.override_plan(&taker, ManualOverride::stop(&taker.plan, &now)).await;
        Ok(())
    }

    async fn override_plan(&self, taker: &RecordingTask, manual: ManualOverride) {
        *taker.lock() = manual;
        self.ask_plans();
        let word = if *taker.wanted.borrow() > 0 { "started" } else { "stopped" };
        info!("the recording of {} is {word} by hand", taker.name);
        manual::save(&self.state_file, &taker.name, &taker.plan, manual).await;
    }

    /// Up to `limit` recordings before `before` of streams that may be shown,
    /// the newest first.
    pub fn list(
        &self,
        before: Option<&Name>,
        limit: usize,
        may_show: impl Fn(&StreamName) -> bool,
    ) -> Vec<(Name, Entry)> {
        self.catalog.list(before, limit, may_show)
    }

    /// The file of a recording, to be served, and what the disk says of it. One that grows is served up to
    /// where it is.
    ///
    /// # Errors
    /// The disk does not answer.
    pub async fn file(&self, name: &Name) -> Result<Option<(DiskFile, Metadata)>, Silent> {
        let name = name.clone();
        self.catalog.soon_on_disk(move |catalog| catalog.serve(&name)).await
    }

    /// Deletes a recording.
    ///
    /// # Errors
    /// It is not there or in use, or the disk does not answer.
    pub async fn delete(&self, name: &Name) -> Result<(), NotDeleted> {
        let own = name.clone();
        let deleted = self.catalog.soon_on_disk(move |catalog| catalog.delete(&own)).await;
        deleted.unwrap_or(Err(NotDeleted::Silent)).inspect(|()| info!("{name} is deleted by hand"))
    }

    pub fn status(&self, now: Instant) -> status::Recordings {
        let Sums { usage, free, last_error } = self.catalog.sums();
        let streams = self.all().iter().map(|taker| taker.status(now)).collect();
        status::Recordings { streams, usage, free, last_error }
    }

    /// Their folder.
    pub fn disk(&self) -> &Disk {
        self.catalog.disk()
    }

    pub fn supervisors(&self) -> Vec<Supervisor> {
        self.all().iter().map(|taker| taker.supervisor.clone()).collect()
    }

    /// Lets go of all streams, and waits until their files are on the disk.
    pub async fn end(&self) {
        self.takers().clear();
        let tasks = std::mem::take(&mut *self.tasks());
        for task in tasks {
            task.await.ok();
        }
    }

    fn taker(&self, stream: &str) -> Option<Arc<RecordingTask>> {
        self.takers().iter().find(|taker| taker.name.as_str() == stream).cloned()
    }

    fn ask_plans(&self) {
        let now = time::local();
        for taker in self.all() {
            let is_on = taker.manual().is_on(&taker.plan, &now);
            taker.wanted.send_if_modified(|count| {
                let before = std::mem::replace(count, usize::from(is_on));
                before != *count
            });
        }
    }

    fn all(&self) -> Vec<Arc<RecordingTask>> {
        self.takers().clone()
    }

    fn takers(&self) -> MutexGuard<'_, Vec<Arc<RecordingTask>>> {
        self.takers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tasks(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RecordingTask {
    fn manual(&self) -> ManualOverride {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, ManualOverride> {
        self.manual.lock().unwrap_or_else(PoisonError::into_inner)
    }

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

/// Starts and stops what is planned, until the service ends.
async fn ask_plans(recordings: std::sync::Weak<Recordings>, mut shutdown: Shutdown) {
    let mut asks = tokio::time::interval(PLAN_EVERY);
    asks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = asks.tick() => {}
            () = shutdown.requested() => return,
        }
        let Some(recordings) = recordings.upgrade() else { return };
        recordings.ask_plans();
    }
}
