//! Access units: encoded frames.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::base::time::MediaTime;

/// The kind of a track.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TrackKind {
    Video,
    Audio,
}

/// One encoded frame of one track, as received from the feed.
///
/// Video is one H.264 access unit in Annex B form (ISO/IEC 14496-10); audio is
/// one raw AAC frame without ADTS header (ISO/IEC 14496-3).
#[derive(Clone, Debug)]
pub struct AccessUnit {
    pub track: TrackKind,
    pub pts: MediaTime,
    pub dts: MediaTime,
    /// Duration of the frame; `None` if the feed does not give it.
    pub duration: Option<Duration>,
    pub data: Bytes,
}
