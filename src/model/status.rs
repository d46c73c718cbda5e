//! The status of everything, as all pages and APIs render it.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::failure::Failure;
use crate::model::ids::{FeedName, PushName, StreamName};

/// A pipeline's phase for display, with spans instead of instants.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    Idle,
    Starting,
    Live {
        since: Duration,
    },
    Stopping,
    Waiting {
        retry_in: Duration,
        cause: Failure,
    },
    /// It failed and is not retried.
    Ended {
        cause: Failure,
    },
}

impl State {
    /// One word: `idle`, `starting`, `live`, `stopping`, `waiting`, `ended`.
    pub fn word(&self) -> &'static str {
        match self {
            State::Idle => "idle",
            State::Starting => "starting",
            State::Live { .. } => "live",
            State::Stopping => "stopping",
            State::Waiting { .. } => "waiting",
            State::Ended { .. } => "ended",
        }
    }

    /// Cause and time of the next try, in sentences; may be empty.
    pub fn detail(&self) -> String {
        match self {
            State::Waiting { retry_in, cause } => {
                format!("{} Next try in {} s.", cause.say(), retry_in.as_secs_f64().ceil())
            }
            State::Ended { cause } => format!("{} It is not started again.", cause.say()),
            State::Idle | State::Starting | State::Live { .. } | State::Stopping => String::new(),
        }
    }

    /// The time to the next attempt, if one is due.
    pub fn retry_in(&self) -> Option<Duration> {
        match self {
            State::Waiting { retry_in, .. } => Some(*retry_in),
            State::Idle
            | State::Starting
            | State::Live { .. }
            | State::Stopping
            | State::Ended { .. } => None,
        }
    }

    /// Why it does not run, if it does not because of a failure.
    pub fn cause(&self) -> Option<&Failure> {
        match self {
            State::Waiting { cause, .. } | State::Ended { cause } => Some(cause),
            State::Idle | State::Starting | State::Live { .. } | State::Stopping => None,
        }
    }
}

/// The history of a pipeline.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Past {
    /// Restarts after failures; a start on demand or by an operator does not
    /// count.
    pub restarts: u32,
    /// The latest ends of runs, the newest first.
    pub ends: Vec<Ended>,
}

/// The end of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    pub ago: Duration,
    pub cause: Failure,
}

/// One stream with its feed.
#[derive(Clone, Debug)]
pub struct Stream {
    pub name: StreamName,
    pub url: String,
    pub feed: FeedName,
    pub state: State,
    /// Connected readers: viewers and pushes.
    pub readers: usize,
    /// Bytes of access units from its feed since the start of the service.
    pub bytes_in: u64,
    /// Bytes sent to viewers since the start of the service.
    pub bytes_out: u64,
    /// Pictures since the start of the service; audio frames for a stream
    /// without video.
    pub frames: u64,
    /// Chunks that slow readers have lost since the start of the service.
    pub lost: u64,
    /// Frames dropped because the encoder was too slow, since the start of the
    /// service.
    pub dropped: u64,
    /// The time since the newest chunk arrived; `None` if none is in memory.
    pub newest_age: Option<Duration>,
    /// Measured bits per second; `None` until measured.
    pub bitrate: Option<u64>,
    /// Measured pictures per second; `None` until measured.
    pub fps: Option<f64>,
    /// Access units skipped because they were malformed.
    pub malformed: u64,
    pub past: Past,
    /// The latest failure, however long ago.
    pub last_failure: Option<Failure>,
    /// Viewers with a known address, in the order of their arrival.
    pub clients: Vec<Client>,
    /// `on-demand`, `continuous`, or how long the feed runs after its last reader.
    pub mode: String,
    /// The configured format: `1280x720, 30 frames per second, 2.0 Mbit/s`.
    pub set_to: String,
    /// Size, codec and profile from the SPS.
    pub picture: Option<Picture>,
    /// The encoder and the reason for its choice.
    pub encoder: Option<Encoder>,
}

