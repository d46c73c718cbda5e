//! HTTP Live Streaming from chunks (RFC 8216): segments and playlists.
//!
//! A segment is a list of chunks that stay shared with everybody else; nothing
//! is copied or written to a disk. Only text and bytes here: who asks, and
//! what is waited for, is decided elsewhere.

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

/// Segments in a playlist. Apple's authoring rules want six at least.
pub const LISTED: usize = 7;

/// Players start three segments before the end.
pub const FEWEST: usize = 3;

/// Players start this many target durations before the end (RFC 8216, 6.3.3).
const HOLD_BACK: u64 = 3;

/// A segment ends at the first key frame after this long.
const SHORTEST: Duration = Duration::from_millis(900);

/// A hole in the timeline that players must be told of.
const HOLE: Duration = Duration::from_millis(500);

/// Rounded to whole seconds, no segment may exceed the target duration (RFC 8216, 4.3.3.1).
const ROUNDING: Duration = Duration::from_millis(499);

/// Groups of pictures may be this much longer than they are meant to be.
const MARGIN: Duration = Duration::from_millis(100);

/// A segment lasts no more seconds before a playlist was handed out, unless groups are meant to.
const LONGEST: u64 = 10;

/// The wall clock follows the monotonic one, except when it is set.
const CLOCK_SET: Duration = Duration::from_millis(100);

/// One segment: whole groups of pictures, or a part of a group that is too long.
#[derive(Clone, Debug)]
pub struct Segment {
    pub number: u64,
    generation: u32,
    /// The timeline jumps, or decoding begins anew, before this segment.
    discontinuous: bool,
    start: MediaTime,
    duration: Duration,
    /// What the wall clock showed at its start: milliseconds since 1970.
    date_ms: u64,
    /// Its sounds have not begun yet.
    awaits_sound: bool,
    /// How long the longest playlist was that it stood in.
    listed_in: Duration,
    /// When it may be forgotten, once it has left the playlist.
    kept_until: MediaTime,
    pub pieces: Vec<Bytes>,
    /// The length of all pieces.
    pub len: usize,
    /// The latest picture.
    picture: Option<Picture>,
}

/// The newest segments of a stream.
#[derive(Debug)]
pub struct Window {
    /// What all segments together may hold; those that a playlist needs stay whatever they hold.
    most_bytes: usize,
    /// How far apart key frames are meant to be.
    gop: Duration,
    /// Those that have left the playlist, and then those in it.
    segments: VecDeque<Segment>,
    /// How many have left the playlist.
    removed: usize,
    inits: Vec<Arc<Init>>,
    open: Option<Segment>,
    next_number: u64,
    /// Discontinuities that have left the playlist.
    discontinuities: u64,
    /// In whole seconds. Chosen with the first playlist, as it must never change (RFC 8216, 6.2.1).
    target: Option<u64>,
    /// Every segment of the playlist begins with a key frame.
    independent: bool,
    /// What comes next does not continue what came last.
    torn: bool,
    /// Where the timeline stood at the end of the last chunk.
    reached: Option<(u32, MediaTime)>,
    last_key: Option<MediaTime>,
    /// Between the last two key frames.
    group: Duration,
    /// Dates the segments.
    clock: Option<WallClock>,
    /// The peak segment bit rate so far, in bits a second.
    peak: u64,
}

/// What lies between the last chunk and the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Boundary {
    Nothing,
    /// A hole in the timeline, or a change of the init segment.
    Discontinuity,
    /// The end of a segment of whole groups.
    Group,
    /// The end of a segment that would become too long.
    Length,
}

impl Window {
    /// For a stream whose key frames are meant to be `gop` apart.
    pub fn new(most_bytes: usize, gop: Duration) -> Self {
        Self {
            most_bytes,
            gop,
            segments: VecDeque::new(),
            removed: 0,
            inits: Vec::new(),
            open: None,
            next_number: 0,
            discontinuities: 0,
            target: None,
            independent: true,
            torn: true,
            reached: None,
            last_key: None,
            group: Duration::ZERO,
            clock: None,
            peak: 0,
        }
    }

    /// Changes what [`Window::new`] was given. Another `gop` begins a playlist with a new target.
    pub fn set_limits(&mut self, most_bytes: usize, gop: Duration) {
        self.most_bytes = most_bytes;
        if std::mem::replace(&mut self.gop, gop) != gop {
            self.target = None;
        }
    }

    /// Takes the init segment of the chunks that follow.
    pub fn init(&mut self, init: &Arc<Init>) {
        self.inits.push(Arc::clone(init));
    }

    /// Takes the next chunk; `clock` tells how the wall clock is set.
    pub fn push(&mut self, chunk: &Chunk, clock: WallClock) {
        let Some(last) = chunk.units.last() else { return };
        let boundary = self.boundary_before(chunk);
        if let Some(open) = self.open.as_mut().filter(|_| boundary != Boundary::Discontinuity) {
            open.extend_picture(chunk);
        }
        match boundary {
            Boundary::Nothing => {}
            Boundary::Discontinuity => {
                self.close(None);
                self.torn = true;
            }
            Boundary::Group => self.close(Some(chunk.start())),
            Boundary::Length => {
                self.close(Some(chunk.start()));
                self.independent = false;
            }
        }
        self.reached = Some((chunk.generation, last.dts + last.duration));
        if chunk.key {
            let earlier = self.last_key.replace(chunk.start()).filter(|_| !self.torn);
            self.group = earlier.map_or(self.group, |earlier| chunk.start().since(earlier));
        }
        if self.open.is_none() && (chunk.key || boundary == Boundary::Length) {
            self.open(chunk, clock);
        }
        if let Some(open) = &mut self.open {
            open.take(chunk);
        }
    }

