//! Byte feeds and byte streams, with their supervisors.
//!
//! A feed runs once for all of its readers. A stream is the bytes of its feed, or the
//! output of a command: one process for all viewers, or one for each.

pub(in crate::engine) mod run;
mod shot;
mod status;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use log::debug;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinHandle;

use run::{BytesParts, Origin, run_for_one};

pub use self::shot::ShotError;
use super::command::Program;
use super::command_log::CommandLog;
use super::factory::PipelineFactory;
use crate::base::backoff::Backoff;
use crate::base::time::now;
use crate::config::diff::{Diff, container_of};
use crate::config::settings::{ByteFeed, ByteSource, ByteStream, Client, Mode, Settings};
use crate::engine::supervise::demand::Demand;
use crate::engine::supervise::lifecycle::{Lifecycle, Limits};
use crate::engine::supervise::supervisor::Supervisor;
use crate::engine::supervise::unit::Unit;
use crate::hub::bytes::{Begin, ByteRing, Need, Read, Reader};
use crate::media::container::Container;
use crate::model::failure::Failure;
use crate::model::ids::{FeedName, StreamName};
use crate::model::status::State;

/// Limits of commands, while they have input. Encoders probe their input for seconds
/// before the first output.
const LIMITS: Limits = Limits {
    start_timeout: Duration::from_secs(10),
    stall_timeout: Duration::from_secs(10),
    stop_timeout: Duration::from_secs(5),
    backoff: Backoff::FEED,
    spread: 0.0,
    stuck: Failure::no_frames,
};

/// How long output of a command may follow after its feed went down.
const LAST_BYTES_TIMEOUT: Duration = Duration::from_secs(1);

/// Limits of all byte rings together, and of each.
const MAX_RINGS_BYTES: usize = 32 << 20;
const MAX_RING_BYTES: usize = 4 << 20;

/// How many viewers of one stream may have a process of their own.
const MAX_VIEWER_PROCESSES: usize = 32;

/// How many pieces of output are buffered between a viewer and its process.
const BUFFERED_PIECES: usize = 4;

/// All byte streams, in the order of the configuration.
#[derive(Debug)]
pub struct Registry {
    streams: Vec<Arc<Stream>>,
    feeds: Vec<Arc<Feed>>,
    pipelines: Arc<dyn PipelineFactory>,
    /// Cloned by every process of a single viewer, so that the service can wait for them
    /// at its end.
    process_guard: mpsc::Sender<()>,
}

/// One stream of the registry.
#[derive(Clone, Debug)]
pub struct Stream {
    settings: ByteStream,
    feed: Option<Arc<Feed>>,
    producer: Producer,
    /// Each viewer holds a clone, which counts it.
    viewers: Arc<()>,
    /// Set when the stream is removed, which ends its viewers.
    removed: watch::Sender<bool>,
    bytes_out: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Feed {
    name: FeedName,
    mode: Mode,
    flow: Arc<ByteRing>,
    supervisor: Supervisor,
    /// The streams that read it.
    streams: watch::Sender<Vec<StreamName>>,
}

/// What makes a stream's bytes.
#[derive(Clone, Debug)]
enum Producer {
    Feed(Arc<Feed>),
    Shared {
        flow: Arc<ByteRing>,
        supervisor: Supervisor,
    },
    Exclusive {
        program: Program,
        permits: Arc<Semaphore>,
        /// The number of permits in all.
        max_processes: usize,
        process_guard: mpsc::Sender<()>,
    },
}

/// A viewer of a stream.
#[derive(Debug)]
pub struct Viewer {
    output: Output,
    need: FeedNeed,
    removed: watch::Receiver<bool>,
    _counted: Arc<()>,
}

/// Whether a viewer keeps the feed of its stream running.
#[derive(Debug)]
enum FeedNeed {
    None,
    /// From the first output of the command on: the feed must not start before the
    /// command reads, and until then the command's run keeps the feed.
    AfterOutput(Arc<ByteRing>),
    /// As long as the viewer exists, also while the command is down.
    Held(#[expect(dead_code, reason = "it takes effect when it is dropped")] Need),
}

#[derive(Debug)]
enum Output {
    Ring(Reader),
    Process(mpsc::Receiver<Result<Bytes, Failure>>),
}

/// All viewers that may have a process of their own have one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stream runs a command for each viewer, and the limit of viewers is reached")]
pub struct TooManyViewers;

impl Registry {
    /// Starts a supervisor for each feed and each shared command; must be
    /// called on a runtime. The tasks end when the registry is dropped.
    pub fn new(
        settings: &Settings,
        pipelines: Arc<dyn PipelineFactory>,
    ) -> (Self, Vec<JoinHandle<()>>) {
        let (process_guard, mut all) = mpsc::channel(1);
        let own = tokio::spawn(async move {
            // Nothing is sent; this ends when the last sender is dropped.
            all.recv().await;
        });
        let empty = Self { streams: Vec::new(), feeds: Vec::new(), pipelines, process_guard };
        let (registry, mut tasks) = empty.build(settings, &Diff::initial(settings));
        tasks.push(own);
        (registry, tasks)
    }