/// One viewer whose address is known.
#[derive(Clone, Debug)]
pub struct Client {
    pub address: IpAddr,
    /// `mp4`, `h264`, `rtsp`.
    pub way: &'static str,
    /// How long it has been watching.
    pub since: Duration,
}

/// One byte stream with its feed.
#[derive(Clone, Debug)]
pub struct ByteStream {
    pub name: StreamName,
    pub url: String,
    pub feed: Option<FeedName>,
    pub content_type: String,
    pub state: State,
    pub readers: usize,
    /// Bytes sent to viewers since the start of the service.
    pub bytes_out: u64,
    /// Bytes that slow viewers have lost since the start of the service.
    pub lost: u64,
    /// The history of its source: its own command, or its feed.
    pub past: Past,
    pub last_failure: Option<Failure>,
}

/// A feed that several streams share.
#[derive(Clone, Debug)]
pub struct Feed {
    pub name: FeedName,
    /// `on-demand`, `continuous`, or how long it runs after its last reader.
    pub mode: String,
    pub state: State,
    pub past: Past,
    pub last_failure: Option<Failure>,
    pub streams: Vec<StreamName>,
}

/// A feed of a byte stream.
#[derive(Clone, Debug)]
pub struct ByteFeed {
    pub name: FeedName,
    /// `on-demand`, `continuous`, or how long it runs after its last reader.
    pub mode: String,
    pub state: State,
    pub readers: usize,
    /// Bytes delivered since the start of the service.
    pub bytes: u64,
    pub past: Past,
    pub last_failure: Option<Failure>,
    pub streams: Vec<StreamName>,
}

/// The actual video format of a stream.
#[derive(Clone, Debug)]
pub struct Picture {
    pub width: u32,
    pub height: u32,
    pub profile: &'static str,
    pub level: String,
    pub codecs: String,
}

/// The encoder in use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Encoder {
    pub element: String,
    /// The reason for its choice.
    pub because: String,
    /// The feed delivers H.264, which passes through.
    pub is_feed: bool,
}

/// One push.
#[derive(Clone, Debug)]
pub struct Push {
    pub name: PushName,
    pub stream: StreamName,
    pub state: State,
    /// Bytes sent since the start of the service.
    pub bytes_out: u64,
    /// Bits per second over the last seconds; 0 while it is not live.
    pub bitrate: u64,
    /// Chunks lost because the push was too slow, since the start of the service.
    pub lost: u64,
    pub past: Past,
    /// The destination, for display.
    pub url: Option<String>,
    /// Whether it sends, or will try next, to its backup; `None` without one.
    pub on_backup: Option<bool>,
    /// The first failure since it was last live for long: later failures are
    /// often only its consequence.
    pub first_failure: Option<Failure>,
    /// The latest failure, however long ago.
    pub last_failure: Option<Failure>,
}

impl Push {
    /// The first failure, if it differs from the last.
    pub fn first_cause(&self) -> Option<&Failure> {
        self.first_failure.as_ref().filter(|first| Some(*first) != self.last_failure.as_ref())
    }
}

/// The status at one moment; all pages and APIs render this.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub service: Service,
    /// Feeds that several streams share.
    pub feeds: Vec<Feed>,
    pub streams: Vec<Stream>,
    pub byte_feeds: Vec<ByteFeed>,
    pub byte_streams: Vec<ByteStream>,
    pub pushes: Vec<Push>,
    /// Since the configuration was last loaded.
    pub rolled_back: Vec<RolledBack>,
    /// Faults of the configured folders.
    pub problems: Vec<Problem>,
    pub recordings: Recordings,
}

/// Recordings and their use of the disk.
#[derive(Clone, Debug, Default)]
pub struct Recordings {
    pub streams: Vec<Recorded>,
    /// Of each stream with recordings, including streams that are no longer
    /// configured.
    pub usage: Vec<(StreamName, Usage)>,
    /// Free bytes of the disk; `None` if unknown.
    pub free: Option<u64>,
    /// The latest error.
    pub last_error: Option<String>,
}

