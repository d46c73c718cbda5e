//! The content of a [`Segment`]: shared chunks, except for two changed headers.
//!
//! The first picture and the first audio share a fragment, and a picture before
//! missing ones lasts until the next one. Payloads stay shared.

use std::time::Duration;

use bytes::Bytes;

use crate::base::time::{MediaTime, WallClock};
use crate::media::fmp4::{self, FIRST_DURATION, VIDEO_TIMESCALE};
use crate::media::packager::Chunk;

/// One segment: whole groups of pictures, or a part of a group that is too long.
#[derive(Clone, Debug)]
pub struct Segment {
    pub number: u64,
    pub(super) generation: u32,
    /// A discontinuity precedes this segment: a gap, or another init segment.
    pub(super) discontinuous: bool,
    pub(super) start: MediaTime,
    pub(super) duration: Duration,
    /// Wall-clock time of its start: milliseconds since 1970.
    pub(super) date_ms: u64,
    /// It has no audio yet.
    awaits_audio: bool,
    pub pieces: Vec<Bytes>,
    /// Bytes of all pieces.
    pub len: usize,
    /// The latest picture.
    picture: Option<Picture>,
}

/// The position of a picture in a segment.
#[derive(Clone, Debug)]
struct Picture {
    piece: usize,
    /// Offset of its fragment in that piece.
    offset: usize,
    start: MediaTime,
    duration: Duration,
}

impl Segment {
    /// An empty segment that begins with `chunk`.
    pub(super) fn new(number: u64, chunk: &Chunk, clock: WallClock) -> Self {
        Self {
            number,
            generation: chunk.generation,
            discontinuous: false,
            start: chunk.start(),
            duration: Duration::ZERO,
            date_ms: clock.unix_ms(chunk.start()),
            awaits_audio: true,
            pieces: Vec::new(),
            len: 0,
            picture: None,
        }
    }

    /// Adds the next chunk.
    pub(super) fn push(&mut self, chunk: &Chunk) {
        let is_joint = chunk.has_audio() && std::mem::take(&mut self.awaits_audio);
        if let Some(unit) = chunk.video() {
            self.picture = Some(Picture {
                piece: self.pieces.len(),
                offset: if is_joint { 0 } else { chunk.bytes.len() - chunk.video_len() },
                start: unit.dts,
                duration: unit.duration,
            });
        }
        if is_joint {
            self.pieces.extend(chunk.joint());
        } else {
            self.pieces.push(chunk.bytes.clone());
        }
        self.len = self.pieces.iter().map(Bytes::len).sum();
        if let Some(last) = chunk.units.last() {
            self.duration = (last.dts + last.duration).since(self.start);
        }
    }

    /// Extends the latest picture up to that of `next`, if pictures are missing between them.
    ///
    /// After a step of more than two durations, Media Source Extensions ("coded frame
    /// processing") discard everything up to the next key frame.
    pub(super) fn extend_picture(&mut self, next: &Chunk) {
        let Some(next) = next.video() else { return };
        let Some(picture) = self.picture.take() else { return };
        let Some(piece) = self.pieces.get(picture.piece) else { return };
        if next.dts.since(picture.start) * 2 < picture.duration * 3 {
            return;
        }
        let ticks = |time: MediaTime| time.nearest_ticks(VIDEO_TIMESCALE);
        let span = ticks(next.dts).saturating_sub(ticks(picture.start)) as u32;
        let payload = picture.offset + fmp4::header_len(&piece[picture.offset..]);
        // The chunk is shared: only its header is copied.
        let mut header = piece[..payload].to_vec();
        if let Some(duration) = header[picture.offset..].get_mut(FIRST_DURATION) {
            duration.copy_from_slice(&span.to_be_bytes());
        }
        let pieces = [header.into(), piece.slice(payload..)].into_iter();
        let pieces = pieces.filter(|piece| !piece.is_empty());
        self.pieces.splice(picture.piece..=picture.piece, pieces);
    }
}
