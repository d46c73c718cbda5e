//! The checked settings: every field present, in range and consistent.
//!
//! The shape of the file (optional keys, several spellings) ends at the check;
//! users of the settings need no further validation.

mod access;
mod controls;
mod limits;
mod pull;
mod recordings;
mod source;

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use controls::{Control, control_name};
use serde::{Deserialize, Serialize};

use crate::base::secret::Secret;
use crate::base::units::{Bitrate, FrameRate, Size};
use crate::model::ids::{FeedName, PushName, StreamName};
use crate::model::push_url::PushUrl;

pub use access::{Access, Local};
pub use limits::Limits;
pub use pull::{Login, Pull, Transport};
pub use recordings::{Record, Recordings, Retention, WhichClock};
pub use source::{LocalNeed, Source};

/// The whole configuration, in the order of the file: the first stream is the
/// default one.
#[derive(Clone, Debug)]
pub struct Settings {
    pub server: Server,
    pub access: Access,
    /// `None` if switched off.
    pub rtsp: Option<Rtsp>,
    /// Feeds with tracks.
    pub feeds: Vec<Feed>,
    /// Streams with tracks. Not empty if `byte_streams` is empty.
    pub streams: Vec<Stream>,
    /// Feeds of bytes.
    pub byte_feeds: Vec<ByteFeed>,
    pub byte_streams: Vec<ByteStream>,
    pub pushes: Vec<Push>,
    pub recordings: Recordings,
    pub pages: Pages,
    pub limits: Limits,
    pub log: Log,
}

impl Settings {
    /// The track streams with video from `feed`.
    pub fn streams_of(&self, feed: &FeedName) -> impl Iterator<Item = &Stream> {
        self.streams.iter().filter(move |stream| stream.feed == *feed)
    }

    /// The names of all streams with video, audio or bytes from `feed`.
    pub fn all_streams_of(&self, feed: &FeedName) -> impl Iterator<Item = &StreamName> {
        let sound = Sound::Of(feed.clone());
        let tracks = self.streams.iter();
        let tracks = tracks.filter(move |stream| stream.feed == *feed || stream.sound == sound);
        let bytes = self.byte_streams.iter();
        let bytes = bytes.filter(move |stream| stream.feed.as_ref() == Some(feed));
        tracks.map(|stream| &stream.name).chain(bytes.map(|stream| &stream.name))
    }

    /// Whether there is a stream of this name, of either kind.
    pub fn has_stream(&self, name: &StreamName) -> bool {
        let of_bytes = self.byte_streams.iter().map(|stream| &stream.name);
        self.streams.iter().map(|stream| &stream.name).chain(of_bytes).any(|other| other == name)
    }

    /// The track streams with video or audio from `feed`.
    pub fn streams_using(&self, feed: &Feed) -> Vec<StreamName> {
        let sound = Sound::Of(feed.name.clone());
        let takes = |stream: &&Stream| stream.feed == feed.name || stream.sound == sound;
        self.streams.iter().filter(takes).map(|stream| stream.name.clone()).collect()
    }

    /// Whether a feed has a capture pipeline of its own: because several streams
    /// or feeds use it, because its stream uses two feeds, or because its tracks
    /// are unknown before it runs.
    pub fn is_shared(&self, feed: &Feed) -> bool {
        let uses_two = |stream: &Stream| matches!(stream.sound, Sound::Of(_));
        feed.source.has_unknown_tracks()
            || self.streams_using(feed).len() > 1
            || self.streams_of(&feed.name).any(uses_two)
            || self.streams_of(&feed.name).next().is_none()
            || self.feeds.iter().any(|other| other.source.made_from() == Some(&feed.name))
    }

    /// The feed of `stream`.
    pub fn feed_of(&self, stream: &Stream) -> &Feed {
        self.feeds
            .iter()
            .find(|feed| feed.name == stream.feed)
            .expect("the check refuses a stream without its feed")
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    pub bind: IpAddr,
    pub port: u16,
    /// The Unix socket that it listens on as well.
    pub socket: UnixSocket,
    /// The accepted `Host` names; empty for all.
    pub hosts: Vec<String>,
    /// The folder of static files for all other paths.
    pub docroot: Option<PathBuf>,
    /// Whether the service is announced on the local network.
    pub mdns: bool,
    /// Niceness from -20 (highest priority) to 19; 0 by default.
    pub priority: i32,
    /// The folder of the state that persists over restarts.
    pub state: Option<PathBuf>,
    /// If set, the port serves HTTPS instead of HTTP.
    pub tls: Option<Tls>,
}

impl Server {
    /// The scheme of this server's URLs.
    pub fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }
}

