//! The jobs of hosts, each with the type of its answer.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::answer::{self, Done, Extracted, Nothing, RunNews, Sent};
use crate::base::secret::{self, Secret};
use crate::base::time::MediaTime;
use crate::model::picture::Format;
use crate::model::track::AudioInfo;

/// A kind of job and the type of its answer.
pub trait JobKind: Into<Job> {
    type Answer: Serialize + DeserializeOwned + Send;
}

/// One type per job.
macro_rules! jobs {
    ($($kind:ident($content:ty) -> $answer:ty),+ $(,)?) => {
        /// The job of a host. The host exits when its socket is closed.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub enum Job {
            $($kind($content)),+
        }

        $(
            impl JobKind for $kind {
                type Answer = $answer;
            }

            impl From<$kind> for Job {
                fn from(job: $kind) -> Self {
                    Self::$kind(job.into())
                }
            }
        )+
    };
}

jobs! {
    Picture(Picture) -> Done,
    Still(Still) -> Done,
    Extract(Extract) -> Extracted,
    Mjpeg(Mjpeg) -> answer::Picture,
    Push(Box<Push>) -> Sent,
    Family(Family) -> RunNews,
    CheckElements(CheckElements) -> answer::Elements,
    TryEncoder(TryEncoder) -> Done,
    FinishRecording(FinishRecording) -> Done,
    EndCommands(EndCommands) -> Nothing,
}

/// Render the last of several H.264 access units in Annex B form, each sent as
/// `ToHost::Data`; the first is a key frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Picture {
    pub format: Format,
    /// Width and height to scale to.
    pub size: Option<(u32, u32)>,
}

/// Convert one intra-coded picture, sent as `ToHost::Data`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Still {
    /// Its GStreamer media type: `image/jpeg, …`.
    pub caps: String,
    pub format: Format,
    /// Maximum width of the result.
    pub width: Option<u32>,
}

/// Find the first intra-coded picture in bytes, sent in order as `ToHost::Data`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extract {
    /// The GStreamer media type of the bytes, if known.
    pub caps: Option<String>,
}

/// Encode a stream as Motion JPEG; its video is sent as `ToHost::Unit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mjpeg {
    /// JPEG quality, 1 to 100.
    pub quality: u8,
    /// Width and height to scale to.
    pub size: Option<(u32, u32)>,
    /// The decoding time of the first unit.
    pub begin: MediaTime,
    /// Index of the decoder among those installed, modulo their number.
    pub decoder: u32,
}

/// Send a stream, which arrives as `ToHost::Unit`, to an RTMP receiver. At
/// `ToHost::End` the host unpublishes the stream and exits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Push {
    /// The launch line of the pipeline without the URL, which is a secret.
    pub line: String,
    /// With the key.
    #[serde(with = "secret::revealed")]
    pub url: Secret,
    /// The key alone, to remove it from messages.
    #[serde(with = "secret::revealed::option")]
    pub key: Option<Secret>,
    /// A PEM file of certificates to trust besides those of the system.
    pub ca: Option<PathBuf>,
    /// The audio of the stream, if it is sent.
    pub audio: Option<AudioInfo>,
    /// The FLV tag with `onMetaData`, sent in place of that of the muxer.
    pub metadata: Option<Bytes>,
    /// The decoding time of the first unit.
    pub begin: MediaTime,
}

/// Execute the runs of a feed, its streams and the feeds derived from it;
/// `ToHost::Run` starts and stops them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Family {
    /// The origin of foreign bytes, if there are any: the host is confined to it.
    pub source: Option<Foreign>,
}

/// The origin of foreign bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Foreign {
    /// An RTSP server at this port.
    Network { port: u16 },
    /// Files in this folder.
    Folder(PathBuf),
    /// The service, over the socket.
    Service,
}

/// List which of these elements are missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckElements {
    pub elements: Vec<String>,
}

/// Open an encoder for a moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TryEncoder {
    /// The name of the GStreamer element.
    pub element: String,
}

/// Convert a fragmented MP4 into one with its index in front.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FinishRecording {
    pub from: PathBuf,
    pub to: PathBuf,
    /// A temporary file; may be left behind.
    pub through: PathBuf,
    /// Duration of the recording and bytes of its index, if known.
    pub expected: Option<(Duration, u64)>,
}

/// Wait until the socket is closed, then kill every process with `mark`
/// (`NAME=value`) in its environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndCommands {
    pub mark: String,
}
