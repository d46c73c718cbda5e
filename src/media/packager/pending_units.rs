//! The units that wait until a run can start.
//!
//! Holds whole GOPs and their audio, within bounds: a stream whose audio never
//! starts takes no more memory.

use std::collections::VecDeque;
use std::time::Duration;

use super::frame::Frame;
use crate::base::time::MediaTime;
use crate::model::unit::AccessUnit;

/// Bounds per track, in media time and in bytes.
const MAX_SPAN: Duration = Duration::from_secs(4);
const MAX_BYTES: usize = 4 << 20;

/// Frames starting with a key frame, and audio frames; both in order of arrival.
#[derive(Debug, Default)]
pub(super) struct PendingUnits {
    /// The time of the first video frame pushed, even if it was dropped since.
    first: Option<MediaTime>,
    video: VecDeque<Frame>,
    video_bytes: usize,
    audio: VecDeque<AccessUnit>,
    audio_bytes: usize,
}

impl PendingUnits {
    pub(super) fn has_video(&self) -> bool {
        !self.video.is_empty()
    }

    /// The media time from the first to the latest video frame.
    pub(super) fn waited(&self) -> Duration {
        match (self.first, self.video.back()) {
            (Some(first), Some(last)) => last.unit.dts.since(first),
            _ => Duration::ZERO,
        }
    }

    /// Adds a frame, then drops the oldest GOPs until the bounds hold; that may
    /// be all GOPs.
    pub(super) fn push_video(&mut self, frame: Frame) {
        self.first.get_or_insert(frame.unit.dts);
        self.video_bytes += frame.unit.data.len();
        self.video.push_back(frame);
        let span = |video: &VecDeque<Frame>| match (video.front(), video.back()) {
            (Some(first), Some(last)) => last.unit.dts.since(first.unit.dts),
            _ => Duration::ZERO,
        };
        while self.video_bytes > MAX_BYTES || span(&self.video) > MAX_SPAN {
            self.drop_oldest_gop();
        }
    }

    pub(super) fn push_audio(&mut self, unit: AccessUnit) {
        self.audio_bytes += unit.data.len();
        let newest = unit.dts;
        self.audio.push_back(unit);
        while let Some(oldest) = self.audio.front()
            && (self.audio_bytes > MAX_BYTES || newest.since(oldest.dts) > MAX_SPAN)
        {
            self.audio_bytes -= oldest.data.len();
            self.audio.pop_front();
        }
    }

    pub(super) fn drop_audio(&mut self) {
        self.audio.clear();
        self.audio_bytes = 0;
    }

    /// Returns all units. Audio that ends before the first picture is dropped:
    /// with it, playback would start without a picture.
    pub(super) fn into_parts(
        mut self,
        audio_frame: Duration,
    ) -> (VecDeque<Frame>, VecDeque<AccessUnit>) {
        if let Some(first) = self.video.front() {
            let start = first.unit.pts;
            self.audio.retain(|unit| unit.pts + unit.duration.unwrap_or(audio_frame) > start);
        }
        (self.video, self.audio)
    }

    fn drop_oldest_gop(&mut self) {
        let gop = 1 + self.video.iter().skip(1).take_while(|frame| !frame.is_key()).count();
        for frame in self.video.drain(..gop.min(self.video.len())) {
            self.video_bytes -= frame.unit.data.len();
        }
    }
}
