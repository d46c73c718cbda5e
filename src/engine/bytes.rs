//! Feeds and streams of bytes: what runs for whom.
//!
//! A feed runs once, whoever reads it. A stream is its feed's bytes, or what a
//! command makes of them: once for all viewers, or once for each.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use log::debug;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;

use super::command::{Blocks, Input, Process, Program, feed};
use super::command_log::CommandLog;
use super::demand::Demand;
use super::lifecycle::{Event, Lifecycle, Limits, Run};
use super::pipe;
use super::runs::{Runs, Stop};
use super::supervisor::{Pipeline, Pulse, Supervisor};
use crate::base::backoff::Backoff;
use crate::config::settings::{ByteFeed, ByteSource, ByteStream, Client, Mode, Settings};
use crate::hub::bytes::{Begin, Flow, Need, Read, Reader};
use crate::media::container::Container;
use crate::model::ids::StreamName;
use crate::model::status::{self, Failure, State};

/// A command must give something this soon, and as long as it is fed may not
/// pause for longer. Encoders look at their input for seconds first.
const LIMITS: Limits = Limits {
    first_sign: Duration::from_secs(10),
    silence: Duration::from_secs(10),
    letting_go: Duration::from_secs(5),
    backoff: Backoff::FEED,
    spread: 0.0,
};

/// What a command was given before its feed went down may still come out.
const LAST_BYTES: Duration = Duration::from_secs(1);

/// What all rings of bytes together may hold, and each of them.
const MEMORY: usize = 32 << 20;
const MEMORY_OF_ONE: usize = 4 << 20;

/// So many viewers of one stream may have a process of their own.
const SEATS: usize = 32;

/// A process of one viewer is so many pieces ahead of it; then it waits.
const PIECES_AHEAD: usize = 4;

/// All streams of bytes, in the order of the configuration.
#[derive(Debug)]
pub struct Roster {
    streams: Vec<Arc<Stream>>,
}

/// One stream of the roster.
#[derive(Debug)]
pub struct Stream {
    settings: ByteStream,
    feed: Option<Arc<Feed>>,
    maker: Maker,
    /// Each viewer has a share of it.
    viewers: Arc<()>,
    bytes_out: AtomicU64,
}

#[derive(Debug)]
struct Feed {
    flow: Arc<Flow>,
    supervisor: Supervisor,
}

/// Who makes a stream's bytes.
#[derive(Debug)]
enum Maker {
    Feed(Arc<Feed>),
    Shared {
        flow: Arc<Flow>,
        supervisor: Supervisor,
    },
    Exclusive {
        program: Program,
        seats: Arc<Semaphore>,
        /// Held by every process, so that the service can wait for them.
        alive: mpsc::Sender<()>,
    },
}

/// Somebody who watches a stream.
#[derive(Debug)]
pub struct Viewer {
    from: From,
    hold: Hold,
    _counted: Arc<()>,
}

/// What a viewer does for the feed of its stream.
#[derive(Debug)]
enum Hold {
    Nothing,
    /// Once the command has given something: the feed must not start before
    /// the command listens, and until then the command's run holds it.
    Later(Arc<Flow>),
    /// The feed is needed while somebody watches, also while a command is down.
    Now(#[expect(dead_code, reason = "being alive is what it does")] Need),
}

#[derive(Debug)]
enum From {
    Ring(Reader),
    Process(mpsc::Receiver<Result<Bytes, Failure>>),
}

/// As many viewers as may have a process of their own have one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stream runs a command for each viewer, and has as many as it may")]
pub struct NoSeat;

impl Roster {
    /// Starts a supervisor for each feed and each shared command; must be
    /// called on a runtime. The tasks end when the roster is dropped.
    pub fn new(settings: &Settings) -> (Self, Vec<JoinHandle<()>>) {
        let mut tasks = Vec::new();
        let count = settings.byte_feeds.len() + settings.byte_streams.len();
        let memory = (MEMORY / count.max(1)).min(MEMORY_OF_ONE);
        let (alive, mut all) = mpsc::channel(1);
        tasks.push(tokio::spawn(async move {
            // Nobody sends; it ends with the last sender.
            all.recv().await;
        }));
        let mut builder = Builder { settings, memory, alive, tasks };
        let feeds: Vec<_> = settings.byte_feeds.iter().map(|feed| builder.feed(feed)).collect();
        let named: Vec<_> = settings.byte_feeds.iter().map(|feed| &feed.name).zip(feeds).collect();
        let streams = settings.byte_streams.iter().map(|stream| {
            let own = |name| named.iter().find(|(known, _)| *known == name);
            let feed = stream.feed.as_ref().and_then(own).map(|(_, feed)| Arc::clone(feed));
            builder.stream(stream, feed)
        });
        let streams = streams.collect();
        (Self { streams }, builder.tasks)
    }

