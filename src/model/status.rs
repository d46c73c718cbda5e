//! What is going on, as every page and API shows it.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::ids::{FeedName, PushName, StreamName};

/// Why a pipeline is not running.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Failure {
    /// It ran, but nothing came out of it for this long.
    NoFrames { after: Duration },
    /// An element said what is wrong; secrets are taken out.
    Element { element: String, message: String },
    /// An element is not installed.
    MissingElement { element: String, package: Option<Cow<'static, str>> },
    /// It could not be put together at all.
    Build(String),
    /// The camera cannot do what is asked of it.
    Camera(String),
    /// The file cannot be played.
    File(String),
    /// The disk takes no recording.
    Disk(String),
    /// The command cannot be started, or has ended.
    Command(String),
    /// The process that its pipeline runs in has died.
    Crash(String),
    /// Its input came to an end.
    Ended,
    /// What it passes on is encoded differently from now on.
    CodecChange,
    /// An operator asked for a fresh start.
    Restart,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::NoFrames { after } => write!(f, "nothing came out for {} s", after.as_secs()),
            Failure::Element { element, message } => write!(f, "{element}: {message}"),
            Failure::MissingElement { element, package: Some(package) } => write!(
                f,
                "needs the GStreamer element {element:?}, which is not installed; it is in the \
                 Debian package {package}"
            ),
            Failure::MissingElement { element, package: None } => {
                write!(f, "needs the GStreamer element {element:?}, which is not installed")
            }
            Failure::Build(what)
            | Failure::Camera(what)
            | Failure::File(what)
            | Failure::Disk(what)
            | Failure::Command(what)
            | Failure::Crash(what) => f.write_str(what),
            Failure::Ended => f.write_str("its input came to an end"),
            Failure::CodecChange => f.write_str("its stream is encoded differently now"),
            Failure::Restart => f.write_str("restarted by an operator"),
        }
    }
}

/// A pipeline's phase as it is told to people, with spans instead of instants.
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
    /// It failed, and is not tried again by itself.
    Over {
        cause: Failure,
    },
}

impl State {
    /// One word: `idle`, `starting`, `live`, `stopping`, `waiting`, `over`.
    pub fn word(&self) -> &'static str {
        match self {
            State::Idle => "idle",
            State::Starting => "starting",
            State::Live { .. } => "live",
            State::Stopping => "stopping",
            State::Waiting { .. } => "waiting",
            State::Over { .. } => "over",
        }
    }

    /// What a person wants to know besides the word; may be empty.
    pub fn detail(&self) -> String {
        match self {
            State::Waiting { retry_in, cause } => {
                format!("{cause}; next try in {} s", retry_in.as_secs_f64().ceil())
            }
            State::Over { cause } => format!("{cause}; it is not started again"),
            State::Idle | State::Starting | State::Live { .. } | State::Stopping => String::new(),
        }
    }
}

/// What has happened to a pipeline so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Past {
    /// Failures, each of which is followed by another start; a start on demand
    /// or by an operator does not count.
    pub restarts: u32,
    /// The newest few, the last one first.
    pub ends: Vec<Ended>,
}

/// An end of a run.
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
    /// Bytes of access units that its feed has given since the start of the service.
    pub bytes_in: u64,
    /// Bytes handed to viewers since the start of the service.
    pub bytes_out: u64,
    /// Pictures since the start of the service; frames of sound where that is
    /// all there is.
    pub frames: u64,
    /// Chunks that readers were too slow for, since the start of the service.
    pub lost: u64,
    /// Frames left out before the encoder, which was too slow for them, since
    /// the start of the service.
    pub dropped: u64,
    /// How long ago the newest chunk came; nothing if there is none in memory.
    pub newest_age: Option<Duration>,
    /// What really comes out, where it was measured.
    pub bitrate: Option<u64>,
    pub fps: Option<f64>,
    /// Access units skipped because they were malformed.
    pub malformed: u64,
    pub past: Past,
    /// Why it went down the last time, however long ago.
    pub last_failure: Option<Failure>,
    /// Those whose addresses are known, in the order in which they came.
    pub clients: Vec<Client>,
    /// `on-demand`, `continuous`, or how long the feed runs after its last reader.
    pub mode: String,
    /// What the configuration asks for: `1280x720, 30 frames a second, 2Mbit/s`.
    pub set_to: String,
    /// Size, codec and profile as the SPS has them.
    pub picture: Option<Picture>,
    /// Which encoder, and why this one.
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

