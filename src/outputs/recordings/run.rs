//! One stream on its way to files, for as long as a run lasts.
//!
//! A camera that is away only makes it wait: it is the feed's business to come
//! back. What ends a run is the disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ::bytes::Bytes;
use log::{info, warn};
use tokio::sync::{mpsc, watch};

use super::name::{Name, ending_of};
use crate::base::time::MediaTime;
use crate::base::time::now;
use crate::engine::plan::index_bytes;
use crate::engine::process::bytes;
use crate::engine::supervise::lifecycle::{Event, Run};
use crate::engine::supervise::runs::{Runs, Stop};
use crate::engine::supervise::supervisor::{Pipeline, Pulse};
use crate::hub::bytes::Begin;
use crate::hub::{self, Piece, Read, Reader};
use crate::media::packager::Init;
use crate::model::ids::StreamName;
use crate::model::status::Failure;
use crate::outputs::recordings::catalog::{Catalog, Known};
use crate::outputs::recordings::recorder::{RecordError, Recorder};
use crate::outputs::recordings::retention::Headroom;

/// A camera that is away for longer goes on in another file, so that nobody
/// watches a still picture for hours.
const GAP: Duration = Duration::from_secs(30);

/// FAT, which many cards and sticks have, holds no longer file than 4 GiB.
const LARGEST: u64 = 4_000_000_000;

/// How often the disk is asked for its headroom.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What is recorded.
#[derive(Clone, Debug)]
pub enum Source {
    Tracks(Arc<hub::Stream>),
    Bytes(Arc<bytes::Stream>),
}

impl Source {
    /// Whether readers of `self` go on in `other`, which a reload has made.
    pub(super) fn goes_on_in(&self, other: &Self) -> bool {
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

/// What one run needs.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub stream: StreamName,
    /// A reload may replace it by one that has the same readers.
    pub source: watch::Receiver<Source>,
    pub catalog: Arc<Catalog>,
    pub split: watch::Receiver<Duration>,
    /// The file that is being written.
    pub file: watch::Sender<Option<Name>>,
    pub progress: Arc<Progress>,
}

/// How far a run is.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Whether the disk has something to do.
    is_writing: AtomicBool,
    steps: AtomicU64,
}

impl RecordingPipeline {
    pub(super) fn new(job: Job) -> Self {
        Self { job, runs: Runs::default() }
    }
}

impl Pipeline for RecordingPipeline {
    fn start(&mut self, run: Run, news: mpsc::Sender<Event>) {
        let (job, tell) = (self.job.clone(), news.clone());
        self.runs.start(run, news, move |stop| job.run(run, tell, stop));
    }

    fn stop(&mut self) {
        self.runs.stop();
    }

    /// Whoever waits for a camera is at rest; a disk that hangs is not.
    fn pulse(&self) -> Pulse {
        let Progress { is_writing, steps } = &*self.job.progress;
        match is_writing.load(Ordering::Relaxed) {
            true => Pulse::Count(steps.load(Ordering::Relaxed)),
            false => Pulse::AtRest,
        }
    }
}

impl Job {
    async fn run(self, run: Run, tell: mpsc::Sender<Event>, mut stop: Stop) -> Failure {
        let mut session = Session::new(&self, run, tell);
        let ended = tokio::select! {
            failure = session.go_on() => Some(failure),
            () = stop.requested() => None,
        };
        let closed = session.close().await;
        ended.or(closed.err()).unwrap_or(Failure::Ended)
    }

    /// Does something with the disk, which is noticed if that hangs.
    async fn with_disk<T>(&self, work: impl Future<Output = T>) -> T {
        self.progress.is_writing.store(true, Ordering::Relaxed);
        let done = work.await;
        self.progress.steps.fetch_add(1, Ordering::Relaxed);
        self.progress.is_writing.store(false, Ordering::Relaxed);
        done
    }

    /// What ends a run because of the disk; the status has it as well.
    fn failed(&self, error: &RecordError) -> Failure {
        if let Some(trouble) = error.of_folder() {
            self.catalog.disk().note(Some(trouble));
        }
        told(error)
    }

    async fn make_room(&self, headroom: Headroom) -> Result<(), Failure> {
        let made = self.catalog.on_disk(move |catalog| catalog.need_room(headroom));
        self.with_disk(made).await.unwrap_or_else(|silent| Err(Failure::Disk(silent.to_string())))
    }
}

/// One run: a reader, and the file that it fills, once there is something.
struct Session<'a> {
    job: &'a Job,
    run: Run,
    tell: mpsc::Sender<Event>,
    init: Option<Arc<Init>>,
    open: Option<Open>,
    look_at: Instant,
}

/// A file that is being written.
struct Open {
    name: Name,
    recorder: Recorder,
    begun: Instant,
    came: Instant,
    /// Of tracks: from the first frame to the end of the last, and what they take in an index.
    from: Option<MediaTime>,
    to: MediaTime,
    index_bytes: u64,
    bytes: u64,
}

impl<'a> Session<'a> {
    fn new(job: &'a Job, run: Run, tell: mpsc::Sender<Event>) -> Self {
        Self { job, run, tell, init: None, open: None, look_at: now() }
    }

