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

/// A kind of job, and what its hosts answer.
pub trait JobKind: Into<Job> {
    type Answer: Serialize + DeserializeOwned + Send;
}

/// Each job stands in a type of its own.
macro_rules! jobs {
    ($($kind:ident($content:ty) -> $answer:ty),+ $(,)?) => {
        /// What a host is for. It ends with its socket, whatever it does.
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

/// A picture of the last of some H.264 access units in Annex B form, of which
/// the first is a key frame; each comes as `ToHost::Data`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Picture {
    pub format: Format,
    /// Width and height to scale to.
    pub size: Option<(u32, u32)>,
}

/// A picture of one that needs no other; it comes as `ToHost::Data`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Still {
    /// What it is, as a GStreamer media type: `image/jpeg, …`.
    pub caps: String,
    pub format: Format,
    /// The picture becomes no wider.
    pub width: Option<u32>,
}

/// The first picture of some bytes that needs no other; they come as
/// `ToHost::Data`, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extract {
    /// What the bytes are, where that is known, as a GStreamer media type.
    pub caps: Option<String>,
}

/// The pictures of a stream as Motion JPEG; its video comes as `ToHost::Unit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mjpeg {
    /// Of the JPEG, 1 to 100.
    pub quality: u8,
    /// Width and height to scale to.
    pub size: Option<(u32, u32)>,
    /// The decoding time of the first unit.
    pub begin: MediaTime,
    /// Which decoder to take of those that are installed, modulo their number.
    pub decoder: u32,
}

/// Send a stream, which comes as `ToHost::Unit`, to a receiver of RTMP.
/// At `ToHost::End` the receiver is told, and the host ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Push {
    /// The launch line of the pipeline; without the URL, which is a secret.
    pub line: String,
    /// With the key.
    #[serde(with = "secret::revealed")]
    pub url: Secret,
    /// The key by itself, which messages must not show either.
    #[serde(with = "secret::revealed::option")]
    pub key: Option<Secret>,
    /// A PEM file whose certificates are trusted besides those of the system.
    pub ca: Option<PathBuf>,
    /// The sound of the stream, where that is sent.
    pub audio: Option<AudioInfo>,
    /// The FLV tag that tells the receiver what follows, in the place of what
    /// the pipeline would tell.
    pub metadata: Option<Bytes>,
    /// The decoding time of the first unit.
    pub begin: MediaTime,
}

/// Runs of a feed, of the streams that show it and of the feeds that are made
/// from it; `ToHost::Run` begins and ends them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Family {
    /// What the bytes of strangers come from, if they do: all else is out of
    /// reach of the host.
    pub source: Option<Foreign>,
}

/// Where the bytes of strangers come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Foreign {
    /// A server of RTSP that is asked at this port.
    Network { port: u16 },
    /// Files in a folder.
    Folder(PathBuf),
    /// The service.
    Service,
}

/// Say which of these elements are missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckElements {
    pub elements: Vec<String>,
}

/// Open an encoder for a moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TryEncoder {
    /// The name of GStreamer's element.
    pub element: String,
}

/// Make a file of fragments one with its index in front.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FinishRecording {
    pub from: PathBuf,
    pub to: PathBuf,
    /// A file for in between; may be left behind.
    pub through: PathBuf,
    /// How long the recording is, and the bytes of its frames in an index,
    /// where that is known.
    pub expected: Option<(Duration, u64)>,
}

/// Wait until the socket is closed, and kill then whatever has `mark` (`NAME=value`)
/// in its environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndCommands {
    pub mark: String,
}
