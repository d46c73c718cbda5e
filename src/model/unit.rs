//! One encoded frame on its way from the encoder to the viewers.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::base::time::MediaTime;

/// Which of a stream's tracks something belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TrackKind {
    Video,
    Audio,
}

/// One encoded frame of one track, as the feed gave it.
///
/// Video is one H.264 access unit in Annex B form (ISO/IEC 14496-10); audio is
/// one raw AAC frame without ADTS header (ISO/IEC 14496-3).
#[derive(Clone, Debug)]
pub struct AccessUnit {
    pub track: TrackKind,
    pub pts: MediaTime,
    pub dts: MediaTime,
    /// How long the frame lasts, where the feed says so.
    pub duration: Option<Duration>,
    pub data: Bytes,
}
