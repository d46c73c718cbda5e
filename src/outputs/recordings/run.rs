//! One run of the recording of a stream.
//!
//! A camera without frames does not end a run: its feed restarts it. Errors of
//! the disk do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ::bytes::Bytes;
use log::{info, warn};
use tokio::sync::{mpsc, watch};

use super::name::{Name, extension_for};
use crate::base::time::MediaTime;
use crate::base::time::now;
use crate::engine::plan::index_bytes;
use crate::engine::process::bytes;
use crate::engine::supervise::lifecycle::{Event, Run};
use crate::engine::supervise::runs::{Runs, Stop};
use crate::engine::supervise::supervisor::{Pipeline, RunProgress};
use crate::hub::bytes::Begin;
use crate::hub::{self, Piece, Read, Reader};
use crate::media::packager::Init;
use crate::model::failure::Failure;
use crate::model::ids::StreamName;
use crate::outputs::recordings::catalog::{Catalog, Summary};
use crate::outputs::recordings::recorder::{RecordError, Recorder};
use crate::outputs::recordings::retention::Headroom;

/// After a longer gap without frames a new file begins, so that a recording does
/// not show a still picture for hours.
const MAX_GAP: Duration = Duration::from_secs(30);

/// FAT32, which many cards and sticks have, has a limit of 4 GiB a file.
const MAX_FILE_BYTES: u64 = 4_000_000_000;

/// Interval of the checks of free space.
const SPACE_INTERVAL: Duration = Duration::from_secs(5);

/// The stream to record.
#[derive(Clone, Debug)]
pub enum Source {
    Tracks(Arc<hub::Stream>),
    Bytes(Arc<bytes::Stream>),
}

impl Source {
    /// Whether `other`, made by a reload, has the same readers.
    pub(super) fn is_continued_by(&self, other: &Self) -> bool {
        match (self, other) {
            (Source::Tracks(one), Source::Tracks(other)) => Arc::ptr_eq(one, other),
            (Source::Bytes(one), Source::Bytes(other)) => one.is_continued_by(other),
            (Source::Tracks(_), Source::Bytes(_)) | (Source::Bytes(_), Source::Tracks(_)) => false,
        }
    }
}

/// Runs the recording of one stream.
#[derive(Debug)]
pub(super) struct RecordingPipeline {
    job: Job,
    runs: Runs,
}

/// The parameters of a run.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub stream: StreamName,
    /// A reload may replace it by one with the same readers.
    pub source: watch::Receiver<Source>,
    pub catalog: Arc<Catalog>,
    pub split: watch::Receiver<Duration>,
    /// The file that is written; `None` between files.
    pub file: watch::Sender<Option<Name>>,
    pub progress: Arc<Progress>,
}

/// The progress of a run, for its watchdog.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Whether a disk operation is running.
    is_writing: AtomicBool,
    steps: AtomicU64,
}

impl RecordingPipeline {
    pub(super) fn new(job: Job) -> Self {
        Self { job, runs: Runs::default() }
    }
}

impl Pipeline for RecordingPipeline {
    fn start(&mut self, run: Run, events: mpsc::Sender<Event>) {
        let (job, sender) = (self.job.clone(), events.clone());
        self.runs.start(run, events, move |stop| job.run(run, sender, stop));
    }

    fn stop(&mut self) {
        self.runs.stop();
    }

    /// Waiting for frames counts as rest, a disk operation does not.
    fn progress(&self) -> RunProgress {
        let Progress { is_writing, steps } = &*self.job.progress;
        match is_writing.load(Ordering::Relaxed) {
            true => RunProgress::Count(steps.load(Ordering::Relaxed)),
            false => RunProgress::AtRest,
        }
    }
}

impl Job {
    async fn run(self, run: Run, events: mpsc::Sender<Event>, mut stop: Stop) -> Failure {
        let mut session = Session::new(&self, run, events);
        let ended = tokio::select! {
            failure = session.record() => Some(failure),
            () = stop.requested() => None,
        };
        let closed = session.close().await;
        ended.or(closed.err()).unwrap_or(Failure::Ended)
    }

    /// Waits for a disk operation under the watchdog.
    async fn with_disk<T>(&self, work: impl Future<Output = T>) -> T {
        self.progress.is_writing.store(true, Ordering::Relaxed);
        let done = work.await;
        self.progress.steps.fetch_add(1, Ordering::Relaxed);
        self.progress.is_writing.store(false, Ordering::Relaxed);
        done
    }