/// Recordings on the disk, and bytes written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Recordings on the disk and their bytes.
    pub count: usize,
    pub bytes: u64,
    /// Bytes written since the start of the service, today and the day before:
    /// an SD card wears with them.
    pub written: u64,
    pub written_today: u64,
    pub written_yesterday: u64,
}

impl Recordings {
    /// The sum over all streams.
    pub fn total(&self) -> Usage {
        let add = |sum: Usage, (_, one): &(StreamName, Usage)| Usage {
            count: sum.count + one.count,
            bytes: sum.bytes + one.bytes,
            written: sum.written + one.written,
            written_today: sum.written_today + one.written_today,
            written_yesterday: sum.written_yesterday + one.written_yesterday,
        };
        self.usage.iter().fold(Usage::default(), add)
    }

    /// Removes the usage of streams that are not `open`.
    pub fn close(&mut self, open: impl Fn(&StreamName) -> bool) {
        let before = self.usage.len();
        self.usage.retain(|(stream, _)| open(stream));
        if self.usage.len() < before {
            // It may name a removed stream.
            self.last_error = None;
        }
    }
}

/// One stream's recording.
#[derive(Clone, Debug)]
pub struct Recorded {
    pub stream: StreamName,
    /// `off`, `always`, or the hours of the week.
    pub plan: String,
    pub wanted: bool,
    pub state: State,
    /// The file that is being written.
    pub file: Option<String>,
    pub last_failure: Option<Failure>,
}

/// A fault of the service that is not the failure of a stream or push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The configuration key.
    pub what: &'static str,
    /// A sentence without a full stop.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.text)
    }
}

/// A setting that delivered nothing and was replaced by the previous one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RolledBack {
    /// `feed NAME` or `stream NAME`.
    pub what: String,
    /// Why the new setting was rolled back.
    pub reason: String,
    /// The affected streams.
    pub streams: Vec<StreamName>,
}

/// A stream of which the caller may know only name and URL.
#[derive(Clone, Debug, PartialEq)]
pub struct Closed {
    pub name: StreamName,
    pub url: String,
}

impl Snapshot {
    /// Removes the streams that are not `open`, with their pushes, and the feeds
    /// without another stream. Returns the removed streams.
    pub fn close(&mut self, open: impl Fn(&StreamName) -> bool) -> Vec<Closed> {
        let tracks = self.streams.iter().map(|stream| (&stream.name, &stream.url));
        let bytes = self.byte_streams.iter().map(|stream| (&stream.name, &stream.url));
        let closed = tracks.chain(bytes).filter(|(name, _)| !open(name));
        let closed: Vec<_> =
            closed.map(|(name, url)| Closed { name: name.clone(), url: url.clone() }).collect();
        if closed.is_empty() {
            return closed;
        }
        let shown = |name: &StreamName| !closed.iter().any(|one| one.name == *name);
        self.streams.retain(|stream| shown(&stream.name));
        self.byte_streams.retain(|stream| shown(&stream.name));
        self.pushes.retain(|push| shown(&push.stream));
        self.recordings.streams.retain(|one| shown(&one.stream));
        for feed in &mut self.feeds {
            feed.streams.retain(shown);
        }
        self.feeds.retain(|feed| !feed.streams.is_empty());
        for feed in &mut self.byte_feeds {
            feed.streams.retain(shown);
        }
        self.byte_feeds.retain(|feed| !feed.streams.is_empty());
        self.rolled_back.retain(|one| one.streams.iter().any(shown));
        if !closed.is_empty() {
            // It may name a removed stream.
            self.recordings.last_error = None;
        }
        closed
    }
}

/// The service itself.
#[derive(Clone, Debug)]
pub struct Service {
    pub host: String,
    pub version: &'static str,
    /// Seconds since 1970.
    pub started: u64,
    pub now: u64,
    pub uptime: Duration,
    /// CPU time used since the start.
    pub cpu: Duration,
    /// Memory in use (resident set), in bytes.
    pub memory: u64,
}