/// One stream of bytes with its feed.
#[derive(Clone, Debug)]
pub struct ByteStream {
    pub name: StreamName,
    pub url: String,
    pub feed: Option<FeedName>,
    pub content_type: String,
    pub state: State,
    pub readers: usize,
    /// Bytes handed to viewers since the start of the service.
    pub bytes_out: u64,
    /// Bytes that viewers were too slow for.
    pub lost: u64,
    /// Of what makes its bytes: its own command, or its feed.
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

/// A feed that gives bytes.
#[derive(Clone, Debug)]
pub struct ByteFeed {
    pub name: FeedName,
    /// `on-demand`, `continuous`, or how long it runs after its last reader.
    pub mode: String,
    pub state: State,
    pub readers: usize,
    /// What it has given since the start of the service.
    pub bytes: u64,
    pub past: Past,
    pub last_failure: Option<Failure>,
    pub streams: Vec<StreamName>,
}

/// The picture that really comes out.
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
    /// Why it was chosen before the others.
    pub because: String,
    /// It is the feed itself, whose H.264 passes through.
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
    /// Bits a second over the last seconds; nothing while it is not live.
    pub bitrate: u64,
    /// Frames that it was too slow for, since the start of the service.
    pub lost: u64,
    pub past: Past,
    /// Where it goes, as it may be shown.
    pub url: Option<String>,
    /// Whether it sends, or will try next, to its backup; nothing where it has none.
    pub on_backup: Option<bool>,
    /// Why it went down first since it was live for long: what follows is often
    /// only the consequence.
    pub first_failure: Option<Failure>,
    /// Why it went down the last time, however long ago.
    pub last_failure: Option<Failure>,
}

impl Push {
    /// The first failure, where it is another one than the last.
    pub fn first_cause(&self) -> Option<&Failure> {
        self.first_failure.as_ref().filter(|first| Some(*first) != self.last_failure.as_ref())
    }
}

/// Everything at one moment; all pages and APIs render this.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub service: Service,
    /// Those that several streams share.
    pub feeds: Vec<Feed>,
    pub streams: Vec<Stream>,
    pub byte_feeds: Vec<ByteFeed>,
    pub byte_streams: Vec<ByteStream>,
    pub pushes: Vec<Push>,
    /// Since the configuration was read last.
    pub rolled_back: Vec<RolledBack>,
    /// What is wrong with the folders of the configuration.
    pub problems: Vec<Problem>,
    pub recordings: Recordings,
}

/// What is recorded, and what that costs the disk.
#[derive(Clone, Debug, Default)]
pub struct Recordings {
    pub streams: Vec<Recorded>,
    /// Of each stream that has recordings, also of those that the configuration
    /// has no longer.
    pub usage: Vec<(StreamName, Usage)>,
    /// What the disk has room for; nothing where that is not known.
    pub free: Option<u64>,
    /// What went wrong the last time.
    pub last_error: Option<String>,
}

/// What recordings take and have cost.
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
    /// Of all streams together.
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

    /// Takes out what the recordings of streams that are not `open` take.
    pub fn close(&mut self, open: impl Fn(&StreamName) -> bool) {
        let before = self.usage.len();
        self.usage.retain(|(stream, _)| open(stream));
        if self.usage.len() < before {
            // It may name one of them.
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

/// Something of the box that does not work, and that no stream or push can tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key of the configuration that it is about.
    pub what: &'static str,
    /// A sentence without an end.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.text)
    }
}

/// A setting that gave nothing, so that an earlier one is in force again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RolledBack {
    /// `feed NAME` or `stream NAME`.
    pub what: String,
    /// What was seen of the new one.
    pub reason: String,
    /// Those that it is about.
    pub streams: Vec<StreamName>,
}

/// A stream of which somebody may know no more than that there is one.
#[derive(Clone, Debug, PartialEq)]
pub struct Closed {
    pub name: StreamName,
    pub url: String,
}

impl Snapshot {
    /// Takes out what is known of the streams that are not `open`, with their
    /// pushes and the feeds that only they show.
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
            // It may name one of them.
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
