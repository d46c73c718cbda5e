//! Answers of hosts, by the kind of their job.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::time::MediaTime;
use crate::model::failure::Failure;
use crate::model::given::Given;
use crate::model::status::Encoder;
use crate::model::track::AudioInfo;
use crate::model::unit::TrackKind;

/// The job is done; its output, if any, is the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done;

/// For jobs without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Nothing {}

/// The result of looking for a picture in bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Extracted {
    /// A picture, in the payload.
    Picture {
        /// Its GStreamer media type: `image/jpeg, …`.
        caps: String,
    },
    /// There is audio but no video.
    NoVideo,
    /// The bytes cannot be demultiplexed, or have ended ([`Failure::Ended`]).
    NotUnderstood(Failure),
}

/// The installed GStreamer and its missing elements.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Elements {
    /// As GStreamer reports it: `GStreamer 1.22.0`.
    pub version: String,
    /// Requested elements that are missing, with their Debian package if known.
    pub missing: Vec<(String, Option<String>)>,
}

/// A picture of a stream, as JPEG in the payload. Sent repeatedly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Picture {
    /// The time of its access unit.
    pub pts: MediaTime,
}

/// Bytes sent since the start of the push. Sent repeatedly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// Written to the socket.
    pub written: u64,
    /// Of these, acknowledged by the receiver's TCP.
    pub acknowledged: u64,
}

/// News of a run of a feed family. Sent repeatedly.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunNews {
    /// The number the service gave it.
    pub run: u32,
    pub news: News,
}

/// What a run of a feed family reports.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum News {
    /// Access units follow, none of them earlier than `begin`.
    Begins {
        begin: MediaTime,
        /// The nominal frame duration, if there is video.
        video: Option<Duration>,
        audio: bool,
        /// Approximate bits per second.
        bitrate: u32,
    },
    /// No access units follow until the next `Begins`.
    Pauses,
    /// An access unit, in the payload.
    Unit { track: TrackKind, pts: MediaTime, dts: MediaTime, duration: Option<Duration> },
    /// The audio configuration of the units that follow.
    Sound(AudioInfo),
    /// The tracks that a shared feed provides.
    Gives(Given),
    /// The encoder of the run.
    Encoder(Encoder),
    /// Configured controls that the camera refused, one sentence each.
    Controls(Vec<String>),
    /// Frames of a feed since the start of the run, and frames dropped because
    /// something was too slow.
    Counts { frames: u64, dropped: u64 },
    /// The run has ended for this reason. Sent last.
    Ended(Failure),
}
