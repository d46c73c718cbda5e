//! What the service runs on: every field present, in range and consistent.
//!
//! The file's own shape (optional keys, several spellings) ends at the check;
//! nothing behind it asks whether a value makes sense.

mod access;
mod controls;
mod limits;
mod recordings;

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use controls::{Control, control_name};
use serde::{Deserialize, Serialize};

use crate::base::secret::{self, Secret};
use crate::base::units::{Bitrate, FrameRate, Size};
use crate::model::ids::{FeedName, PushName, StreamName};
use crate::model::push_url::PushUrl;

pub use access::{Access, Local};
pub use limits::Limits;
pub use recordings::{Record, Recordings, Retention, WhichClock};

/// The whole configuration, in the order of the file: the first stream is the
/// default one.
#[derive(Clone, Debug)]
pub struct Settings {
    pub server: Server,
    pub access: Access,
    /// Absent where it is switched off.
    pub rtsp: Option<Rtsp>,
    /// Feeds that give pictures.
    pub feeds: Vec<Feed>,
    /// Track streams: what livebox encodes. Not empty where `byte_streams` is.
    pub streams: Vec<Stream>,
    /// Feeds that give bytes.
    pub byte_feeds: Vec<ByteFeed>,
    pub byte_streams: Vec<ByteStream>,
    pub pushes: Vec<Push>,
    pub recordings: Recordings,
    pub pages: Pages,
    pub limits: Limits,
    pub log: Log,
}

impl Settings {
    /// The streams of the feed that is called so.
    pub fn streams_of(&self, feed: &FeedName) -> impl Iterator<Item = &Stream> {
        self.streams.iter().filter(move |stream| stream.feed == *feed)
    }

    /// The streams that show the feed, or sound like it, or pass it on.
    pub fn all_streams_of(&self, feed: &FeedName) -> impl Iterator<Item = &StreamName> {
        let sound = Sound::Of(feed.clone());
        let tracks = self.streams.iter();
        let tracks = tracks.filter(move |stream| stream.feed == *feed || stream.sound == sound);
        let bytes = self.byte_streams.iter();
        let bytes = bytes.filter(move |stream| stream.feed.as_ref() == Some(feed));
        tracks.map(|stream| &stream.name).chain(bytes.map(|stream| &stream.name))
    }

    /// Whether there is a stream of this name, of whichever kind.
    pub fn has_stream(&self, name: &StreamName) -> bool {
        let of_bytes = self.byte_streams.iter().map(|stream| &stream.name);
        self.streams.iter().map(|stream| &stream.name).chain(of_bytes).any(|other| other == name)
    }

    /// The streams whose picture or sound is the feed's.
    pub fn takers_of(&self, feed: &Feed) -> Vec<StreamName> {
        let sound = Sound::Of(feed.name.clone());
        let takes = |stream: &&Stream| stream.feed == feed.name || stream.sound == sound;
        self.streams.iter().filter(takes).map(|stream| stream.name.clone()).collect()
    }

    /// Whether a feed is captured in a pipeline of its own: because others
    /// share it, because a stream takes from two feeds, or because what it
    /// gives is not known before it runs.
    pub fn is_shared(&self, feed: &Feed) -> bool {
        let comes_alone = match feed.source {
            Source::TestClock | Source::V4l2(_) | Source::File(_) => false,
            Source::Rtsp(_) | Source::SoundOnly | Source::Made(_) | Source::Unpacked(_) => true,
        };
        let takes_two = |stream: &Stream| matches!(stream.sound, Sound::Of(_));
        comes_alone
            || self.takers_of(feed).len() > 1
            || self.streams_of(&feed.name).any(takes_two)
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
    /// Where it listens on this machine besides.
    pub socket: UnixSocket,
    /// The names that it answers to; all where this is empty.
    pub hosts: Vec<String>,
    /// Static files for every path that nothing else answers.
    pub docroot: Option<PathBuf>,
    /// Whether the service is announced on the local network.
    pub mdns: bool,
    /// Niceness: -20 comes before all others, 19 behind them. 0 is usual.
    pub priority: i32,
    /// The folder that keeps what operators want over a restart.
    pub state: Option<PathBuf>,
    /// With it the port speaks HTTPS instead of HTTP.
    pub tls: Option<Tls>,
}

impl Server {
    /// How the URLs of this server begin.
    pub fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }
}

/// A Unix socket for the operators of the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum UnixSocket {
    /// In the folder that systemd makes for the service; none without that.
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
    /// For RTSPS, which there is where there is a certificate.
    pub tls_port: Option<u16>,
    /// Whether viewers may ask for multicast.
    pub multicast: bool,
    /// What viewers must show; without it everybody may watch.
    pub login: Option<Login>,
}