    /// Forgets all segments; what comes next is discontinuous with them.
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

    /// The segment of this number, while it may be fetched.
    pub fn segment(&self, number: u64) -> Option<&Segment> {
        self.segments.iter().find(|segment| segment.number == number)
    }

    /// The init segment of this generation, while a segment needs it.
    pub fn init_of(&self, generation: u32) -> Option<&Arc<Init>> {
        self.inits.iter().find(|init| init.generation == generation)
    }

    /// How many segments the playlist has.
    pub fn listed_count(&self) -> usize {
        self.segments.len() - self.removed
    }

    /// The number of the newest segment.
    pub fn newest(&self) -> Option<u64> {
        self.segments.back().map(|segment| segment.number)
    }

    /// The target duration in seconds: what it is, or what it would be.
    pub fn target(&self) -> u64 {
        let longest = self.segments.iter().map(|segment| segment.duration).max();
        let measured = longest.unwrap_or_default().as_secs_f64().round() as u64;
        self.target.unwrap_or_else(|| self.target_by_gop().max(measured))
    }

    /// What whole groups make of segments as they are meant to be.
    fn target_by_gop(&self) -> u64 {
        let gop = self.gop.as_secs_f64().max(0.01);
        let groups = (SHORTEST.as_secs_f64() / gop).ceil().max(1.0);
        ((gop * groups + MARGIN.as_secs_f64()).round() as u64).max(1)
    }

    /// No segment lasts longer.
    fn longest(&self) -> Duration {
        let target = self.target.unwrap_or_else(|| self.target_by_gop().max(LONGEST));
        Duration::from_secs(target) + ROUNDING
    }

    fn boundary_before(&self, chunk: &Chunk) -> Boundary {
        let continues = |(generation, reached): (u32, MediaTime)| {
            generation == chunk.generation && chunk.start().since(reached) <= HOLE
        };
        if !self.reached.is_some_and(continues) {
            return Boundary::Discontinuity;
        }
        let Some(open) = &self.open else { return Boundary::Nothing };
        let length = chunk.start().since(open.start);
        if chunk.key && (length >= SHORTEST || length + self.group > self.longest()) {
            return Boundary::Group;
        }
        // Segments begin with a picture: one is the last if the next might not fit.
        let duration = chunk.units.last().map(|unit| unit.duration).unwrap_or_default();
        let needed = if chunk.has_video() { 2 * duration } else { duration };
        let too_long = length + needed > self.longest() || open.len > self.most_bytes;
        if too_long && !length.is_zero() { Boundary::Length } else { Boundary::Nothing }
    }

    fn open(&mut self, chunk: &Chunk, clock: WallClock) {
        let goes_on = |known: &WallClock| !self.torn && known.differs(clock) < CLOCK_SET;
        let clock = self.clock.filter(goes_on).unwrap_or(clock);
        self.clock = Some(clock);
        self.open = Some(Segment {
            number: self.next_number,
            generation: chunk.generation,
            discontinuous: std::mem::take(&mut self.torn) && self.next_number > 0,
            start: chunk.start(),
            duration: Duration::ZERO,
            date_ms: clock.unix_ms(chunk.start()),
            awaits_sound: true,
            listed_in: Duration::ZERO,
            kept_until: chunk.start(),
            pieces: Vec::new(),
            len: 0,
            picture: None,
        });
    }

    /// Ends the open segment; `until` is where the next one begins, if it is known.
    fn close(&mut self, until: Option<MediaTime>) {
        let Some(mut segment) = self.open.take() else { return };
        if let Some(until) = until {
            // A small hole is not worth a discontinuity, nor a broken promise.
            segment.duration = until.since(segment.start).min(self.longest());
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
        while self.removed > 0 && self.may_forget(now) {
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

    /// Takes the oldest segment out of the playlist.
    fn remove(&mut self, now: MediaTime) {
        let Some(gone) = self.segments.get_mut(self.removed) else { return };
        // RFC 8216, 6.2.2: its own duration and that of the longest playlist that held it.
        gone.kept_until = now + gone.duration + gone.listed_in;
        self.discontinuities += u64::from(gone.discontinuous);
        self.removed += 1;
    }

    /// Those that leave the playlist are kept for as long as it is, so that it may have half the
    /// memory.
    fn lists_too_much(&self) -> bool {
        let bytes: usize = self.listed().map(|segment| segment.len).sum();
        match self.listed_count() {
            0..=FEWEST => false,
            count => count > LISTED || bytes > self.most_bytes / 2,
        }
    }

    fn may_forget(&self, now: MediaTime) -> bool {
        let bytes: usize = self.segments.iter().map(|segment| segment.len).sum();
        let expired = self.segments.front().is_none_or(|oldest| oldest.kept_until <= now);
        expired || bytes > self.most_bytes
    }

    /// The largest bit rate of neighbouring segments, the newest among them, that last 0.5 to
    /// 1.5 target durations together (the peak segment bit rate of RFC 8216, 4.1).
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
