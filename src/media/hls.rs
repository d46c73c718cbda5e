//! HTTP Live Streaming from chunks (RFC 8216): segments and playlists.
//!
//! A segment is a list of chunks that are shared with all other viewers; nothing
//! is copied or written to a disk. Produces text and bytes; requests and waiting
//! are handled in `http`.

mod playlist;
mod segment;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::packager::{Chunk, Init};
use crate::base::time::{MediaTime, WallClock};
use segment::Picture;

/// Maximum segments in a playlist. Apple's authoring rules require at least six.
pub const MAX_LISTED: usize = 7;

/// Minimum segments in a playlist: players start three segments before the end.
pub const MIN_LISTED: usize = 3;

/// Players start this many target durations before the end (RFC 8216, 6.3.3).
const HOLD_BACK: u64 = 3;

/// A segment ends at the first key frame after this duration.
const MIN_SEGMENT: Duration = Duration::from_millis(900);

/// A longer gap in the timeline is a discontinuity.
const MAX_GAP: Duration = Duration::from_millis(500);

/// Rounded to whole seconds, no segment may exceed the target duration (RFC 8216, 4.3.3.1).
const ROUNDING: Duration = Duration::from_millis(499);

/// Groups of pictures may be this much longer than nominal.
const GOP_MARGIN: Duration = Duration::from_millis(100);

/// Maximum seconds of a segment before the first playlist, unless the nominal GOP is longer.
const MAX_FIRST_TARGET: u64 = 10;

/// A larger difference to the monotonic clock means that the wall clock was set.
const CLOCK_SET: Duration = Duration::from_millis(100);

/// One segment: whole groups of pictures, or a part of a group that is too long.
#[derive(Clone, Debug)]
pub struct Segment {
    pub number: u64,
    generation: u32,
    /// A discontinuity precedes this segment: a gap, or another init segment.
    discontinuous: bool,
    start: MediaTime,
    duration: Duration,
    /// Wall-clock time of its start: milliseconds since 1970.
    date_ms: u64,
    /// It has no audio yet.
    awaits_audio: bool,
    /// Duration of the longest playlist that listed it.
    listed_in: Duration,
    /// When it may be removed, once it has left the playlist.
    kept_until: MediaTime,
    pub pieces: Vec<Bytes>,
    /// Bytes of all pieces.
    pub len: usize,
    /// The latest picture.
    picture: Option<Picture>,
}

/// The newest segments of a stream.
#[derive(Debug)]
pub struct Window {
    /// Maximum bytes of all segments; [`MIN_LISTED`] segments are kept in any case.
    max_bytes: usize,
    /// Nominal distance of key frames.
    gop: Duration,
    /// Segments that have left the playlist, then those in it.
    segments: VecDeque<Segment>,
    /// Number of segments that have left the playlist.
    removed: usize,
    inits: Vec<Arc<Init>>,
    open: Option<Segment>,
    next_number: u64,
    /// Discontinuities that have left the playlist.
    discontinuities: u64,
    /// In whole seconds. Fixed with the first playlist, as it must not change (RFC 8216, 6.2.1).
    target: Option<u64>,
    /// Every segment of the playlist begins with a key frame.
    independent: bool,
    /// The next segment follows a discontinuity.
    discontinuity_pending: bool,
    /// Generation and end of the last chunk.
    reached: Option<(u32, MediaTime)>,
    last_key: Option<MediaTime>,
    /// Distance of the last two key frames.
    group: Duration,
    /// The clock for the dates of segments.
    clock: Option<WallClock>,
    /// The peak segment bit rate so far, in bits per second.
    peak: u64,
}

/// The boundary between the last chunk and the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Boundary {
    None,
    /// A gap in the timeline, or another init segment.
    Discontinuity,
    /// The end of a segment of whole groups.
    Group,
    /// The end of a segment that would otherwise become too long.
    Length,
}