    /// Those of all feeds and shared commands; a feed's as often as it is shown.
    pub fn supervisors(&self) -> impl Iterator<Item = &Supervisor> {
        self.streams.iter().flat_map(|stream| {
            let feed = stream.feed.iter().map(|feed| &feed.supervisor);
            let Maker::Shared { supervisor, .. } = &stream.maker else { return feed.chain(None) };
            feed.chain(Some(supervisor))
        })
    }

    pub fn streams(&self) -> &[Arc<Stream>] {
        &self.streams
    }

    pub fn find(&self, name: &StreamName) -> Option<&Arc<Stream>> {
        self.streams.iter().find(|stream| stream.settings.name == *name)
    }
}

struct Builder<'a> {
    settings: &'a Settings,
    memory: usize,
    alive: mpsc::Sender<()>,
    tasks: Vec<JoinHandle<()>>,
}

impl Builder<'_> {
    fn feed(&mut self, feed: &ByteFeed) -> Arc<Feed> {
        let ByteFeed { name, source, mode, resurrect } = feed;
        // Streams without a command show the feed's own bytes: they know what it gives.
        let shows =
            |stream: &&ByteStream| stream.command.is_none() && stream.feed.as_ref() == Some(name);
        let mut shown = self.settings.byte_streams.iter().filter(shows);
        let container = shown.find_map(|stream| Container::of(&stream.content_type));
        let flow = Flow::new(container, self.memory);
        let origin = match source {
            ByteSource::Command(line) => {
                Origin::Command(Program::new(line.clone(), self.log("feed", name.as_str())))
            }
            ByteSource::Pipe(path) => Origin::Pipe(path.clone()),
        };
        let job = Job::new(origin, &flow, None, *resurrect);
        let supervisor = self.supervise(format!("feed {name}"), job, *mode, *resurrect);
        Arc::new(Feed { flow, supervisor })
    }

    fn stream(&mut self, settings: &ByteStream, feed: Option<Arc<Feed>>) -> Arc<Stream> {
        let name = &settings.name;
        let program = settings
            .command
            .clone()
            .map(|line| Program::new(line, self.log("stream", name.as_str())));
        let maker = match (program, settings.client) {
            (None, _) => Maker::Feed(Arc::clone(
                feed.as_ref().expect("the check refuses a stream with neither feed nor command"),
            )),
            (Some(program), Client::Shared) => {
                let flow = Flow::new(Container::of(&settings.content_type), self.memory);
                let input = feed.as_ref().map(|feed| Arc::clone(&feed.flow));
                let job = Job::new(Origin::Command(program), &flow, input, true);
                let supervisor =
                    self.supervise(format!("stream {name}"), job, Mode::OnDemand, true);
                Maker::Shared { flow, supervisor }
            }
            (Some(program), Client::Exclusive) => Maker::Exclusive {
                program,
                seats: Arc::new(Semaphore::new(SEATS)),
                alive: self.alive.clone(),
            },
        };
        let settings = settings.clone();
        Arc::new(Stream {
            settings,
            feed,
            maker,
            viewers: Arc::default(),
            bytes_out: AtomicU64::new(0),
        })
    }

    fn log(&self, kind: &str, name: &str) -> CommandLog {
        CommandLog::new(self.settings.log.folder.as_deref(), kind, name)
    }

    fn supervise(&mut self, what: String, job: Job, mode: Mode, resurrect: bool) -> Supervisor {
        let needed = job.flow.readers();
        let lifecycle = Lifecycle::new(LIMITS).resurrecting(resurrect);
        let pipeline = BytesPipeline { job, runs: Runs::default() };
        let (supervisor, task) =
            Supervisor::spawn(what, pipeline, lifecycle, Demand::new(mode), needed);
        self.tasks.push(task);
        supervisor
    }
}