/// A name and a password as they are: RTSP's Digest needs them, on both sides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    pub user: String,
    #[serde(with = "secret::revealed")]
    pub password: Secret,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Feed {
    pub name: FeedName,
    pub source: Source,
    pub mode: Mode,
    /// Whether it is started again when it dies.
    pub resurrect: bool,
    pub size: Size,
    pub fps: FrameRate,
    pub audio: FeedAudio,
    /// What its camera is told; of a V4L2 device alone.
    pub controls: Vec<Control>,
    pub overlay: Overlay,
    pub turn: Turn,
}

/// What is written over a feed's picture.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Overlay {
    pub text: Option<String>,
    /// Date and time.
    pub clock: bool,
    /// The stream's name.
    pub name: bool,
}

/// How a feed's picture is turned: mirrored first, then rotated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// Left and right change places.
    pub hflip: bool,
    /// Top and bottom change places.
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

/// Where a feed's picture comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Source {
    /// A test picture with a running clock.
    TestClock,
    /// A V4L2 capture device: `/dev/video0`, `/dev/v4l/by-id/…`.
    V4l2(PathBuf),
    /// A film, played for ever: an absolute path.
    File(PathBuf),
    /// A stream that is fetched over RTSP.
    Rtsp(Pull),
    /// No picture: the feed is a sound alone.
    SoundOnly,
    /// The pictures of another feed.
    Made(FeedName),
    /// What is in the bytes of another feed.
    Unpacked(FeedName),
}

impl Source {
    /// The feed of pictures that it is made from, if from one.
    pub fn made_from(&self) -> Option<&FeedName> {
        match self {
            Source::Made(from) => Some(from),
            Source::TestClock
            | Source::V4l2(_)
            | Source::File(_)
            | Source::Rtsp(_)
            | Source::SoundOnly
            | Source::Unpacked(_) => None,
        }
    }

    /// The feed of bytes that it is unpacked from, if from one.
    pub fn unpacked_from(&self) -> Option<&FeedName> {
        match self {
            Source::Unpacked(from) => Some(from),
            Source::TestClock
            | Source::V4l2(_)
            | Source::File(_)
            | Source::Rtsp(_)
            | Source::SoundOnly
            | Source::Made(_) => None,
        }
    }
}

impl Feed {
    /// The size of its picture once that is turned.
    pub fn turned_size(&self) -> Size {
        let Size { width, height } = self.size;
        match self.turn.rotation {
            Rotation::None | Rotation::Half => self.size,
            Rotation::Quarter | Rotation::ThreeQuarters => Size { width: height, height: width },
        }
    }
}

/// A stream on another machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pull {
    /// `rtsp://`, with the password if there is no `login`.
    #[serde(with = "secret::revealed")]
    pub url: Secret,
    pub login: Option<Login>,
    pub transport: Transport,
}

impl Pull {
    /// The port of its address, 554 where that names none.
    pub fn port(&self) -> u16 {
        let rest = self.url.reveal().trim_start_matches("rtsp://");
        let place = rest.split(['/', '?']).next().unwrap_or_default();
        let after_v6 = place.rsplit([']', '@']).next().unwrap_or_default();
        after_v6.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(RTSP)
    }
}

/// The port of RTSP (RFC 7826, 22.14).
const RTSP: u16 = 554;

/// How packets are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Transport {
    /// Over the connection itself.
    Tcp,
    /// As datagrams.
    Udp,
}

impl Pull {
    /// The address without what may be secret in it.
    pub fn shown(&self) -> String {
        let (scheme, rest) = self.url.reveal().split_once("://").unwrap_or_default();
        let rest = rest.split(['?', '#']).next().unwrap_or_default();
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let host = host.rsplit('@').next().unwrap_or_default();
        format!("{scheme}://{host}/{path}")
    }

    /// Everything that must not be seen in what others say of it.
    pub fn secrets(&self) -> Vec<Secret> {
        let url = self.url.reveal();
        let authority = url.split_once("://").map_or(url, |(_, rest)| rest);
        let authority = authority.split(['/', '?']).next().unwrap_or_default();
        let in_url = authority.rsplit_once('@').and_then(|(user, _)| user.split_once(':'));
        let query = url.split_once('?').map(|(_, query)| query);
        let mut secrets = vec![self.url.clone()];
        secrets.extend(in_url.map(|(_, password)| Secret::new(password)));
        secrets.extend(query.map(Secret::new));
        secrets.extend(self.login.iter().map(|login| login.password.clone()));
        secrets
    }
}