impl Window {
    /// `gop` is the nominal distance of key frames; `max_bytes` bounds the memory of all segments.
    pub fn new(max_bytes: usize, gop: Duration) -> Self {
        Self {
            max_bytes,
            gop,
            segments: VecDeque::new(),
            removed: 0,
            inits: Vec::new(),
            open: None,
            next_number: 0,
            discontinuities: 0,
            target: None,
            independent: true,
            discontinuity_pending: true,
            reached: None,
            last_key: None,
            group: Duration::ZERO,
            clock: None,
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
        let Some(last) = chunk.units.last() else { return };
        let boundary = self.boundary_before(chunk);
        if let Some(open) = self.open.as_mut().filter(|_| boundary != Boundary::Discontinuity) {
            open.extend_picture(chunk);
        }
        match boundary {
            Boundary::None => {}
            Boundary::Discontinuity => {
                self.close(None);
                self.discontinuity_pending = true;
            }
            Boundary::Group => self.close(Some(chunk.start())),
            Boundary::Length => {
                self.close(Some(chunk.start()));
                self.independent = false;
            }
        }
        self.reached = Some((chunk.generation, last.dts + last.duration));
        if chunk.key {
            let earlier = self.last_key.replace(chunk.start());
            let earlier = earlier.filter(|_| !self.discontinuity_pending);
            self.group = earlier.map_or(self.group, |earlier| chunk.start().since(earlier));
        }
        if self.open.is_none() && (chunk.key || boundary == Boundary::Length) {
            self.open(chunk, clock);
        }
        if let Some(open) = &mut self.open {
            open.push(chunk);
        }
    }

    /// Removes all segments; a discontinuity follows.
    pub fn clear(&mut self) {
        self.discontinuities +=
            self.listed().filter(|segment| segment.discontinuous).count() as u64;
        self.segments.clear();
        self.removed = 0;
        self.open = None;
        self.reached = None;
        self.target = None;
        self.independent = true;
        let latest = self.inits.pop();
        self.inits = latest.into_iter().collect();
    }

    /// The segment with this number, while it is available.
    pub fn segment(&self, number: u64) -> Option<&Segment> {
        self.segments.iter().find(|segment| segment.number == number)
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
        self.segments.back().map(|segment| segment.number)
    }

    /// The target duration in seconds; before the first playlist, the one that would be chosen.
    pub fn target(&self) -> u64 {
        let longest = self.segments.iter().map(|segment| segment.duration).max();
        let measured = longest.unwrap_or_default().as_secs_f64().round() as u64;
        self.target.unwrap_or_else(|| self.target_by_gop().max(measured))
    }

    /// The target duration of segments of whole nominal groups.
    fn target_by_gop(&self) -> u64 {
        let gop = self.gop.as_secs_f64().max(0.01);
        let groups = (MIN_SEGMENT.as_secs_f64() / gop).ceil().max(1.0);
        ((gop * groups + GOP_MARGIN.as_secs_f64()).round() as u64).max(1)
    }

    /// Maximum duration of a segment.
    fn max_duration(&self) -> Duration {
        let target = self.target.unwrap_or_else(|| self.target_by_gop().max(MAX_FIRST_TARGET));
        Duration::from_secs(target) + ROUNDING
    }

    fn boundary_before(&self, chunk: &Chunk) -> Boundary {
        let continues = |(generation, reached): (u32, MediaTime)| {
            generation == chunk.generation && chunk.start().since(reached) <= MAX_GAP
        };
        if !self.reached.is_some_and(continues) {
            return Boundary::Discontinuity;
        }
        let Some(open) = &self.open else { return Boundary::None };
        let length = chunk.start().since(open.start);
        let max = self.max_duration();
        if chunk.key && (length >= MIN_SEGMENT || length + self.group > max) {
            return Boundary::Group;
        }
        // Segments begin with a picture: they end before one after which the next might not fit.
        let duration = chunk.units.last().map(|unit| unit.duration).unwrap_or_default();
        let needed = if chunk.has_video() { 2 * duration } else { duration };
        let too_long = length + needed > max || open.len > self.max_bytes;
        if too_long && !length.is_zero() { Boundary::Length } else { Boundary::None }
    }

    fn open(&mut self, chunk: &Chunk, clock: WallClock) {
        let is_steady =
            |known: &WallClock| !self.discontinuity_pending && known.differs(clock) < CLOCK_SET;
        let clock = self.clock.filter(is_steady).unwrap_or(clock);
        self.clock = Some(clock);
        self.open = Some(Segment {
            number: self.next_number,
            generation: chunk.generation,
            discontinuous: std::mem::take(&mut self.discontinuity_pending) && self.next_number > 0,
            start: chunk.start(),
            duration: Duration::ZERO,
            date_ms: clock.unix_ms(chunk.start()),
            awaits_audio: true,
            listed_in: Duration::ZERO,
            kept_until: chunk.start(),
            pieces: Vec::new(),
            len: 0,
            picture: None,
        });
    }

    /// Ends the open segment; `until` is the start of the next one, if it is known.
    fn close(&mut self, until: Option<MediaTime>) {
        let Some(mut segment) = self.open.take() else { return };
        if let Some(until) = until {
            // Covers a small gap, as far as the target duration allows.
            segment.duration = until.since(segment.start).min(self.max_duration());
        }
        self.next_number += 1;
        let now = segment.start + segment.duration;
        self.segments.push_back(segment);
        self.peak = self.peak.max(self.newest_rate());
        while self.lists_too_much() {
            self.remove(now);
        }
        let span = self.listed().map(|segment| segment.duration).sum();
        for segment in self.segments.iter_mut().skip(self.removed) {
            segment.listed_in = segment.listed_in.max(span);
        }
        while self.removed > 0 && self.may_drop_oldest(now) {
            self.segments.pop_front();
            self.removed -= 1;
        }
        let oldest = self.segments.front().map(|segment| segment.generation);
        self.inits.retain(|init| oldest.is_none_or(|oldest| init.generation >= oldest));
    }

    /// The segments of the playlist.
    fn listed(&self) -> impl Iterator<Item = &Segment> {
        self.segments.iter().skip(self.removed)
    }

    /// Removes the oldest segment from the playlist.
    fn remove(&mut self, now: MediaTime) {
        let Some(oldest) = self.segments.get_mut(self.removed) else { return };
        // RFC 8216, 6.2.2: its own duration and that of the longest playlist that listed it.
        oldest.kept_until = now + oldest.duration + oldest.listed_in;
        self.discontinuities += u64::from(oldest.discontinuous);
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
        let bytes: usize = self.segments.iter().map(|segment| segment.len).sum();
        let expired = self.segments.front().is_none_or(|oldest| oldest.kept_until <= now);
        expired || bytes > self.max_bytes
    }

    /// The largest bit rate of consecutive segments up to the newest that have together 0.5 to
    /// 1.5 target durations (the peak segment bit rate of RFC 8216, 4.1).
    fn newest_rate(&self) -> u64 {
        let target = self.target() as f64;
        let (mut bits, mut span, mut peak) = (0.0, 0.0, 0.0_f64);
        for segment in self.segments.iter().rev() {
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
