//! A chunk in its place in a stream.

use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;

use crate::base::lock::Lock;
use crate::media::edge::Pad;
use crate::media::packager::Chunk;
use crate::media::padder::Padder;
use crate::media::rtp::{Numbers, Packets};
use crate::media::ts::{self, Counters};
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
    packets: Shape<Packets>,
    /// Of its packets of MPEG-TS.
    counters: Counters,
    transport: Shape<Bytes>,
}

/// Another shape of a piece: not made before somebody wants it, and kept only
/// while the piece is new, so that a ring does not hold everything twice.
#[derive(Debug)]
struct Shape<T>(Lock<Cached<T>>);

#[derive(Debug)]
enum Cached<T> {
    NotYet,
    Kept(T),
    NotAnyMore,
}

impl<T: Clone> Shape<T> {
    fn not_yet() -> Self {
        Self(Lock::new(Cached::NotYet))
    }

    fn get(&self, make: impl FnOnce() -> T) -> T {
        let mut cached = self.0.lock();
        if let Cached::Kept(made) = &*cached {
            return made.clone();
        }
        let made = make();
        if matches!(*cached, Cached::NotYet) {
            *cached = Cached::Kept(made.clone());
        }
        made
    }

    fn forget(&self) {
        *self.0.lock() = Cached::NotAnyMore;
    }
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
    counters: Counters,
}

impl Placer {
    /// For a stream whose packets are numbered from `next` on.
    pub(super) fn new(padder: Padder, next: Numbers) -> Self {
        Self { whole: padder.clone(), video: padder, next, counters: Counters::default() }
    }

    /// The same numbers, with another padding.
    pub(super) fn repad(&mut self, padder: Padder) {
        (self.whole, self.video) = (padder.clone(), padder);
    }

    pub(super) fn place(&mut self, chunk: Arc<Chunk>, came_ns: u64) -> Piece {
        let slot = |padder: &mut Padder, length| {
            let phase = padder.is_on().then(|| padder.phase());
            Slot { phase, pad: padder.after(length, chunk.start()) }
        };
        let whole = slot(&mut self.whole, chunk.bytes.len());
        let video = slot(&mut self.video, chunk.video_len());
        let (numbers, counters) = (self.next, self.counters);
        self.next = numbers.after(&chunk);
        self.counters = counters.after(&chunk);
        let (packets, transport) = (Shape::not_yet(), Shape::not_yet());
        Piece { chunk, came_ns, whole, video, numbers, packets, counters, transport }
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
        let audio_clock = tracks.audio.as_ref().map_or(1, |audio| audio.rate);
        self.packets.get(|| Packets::of(&self.chunk, self.numbers, audio_clock))
    }

    /// It as MPEG-TS, likewise.
    pub fn transport(&self, tracks: &Tracks) -> Bytes {
        self.transport.get(|| ts::packets(&self.chunk, self.counters, tracks))
    }

    /// Lets go of its other shapes, for good.
    pub(super) fn forget_shapes(&self) {
        self.packets.forget();
        self.transport.forget();
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