impl Stream {
    pub fn settings(&self) -> &ByteStream {
        &self.settings
    }

    /// Whether its viewers can ask for a header and for an intra frame. Who has
    /// a process of its own gets both anyway.
    pub fn has_marks(&self) -> bool {
        let is_own = matches!(self.maker, Maker::Exclusive { .. });
        is_own || Container::of(&self.settings.content_type).is_some()
    }

    /// A viewer, which starts what must run for it.
    ///
    /// # Errors
    /// There is no room for another.
    pub fn join(&self, begin: Begin) -> Result<Viewer, NoSeat> {
        let input = self.feed.as_ref().map(|feed| &feed.flow);
        let later = input.map_or(Hold::Nothing, |input| Hold::Later(Arc::clone(input)));
        let (from, hold) = match &self.maker {
            Maker::Feed(feed) => (From::Ring(feed.flow.join(begin)), Hold::Nothing),
            Maker::Shared { flow, .. } => (From::Ring(flow.join(begin)), later),
            Maker::Exclusive { program, seats, alive } => {
                let seat = Arc::clone(seats).try_acquire_owned().map_err(|_| NoSeat)?;
                let hold = input.map(|input| (input.listen(Begin::Now), input.need()));
                let (input, need) = hold.unzip();
                let (send, receive) = mpsc::channel(PIECES_AHEAD);
                let guards = (seat, alive.clone());
                tokio::spawn(run_for_one(program.clone(), input, send, guards));
                (From::Process(receive), need.map_or(Hold::Nothing, Hold::Now))
            }
        };
        Ok(Viewer { from, hold, _counted: Arc::clone(&self.viewers) })
    }