    /// The registry for new settings, with the tasks of its new supervisors. What is kept
    /// is shared by both. Returns when all other supervisors have ended and the new ones
    /// have started.
    pub async fn next(&self, settings: &Settings, diff: &Diff) -> (Self, Vec<JoinHandle<()>>) {
        let is_ending = |stream: &&Arc<Stream>| !diff.byte_streams.continues(&stream.settings.name);
        let streams =
            self.streams.iter().filter(is_ending).filter_map(|stream| stream.own_supervisor());
        let feeds = self.feeds.iter().filter(|feed| !diff.byte_feeds.continues(&feed.name));
        let all = streams.chain(feeds.map(|feed| &feed.supervisor));
        join_all(all.map(Supervisor::end)).await;
        self.build(settings, diff)
    }

    /// Disconnects the viewers of streams that the next registry does not continue.
    pub fn disconnect_removed(&self, next: &Self) {
        for stream in &self.streams {
            let same = next.find(&stream.settings.name);
            if !same.is_some_and(|same| Arc::ptr_eq(&same.viewers, &stream.viewers)) {
                stream.removed.send_replace(true);
            }
        }
    }

    fn build(&self, settings: &Settings, diff: &Diff) -> (Self, Vec<JoinHandle<()>>) {
        let count = settings.byte_feeds.len() + settings.byte_streams.len();
        let memory = (MAX_RINGS_BYTES / count.max(1)).min(MAX_RING_BYTES);
        let mut builder = Builder { before: self, diff, settings, memory, tasks: Vec::new() };
        let feeds = builder.feeds();
        let streams = settings.byte_streams.iter().map(|stream| {
            let own = |name: &FeedName| feeds.iter().find(|feed| feed.name == *name);
            let feed = stream.feed.as_ref().and_then(own).map(Arc::clone);
            builder.stream(stream, feed)
        });
        let streams = streams.collect();
        let tasks = builder.tasks;
        let (pipelines, process_guard) = (Arc::clone(&self.pipelines), self.process_guard.clone());
        (Self { streams, feeds, pipelines, process_guard }, tasks)
    }

    /// The supervisors of all feeds and shared commands.
    pub fn supervisors(&self) -> impl Iterator<Item = &Supervisor> {
        let feeds = self.feeds.iter().map(|feed| &feed.supervisor);
        feeds.chain(self.streams.iter().filter_map(|stream| stream.own_supervisor()))
    }

    /// The flow and the supervisor of a feed.
    pub fn feed(&self, feed: &FeedName) -> Option<(&Arc<ByteRing>, &Supervisor)> {
        let feed = self.feeds.iter().find(|other| other.name == *feed)?;
        Some((&feed.flow, &feed.supervisor))
    }

    pub fn streams(&self) -> &[Arc<Stream>] {
        &self.streams
    }

    pub fn find(&self, name: &StreamName) -> Option<&Arc<Stream>> {
        self.streams.iter().find(|stream| stream.settings.name == *name)
    }