    /// Records a problem of the folder for the status, and returns the failure
    /// that ends the run.
    fn fail(&self, error: &RecordError) -> Failure {
        if let Some(problem) = error.folder_problem() {
            self.catalog.disk().note(Some(problem));
        }
        disk_failure(error)
    }

    async fn make_headroom(&self, headroom: Headroom) -> Result<(), Failure> {
        let made = self.catalog.on_disk(move |catalog| catalog.require_headroom(headroom));
        self.with_disk(made).await.unwrap_or_else(|silent| Err(Failure::Disk(silent.to_string())))
    }
}

/// The state of a run.
struct Session<'a> {
    job: &'a Job,
    run: Run,
    events: mpsc::Sender<Event>,
    init: Option<Arc<Init>>,
    /// `None` until the first frame of a file.
    open: Option<OpenFile>,
    check_space_at: Instant,
}

/// A file that is being written.
struct OpenFile {
    name: Name,
    recorder: Recorder,
    started: Instant,
    last_bytes: Instant,
    /// Of tracks only: the first frame.
    start: Option<MediaTime>,
    /// Of tracks only: the end of the last frame.
    end: MediaTime,
    /// Size of the entries of all frames in an MP4 index.
    index_bytes: u64,
    bytes: u64,
}

impl<'a> Session<'a> {
    fn new(job: &'a Job, run: Run, events: mpsc::Sender<Event>) -> Self {
        Self { job, run, events, init: None, open: None, check_space_at: now() }
    }

    async fn record(&mut self) -> Failure {
        let source = self.job.source.borrow().clone();
        let ended = match source {
            Source::Tracks(stream) => {
                let reader = stream.join();
                drop(stream);
                self.record_tracks(reader).await
            }
            Source::Bytes(stream) => self.record_bytes(stream).await,
        };
        match ended {
            Ok(never) => match never {},
            Err(failure) => failure,
        }
    }

    async fn record_tracks(
        &mut self,
        mut reader: Reader,
    ) -> Result<std::convert::Infallible, Failure> {
        self.job.make_headroom(Headroom::Start).await?;
        loop {
            let read = tokio::select! {
                read = reader.next() => Some(read),
                () = tokio::time::sleep_until(self.due_at().into()) => None,
            };
            match read {
                Some(Read::Chunk(piece)) => self.add_piece(&piece).await?,
                Some(Read::Skipped(lost)) => {
                    let stream = &self.job.stream;
                    warn!(lost; "the disk is too slow for {stream}; the recording continues at a key frame");
                }
                Some(Read::Init(init)) => {
                    self.close().await?;
                    self.init = Some(init);
                }
                // The stream was replaced or removed by a reload.
                Some(Read::End) => return Err(Failure::Ended),
                None => {}
            }
            self.tick().await?;
        }
    }

    async fn record_bytes(
        &mut self,
        stream: Arc<bytes::Stream>,
    ) -> Result<std::convert::Infallible, Failure> {
        self.job.make_headroom(Headroom::Start).await?;
        let extension = extension_for(&stream.settings().content_type);
        let mut viewer = join(&stream)?;
        drop(stream);
        loop {
            let read = tokio::select! {
                read = viewer.next() => Some(read),
                () = tokio::time::sleep_until(self.due_at().into()) => None,
            };
            match read {
                Some(Ok(bytes)) => {
                    if self.is_long_enough() {
                        // The new file starts where the container may be entered, so the
                        // last bytes are in both files.
                        self.close().await?;
                        if let Source::Bytes(stream) = &*self.job.source.borrow() {
                            viewer = join(stream)?;
                        }
                        continue;
                    }
                    self.add(extension, &[bytes]).await?;
                }
                Some(Err(cause)) => return Err(cause.unwrap_or(Failure::Ended)),
                None => {}
            }
            self.tick().await?;
        }
    }

    async fn add_piece(&mut self, piece: &Piece) -> Result<(), Failure> {
        if piece.key && self.is_long_enough() {
            self.close().await?;
        }
        let bytes = match (&self.open, &self.init) {
            (None, Some(init)) => vec![init.bytes.clone(), piece.bytes.clone()],
            (Some(_), _) | (None, None) => vec![piece.bytes.clone()],
        };
        // Each file begins with a key frame.
        if self.open.is_none() && !(piece.key && self.init.is_some()) {
            return Ok(());
        }
        self.add("mp4", &bytes).await?;
        if let Some(open) = &mut self.open {
            open.start.get_or_insert(piece.start());
            open.index_bytes += piece.units.iter().map(|unit| index_bytes(unit.track)).sum::<u64>();
            let ends = piece.units.iter().map(|unit| unit.dts + unit.duration);
            open.end = ends.max().unwrap_or(open.end).max(open.end);
        }
        Ok(())
    }

