//! The launch line that rewrites a recording with its index in front.

use std::path::PathBuf;
use std::time::Duration;

use super::{render, word};
use crate::model::fault::ProfileError;
use crate::model::unit::TrackKind;
use crate::profile::{Kind, Slot};

/// Bytes of the index (`moov`) for a video frame, with its size and duration, and for an audio
/// frame, as all have the same duration. If it is too little, the muxer uses a temporary file.
const INDEX_BYTES_PER_VIDEO_FRAME: u64 = 12;
const INDEX_BYTES_PER_AUDIO_FRAME: u64 = 4;
/// Bytes for key frames and chunk offsets, per second.
const INDEX_BYTES_PER_SECOND: u64 = 100;
/// Bytes for the description of the tracks.
const INDEX_BASE_BYTES: u64 = 4096;
/// Added to the duration, as rounding may exceed it.
const SLACK: Duration = Duration::from_secs(2);
/// The largest `reserved-bytes-per-sec` that mp4mux accepts.
const MAX_RESERVED_PER_SECOND: u64 = 10_000;

/// The files and properties of one rewrite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemuxPlan {
    pub from: PathBuf,
    pub to: PathBuf,
    pub has_video: bool,
    pub has_audio: bool,
    /// A temporary file, used without `expected`.
    pub through: PathBuf,
    /// Its duration, and the bytes of its frames in the index ([`index_bytes`]).
    pub expected: Option<(Duration, u64)>,
}

/// Bytes that a frame usually takes in the index at most.
pub fn index_bytes(track: TrackKind) -> u64 {
    match track {
        TrackKind::Video => INDEX_BYTES_PER_VIDEO_FRAME,
        TrackKind::Audio => INDEX_BYTES_PER_AUDIO_FRAME,
    }
}

/// The launch line.
///
/// # Errors
/// A profile that cannot take the values, by name.
pub fn remux_line(plan: &RemuxPlan) -> Result<String, ProfileError> {
    let text = |path: &PathBuf| Slot::Text(path.display().to_string());
    let mut slots = vec![("from", text(&plan.from)), ("to", text(&plan.to))];
    if plan.has_video {
        slots.push(("video", word("video_0")));
    }
    if plan.has_audio {
        slots.push(("audio", word("audio_0")));
    }
    match plan.expected {
        Some((span, index)) => {
            let span = span + SLACK;
            let seconds = span.as_secs().max(1);
            // mp4mux reserves the bytes for each track.
            let tracks = u64::from(plan.has_video) + u64::from(plan.has_audio);
            let whole = index + INDEX_BASE_BYTES + INDEX_BYTES_PER_SECOND * seconds;
            let per_second = whole.div_ceil(seconds * tracks.max(1)).min(MAX_RESERVED_PER_SECOND);
            let per_second = u32::try_from(per_second).unwrap_or(u32::MAX);
            slots.push(("room_ns", word(&span.as_nanos().to_string())));
            slots.push(("room_bytes", Slot::Int(per_second)));
        }
        None => slots.push(("through", text(&plan.through))),
    }
    render(Kind::Recording, "mp4", &slots)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> RemuxPlan {
        RemuxPlan {
            from: "/r/a b.part.mp4".into(),
            to: "/r/a b.new.mp4".into(),
            has_video: true,
            has_audio: false,
            through: "/r/a b.tmp.mp4".into(),
            expected: Some((Duration::from_secs(58), 58 * 30 * index_bytes(TrackKind::Video))),
        }
    }

    #[test]
    fn room_for_the_index_is_reserved_where_its_size_is_known() {
        let line = remux_line(&plan()).unwrap();
        // 60 s with slack; 1740 frames of 12 bytes in them are 348 a second, 4 KiB are 69, and 100 more.
        assert!(
            line.contains("reserved-max-duration=60000000000 reserved-bytes-per-sec=517"),
            "{line}"
        );
        assert!(!line.contains("faststart") && !line.contains("audio_0"), "{line}");
        assert!(line.contains("mux.video_0") && line.contains("\"/r/a b.part.mp4\""), "{line}");
    }

    #[test]
    fn two_tracks_share_the_reserved_bytes() {
        let line = remux_line(&RemuxPlan { has_audio: true, ..plan() }).unwrap();
        assert!(line.contains("reserved-bytes-per-sec=259 "), "{line}");
    }

    #[test]
    fn without_a_known_size_the_muxer_uses_a_temporary_file() {
        let line = remux_line(&RemuxPlan { expected: None, has_audio: true, ..plan() }).unwrap();
        assert!(line.contains("faststart=true faststart-file=\"/r/a b.tmp.mp4\""), "{line}");
        assert!(!line.contains("reserved") && line.contains("mux.audio_0"), "{line}");
    }
}