    pub fn count_bytes_out(&self, bytes: usize) {
        self.bytes_out.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Starts its feed afresh, and its shared command, if they run or wait.
    pub async fn restart(&self) {
        if let Some(feed) = &self.feed {
            feed.supervisor.restart().await;
        }
        if let Maker::Shared { supervisor, .. } = &self.maker {
            supervisor.restart().await;
        }
    }

    /// Returns when what it is made of is down and has failed `times` in a row.
    pub async fn fails(&self, times: u32) {
        let feed = async {
            match &self.feed {
                Some(feed) => feed.supervisor.fails(times).await,
                None => std::future::pending().await,
            }
            if !matches!(self.maker, Maker::Feed(_)) {
                tokio::time::sleep(LAST_BYTES).await;
            }
        };
        let own = async {
            match &self.maker {
                Maker::Shared { supervisor, .. } => supervisor.fails(times).await,
                Maker::Feed(_) | Maker::Exclusive { .. } => std::future::pending().await,
            }
        };
        tokio::select! {
            () = feed => {}
            () = own => {}
        }
    }

    /// Where it stands: a feed that is down is the reason for all else.
    pub fn state(&self, now: Instant) -> State {
        let feed = self.feed.as_ref().map(|feed| feed.supervisor.report().state(now));
        let own = match &self.maker {
            Maker::Feed(_) => None,
            Maker::Shared { supervisor, .. } => Some(supervisor.report().state(now)),
            Maker::Exclusive { .. } if self.readers() == 0 => Some(State::Idle),
            Maker::Exclusive { .. } => None,
        };
        match (feed, own) {
            (Some(feed @ (State::Waiting { .. } | State::Over { .. })), _) => feed,
            (_, Some(own)) => own,
            (Some(feed), None) => feed,
            (None, None) => State::Live { since: Duration::ZERO },
        }
    }

    fn readers(&self) -> usize {
        match &self.maker {
            Maker::Feed(_) | Maker::Shared { .. } => Arc::strong_count(&self.viewers) - 1,
            // A place is taken until its process has ended.
            Maker::Exclusive { seats, .. } => SEATS - seats.available_permits(),
        }
    }

    pub fn status(&self, now: Instant) -> status::ByteStream {
        let feed = self.feed.as_ref().map_or(0, |feed| feed.supervisor.report().run);
        let own = match &self.maker {
            Maker::Shared { supervisor, .. } => supervisor.report().run,
            Maker::Feed(_) | Maker::Exclusive { .. } => 0,
        };
        status::ByteStream {
            name: self.settings.name.clone(),
            url: self.settings.url.clone(),
            feed: self.settings.feed.clone(),
            content_type: self.settings.content_type.clone(),
            state: self.state(now),
            readers: self.readers(),
            bytes_out: self.bytes_out.load(Ordering::Relaxed),
            restarts: feed.saturating_sub(1) + own.saturating_sub(1),
        }
    }
}

impl Viewer {
    /// The next bytes.
    ///
    /// # Errors
    /// Nothing more will come; says why, where that is known. Cancelling loses nothing.
    pub async fn next(&mut self) -> Result<Bytes, Option<Failure>> {
        let bytes = self.from.next().await?;
        if let Hold::Later(feed) = &self.hold {
            self.hold = Hold::Now(feed.need());
        }
        Ok(bytes)
    }
}

impl From {
    async fn next(&mut self) -> Result<Bytes, Option<Failure>> {
        match self {
            From::Ring(reader) => loop {
                match reader.next().await {
                    Read::Bytes(bytes) => return Ok(bytes),
                    // It goes on at the next element; the flow counts the loss.
                    Read::Skipped(lost) => debug!("a viewer was too slow for {lost} bytes"),
                    Read::Over => return Err(None),
                }
            },
            From::Process(pieces) => match pieces.recv().await {
                Some(Ok(bytes)) => Ok(bytes),
                Some(Err(failure)) => Err(Some(failure)),
                None => Err(None),
            },
        }
    }
}

/// Runs a program for one viewer, until either of them has enough.
async fn run_for_one(
    program: Program,
    input: Option<Reader>,
    send: mpsc::Sender<Result<Bytes, Failure>>,
    guards: (OwnedSemaphorePermit, mpsc::Sender<()>),
) {
    let started = tokio::select! {
        started = program.start(input_of(input.as_ref())) => started,
        () = send.closed() => return,
    };
    let mut process = match started {
        Ok(process) => process,
        Err(failure) => {
            send.send(Err(failure)).await.ok();
            return;
        }
    };
    let (fed, mut blocks) = (AtomicU64::new(0), Blocks::default());
    let mut output = process.take_output().expect("it was just started");
    let passed = async {
        while let Ok(bytes) = blocks.read(&mut output).await
            && !bytes.is_empty()
            && send.send(Ok(bytes)).await.is_ok()
        {}
    };
    let is_over = tokio::select! {
        () = passed => true,
        () = feed_process(input, &mut process, &fed) => false,
        () = send.closed() => false,
    };
    if is_over {
        let verdict = process.verdict().await;
        send.send(Err(verdict)).await.ok();
    }
    drop(send);
    process.end().await;
    drop(guards);
}

fn input_of(reader: Option<&Reader>) -> Input {
    if reader.is_some() { Input::Bytes } else { Input::Nothing }
}

/// Never returns.
async fn feed_process(reader: Option<Reader>, process: &mut Process, fed: &AtomicU64) {
    let input = process.take_input();
    match (reader, input) {
        (Some(reader), Some(input)) => feed(reader, input, fed).await,
        (_, _) => std::future::pending().await,
    }
}

/// Runs one feed, or the shared command of one stream.
#[derive(Debug)]
struct BytesPipeline {
    job: Job,
    runs: Runs,
}

/// What one run needs.
#[derive(Clone, Debug)]
struct Job {
    origin: Arc<Origin>,
    flow: Arc<Flow>,
    /// What a command reads.
    input: Option<Arc<Flow>>,
    resurrect: bool,
    /// Bytes that a command was given, and how many when it was last asked for.
    fed: Arc<AtomicU64>,
    fed_before: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Origin {
    Command(Program),
    Pipe(PathBuf),
}

/// Tells the supervisor once that a run gives bytes.
#[derive(Debug)]
pub(super) struct Sign {
    run: Run,
    tell: mpsc::Sender<Event>,
    given: bool,
    /// Before its command gives anything, no viewer holds the feed.
    need: Option<Need>,
}

impl Sign {
    pub(super) fn give(&mut self) {
        if !self.given {
            self.given = true;
            self.need = None;
            self.tell.try_send(Event::FirstSign(self.run)).ok();
        }
    }
}

impl Pipeline for BytesPipeline {
    fn start(&mut self, run: Run, news: mpsc::Sender<Event>) {
        let job = self.job.clone();
        // It listens before its feed can start: nothing is lost.
        let input = self.job.input.as_ref();
        let (input, need) = input.map(|input| (input.listen(Begin::Now), input.need())).unzip();
        let sign = Sign { run, tell: news.clone(), given: false, need };
        self.runs.start(run, news, move |stop| job.run(input, sign, stop));
    }

