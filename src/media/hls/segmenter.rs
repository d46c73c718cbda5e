//! Where segments begin and end.

use std::time::Duration;

use super::segment::Segment;
use crate::base::time::{MediaTime, WallClock};
use crate::media::packager::Chunk;

/// A segment ends at the first key frame after this duration.
pub(super) const MIN_SEGMENT: Duration = Duration::from_millis(900);

/// A longer gap in the timeline is a discontinuity.
const MAX_GAP: Duration = Duration::from_millis(500);

/// A larger difference to the monotonic clock means that the wall clock was set.
const CLOCK_SET: Duration = Duration::from_millis(100);

/// The bounds of a segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub duration: Duration,
    pub bytes: usize,
}

/// Cuts the chunks of a stream into segments.
#[derive(Debug)]
pub(super) struct Segmenter {
    pub open: Option<Segment>,
    pub next_number: u64,
    /// The next segment follows a discontinuity.
    discontinuity_pending: bool,
    /// Generation and end of the last chunk.
    reached: Option<(u32, MediaTime)>,
    last_key: Option<MediaTime>,
    /// Distance of the last two key frames.
    group: Duration,
    /// The clock for the dates of segments.
    clock: Option<WallClock>,
}

/// A finished segment.
#[derive(Debug)]
pub(super) struct Closed {
    pub segment: Segment,
    /// Whether the next segment begins without a key frame.
    pub inside_group: bool,
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

impl Segmenter {
    pub(super) fn new() -> Self {
        Self {
            open: None,
            next_number: 0,
            discontinuity_pending: true,
            reached: None,
            last_key: None,
            group: Duration::ZERO,
            clock: None,
        }
    }

    /// Adds the next chunk; `clock` is the present wall clock. Returns the segment that
    /// ends before the chunk, if one does.
    pub(super) fn push(
        &mut self,
        chunk: &Chunk,
        clock: WallClock,
        limits: Limits,
    ) -> Option<Closed> {
        let last = chunk.units.last()?;
        let boundary = self.boundary_before(chunk, limits);
        if let Some(open) = self.open.as_mut().filter(|_| boundary != Boundary::Discontinuity) {
            open.extend_picture(chunk);
        }
        let closed = match boundary {
            Boundary::None => None,
            Boundary::Discontinuity => {
                self.discontinuity_pending = true;
                self.close(None, limits)
            }
            Boundary::Group | Boundary::Length => self.close(Some(chunk.start()), limits),
        };
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
        closed.map(|segment| Closed { segment, inside_group: boundary == Boundary::Length })
    }

    /// Drops the open segment; a discontinuity follows.
    pub(super) fn clear(&mut self) {
        self.open = None;
        self.reached = None;
    }

    fn boundary_before(&self, chunk: &Chunk, limits: Limits) -> Boundary {
        let continues = |(generation, reached): (u32, MediaTime)| {
            generation == chunk.generation && chunk.start().since(reached) <= MAX_GAP
        };
        if !self.reached.is_some_and(continues) {
            return Boundary::Discontinuity;
        }
        let Some(open) = &self.open else { return Boundary::None };
        let length = chunk.start().since(open.start);
        if chunk.key && (length >= MIN_SEGMENT || length + self.group > limits.duration) {
            return Boundary::Group;
        }
        // Segments begin with a picture: they end before one after which the next might not fit.
        let duration = chunk.units.last().map(|unit| unit.duration).unwrap_or_default();
        let needed = if chunk.has_video() { 2 * duration } else { duration };
        let too_long = length + needed > limits.duration || open.len > limits.bytes;
        if too_long && !length.is_zero() { Boundary::Length } else { Boundary::None }
    }

    fn open(&mut self, chunk: &Chunk, clock: WallClock) {
        let is_steady =
            |known: &WallClock| !self.discontinuity_pending && known.differs(clock) < CLOCK_SET;
        let clock = self.clock.filter(is_steady).unwrap_or(clock);
        self.clock = Some(clock);
        let is_pending = std::mem::take(&mut self.discontinuity_pending);
        let mut segment = Segment::new(self.next_number, chunk, clock);
        segment.discontinuous = is_pending && self.next_number > 0;
        self.open = Some(segment);
    }

    /// Ends the open segment; `until` is the start of the next one, if it is known.
    fn close(&mut self, until: Option<MediaTime>, limits: Limits) -> Option<Segment> {
        let mut segment = self.open.take()?;
        if let Some(until) = until {
            // Covers a small gap, as far as the target duration allows.
            segment.duration = until.since(segment.start).min(limits.duration);
        }
        self.next_number += 1;
        Some(segment)
    }
}