    /// All feeds and shared commands, with the feed or stream of each.
    pub fn units(&self) -> impl Iterator<Item = Unit> {
        let feeds = self.feeds.iter().map(|feed| Unit {
            feed: Some(feed.name.clone()),
            stream: None,
            supervisor: feed.supervisor.clone(),
        });
        let streams = self.streams.iter().filter_map(|stream| {
            let supervisor = stream.own_supervisor()?.clone();
            Some(Unit { feed: None, stream: Some(stream.settings.name.clone()), supervisor })
        });
        feeds.chain(streams)
    }
}

struct Builder<'a> {
    before: &'a Registry,
    diff: &'a Diff,
    settings: &'a Settings,
    memory: usize,
    tasks: Vec<JoinHandle<()>>,
}

impl Builder<'_> {
    /// All feeds, each after the one that it is made from.
    fn feeds(&mut self) -> Vec<Arc<Feed>> {
        let mut feeds: Vec<Arc<Feed>> = Vec::new();
        let mut pending: VecDeque<_> = self.settings.byte_feeds.iter().collect();
        while let Some(feed) = pending.pop_front() {
            let base = match feed.made_from() {
                None => None,
                Some(from) => match feeds.iter().find(|feed| feed.name == *from) {
                    Some(base) => Some(Arc::clone(&base.flow)),
                    None => {
                        // The check of the configuration refuses cycles, so that this ends.
                        pending.push_back(feed);
                        continue;
                    }
                },
            };
            let made = self.feed(feed, base);
            feeds.push(made);
        }
        feeds
    }

    fn feed(&mut self, feed: &ByteFeed, base: Option<Arc<ByteRing>>) -> Arc<Feed> {
        let ByteFeed { name, source, mode, resurrect } = feed;
        let before = self.before.feeds.iter().find(|feed| feed.name == *name);
        let reads_it = |stream: &&ByteStream| stream.feed.as_ref() == Some(name);
        let streams = self.settings.byte_streams.iter().filter(reads_it);
        let streams = streams.map(|stream| stream.name.clone()).collect();
        if let Some(kept) = before.filter(|_| self.diff.byte_feeds.continues(name)) {
            kept.flow.set_limit(self.memory);
            kept.streams.send_replace(streams);
            return Arc::clone(kept);
        }
        let container = container_of(self.settings, name);
        let flow = self.flow(before.map(|before| &before.flow), container);
        let origin = match source {
            ByteSource::Command(line) | ByteSource::Made(line, _) => {
                Origin::Command(Program::new(line.clone(), self.log("feed", name.as_str())))
            }
            ByteSource::Pipe(path) => Origin::Pipe(path.clone()),
        };
        let parts = BytesParts {
            origin,
            flow: Arc::clone(&flow),
            input: base.clone(),
            base,
            resurrect: *resurrect,
        };
        let supervisor = self.supervise(format!("feed {name}"), parts, *mode);
        let (name, streams) = (name.clone(), watch::Sender::new(streams));
        Arc::new(Feed { name, mode: *mode, flow, supervisor, streams })
    }

    /// The earlier flow, with its readers, if it has the same container; else a new one.
    fn flow(&self, before: Option<&Arc<ByteRing>>, container: Option<Container>) -> Arc<ByteRing> {
        match before.filter(|flow| flow.container() == container) {
            Some(flow) => {
                flow.set_limit(self.memory);
                Arc::clone(flow)
            }
            None => ByteRing::new(container, self.memory),
        }
    }

    fn stream(&mut self, settings: &ByteStream, feed: Option<Arc<Feed>>) -> Arc<Stream> {
        let before = self.before.find(&settings.name);
        let producer = match before.filter(|_| self.diff.byte_streams.continues(&settings.name)) {
            Some(kept) => kept.producer.with_feed(feed.as_ref()),
            None => self.producer(settings, feed.as_ref(), before),
        };
        let settings = settings.clone();
        let is_open = !self.diff.locked.contains(&settings.name);
        match before.filter(|before| is_open && before.producer.has_readers_of(&producer)) {
            Some(before) => Arc::new(Stream { settings, feed, producer, ..Stream::clone(before) }),
            None => Arc::new(Stream {
                settings,
                feed,
                producer,
                viewers: Arc::default(),
                removed: watch::Sender::new(false),
                bytes_out: Arc::default(),
            }),
        }
    }

    fn producer(
        &mut self,
        settings: &ByteStream,
        feed: Option<&Arc<Feed>>,
        before: Option<&Arc<Stream>>,
    ) -> Producer {
        let name = &settings.name;
        let program = settings
            .command
            .clone()
            .map(|line| Program::new(line, self.log("stream", name.as_str())));
        match (program, settings.client) {
            (None, _) => Producer::Feed(Arc::clone(
                feed.expect("the check refuses a stream with neither feed nor command"),
            )),
            (Some(program), Client::Shared) => {
                let before = before.filter(|_| !self.diff.locked.contains(name));
                let before = before.and_then(|before| before.producer.own_flow());
                let flow = self.flow(before, Container::from_content_type(&settings.content_type));
                let input = feed.map(|feed| Arc::clone(&feed.flow));
                let parts = BytesParts {
                    origin: Origin::Command(program),
                    flow: Arc::clone(&flow),
                    input,
                    // Its viewers keep its feed running.
                    base: None,
                    resurrect: true,
                };
                let supervisor = self.supervise(format!("stream {name}"), parts, Mode::OnDemand);
                Producer::Shared { flow, supervisor }
            }
            (Some(program), Client::Exclusive) => self.exclusive(program, MAX_VIEWER_PROCESSES),
            (Some(program), Client::Shot) => self.exclusive(program, shot::MAX_CONCURRENT_SHOTS),
        }
    }

