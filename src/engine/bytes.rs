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
use log::debug;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

pub(super) use run::Sign;
use run::{BytesPipeline, Job, Origin, run_for_one};

pub use self::shot::NoShot;
use super::command::Program;
use super::command_log::CommandLog;
use super::demand::Demand;
use super::lifecycle::{Lifecycle, Limits};
use super::supervisor::Supervisor;
use crate::base::backoff::Backoff;
use crate::config::settings::{ByteFeed, ByteSource, ByteStream, Client, Mode, Settings};
use crate::hub::bytes::{Begin, Flow, Need, Read, Reader};
use crate::media::container::Container;
use crate::model::ids::{FeedName, StreamName};
use crate::model::status::{Failure, State};

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
    feeds: Vec<(FeedName, Arc<Feed>)>,
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
    mode: Mode,
    flow: Arc<Flow>,
    supervisor: Supervisor,
    /// Those that pass its bytes on.
    streams: Vec<StreamName>,
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
        /// How many of them there are.
        places: usize,
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
        let feeds = builder.feeds();
        let streams = settings.byte_streams.iter().map(|stream| {
            let own = |name| feeds.iter().find(|(known, _)| known == name);
            let feed = stream.feed.as_ref().and_then(own).map(|(_, feed)| Arc::clone(feed));
            builder.stream(stream, feed)
        });
        let streams = streams.collect();
        (Self { streams, feeds }, builder.tasks)
    }

    /// Those of all feeds and shared commands; a feed's as often as it is shown.
    pub fn supervisors(&self) -> impl Iterator<Item = &Supervisor> {
        self.streams.iter().flat_map(|stream| {
            let feed = stream.feed.iter().map(|feed| &feed.supervisor);
            let Maker::Shared { supervisor, .. } = &stream.maker else { return feed.chain(None) };
            feed.chain(Some(supervisor))
        })
    }

    /// The bytes of the feed that is called so, and who looks after them.
    pub fn feed(&self, feed: &FeedName) -> Option<(&Arc<Flow>, &Supervisor)> {
        let (_, feed) = self.feeds.iter().find(|(name, _)| name == feed)?;
        Some((&feed.flow, &feed.supervisor))
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
    /// All feeds, each after that which it is made from.
    fn feeds(&mut self) -> Vec<(FeedName, Arc<Feed>)> {
        let mut feeds: Vec<(FeedName, Arc<Feed>)> = Vec::new();
        let mut to_do: VecDeque<_> = self.settings.byte_feeds.iter().collect();
        while let Some(feed) = to_do.pop_front() {
            let base = match feed.made_from() {
                None => None,
                Some(from) => match feeds.iter().find(|(name, _)| name == from) {
                    Some((_, base)) => Some(Arc::clone(&base.flow)),
                    None => {
                        // The check refuses circles, so that one's turn comes.
                        to_do.push_back(feed);
                        continue;
                    }
                },
            };
            let made = self.feed(feed, base);
            feeds.push((feed.name.clone(), made));
        }
        feeds
    }

    fn feed(&mut self, feed: &ByteFeed, base: Option<Arc<Flow>>) -> Arc<Feed> {
        let ByteFeed { name, source, mode, resurrect } = feed;
        // Streams without a command show the feed's own bytes: they know what it gives.
        let shows =
            |stream: &&ByteStream| stream.command.is_none() && stream.feed.as_ref() == Some(name);
        let mut shown = self.settings.byte_streams.iter().filter(shows);
        let container = shown.find_map(|stream| Container::of(&stream.content_type));
        let flow = Flow::new(container, self.memory);
        let origin = match source {
            ByteSource::Command(line) | ByteSource::Made(line, _) => {
                Origin::Command(Program::new(line.clone(), self.log("feed", name.as_str())))
            }
            ByteSource::Pipe(path) => Origin::Pipe(path.clone()),
        };
        let job = Job::new(origin, &flow, base.clone(), *resurrect);
        let pipeline = BytesPipeline::new(job, base);
        let supervisor = self.supervise(format!("feed {name}"), pipeline, *mode, *resurrect);
        let of_feed = |stream: &&ByteStream| stream.feed.as_ref() == Some(name);
        let streams = self.settings.byte_streams.iter().filter(of_feed);
        let streams = streams.map(|stream| stream.name.clone()).collect();
        Arc::new(Feed { mode: *mode, flow, supervisor, streams })
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
                // Its viewers hold what it reads.
                let pipeline = BytesPipeline::new(job, None);
                let supervisor =
                    self.supervise(format!("stream {name}"), pipeline, Mode::OnDemand, true);
                Maker::Shared { flow, supervisor }
            }
            (Some(program), Client::Exclusive) => self.exclusive(program, SEATS),
            (Some(program), Client::Shot) => self.exclusive(program, shot::AT_ONCE),
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

    fn exclusive(&self, program: Program, places: usize) -> Maker {
        let seats = Arc::new(Semaphore::new(places));
        Maker::Exclusive { program, seats, places, alive: self.alive.clone() }
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
            Maker::Exclusive { program, seats, alive, .. } => {
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