/// A Unix socket for operators on the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum UnixSocket {
    /// In the runtime folder that systemd creates for the service; none without it.
    #[default]
    Own,
    At(PathBuf),
    Off,
}

/// PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rtsp {
    pub port: u16,
    /// The port of RTSPS, which needs a certificate.
    pub tls_port: Option<u16>,
    /// Whether viewers may ask for multicast.
    pub multicast: bool,
    /// The credentials of viewers; `None` for public access.
    pub login: Option<Login>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Feed {
    pub name: FeedName,
    pub source: Source,
    pub mode: Mode,
    /// Whether it is restarted after a failure.
    pub resurrect: bool,
    pub size: Size,
    pub fps: FrameRate,
    pub audio: FeedAudio,
    /// The controls of its camera; V4L2 devices only.
    pub controls: Vec<Control>,
    pub overlay: Overlay,
    pub turn: Turn,
}

/// The text over a feed's picture.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Overlay {
    pub text: Option<String>,
    /// Date and time.
    pub clock: bool,
    /// The stream's name.
    pub name: bool,
}

/// The orientation of a feed's picture: mirrored first, then rotated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// Mirrors left and right.
    pub hflip: bool,
    /// Mirrors top and bottom.
    pub vflip: bool,
    pub rotation: Rotation,
}

/// Clockwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rotation {
    #[default]
    None,
    Quarter,
    Half,
    ThreeQuarters,
}

impl Feed {
    /// The size of its picture after rotation.
    pub fn turned_size(&self) -> Size {
        let Size { width, height } = self.size;
        match self.turn.rotation {
            Rotation::None | Rotation::Half => self.size,
            Rotation::Quarter | Rotation::ThreeQuarters => Size { width: height, height: width },
        }
    }
}

/// When a feed runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// While it has readers.
    OnDemand,
    /// Always.
    Continuous,
    /// While it has readers and this long after.
    Linger(Duration),
}

impl fmt::Display for Mode {
    /// `on-demand`, `continuous`, or seconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mode::OnDemand => f.write_str("on-demand"),
            Mode::Continuous => f.write_str("continuous"),
            Mode::Linger(span) => write!(f, "{}", span.as_secs_f64()),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FeedAudio {
    None,
    Silence,
    /// A 1 kHz sine.
    Tone,
    /// The audio of the source, if it can be passed on.
    Own,
    /// A capture device of ALSA: `plughw:CARD=Device`.
    Alsa(String),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stream {
    pub name: StreamName,
    pub feed: FeedName,
    pub encoder: EncoderSetting,
    pub bitrate: Bitrate,
    /// Distance between key frames, 0.1 to 10 s.
    pub gop: Duration,
    pub profile: Profile,
    /// H.264 quantiser, 10 (best) to 40; `None` to encode for the bitrate.
    pub quality: Option<u8>,
    /// The encoded size; `None` for the feed's.
    pub size: Option<Size>,
    /// The encoded frame rate, lower than the feed's; `None` for the feed's.
    pub fps: Option<FrameRate>,
    pub sound: Sound,
    /// Not used by its pipeline.
    #[serde(skip)]
    pub record: Record,
    /// Path with a leading slash and without a trailing one: `/front`, `/cams/a`.
    pub url: String,
}

/// The source of a stream's audio.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sound {
    /// The feed of its video.
    Feed,
    /// The stream has none.
    None,
    /// From another feed.
    Of(FeedName),
}

/// The encoders that livebox knows, by their elements and profiles, hardware first.
pub const ENCODERS: [&str; 6] =
    ["v4l2h264enc", "mpph264enc", "vah264enc", "nvh264enc", "x264enc", "openh264enc"];

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EncoderSetting {
    /// The best one that works on this machine.
    Auto,
    /// The encoder profile of this name in `pipelines/`: `x264enc`.
    Named(String),
}

/// The maximum H.264 profile; the actual one is in the SPS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Profile {
    Baseline,
    Main,
    High,
}