    async fn go_on(&mut self) -> Failure {
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
        self.job.make_room(Headroom::Begin).await?;
        loop {
            let read = tokio::select! {
                read = reader.next() => Some(read),
                () = tokio::time::sleep_until(self.due_at().into()) => None,
            };
            match read {
                Some(Read::Chunk(piece)) => self.take(&piece).await?,
                Some(Read::Skipped(lost)) => {
                    let stream = &self.job.stream;
                    warn!(lost; "the disk cannot keep up with {stream}; the recording goes on at a key frame");
                }
                Some(Read::Init(init)) => {
                    self.close().await?;
                    self.init = Some(init);
                }
                // Another stream of its name takes its place, or none.
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
        self.job.make_room(Headroom::Begin).await?;
        let ending = ending_of(&stream.settings().content_type);
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
                        // The container begins anew; what came meanwhile is in both files.
                        self.close().await?;
                        if let Source::Bytes(stream) = &*self.job.source.borrow() {
                            viewer = join(stream)?;
                        }
                        continue;
                    }
                    self.add(ending, &[bytes]).await?;
                }
                Some(Err(cause)) => return Err(cause.unwrap_or(Failure::Ended)),
                None => {}
            }
            self.tick().await?;
        }
    }

    async fn take(&mut self, piece: &Piece) -> Result<(), Failure> {
        if piece.key && self.is_long_enough() {
            self.close().await?;
        }
        let bytes = match (&self.open, &self.init) {
            (None, Some(init)) => vec![init.bytes.clone(), piece.bytes.clone()],
            (Some(_), _) | (None, None) => vec![piece.bytes.clone()],
        };
        // A file begins with a key frame, also after a camera was away.
        if self.open.is_none() && !(piece.key && self.init.is_some()) {
            return Ok(());
        }
        self.add("mp4", &bytes).await?;
        if let Some(open) = &mut self.open {
            open.from.get_or_insert(piece.start());
            open.index_bytes += piece.units.iter().map(|unit| index_bytes(unit.track)).sum::<u64>();
            let ends = piece.units.iter().map(|unit| unit.dts + unit.duration);
            open.to = ends.max().unwrap_or(open.to).max(open.to);
        }
        Ok(())
    }

    /// Adds to the file, which is made if there is none.
    async fn add(&mut self, ending: &'static str, all: &[Bytes]) -> Result<(), Failure> {
        if self.open.is_none() {
            self.open = Some(self.create(ending).await?);
            // A full channel means that the supervisor hears of this run already.
            self.tell.try_send(Event::FirstSign(self.run)).ok();
        }
        let Some(open) = &mut self.open else { return Ok(()) };
        open.came = now();
        all.iter().for_each(|bytes| open.recorder.add(bytes));
        Ok(())
    }

    async fn create(&self, ending: &'static str) -> Result<Open, Failure> {
        let Job { catalog, stream, file, .. } = self.job;
        let own = stream.clone();
        let made = catalog.on_disk(move |catalog| catalog.create(&own, ending));
        let made =
            self.job.with_disk(made).await.map_err(|hung| Failure::Disk(hung.to_string()))?;
        let (name, recorder) = made.map_err(|error| self.job.failed(&error))?;
        info!("stream {stream} is recorded to {name}");
        file.send_replace(Some(name.clone()));
        let (begun, came) = (now(), now());
        let (from, to) = (None, MediaTime::default());
        Ok(Open { name, recorder, begun, came, from, to, index_bytes: 0, bytes: 0 })
    }

    fn due_at(&self) -> Instant {
        self.open.as_ref().map_or(now() + GAP, |open| open.recorder.due_at())
    }

    fn is_long_enough(&self) -> bool {
        let split = *self.job.split.borrow();
        self.open
            .as_ref()
            .is_some_and(|open| now().duration_since(open.begun) >= split || open.bytes >= LARGEST)
    }

    /// Writes what is due, looks after the disk, and ends a file that waits too
    /// long for its camera.
    async fn tick(&mut self) -> Result<(), Failure> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let put = self.job.with_disk(open.recorder.put_due()).await;
        open.bytes = put.map_err(|error| self.job.failed(&error))?;
        self.job.catalog.grown(&open.name, open.bytes, open.span());
        if now().duration_since(open.came) >= GAP {
            self.close().await?;
        }
        if now() >= self.look_at {
            self.look_at = now() + LOOK_EVERY;
            self.job.make_room(Headroom::Going).await?;
        }
        Ok(())
    }

    /// Ends the file, if there is one; it is then to be finished.
    async fn close(&mut self) -> Result<(), Failure> {
        let Some(open) = self.open.take() else { return Ok(()) };
        self.job.file.send_replace(None);
        let (catalog, span, known) = (&self.job.catalog, open.span(), open.known());
        let done = self.job.with_disk(open.recorder.finish()).await;
        match &done {
            Ok(bytes) => catalog.grown(&open.name, *bytes, span),
            Err(error) => warn!("{}: {error}", open.name),
        }
        catalog.ended(&open.name, known);
        done.map(|_| ()).map_err(|error| self.job.failed(&error))
    }
}

impl Open {
    /// How much it holds.
    fn span(&self) -> Duration {
        match self.from {
            Some(from) => self.to.since(from),
            None => self.came.duration_since(self.begun),
        }
    }

    fn known(&self) -> Option<Known> {
        self.from.map(|_| Known { span: self.span(), index_bytes: self.index_bytes })
    }
}

/// A viewer of the stream, from where its bytes can be understood.
fn join(stream: &bytes::Stream) -> Result<bytes::Viewer, Failure> {
    let begin = if stream.has_marks() { Begin::Key } else { Begin::Edge };
    stream.join(begin).map_err(|full| Failure::Command(full.to_string()))
}

/// What people are told, without the path: the folder is named elsewhere.
fn told(error: &RecordError) -> Failure {
    Failure::Disk(match error {
        RecordError::Many => error.to_string(),
        RecordError::Full(_) => "the disk is full".to_owned(),
        RecordError::NoFolder(folder) => format!("there is no folder {}", folder.display()),
        RecordError::Exists(_) | RecordError::CodecChange(_) => error.to_string(),
        RecordError::Create { source, .. } | RecordError::Write { source, .. } => {
            format!("{error}: {source}")
        }
    })
}
