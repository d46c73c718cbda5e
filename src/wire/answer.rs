//! What hosts answer, by the kind of their job.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::time::MediaTime;
use crate::model::given::Given;
use crate::model::status::{Encoder, Failure};
use crate::model::track::AudioInfo;
use crate::model::unit::TrackKind;

/// The job is done; the payload is what was made, if anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done;

/// Of a job that has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Nothing {}

/// What was found in bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Extracted {
    /// A picture; the payload.
    Picture {
        /// What it is, as a GStreamer media type: `image/jpeg, …`.
        caps: String,
    },
    /// There is sound, but no picture.
    NoVideo,
    /// The bytes cannot be taken apart, or have ended ([`Failure::Ended`]).
    NotUnderstood(Failure),
}

/// Which elements there are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Elements {
    /// As GStreamer names itself: `GStreamer 1.22.0`.
    pub version: String,
    /// Of those that were asked for, each that is missing, with the Debian
    /// package that has it where one is known.
    pub missing: Vec<(String, Option<String>)>,
}

/// A picture of a stream; the payload is a JPEG. More follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Picture {
    /// That of the access unit which it was.
    pub pts: MediaTime,
}

/// How much of a stream was sent on, in bytes since the beginning. More follow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// Given to the kernel.
    pub written: u64,
    /// Of these, those that the receiver's machine has acknowledged.
    pub acknowledged: u64,
}

/// News of a run of a feed family. More follow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunNews {
    /// As the service numbers it.
    pub run: u32,
    pub news: News,
}

/// What a run of a feed family has to tell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum News {
    /// Units follow, none from before `begin`.
    Begins {
        begin: MediaTime,
        /// The nominal duration of a frame, where there will be video.
        video: Option<Duration>,
        audio: bool,
        /// Bits a second, about.
        bitrate: u32,
    },
    /// No more follow until it begins again.
    Pauses,
    /// An encoded frame; the payload, as an access unit has it.
    Unit { track: TrackKind, pts: MediaTime, dts: MediaTime, duration: Option<Duration> },
    /// How to decode the sounds that follow.
    Sound(AudioInfo),
    /// What a feed gives to those who share it.
    Gives(Given),
    /// What a run encodes with.
    Encoder(Encoder),
    /// What the camera cannot be told of what is wanted of it.
    Controls(Vec<String>),
    /// So many frames of a feed, and so many that were left out because
    /// something was too slow for them, since the run began.
    Counts { frames: u64, dropped: u64 },
    /// The run is over, for this reason; the last of it.
    Ended(Failure),
}
