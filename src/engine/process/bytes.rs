//! Feeds and streams of bytes: what runs for whom.
//!
//! A feed runs once, whoever reads it. A stream is its feed's bytes, or what a
//! command makes of them: once for all viewers, or once for each.

mod run;
mod shot;
mod status;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use log::debug;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinHandle;

pub(super) use run::Sign;
use run::{BytesPipeline, Job, Origin, run_for_one};

pub use self::shot::NoShot;
use super::command::Program;
use super::command_log::CommandLog;
use crate::base::backoff::Backoff;
use crate::config::diff::{Diff, container_of};
use crate::config::settings::{ByteFeed, ByteSource, ByteStream, Client, Mode, Settings};
use crate::engine::supervise::demand::Demand;
use crate::engine::supervise::lifecycle::{Lifecycle, Limits};
use crate::engine::supervise::supervisor::Supervisor;
use crate::engine::supervise::unit::Unit;
use crate::hub::bytes::{Begin, ByteRing, Need, Read, Reader};
use crate::media::container::Container;
use crate::model::ids::{FeedName, StreamName};
use crate::model::status::{Failure, State};

/// A command must give something this soon, and as long as it is fed may not
/// pause for longer. Encoders look at their input for seconds first.
const LIMITS: Limits = Limits {
    start_timeout: Duration::from_secs(10),
    stall_timeout: Duration::from_secs(10),
    stop_timeout: Duration::from_secs(5),
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
pub struct Registry {
    streams: Vec<Arc<Stream>>,
    feeds: Vec<Arc<Feed>>,
    /// Held by every process of a single viewer, so that the service can wait
    /// for them.
    alive: mpsc::Sender<()>,
}

/// One stream of the registry.
#[derive(Clone, Debug)]
pub struct Stream {
    settings: ByteStream,
    feed: Option<Arc<Feed>>,
    maker: Maker,
    /// Each viewer has a share of it.
    viewers: Arc<()>,
    /// Tells them that nothing more comes.
    gone: watch::Sender<bool>,
    bytes_out: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Feed {
    name: FeedName,
    mode: Mode,
    flow: Arc<ByteRing>,
    supervisor: Supervisor,
    /// Those that pass its bytes on.
    streams: watch::Sender<Vec<StreamName>>,
}

/// Who makes a stream's bytes.
#[derive(Clone, Debug)]
enum Maker {
    Feed(Arc<Feed>),
    Shared {
        flow: Arc<ByteRing>,
        supervisor: Supervisor,
    },
    Exclusive {
        program: Program,
        seats: Arc<Semaphore>,
        /// How many of them there are.
        places: usize,
        alive: mpsc::Sender<()>,
    },
}

/// Somebody who watches a stream.
#[derive(Debug)]
pub struct Viewer {
    from: From,
    hold: Hold,
    gone: watch::Receiver<bool>,
    _counted: Arc<()>,
}

/// What a viewer does for the feed of its stream.
#[derive(Debug)]
enum Hold {
    Nothing,
    /// Once the command has given something: the feed must not start before
    /// the command listens, and until then the command's run holds it.
    Later(Arc<ByteRing>),
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

impl Registry {
    /// Starts a supervisor for each feed and each shared command; must be
    /// called on a runtime. The tasks end when the registry is dropped.
    pub fn new(settings: &Settings) -> (Self, Vec<JoinHandle<()>>) {
        let (alive, mut all) = mpsc::channel(1);
        let own = tokio::spawn(async move {
            // Nobody sends; it ends with the last sender.
            all.recv().await;
        });
        let nobody = Self { streams: Vec::new(), feeds: Vec::new(), alive };
        let (registry, mut tasks) = nobody.built(settings, &Diff::from_nothing(settings));
        tasks.push(own);
        (registry, tasks)
    }

    /// The registry under other settings, with the tasks of what is new in it.
    /// What goes on running is the same in both. Returns once everything else
    /// has ended and what takes its place has begun.
    pub async fn next(&self, settings: &Settings, diff: &Diff) -> (Self, Vec<JoinHandle<()>>) {
        let ends = |stream: &&Arc<Stream>| !diff.byte_streams.goes_on(&stream.settings.name);
        let streams = self.streams.iter().filter(ends).filter_map(|stream| stream.own_supervisor());
        let feeds = self.feeds.iter().filter(|feed| !diff.byte_feeds.goes_on(&feed.name));
        let all = streams.chain(feeds.map(|feed| &feed.supervisor));
        join_all(all.map(Supervisor::end)).await;
        self.built(settings, diff)
    }

    /// Lets the viewers go whose bytes end with this registry.
    pub fn disconnect_removed(&self, next: &Self) {
        for stream in &self.streams {
            let same = next.find(&stream.settings.name);
            if !same.is_some_and(|same| Arc::ptr_eq(&same.viewers, &stream.viewers)) {
                stream.gone.send_replace(true);
            }
        }
    }

    fn built(&self, settings: &Settings, diff: &Diff) -> (Self, Vec<JoinHandle<()>>) {
        let count = settings.byte_feeds.len() + settings.byte_streams.len();
        let memory = (MEMORY / count.max(1)).min(MEMORY_OF_ONE);
        let mut builder = Builder { before: self, diff, settings, memory, tasks: Vec::new() };
        let feeds = builder.feeds();
        let streams = settings.byte_streams.iter().map(|stream| {
            let own = |name: &FeedName| feeds.iter().find(|feed| feed.name == *name);
            let feed = stream.feed.as_ref().and_then(own).map(Arc::clone);
            builder.stream(stream, feed)
        });
        let streams = streams.collect();
        (Self { streams, feeds, alive: self.alive.clone() }, builder.tasks)
    }

    /// Those of all feeds and shared commands.
    pub fn supervisors(&self) -> impl Iterator<Item = &Supervisor> {
        let of_feeds = self.feeds.iter().map(|feed| &feed.supervisor);
        of_feeds.chain(self.streams.iter().filter_map(|stream| stream.own_supervisor()))
    }

    /// The bytes of the feed that is called so, and who looks after them.
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

    /// What runs: feeds and shared commands.
    pub fn units(&self) -> impl Iterator<Item = Unit> {
        let of_feeds = self.feeds.iter().map(|feed| Unit {
            feed: Some(feed.name.clone()),
            stream: None,
            supervisor: feed.supervisor.clone(),
        });
        let of_streams = self.streams.iter().filter_map(|stream| {
            let supervisor = stream.own_supervisor()?.clone();
            Some(Unit { feed: None, stream: Some(stream.settings.name.clone()), supervisor })
        });
        of_feeds.chain(of_streams)
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
    /// All feeds, each after that which it is made from.
    fn feeds(&mut self) -> Vec<Arc<Feed>> {
        let mut feeds: Vec<Arc<Feed>> = Vec::new();
        let mut to_do: VecDeque<_> = self.settings.byte_feeds.iter().collect();
        while let Some(feed) = to_do.pop_front() {
            let base = match feed.made_from() {
                None => None,
                Some(from) => match feeds.iter().find(|feed| feed.name == *from) {
                    Some(base) => Some(Arc::clone(&base.flow)),
                    None => {
                        // The check refuses circles, so that one's turn comes.
                        to_do.push_back(feed);
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
        let of_feed = |stream: &&ByteStream| stream.feed.as_ref() == Some(name);
        let streams = self.settings.byte_streams.iter().filter(of_feed);
        let streams = streams.map(|stream| stream.name.clone()).collect();
        if let Some(present) = before.filter(|_| self.diff.byte_feeds.goes_on(name)) {
            present.flow.set_limit(self.memory);
            present.streams.send_replace(streams);
            return Arc::clone(present);
        }
        let container = container_of(self.settings, name);
        let flow = self.flow(before.map(|before| &before.flow), container);
        let origin = match source {
            ByteSource::Command(line) | ByteSource::Made(line, _) => {
                Origin::Command(Program::new(line.clone(), self.log("feed", name.as_str())))
            }
            ByteSource::Pipe(path) => Origin::Pipe(path.clone()),
        };
        let job = Job::new(origin, &flow, base.clone(), *resurrect);
        let pipeline = BytesPipeline::new(job, base);
        let supervisor = self.supervise(format!("feed {name}"), pipeline, *mode, *resurrect);
        let (name, streams) = (name.clone(), watch::Sender::new(streams));
        Arc::new(Feed { name, mode: *mode, flow, supervisor, streams })
    }

    /// The flow that was there, with its readers, if it can hold what comes.
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
        let maker = match before.filter(|_| self.diff.byte_streams.goes_on(&settings.name)) {
            Some(present) => present.maker.with(feed.as_ref()),
            None => self.maker(settings, feed.as_ref(), before),
        };
        let settings = settings.clone();
        let is_open = !self.diff.locked.contains(&settings.name);
        match before.filter(|before| is_open && before.maker.has_readers_of(&maker)) {
            Some(before) => Arc::new(Stream { settings, feed, maker, ..Stream::clone(before) }),
            None => Arc::new(Stream {
                settings,
                feed,
                maker,
                viewers: Arc::default(),
                gone: watch::Sender::new(false),
                bytes_out: Arc::default(),
            }),
        }
    }

    fn maker(
        &mut self,
        settings: &ByteStream,
        feed: Option<&Arc<Feed>>,
        before: Option<&Arc<Stream>>,
    ) -> Maker {
        let name = &settings.name;
        let program = settings
            .command
            .clone()
            .map(|line| Program::new(line, self.log("stream", name.as_str())));
        match (program, settings.client) {
            (None, _) => Maker::Feed(Arc::clone(
                feed.expect("the check refuses a stream with neither feed nor command"),
            )),
            (Some(program), Client::Shared) => {
                let before = before.filter(|_| !self.diff.locked.contains(name));
                let before = before.and_then(|before| before.maker.own_flow());
                let flow = self.flow(before, Container::of(&settings.content_type));
                let input = feed.map(|feed| Arc::clone(&feed.flow));
                let job = Job::new(Origin::Command(program), &flow, input, true);
                // Its viewers hold what it reads.
                let pipeline = BytesPipeline::new(job, None);
                let supervisor =
                    self.supervise(format!("stream {name}"), pipeline, Mode::OnDemand, true);
                Maker::Shared { flow, supervisor }
            }
            (Some(program), Client::Exclusive) => self.exclusive(program, SEATS),
            (Some(program), Client::Shot) => self.exclusive(program, shot::AT_ONCE),
        }
    }

    fn exclusive(&self, program: Program, places: usize) -> Maker {
        let seats = Arc::new(Semaphore::new(places));
        Maker::Exclusive { program, seats, places, alive: self.before.alive.clone() }
    }

    fn log(&self, kind: &str, name: &str) -> CommandLog {
        CommandLog::new(self.settings.log.folder.as_deref(), kind, name)
    }

    fn supervise(
        &mut self,
        what: String,
        pipeline: BytesPipeline,
        mode: Mode,
        resurrect: bool,
    ) -> Supervisor {
        let needed = pipeline.readers();
        let lifecycle = Lifecycle::new(LIMITS).resurrecting(resurrect);
        let (supervisor, task) =
            Supervisor::spawn(what, pipeline, lifecycle, Demand::new(mode), needed);
        self.tasks.push(task);
        supervisor
    }
}

impl Maker {
    /// The same, of a feed that may have started anew.
    fn with(&self, feed: Option<&Arc<Feed>>) -> Self {
        match (self, feed) {
            (Maker::Feed(_), Some(feed)) => Maker::Feed(Arc::clone(feed)),
            (other, _) => other.clone(),
        }
    }

    /// Whether viewers of the one read what the other makes.
    fn has_readers_of(&self, other: &Self) -> bool {
        match (self, other) {
            (Maker::Exclusive { seats, .. }, Maker::Exclusive { seats: others, .. }) => {
                Arc::ptr_eq(seats, others)
            }
            (Maker::Feed(feed), Maker::Feed(other)) => Arc::ptr_eq(&feed.flow, &other.flow),
            (Maker::Shared { flow, .. }, Maker::Shared { flow: other, .. }) => {
                Arc::ptr_eq(flow, other)
            }
            (Maker::Feed(_) | Maker::Shared { .. } | Maker::Exclusive { .. }, _) => false,
        }
    }

    fn own_flow(&self) -> Option<&Arc<ByteRing>> {
        match self {
            Maker::Shared { flow, .. } => Some(flow),
            Maker::Feed(_) | Maker::Exclusive { .. } => None,
        }
    }
}

impl Stream {
    /// That of its shared command.
    pub fn own_supervisor(&self) -> Option<&Supervisor> {
        match &self.maker {
            Maker::Shared { supervisor, .. } => Some(supervisor),
            Maker::Feed(_) | Maker::Exclusive { .. } => None,
        }
    }

    pub fn settings(&self) -> &ByteStream {
        &self.settings
    }

    /// Whether `next`, of a later configuration, gives the same readers bytes of
    /// the same type.
    pub fn is_continued_by(&self, next: &Self) -> bool {
        let is_same_type = self.settings.content_type == next.settings.content_type;
        is_same_type && Arc::ptr_eq(&self.viewers, &next.viewers)
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
            Maker::Exclusive { program, seats, alive, .. } => {
                let seat = Arc::clone(seats).try_acquire_owned().map_err(|_| NoSeat)?;
                let hold = input.map(|input| (input.join_uncounted(Begin::Now), input.need()));
                let (input, need) = hold.unzip();
                let (send, receive) = mpsc::channel(PIECES_AHEAD);
                let guards = (seat, alive.clone());
                tokio::spawn(run_for_one(program.clone(), input, send, guards));
                (From::Process(receive), need.map_or(Hold::Nothing, Hold::Now))
            }
        };
        let (gone, counted) = (self.gone.subscribe(), Arc::clone(&self.viewers));
        Ok(Viewer { from, hold, gone, _counted: counted })
    }

    /// As [`Stream::join`], for who decodes what comes.
    ///
    /// # Errors
    /// Likewise.
    pub fn join_to_decode(&self) -> Result<Viewer, NoSeat> {
        let begin = match &self.maker {
            Maker::Feed(feed) => feed.flow.decodable(),
            Maker::Shared { flow, .. } => flow.decodable(),
            Maker::Exclusive { .. } => Begin::Now,
        };
        self.join(begin)
    }

    /// Why it gives nothing, if it is down.
    pub fn cause(&self) -> Option<Failure> {
        match self.state(tokio::time::Instant::now().into_std()) {
            State::Waiting { cause, .. } | State::Over { cause } => Some(cause),
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
    pub async fn wait_failed(&self, times: u32) {
        let feed = async {
            match &self.feed {
                Some(feed) => feed.supervisor.wait_failed(times).await,
                None => std::future::pending().await,
            }
            if !matches!(self.maker, Maker::Feed(_)) {
                tokio::time::sleep(LAST_BYTES).await;
            }
        };
        let own = async {
            match &self.maker {
                Maker::Shared { supervisor, .. } => supervisor.wait_failed(times).await,
                Maker::Feed(_) | Maker::Exclusive { .. } => std::future::pending().await,
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
    /// Nothing more will come; says why, where that is known. Cancelling loses nothing.
    pub async fn next(&mut self) -> Result<Bytes, Option<Failure>> {
        let bytes = tokio::select! {
            biased;
            () = is_gone(&mut self.gone) => return Err(None),
            bytes = self.from.next() => bytes?,
        };
        if let Hold::Later(feed) = &self.hold {
            self.hold = Hold::Now(feed.need());
        }
        Ok(bytes)
    }
}

async fn is_gone(gone: &mut watch::Receiver<bool>) {
    if gone.wait_for(|gone| *gone).await.is_err() {
        // The stream is there no more, and neither is whoever would tell.
        std::future::pending().await
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
                    Read::End => return Err(None),
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