impl Profile {
    /// Its name in the configuration and in GStreamer's caps.
    pub fn word(self) -> &'static str {
        match self {
            Profile::Baseline => "baseline",
            Profile::Main => "main",
            Profile::High => "high",
        }
    }
}

impl Stream {
    /// A stream of `feed` with default settings, for readers of a feed that are
    /// not streams, such as feeds made from it.
    pub fn with_defaults(feed: &Feed) -> Self {
        Self {
            name: feed.name.as_str().parse().expect("names have one form"),
            feed: feed.name.clone(),
            encoder: EncoderSetting::Auto,
            bitrate: Bitrate::default_for(feed.size),
            gop: Duration::from_secs(1),
            profile: Profile::High,
            quality: None,
            size: None,
            fps: Some(feed.fps),
            sound: Sound::Feed,
            record: Record::Off,
            url: String::new(),
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Push {
    pub name: PushName,
    pub stream: StreamName,
    /// `rtmp://` or `rtmps://`, with the key if `key` is absent.
    pub url: Option<PushUrl>,
    /// Alternates with `url` after failures; gets the same key.
    pub backup: Option<PushUrl>,
    /// Stream key, joined to the URL with a slash.
    pub key: Option<Secret>,
    /// A PEM file of certificates that are trusted in addition to the system's.
    pub ca: Option<PathBuf>,
    pub audio: PushAudio,
    /// Whether the push starts with the service.
    pub start: bool,
}

/// The audio of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushAudio {
    /// The audio of the stream; silence if it has none.
    Feed,
    Silence,
    /// A 1 kHz sine.
    Tone,
}

/// The status pages: paths with a leading slash, or `None` if switched off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pages {
    /// Whether `/` shows the home page.
    pub home: bool,
    pub stat: Option<String>,
    pub stat_json: Option<String>,
    pub metrics: Option<String>,
    pub config: Option<String>,
    /// Whether the addresses of viewers are shown.
    pub clients: bool,
}

/// A feed of bytes, which are passed on unchanged.
#[derive(Clone, Debug, PartialEq)]
pub struct ByteFeed {
    pub name: FeedName,
    pub source: ByteSource,
    pub mode: Mode,
    /// Whether it is restarted after a failure or its end.
    pub resurrect: bool,
}

impl ByteFeed {
    /// The feed that its command reads, if any.
    pub fn made_from(&self) -> Option<&FeedName> {
        match &self.source {
            ByteSource::Made(_, from) => Some(from),
            ByteSource::Command(_) | ByteSource::Pipe(_) => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum ByteSource {
    /// The standard output of a program.
    Command(CommandLine),
    /// The standard output of a program that reads another byte feed.
    Made(CommandLine, FeedName),
    /// A named pipe or a file: an absolute path.
    Pipe(PathBuf),
}

/// A program with its arguments, started without a shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandLine {
    /// A path, or a name that is searched in `PATH`.
    pub program: String,
    pub arguments: Vec<String>,
}

/// A byte stream: bytes at a URL, with a configured content type.
#[derive(Clone, Debug, PartialEq)]
pub struct ByteStream {
    pub name: StreamName,
    /// The feed of its bytes, or the input of its command.
    pub feed: Option<FeedName>,
    /// The command that makes its bytes; `None` to pass on those of the feed.
    pub command: Option<CommandLine>,
    /// Valid as a header value.
    pub content_type: String,
    pub client: Client,
    pub record: Record,
    /// Path with a leading slash and without a trailing one: `/cams/a/raw.ts`.
    pub url: String,
}

/// How many processes of a stream's command run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// One process for all viewers.
    Shared,
    /// A process for each viewer, for formats with a header at the start only.
    Exclusive,
    /// A process for each request, whose complete output is the response.
    Shot,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    pub level: log::LevelFilter,
    /// The folder of the logs of commands, one file each.
    pub folder: Option<PathBuf>,
}