/// How long a feed runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// While somebody needs it.
    OnDemand,
    /// Always.
    Continuous,
    /// While somebody needs it and this long after.
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
    /// The feed's own, where it has any that can be passed on.
    Own,
    /// A capture device of ALSA: `plughw:CARD=Device`.
    Alsa(String),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stream {
    pub name: StreamName,
    pub feed: FeedName,
    pub encoder: EncoderWish,
    pub bitrate: Bitrate,
    /// Distance of key frames, 0.1 to 10 s.
    pub gop: Duration,
    pub profile: Profile,
    /// H.264 quantiser, 10 (best) to 40; without one the bit rate decides.
    pub quality: Option<u8>,
    /// The size to encode, where it is not the feed's.
    pub size: Option<Size>,
    /// Frames a second to encode, where they are fewer than the feed's.
    pub fps: Option<FrameRate>,
    pub sound: Sound,
    /// Of no concern to its pipeline.
    #[serde(skip)]
    pub record: Record,
    /// Path with a leading slash and without a trailing one: `/front`, `/cams/a`.
    pub url: String,
}

/// Where a stream's sound comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sound {
    /// From the feed that its pictures come from.
    Feed,
    /// The stream has none.
    None,
    /// From another feed.
    Of(FeedName),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EncoderWish {
    /// The best one of the board that works.
    Auto,
    /// The encoder profile of this name in `pipelines/`: `x264enc`.
    Named(String),
}

/// The H.264 profile asked for: a ceiling, the real one is in the SPS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Profile {
    Baseline,
    Main,
    High,
}

impl Profile {
    /// The word of the config and of GStreamer's caps.
    pub fn word(self) -> &'static str {
        match self {
            Profile::Baseline => "baseline",
            Profile::Main => "main",
            Profile::High => "high",
        }
    }
}

impl Stream {
    /// What stands for those who take from `feed` without being its streams:
    /// it wants the pictures plain.
    pub fn without_wishes(feed: &Feed) -> Self {
        Self {
            name: feed.name.as_str().parse().expect("names have one form"),
            feed: feed.name.clone(),
            encoder: EncoderWish::Auto,
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
    /// Tried in turn with `url` after a failure; the key is joined to it as well.
    pub backup: Option<PushUrl>,
    /// Stream key, joined to the URL with a slash.
    pub key: Option<Secret>,
    /// A PEM file whose certificates are trusted besides those of the system.
    pub ca: Option<PathBuf>,
    pub audio: PushAudio,
    /// Whether the push starts with the service.
    pub start: bool,
}

/// What a push sends as sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushAudio {
    /// The stream's own sound; silence where it has none.
    Feed,
    Silence,
    /// A 1 kHz sine.
    Tone,
}

/// Where the box tells about itself: paths with a leading slash, or nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pages {
    /// Whether `/` shows the box.
    pub home: bool,
    pub stat: Option<String>,
    pub stat_json: Option<String>,
    pub metrics: Option<String>,
    pub config: Option<String>,
    /// Whether the addresses of viewers are shown.
    pub clients: bool,
}

/// A feed whose bytes livebox only passes on.
#[derive(Clone, Debug, PartialEq)]
pub struct ByteFeed {
    pub name: FeedName,
    pub source: ByteSource,
    pub mode: Mode,
    /// Whether it is started again when it dies or comes to its end.
    pub resurrect: bool,
}

impl ByteFeed {
    /// The feed that its command reads, if it reads one.
    pub fn made_from(&self) -> Option<&FeedName> {
        match &self.source {
            ByteSource::Made(_, from) => Some(from),
            ByteSource::Command(_) | ByteSource::Pipe(_) => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum ByteSource {
    /// What a program writes to its output.
    Command(CommandLine),
    /// What a program makes of another feed of bytes.
    Made(CommandLine, FeedName),
    /// A named pipe or a file: an absolute path.
    Pipe(PathBuf),
}

/// A program with its arguments; no shell reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandLine {
    /// A path, or a name that is looked for in `PATH`.
    pub program: String,
    pub arguments: Vec<String>,
}

/// Bytes at a URL, with a content type that the configuration gives.
#[derive(Clone, Debug, PartialEq)]
pub struct ByteStream {
    pub name: StreamName,
    /// Where its bytes come from, or what its command reads.
    pub feed: Option<FeedName>,
    /// What makes its bytes; without one they are the feed's own.
    pub command: Option<CommandLine>,
    /// Fit for a header.
    pub content_type: String,
    pub client: Client,
    pub record: Record,
    /// Path with a leading slash and without a trailing one: `/cams/a/raw.ts`.
    pub url: String,
}

/// How a stream's command serves its viewers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// One process for all.
    Shared,
    /// A process for each, for formats whose header comes only once.
    Exclusive,
    /// A process for each, whose whole output is the answer once it has ended.
    Shot,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    pub level: log::LevelFilter,
    /// The folder of the logs of commands, one file each.
    pub folder: Option<PathBuf>,
}
