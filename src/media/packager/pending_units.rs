//! What waits until a stream can start.
//!
//! Holds whole GOPs and the sound around them, within bounds: a stream whose
//! sound never begins must not eat the memory.

use std::collections::VecDeque;
use std::time::Duration;

use super::frame::Frame;
use crate::base::time::MediaTime;
use crate::model::unit::AccessUnit;

/// The most that is held, in media time and in bytes, per track.
const MAX_SPAN: Duration = Duration::from_secs(4);
const MAX_BYTES: usize = 4 << 20;

/// Frames from a key frame on, and sound; both in order of arrival.
#[derive(Debug, Default)]
pub(super) struct PendingUnits {
    /// The time of the first frame that came, whether it is held still or not.
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

    /// How much of the picture has come.
    pub(super) fn waited(&self) -> Duration {
        match (self.first, self.video.back()) {
            (Some(first), Some(last)) => last.unit.dts.since(first),
            _ => Duration::ZERO,
        }
    }

    /// Adds a frame and drops the oldest GOPs that are over the bounds; that
    /// may be all of them.
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

    /// Everything held. Sound that ends before the first picture is left out:
    /// it would make viewers start without one.
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