    fn stop(&mut self) {
        self.runs.stop();
    }

    fn pulse(&self) -> Pulse {
        self.job.pulse()
    }
}

impl Job {
    fn new(origin: Origin, flow: &Arc<Flow>, input: Option<Arc<Flow>>, resurrect: bool) -> Self {
        Self {
            origin: Arc::new(origin),
            flow: Arc::clone(flow),
            input,
            resurrect,
            fed: Arc::default(),
            fed_before: Arc::default(),
        }
    }

    /// Who writes to a pipe may pause, and a command that is given nothing as well.
    fn pulse(&self) -> Pulse {
        let fed = self.fed.load(Ordering::Relaxed);
        let is_starved =
            self.input.is_some() && self.fed_before.swap(fed, Ordering::Relaxed) == fed;
        match *self.origin {
            Origin::Command(_) if !is_starved && !self.is_clockless() => {
                Pulse::Count(self.flow.bytes_in())
            }
            Origin::Command(_) | Origin::Pipe(_) => Pulse::AtRest,
        }
    }

    /// What is made of a file has no clock either: waits for its viewers.
    async fn may_go_on(&self) -> bool {
        if self.is_clockless() {
            self.flow.room().await;
        }
        true
    }

    fn is_clockless(&self) -> bool {
        self.input.as_ref().is_some_and(|input| input.is_clockless())
    }

    async fn run(self, input: Option<Reader>, mut sign: Sign, mut stop: Stop) -> Failure {
        let mut is_last = !self.resurrect;
        let failure = match &*self.origin {
            Origin::Command(program) => {
                self.run_command(program, input, &mut sign, &mut stop).await
            }
            Origin::Pipe(path) => tokio::select! {
                failure = pipe::read(path, self.resurrect, &self.flow, &mut sign) => failure,
                () = stop.requested() => Failure::Ended,
            },
        };
        self.flow.end_run();
        is_last |= self.input.as_ref().is_some_and(|input| input.is_over());
        if is_last {
            self.flow.finish();
        }
        failure
    }

    async fn run_command(
        &self,
        program: &Program,
        input: Option<Reader>,
        sign: &mut Sign,
        stop: &mut Stop,
    ) -> Failure {
        let started = tokio::select! {
            started = program.start(input_of(input.as_ref())) => started,
            () = stop.requested() => return Failure::Ended,
        };
        let mut process = match started {
            Ok(process) => process,
            Err(failure) => return failure,
        };
        self.flow.begin_run();
        let mut output = process.take_output().expect("it was just started");
        let mut blocks = Blocks::default();
        let passed = async {
            while self.may_go_on().await
                && let Ok(bytes) = blocks.read(&mut output).await
                && !bytes.is_empty()
            {
                self.flow.publish(bytes);
                sign.give();
            }
        };
        let is_over = tokio::select! {
            () = passed => true,
            () = feed_process(input, &mut process, &self.fed) => false,
            () = stop.requested() => false,
        };
        let failure = if is_over { process.verdict().await } else { Failure::Ended };
        process.end().await;
        failure
    }
}
