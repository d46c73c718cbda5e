//! Decoder configurations of tracks.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// An H.264 track. For equal values, a decoder needs no restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VideoInfo {
    /// The sequence parameter set, NAL header included, without start code.
    pub sps: Bytes,
    /// The picture parameter set, NAL header included, without start code.
    pub pps: Bytes,
    /// Pixels after cropping.
    pub width: u32,
    pub height: u32,
    /// `profile_idc`, the constraint flags byte and `level_idc`.
    pub profile: [u8; 3],
    /// From the VUI timing information; `None` without it.
    pub frame_duration: Option<Duration>,
}

impl VideoInfo {
    /// The RFC 6381 name: `avc1.42c01f`.
    pub fn codec(&self) -> String {
        let [profile, constraints, level] = self.profile;
        format!("avc1.{profile:02x}{constraints:02x}{level:02x}")
    }

    /// The common name of the profile (ISO/IEC 14496-10, A.2).
    pub fn profile_name(&self) -> &'static str {
        match (self.profile[0], self.profile[1] & 0x40 != 0) {
            (66, true) => "constrained-baseline",
            (66, false) => "baseline",
            (77, _) => "main",
            (88, _) => "extended",
            (100, _) => "high",
            (110, _) => "high-10",
            (122, _) => "high-4:2:2",
            (244, _) => "high-4:4:4",
            _ => "unknown",
        }
    }

    /// The level in its usual notation: `3.1`, `4`.
    pub fn level_name(&self) -> String {
        match (self.profile[2] / 10, self.profile[2] % 10) {
            (whole, 0) => whole.to_string(),
            (whole, tenth) => format!("{whole}.{tenth}"),
        }
    }
}

/// An AAC track.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AudioInfo {
    /// The AudioSpecificConfig (ISO/IEC 14496-3, 1.6.2.1).
    pub config: Bytes,
    /// Samples per second.
    pub rate: u32,
    pub channels: u8,
}

impl AudioInfo {
    /// The RFC 6381 name: `mp4a.40.2` for AAC-LC.
    pub fn codec(&self) -> String {
        let object_type = self.config.first().map_or(2, |byte| byte >> 3);
        format!("mp4a.40.{object_type}")
    }
}

/// The tracks of one stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tracks {
    pub video: Option<VideoInfo>,
    pub audio: Option<AudioInfo>,
}

impl Tracks {
    /// The `codecs` parameter of the stream's MIME type.
    pub fn codecs(&self) -> String {
        let video = self.video.iter().map(VideoInfo::codec);
        let audio = self.audio.iter().map(AudioInfo::codec);
        video.chain(audio).collect::<Vec<_>>().join(",")
    }
}