    fn exclusive(&self, program: Program, max_processes: usize) -> Producer {
        let permits = Arc::new(Semaphore::new(max_processes));
        Producer::Exclusive {
            program,
            permits,
            max_processes,
            process_guard: self.before.process_guard.clone(),
        }
    }

    fn log(&self, kind: &str, name: &str) -> CommandLog {
        CommandLog::new(self.settings.log.folder.as_deref(), kind, name)
    }

    fn supervise(&mut self, name: String, parts: BytesParts, mode: Mode) -> Supervisor {
        let needed = parts.flow.readers();
        let lifecycle = Lifecycle::new(LIMITS).resurrecting(parts.resurrect);
        let pipeline = self.before.pipelines.bytes(parts);
        let (supervisor, task) =
            Supervisor::spawn(name, pipeline, lifecycle, Demand::new(mode), needed);
        self.tasks.push(task);
        supervisor
    }
}

impl Producer {
    /// The same producer, with a feed that may have been replaced.
    fn with_feed(&self, feed: Option<&Arc<Feed>>) -> Self {
        match (self, feed) {
            (Producer::Feed(_), Some(feed)) => Producer::Feed(Arc::clone(feed)),
            (other, _) => other.clone(),
        }
    }

    /// Whether viewers of this producer read the output of the other.
    fn has_readers_of(&self, other: &Self) -> bool {
        match (self, other) {
            (Producer::Exclusive { permits, .. }, Producer::Exclusive { permits: others, .. }) => {
                Arc::ptr_eq(permits, others)
            }
            (Producer::Feed(feed), Producer::Feed(other)) => Arc::ptr_eq(&feed.flow, &other.flow),
            (Producer::Shared { flow, .. }, Producer::Shared { flow: other, .. }) => {
                Arc::ptr_eq(flow, other)
            }
            (Producer::Feed(_) | Producer::Shared { .. } | Producer::Exclusive { .. }, _) => false,
        }
    }

    fn own_flow(&self) -> Option<&Arc<ByteRing>> {
        match self {
            Producer::Shared { flow, .. } => Some(flow),
            Producer::Feed(_) | Producer::Exclusive { .. } => None,
        }
    }
}

impl Stream {
    /// The supervisor of its shared command, if it has one.
    pub fn own_supervisor(&self) -> Option<&Supervisor> {
        match &self.producer {
            Producer::Shared { supervisor, .. } => Some(supervisor),
            Producer::Feed(_) | Producer::Exclusive { .. } => None,
        }
    }

    pub fn settings(&self) -> &ByteStream {
        &self.settings
    }

    /// Whether `next`, of a later configuration, has the same readers and content type.
    pub fn is_continued_by(&self, next: &Self) -> bool {
        let is_same_type = self.settings.content_type == next.settings.content_type;
        is_same_type && Arc::ptr_eq(&self.viewers, &next.viewers)
    }

    /// Whether its viewers can start with a header and an intra frame: if the container
    /// is known, or each viewer has a process of its own.
    pub fn has_marks(&self) -> bool {
        let is_own = matches!(self.producer, Producer::Exclusive { .. });
        is_own || Container::from_content_type(&self.settings.content_type).is_some()
    }

