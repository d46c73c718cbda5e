//! A chunk in its place in a stream.

use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::media::edge::{Pad, Padder};
use crate::media::packager::Chunk;
use crate::media::rtp::{Numbers, Packets};
use crate::model::track::Tracks;

/// A chunk, when it came, and how the stream is padded around it.
#[derive(Debug)]
pub struct Piece {
    chunk: Arc<Chunk>,
    /// When the encoder gave it: nanoseconds since 1970.
    came_ns: u64,
    whole: Slot,
    video: Slot,
    /// Of its RTP packets.
    numbers: Numbers,
    packets: Mutex<Cached>,
}

/// The packets of a piece: not before somebody wants them, and kept only while
/// the piece is new, so that a ring does not hold everything twice.
#[derive(Debug)]
enum Cached {
    NotYet,
    Kept(Packets),
    NotAnyMore,
}

/// The padding around a piece, for one shape of the stream.
#[derive(Clone, Debug)]
pub struct Slot {
    /// Where the piece begins within a block; nothing where the stream is not padded.
    pub phase: Option<usize>,
    /// What follows the piece.
    pub pad: Option<Pad>,
}

/// Puts chunks into their places: pads the two shapes of a stream, with sound
/// and the video alone, and numbers its packets.
#[derive(Clone, Debug)]
pub(super) struct Placer {
    whole: Padder,
    video: Padder,
    next: Numbers,
}

impl Placer {
    /// For a stream whose packets are numbered from `next` on.
    pub(super) fn new(padder: Padder, next: Numbers) -> Self {
        Self { whole: padder.clone(), video: padder, next }
    }

    /// The same numbers, with another padding.
    pub(super) fn repad(&mut self, padder: Padder) {
        *self = Self::new(padder, self.next);
    }

    pub(super) fn place(&mut self, chunk: Arc<Chunk>, came_ns: u64) -> Piece {
        let span = chunk.units.last().map(|unit| unit.duration).unwrap_or_default();
        let slot = |padder: &mut Padder, length| {
            let phase = padder.is_on().then(|| padder.phase());
            Slot { phase, pad: padder.after(length, span) }
        };
        let whole = slot(&mut self.whole, chunk.bytes.len());
        let video = slot(&mut self.video, chunk.video_len());
        let numbers = self.next;
        self.next = numbers.after(&chunk);
        let packets = Mutex::new(Cached::NotYet);
        Piece { chunk, came_ns, whole, video, numbers, packets }
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

    /// The numbers of its RTP packets.
    pub fn numbers(&self) -> Numbers {
        self.numbers
    }

    /// Its RTP packets; `tracks` are those of its generation. Made by the first
    /// caller, shared by all who ask while the piece is new.
    pub fn packets(&self, tracks: &Tracks) -> Packets {
        let mut cached = self.cached();
        if let Cached::Kept(packets) = &*cached {
            return packets.clone();
        }
        let audio_clock = tracks.audio.as_ref().map_or(1, |audio| audio.rate);
        let packets = Packets::of(&self.chunk, self.numbers, audio_clock);
        if matches!(*cached, Cached::NotYet) {
            *cached = Cached::Kept(packets.clone());
        }
        packets
    }

    /// Lets go of the packets, for good.
    pub(super) fn forget_packets(&self) {
        *self.cached() = Cached::NotAnyMore;
    }

    fn cached(&self) -> MutexGuard<'_, Cached> {
        // What is kept is whole at every moment.
        self.packets.lock().unwrap_or_else(PoisonError::into_inner)
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
