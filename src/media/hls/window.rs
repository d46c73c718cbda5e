//! Which segments are listed in the playlist, and which are still kept.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::playlist::{Entry, MediaPlaylist, MultivariantPlaylist};
use super::segment::Segment;
use super::segmenter::{Limits, MIN_SEGMENT, Segmenter};
use crate::base::time::{MediaTime, WallClock};
use crate::media::packager::{Chunk, Init};

/// Maximum segments in a playlist. Apple's authoring rules require at least six.
pub const MAX_LISTED: usize = 7;

/// Minimum segments in a playlist: players start three segments before the end.
pub const MIN_LISTED: usize = 3;

/// Rounded to whole seconds, no segment may exceed the target duration (RFC 8216, 4.3.3.1).
const ROUNDING: Duration = Duration::from_millis(499);

/// Groups of pictures may be this much longer than nominal.
const GOP_MARGIN: Duration = Duration::from_millis(100);

/// Maximum seconds of a segment before the first playlist, unless the nominal GOP is longer.
const MAX_FIRST_TARGET: u64 = 10;

/// The newest segments of a stream.
#[derive(Debug)]
pub struct Window {
    /// Maximum bytes of all segments; [`MIN_LISTED`] segments are kept in any case.
    max_bytes: usize,
    /// Nominal distance of key frames.
    gop: Duration,
    pub(super) segmenter: Segmenter,
    /// Segments that have left the playlist, then those in it.
    pub(super) segments: VecDeque<Kept>,
    /// Number of segments that have left the playlist.
    removed: usize,
    inits: Vec<Arc<Init>>,
    /// Discontinuities that have left the playlist.
    discontinuities: u64,
    /// In whole seconds. Fixed with the first playlist, as it must not change (RFC 8216, 6.2.1).
    target: Option<u64>,
    /// Every segment of the playlist begins with a key frame.
    independent: bool,
    /// The peak segment bit rate so far, in bits per second.
    pub(super) peak: u64,
}

/// A segment, and how long it is kept.
#[derive(Debug)]
pub(super) struct Kept {
    segment: Segment,
    /// Duration of the longest playlist that listed it.
    listed_in: Duration,
    /// When it may be removed, once it has left the playlist.
    until: MediaTime,
}

impl Window {
    /// `gop` is the nominal distance of key frames; `max_bytes` bounds the memory of all segments.
    pub fn new(max_bytes: usize, gop: Duration) -> Self {
        Self {
            max_bytes,
            gop,
            segmenter: Segmenter::new(),
            segments: VecDeque::new(),
            removed: 0,
            inits: Vec::new(),
            discontinuities: 0,
            target: None,
            independent: true,
            peak: 0,
        }
    }

    /// Changes the parameters of [`Window::new`]. For another `gop`, a new target is chosen.
    pub fn set_limits(&mut self, max_bytes: usize, gop: Duration) {
        self.max_bytes = max_bytes;
        if std::mem::replace(&mut self.gop, gop) != gop {
            self.target = None;
        }
    }

    /// Adds the init segment of the chunks that follow.
    pub fn init(&mut self, init: &Arc<Init>) {
        self.inits.push(Arc::clone(init));
    }

    /// Adds the next chunk; `clock` is the present wall clock.
    pub fn push(&mut self, chunk: &Chunk, clock: WallClock) {
        let limits = Limits { duration: self.max_duration(), bytes: self.max_bytes };
        if let Some(closed) = self.segmenter.push(chunk, clock, limits) {
            self.independent &= !closed.inside_group;
            self.add(closed.segment);
        }
    }

    /// Removes all segments; a discontinuity follows.
    pub fn clear(&mut self) {
        self.discontinuities +=
            self.listed().filter(|segment| segment.discontinuous).count() as u64;
        self.segments.clear();
        self.removed = 0;
        self.segmenter.clear();
        self.target = None;
        self.independent = true;
        let latest = self.inits.pop();
        self.inits = latest.into_iter().collect();
    }

    /// The segment with this number, while it is available.
    pub fn segment(&self, number: u64) -> Option<&Segment> {
        let mut segments = self.segments.iter().map(|kept| &kept.segment);
        segments.find(|segment| segment.number == number)
    }

    /// The init segment of this generation, while a segment needs it.
    pub fn init_of(&self, generation: u32) -> Option<&Arc<Init>> {
        self.inits.iter().find(|init| init.generation == generation)
    }

    /// The number of segments in the playlist.
    pub fn listed_count(&self) -> usize {
        self.segments.len() - self.removed
    }

    /// The number of the newest segment.
    pub fn newest(&self) -> Option<u64> {
        self.segments.back().map(|kept| kept.segment.number)
    }

