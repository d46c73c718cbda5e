//! A chunk with its position in a stream: arrival time, padding, packet numbers.

use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;

use crate::base::lock::Lock;
use crate::media::edge::Pad;
use crate::media::packager::Chunk;
use crate::media::padder::Padder;
use crate::media::rtp::{Numbers, Packets};
use crate::media::ts::{self, Counters};
use crate::model::track::{AudioInfo, Tracks};

/// A chunk, its arrival time, and the padding after it.
#[derive(Debug)]
pub struct Piece {
    chunk: Arc<Chunk>,
    /// When the chunk came from the encoder: nanoseconds since 1970.
    arrived_ns: u64,
    padding: Padding,
    video_padding: Padding,
    rtp_numbers: Numbers,
    rtp_packets: Derived<Packets>,
    ts_counters: Counters,
    mpeg_ts: Derived<Bytes>,
    adts: Derived<Bytes>,
}

/// Another format of a piece: made for the first reader that asks, and kept
/// only while the piece is new, so that a ring does not store everything twice.
///
/// It is made under the lock of the piece, so that it is made once.
#[derive(Debug)]
struct Derived<T>(Lock<Cached<T>>);

#[derive(Debug)]
enum Cached<T> {
    NotMade,
    Kept(T),
    Dropped,
}

impl<T: Clone> Derived<T> {
    fn new() -> Self {
        Self(Lock::new(Cached::NotMade))
    }

    fn get(&self, make: impl FnOnce() -> T) -> T {
        let mut cached = self.0.lock();
        if let Cached::Kept(made) = &*cached {
            return made.clone();
        }
        let made = make();
        if matches!(*cached, Cached::NotMade) {
            *cached = Cached::Kept(made.clone());
        }
        made
    }

    fn drop_cached(&self) {
        *self.0.lock() = Cached::Dropped;
    }
}

/// The padding around a piece in one variant of the stream.
#[derive(Clone, Debug)]
pub struct Padding {
    /// Offset of the piece within a block; `None` if the stream is not padded.
    pub phase: Option<usize>,
    /// The padding after the piece.
    pub pad: Option<Pad>,
}

/// Makes pieces from chunks: pads both variants of a stream (with audio, and
/// video alone) and numbers its packets.
#[derive(Clone, Debug)]
pub(super) struct PieceBuilder {
    padder: Padder,
    video_padder: Padder,
    rtp_numbers: Numbers,
    ts_counters: Counters,
}

impl PieceBuilder {
    /// `rtp_numbers` are those of the first RTP packets.
    pub(super) fn new(padder: Padder, rtp_numbers: Numbers) -> Self {
        let ts_counters = Counters::default();
        Self { padder: padder.clone(), video_padder: padder, rtp_numbers, ts_counters }
    }

    /// Replaces the padder; packet numbers continue.
    pub(super) fn set_padder(&mut self, padder: Padder) {
        (self.padder, self.video_padder) = (padder.clone(), padder);
    }

    pub(super) fn build(&mut self, chunk: Arc<Chunk>, arrived_ns: u64) -> Piece {
        let pad = |padder: &mut Padder, length| {
            let phase = padder.is_on().then(|| padder.phase());
            Padding { phase, pad: padder.after(length, chunk.start()) }
        };
        let padding = pad(&mut self.padder, chunk.bytes.len());
        let video_padding = pad(&mut self.video_padder, chunk.video_len());
        let (rtp_numbers, ts_counters) = (self.rtp_numbers, self.ts_counters);
        self.rtp_numbers = rtp_numbers.after(&chunk);
        self.ts_counters = ts_counters.after(&chunk);
        Piece {
            chunk,
            arrived_ns,
            padding,
            video_padding,
            rtp_numbers,
            rtp_packets: Derived::new(),
            ts_counters,
            mpeg_ts: Derived::new(),
            adts: Derived::new(),
        }
    }
}

impl Piece {
    pub fn chunk(&self) -> &Chunk {
        &self.chunk
    }

    /// When the chunk came from the encoder: nanoseconds since 1970.
    pub fn arrived_ns(&self) -> u64 {
        self.arrived_ns
    }

    /// The sequence numbers of the first RTP packets of the piece.
    pub fn rtp_numbers(&self) -> Numbers {
        self.rtp_numbers
    }

    /// The piece as RTP packets; `tracks` are those of its generation. Made for
    /// the first caller, shared by all callers while the piece is new.
    pub fn rtp_packets(&self, tracks: &Tracks) -> Packets {
        let audio_clock = tracks.audio.as_ref().map_or(1, |audio| audio.rate);
        self.rtp_packets.get(|| Packets::new(&self.chunk, self.rtp_numbers, audio_clock))
    }

    /// The piece as MPEG-TS packets; otherwise as [`Piece::rtp_packets`].
    pub fn mpeg_ts(&self, tracks: &Tracks) -> Bytes {
        self.mpeg_ts.get(|| ts::packets(&self.chunk, self.ts_counters, tracks))
    }

    /// The audio frames of the piece in ADTS; `info` is that of its generation.
    /// Otherwise as [`Piece::rtp_packets`].
    pub fn adts(&self, info: &AudioInfo) -> Bytes {
        self.adts.get(|| self.chunk.adts(info).into())
    }

    /// Frees the other formats; they are not kept again.
    pub(super) fn drop_derived(&self) {
        self.rtp_packets.drop_cached();
        self.mpeg_ts.drop_cached();
        self.adts.drop_cached();
    }

    /// The padding of the stream with its audio.
    pub fn padding(&self) -> &Padding {
        &self.padding
    }

    /// The padding of the video alone.
    pub fn video_padding(&self) -> &Padding {
        &self.video_padding
    }
}

impl Deref for Piece {
    type Target = Chunk;

    fn deref(&self) -> &Chunk {
        &self.chunk
    }
}
