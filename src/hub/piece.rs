//! A chunk in its place in a stream.

use std::ops::Deref;
use std::sync::Arc;

use crate::media::edge::{Pad, Padder};
use crate::media::packager::Chunk;

/// A chunk, when it came, and how the stream is padded around it.
#[derive(Debug)]
pub struct Piece {
    chunk: Arc<Chunk>,
    /// When the encoder gave it: nanoseconds since 1970.
    came_ns: u64,
    whole: Slot,
    video: Slot,
}

/// The padding around a piece, for one shape of the stream.
#[derive(Clone, Debug)]
pub struct Slot {
    /// Where the piece begins within a block; nothing where the stream is not padded.
    pub phase: Option<usize>,
    /// What follows the piece.
    pub pad: Option<Pad>,
}

/// Pads the two shapes of a stream: with sound, and the video alone.
#[derive(Clone, Debug)]
pub(super) struct Padding {
    whole: Padder,
    video: Padder,
}

impl Padding {
    pub(super) fn new(padder: Padder) -> Self {
        Self { whole: padder.clone(), video: padder }
    }

    pub(super) fn place(&mut self, chunk: Arc<Chunk>, came_ns: u64) -> Piece {
        let span = chunk.units.last().map(|unit| unit.duration).unwrap_or_default();
        let slot = |padder: &mut Padder, length| {
            let phase = padder.is_on().then(|| padder.phase());
            Slot { phase, pad: padder.after(length, span) }
        };
        let whole = slot(&mut self.whole, chunk.bytes.len());
        let video = slot(&mut self.video, chunk.video_len());
        Piece { chunk, came_ns, whole, video }
    }
}

impl Piece {
    pub fn chunk(&self) -> &Chunk {
        &self.chunk
    }

    /// When the encoder gave it: nanoseconds since 1970.
    pub fn came_ns(&self) -> u64 {
        self.came_ns
    }

    /// The padding of the stream with its sound.
    pub fn whole(&self) -> &Slot {
        &self.whole
    }

    /// The padding of the video alone.
    pub fn video(&self) -> &Slot {
        &self.video
    }
}

impl Deref for Piece {
    type Target = Chunk;

    fn deref(&self) -> &Chunk {
        &self.chunk
    }
}