    /// The target duration in seconds; before the first playlist, the one that would be chosen.
    pub fn target(&self) -> u64 {
        let longest = self.segments.iter().map(|kept| kept.segment.duration).max();
        let measured = longest.unwrap_or_default().as_secs_f64().round() as u64;
        self.target.unwrap_or_else(|| self.target_by_gop().max(measured))
    }

    /// What the media playlist lists. Fixes the target duration.
    pub fn media_playlist(&mut self) -> MediaPlaylist {
        let target = self.target();
        self.target = Some(target);
        let entry = |segment: &Segment| Entry {
            number: segment.number,
            generation: segment.generation,
            discontinuous: segment.discontinuous,
            duration: segment.duration,
            date_ms: segment.date_ms,
        };
        MediaPlaylist {
            target,
            independent: self.independent,
            next_number: self.segmenter.next_number,
            discontinuities: self.discontinuities,
            entries: self.listed().map(entry).collect(),
        }
    }

    /// What the multivariant playlist says; `None` before the first init segment.
    pub fn multivariant_playlist(&self) -> Option<MultivariantPlaylist> {
        let init = Arc::clone(self.inits.last()?);
        let bits: usize = self.listed().map(|segment| segment.len * 8).sum();
        let span: Duration = self.listed().map(|segment| segment.duration).sum();
        let mean = (bits as f64 / span.as_secs_f64().max(0.001)) as u64;
        Some(MultivariantPlaylist { init, independent: self.independent, peak: self.peak, mean })
    }

    /// The target duration of segments of whole nominal groups.
    fn target_by_gop(&self) -> u64 {
        let gop = self.gop.as_secs_f64().max(0.01);
        let groups = (MIN_SEGMENT.as_secs_f64() / gop).ceil().max(1.0);
        ((gop * groups + GOP_MARGIN.as_secs_f64()).round() as u64).max(1)
    }

    /// Maximum duration of a segment.
    pub(super) fn max_duration(&self) -> Duration {
        let target = self.target.unwrap_or_else(|| self.target_by_gop().max(MAX_FIRST_TARGET));
        Duration::from_secs(target) + ROUNDING
    }

    /// Adds a finished segment to the playlist.
    fn add(&mut self, segment: Segment) {
        let now = segment.start + segment.duration;
        let kept = Kept { listed_in: Duration::ZERO, until: segment.start, segment };
        self.segments.push_back(kept);
        self.peak = self.peak.max(self.newest_rate());
        while self.lists_too_much() {
            self.remove(now);
        }
        let span = self.listed().map(|segment| segment.duration).sum();
        for kept in self.segments.iter_mut().skip(self.removed) {
            kept.listed_in = kept.listed_in.max(span);
        }
        while self.removed > 0 && self.may_drop_oldest(now) {
            self.segments.pop_front();
            self.removed -= 1;
        }
        let oldest = self.segments.front().map(|kept| kept.segment.generation);
        self.inits.retain(|init| oldest.is_none_or(|oldest| init.generation >= oldest));
    }

    /// The segments of the playlist.
    fn listed(&self) -> impl Iterator<Item = &Segment> {
        self.segments.iter().skip(self.removed).map(|kept| &kept.segment)
    }

    /// Removes the oldest segment from the playlist.
    fn remove(&mut self, now: MediaTime) {
        let Some(oldest) = self.segments.get_mut(self.removed) else { return };
        // RFC 8216, 6.2.2: its own duration and that of the longest playlist that listed it.
        oldest.until = now + oldest.segment.duration + oldest.listed_in;
        self.discontinuities += u64::from(oldest.segment.discontinuous);
        self.removed += 1;
    }

    /// The playlist may have half the memory: removed segments are kept for its duration.
    fn lists_too_much(&self) -> bool {
        let bytes: usize = self.listed().map(|segment| segment.len).sum();
        match self.listed_count() {
            0..=MIN_LISTED => false,
            count => count > MAX_LISTED || bytes > self.max_bytes / 2,
        }
    }

    fn may_drop_oldest(&self, now: MediaTime) -> bool {
        let bytes: usize = self.segments.iter().map(|kept| kept.segment.len).sum();
        let expired = self.segments.front().is_none_or(|oldest| oldest.until <= now);
        expired || bytes > self.max_bytes
    }

    /// The largest bit rate of consecutive segments up to the newest that have together 0.5 to
    /// 1.5 target durations (the peak segment bit rate of RFC 8216, 4.1).
    fn newest_rate(&self) -> u64 {
        let target = self.target() as f64;
        let (mut bits, mut span, mut peak) = (0.0, 0.0, 0.0_f64);
        for segment in self.segments.iter().rev().map(|kept| &kept.segment) {
            bits += segment.len as f64 * 8.0;
            span += segment.duration.as_secs_f64();
            if span > 1.5 * target {
                break;
            }
            if span >= 0.5 * target {
                peak = peak.max(bits / span);
            }
        }
        peak.ceil() as u64
    }
}