    /// Adds bytes to the file; creates one if none is open.
    async fn add(&mut self, extension: &'static str, all: &[Bytes]) -> Result<(), Failure> {
        if self.open.is_none() {
            self.open = Some(self.create(extension).await?);
            // If the channel is full, the supervisor has events of this run already.
            self.events.try_send(Event::FirstOutput(self.run)).ok();
        }
        let Some(open) = &mut self.open else { return Ok(()) };
        open.last_bytes = now();
        all.iter().for_each(|bytes| open.recorder.add(bytes));
        Ok(())
    }

    async fn create(&self, extension: &'static str) -> Result<OpenFile, Failure> {
        let Job { catalog, stream, file, .. } = self.job;
        let own = stream.clone();
        let created = catalog.on_disk(move |catalog| catalog.create(&own, extension));
        let created = self
            .job
            .with_disk(created)
            .await
            .map_err(|silent| Failure::Disk(silent.to_string()))?;
        let (name, recorder) = created.map_err(|error| self.job.fail(&error))?;
        info!("stream {stream} is recorded to {name}");
        file.send_replace(Some(name.clone()));
        let (started, last_bytes) = (now(), now());
        let (start, end) = (None, MediaTime::default());
        Ok(OpenFile { name, recorder, started, last_bytes, start, end, index_bytes: 0, bytes: 0 })
    }

    fn due_at(&self) -> Instant {
        self.open.as_ref().map_or(now() + MAX_GAP, |open| open.recorder.due_at())
    }

    fn is_long_enough(&self) -> bool {
        let split = *self.job.split.borrow();
        self.open.as_ref().is_some_and(|open| {
            now().duration_since(open.started) >= split || open.bytes >= MAX_FILE_BYTES
        })
    }

    /// Writes what is due, checks the free space, and closes a file after a gap
    /// without frames.
    async fn tick(&mut self) -> Result<(), Failure> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let flushed = self.job.with_disk(open.recorder.flush_due()).await;
        open.bytes = flushed.map_err(|error| self.job.fail(&error))?;
        self.job.catalog.set_progress(&open.name, open.bytes, open.span());
        if now().duration_since(open.last_bytes) >= MAX_GAP {
            self.close().await?;
        }
        if now() >= self.check_space_at {
            self.check_space_at = now() + SPACE_INTERVAL;
            self.job.make_headroom(Headroom::Continue).await?;
        }
        Ok(())
    }

    /// Closes the file, if one is open; it then waits to be finished.
    async fn close(&mut self) -> Result<(), Failure> {
        let Some(open) = self.open.take() else { return Ok(()) };
        self.job.file.send_replace(None);
        let (catalog, span, summary) = (&self.job.catalog, open.span(), open.summary());
        let done = self.job.with_disk(open.recorder.finish()).await;
        match &done {
            Ok(bytes) => catalog.set_progress(&open.name, *bytes, span),
            Err(error) => warn!("{}: {error}", open.name),
        }
        catalog.set_waiting(&open.name, summary);
        done.map(|_| ()).map_err(|error| self.job.fail(&error))
    }
}

impl OpenFile {
    /// The duration of its content.
    fn span(&self) -> Duration {
        match self.start {
            Some(start) => self.end.since(start),
            None => self.last_bytes.duration_since(self.started),
        }
    }

    fn summary(&self) -> Option<Summary> {
        self.start.map(|_| Summary { span: self.span(), index_bytes: self.index_bytes })
    }
}

/// A viewer of the stream that starts where its container may be entered, if that
/// is known.
fn join(stream: &bytes::Stream) -> Result<bytes::Viewer, Failure> {
    let begin = if stream.has_marks() { Begin::Key } else { Begin::Edge };
    stream.join(begin).map_err(|full| Failure::Command(full.to_string()))
}

/// The failure for an error of the disk, without the path of the file where the
/// status names the folder.
fn disk_failure(error: &RecordError) -> Failure {
    Failure::Disk(match error {
        RecordError::Many => error.to_string(),
        RecordError::Full(_) => "the disk is full. Delete files from it".to_owned(),
        RecordError::NoFolder(folder) => format!("there is no folder {}", folder.display()),
        RecordError::Exists(_) | RecordError::CodecChange(_) => error.to_string(),
        RecordError::Create { source, .. } | RecordError::Write { source, .. } => {
            format!("{error}: {source}")
        }
    })
}