    /// Adds a viewer, which starts the feed and the command if they are idle.
    ///
    /// # Errors
    /// The limit of processes is reached.
    pub fn join(&self, begin: Begin) -> Result<Viewer, TooManyViewers> {
        let input = self.feed.as_ref().map(|feed| &feed.flow);
        let after_output =
            input.map_or(FeedNeed::None, |input| FeedNeed::AfterOutput(Arc::clone(input)));
        let (output, need) = match &self.producer {
            Producer::Feed(feed) => (Output::Ring(feed.flow.join(begin)), FeedNeed::None),
            Producer::Shared { flow, .. } => (Output::Ring(flow.join(begin)), after_output),
            Producer::Exclusive { program, permits, process_guard, .. } => {
                let permit = Arc::clone(permits).try_acquire_owned().map_err(|_| TooManyViewers)?;
                let input = input.map(|input| (input.join_uncounted(Begin::Now), input.need()));
                let (input, need) = input.unzip();
                let (send, receive) = mpsc::channel(BUFFERED_PIECES);
                let guards = (permit, process_guard.clone());
                tokio::spawn(run_for_one(program.clone(), input, send, guards));
                (Output::Process(receive), need.map_or(FeedNeed::None, FeedNeed::Held))
            }
        };
        let (removed, counted) = (self.removed.subscribe(), Arc::clone(&self.viewers));
        Ok(Viewer { output, need, removed, _counted: counted })
    }

    /// As [`Stream::join`], for a decoder: begins at an intra frame where one is known.
    ///
    /// # Errors
    /// Likewise.
    pub fn join_to_decode(&self) -> Result<Viewer, TooManyViewers> {
        let begin = match &self.producer {
            Producer::Feed(feed) => feed.flow.decodable(),
            Producer::Shared { flow, .. } => flow.decodable(),
            Producer::Exclusive { .. } => Begin::Now,
        };
        self.join(begin)
    }

    /// The last failure, if the stream is down.
    pub fn cause(&self) -> Option<Failure> {
        match self.state(now()) {
            State::Waiting { cause, .. } | State::Ended { cause } => Some(cause),
            State::Idle | State::Starting | State::Live { .. } | State::Stopping => None,
        }
    }

    /// Bytes handed to viewers since the start of the service.
    pub fn bytes_out(&self) -> u64 {
        self.bytes_out.load(Ordering::Relaxed)
    }

    pub fn count_bytes_out(&self, bytes: usize) {
        self.bytes_out.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Restarts its feed and its shared command, if they run or wait.
    pub async fn restart(&self) {
        if let Some(feed) = &self.feed {
            feed.supervisor.restart().await;
        }
        if let Producer::Shared { supervisor, .. } = &self.producer {
            supervisor.restart().await;
        }
    }

    /// Waits until its feed or its shared command is down and has failed `times` in a row.
    pub async fn wait_failed(&self, times: u32) {
        let feed = async {
            match &self.feed {
                Some(feed) => feed.supervisor.wait_failed(times).await,
                None => std::future::pending().await,
            }
            if !matches!(self.producer, Producer::Feed(_)) {
                tokio::time::sleep(LAST_BYTES_TIMEOUT).await;
            }
        };
        let own = async {
            match &self.producer {
                Producer::Shared { supervisor, .. } => supervisor.wait_failed(times).await,
                Producer::Feed(_) | Producer::Exclusive { .. } => std::future::pending().await,
            }
        };
        tokio::select! {
            () = feed => {}
            () = own => {}
        }
    }
}

impl Viewer {
    /// The next bytes.
    ///
    /// # Errors
    /// Nothing more will come; with the reason if it is known. Cancelling loses nothing.
    pub async fn next(&mut self) -> Result<Bytes, Option<Failure>> {
        let bytes = tokio::select! {
            biased;
            () = is_removed(&mut self.removed) => return Err(None),
            bytes = self.output.next() => bytes?,
        };
        if let FeedNeed::AfterOutput(feed) = &self.need {
            self.need = FeedNeed::Held(feed.need());
        }
        Ok(bytes)
    }
}

async fn is_removed(removed: &mut watch::Receiver<bool>) {
    if removed.wait_for(|removed| *removed).await.is_err() {
        // The stream was dropped, so that it cannot be removed.
        std::future::pending().await
    }
}

impl Output {
    async fn next(&mut self) -> Result<Bytes, Option<Failure>> {
        match self {
            Output::Ring(reader) => loop {
                match reader.next().await {
                    Read::Bytes(bytes) => return Ok(bytes),
                    // It continues at the next element; the flow counts the loss.
                    Read::Skipped(lost) => debug!(lost; "a viewer was too slow; bytes dropped"),
                    Read::End => return Err(None),
                }
            },
            Output::Process(output) => match output.recv().await {
                Some(Ok(bytes)) => Ok(bytes),
                Some(Err(failure)) => Err(Some(failure)),
                None => Err(None),
            },
        }
    }
}
