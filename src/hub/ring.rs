//! The newest pieces of a stream.
//!
//! The ring keeps pieces by age and size, independent of its readers. A reader
//! whose next piece is gone learns how many it has lost and continues at the
//! newest key frame; the writer never waits for it.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::piece::Piece;
use crate::hub::sequenced_buffer::SequencedBuffer;
use crate::media::edge::{self, BURST_BYTES, BURST_FRAMES, Burst};
use crate::media::packager::Init;

/// The number of newest pieces that keep their derived formats: a viewer that
/// keeps up has read a piece by then.
const DERIVED_KEPT: usize = 8;

/// How much a ring keeps.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// At least this span of media time, as far as `bytes` allows.
    pub span: Duration,
    /// At most this many bytes, whatever they span.
    pub bytes: usize,
    /// The nominal distance of key frames.
    pub gop: Duration,
}

impl Limits {
    /// A span of 10 s or two groups of pictures, whichever is longer; at most
    /// 32 MiB, and at most `share`: the stream's part of the memory for all
    /// streams, in bytes.
    pub fn for_gop(gop: Duration, share: usize) -> Self {
        Self { span: (2 * gop).max(Duration::from_secs(10)), bytes: share.min(32 << 20), gop }
    }
}

#[derive(Debug)]
pub(super) struct Ring {
    buffer: SequencedBuffer<Arc<Piece>>,
    limits: Limits,
    init: Option<Arc<Init>>,
    /// Joiners start at or after this piece: earlier ones belong to an earlier run.
    join_from: u64,
    /// The burst for joiners, and the `end()` for which it is.
    burst: Option<(u64, Arc<EdgeBurst>)>,
}

/// The burst that ends at one position of the ring. Rendered outside the ring's
/// lock, for the first joiner there.
#[derive(Debug)]
pub(super) struct EdgeBurst {
    pieces: Vec<Arc<Piece>>,
    rendered: OnceLock<Option<Burst>>,
}

impl EdgeBurst {
    /// `None` for streams with reordered frames.
    pub(super) fn render(&self) -> Option<Burst> {
        let make = || edge::burst(self.pieces.iter().map(|piece| piece.chunk()));
        self.rendered.get_or_init(make).clone()
    }
}

/// The position of one reader. Holds no pieces.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor {
    next: u64,
    /// The generation whose init segment the reader has.
    generation: Option<u32>,
    /// Whether the next piece must be a key frame.
    is_seeking: bool,
}

impl Cursor {
    pub(super) fn position(self) -> u64 {
        self.next
    }
}

/// A past picture with the pieces that are needed to decode it.
#[derive(Debug)]
pub struct Past {
    pub init: Arc<Init>,
    /// From its key frame to the picture itself; never empty.
    pub pieces: Vec<Arc<Piece>>,
}

#[derive(Debug)]
pub(super) enum Step {
    Init(Arc<Init>),
    Piece(Arc<Piece>),
    Skipped(u64),
    AtEnd,
}

impl Ring {
    pub(super) fn new(limits: Limits) -> Self {
        Self { buffer: SequencedBuffer::new(), limits, init: None, join_from: 0, burst: None }
    }

    pub(super) fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    pub(super) fn set_init(&mut self, init: Arc<Init>) {
        self.init = Some(init);
    }

    pub(super) fn init(&self) -> Option<&Arc<Init>> {
        self.init.as_ref()
    }

    pub(super) fn push(&mut self, piece: Piece) {
        self.buffer.push(Arc::new(piece));
        self.burst = None;
        if let Some(old) = self.buffer.pieces().iter().rev().nth(DERIVED_KEPT) {
            old.drop_derived();
        }
        self.trim();
    }

    /// Ends the run: joiners get only later pieces, because pictures of an
    /// ended run are not live.
    pub(super) fn close_run(&mut self) {
        self.join_from = self.end();
    }

    /// Drops all pieces; cursors continue with the next one pushed.
    pub(super) fn clear(&mut self) {
        self.buffer.clear();
        self.burst = None;
        self.join_from = self.end();
    }

    /// Number of the oldest piece.
    pub(super) fn first(&self) -> u64 {
        self.buffer.first()
    }

    pub(super) fn newest(&self) -> Option<&Arc<Piece>> {
        self.buffer.pieces().back()
    }

    /// One past the newest piece.
    pub(super) fn end(&self) -> u64 {
        self.buffer.end()
    }

    /// A cursor at the newest key frame of this run, so that a picture can be
    /// shown at once; before the first key frame, at the end.
    pub(super) fn join(&self) -> Cursor {
        let next = self.newest_key().unwrap_or(self.end());
        Cursor { next, generation: None, is_seeking: true }
    }

    /// A cursor at the live edge, its init segment, and the burst that ends
    /// there. `None` before this run's first key frame: use [`Ring::join`] then,
    /// as for streams with reordered frames.
    pub(super) fn join_at_edge(&mut self) -> Option<(Cursor, Arc<Init>, Arc<EdgeBurst>)> {
        let init = Arc::clone(self.init.as_ref()?);
        let end = self.end();
        let burst = match &self.burst {
            Some((made_for, burst)) if *made_for == end => Arc::clone(burst),
            _ => {
                let from = self.burst_start(init.generation)?;
                let skipped = usize::try_from(from - self.buffer.first()).ok()?;
                let pieces = self.buffer.pieces().iter().skip(skipped).cloned().collect();
                Arc::new(EdgeBurst { pieces, rendered: OnceLock::new() })
            }
        };
        self.burst = Some((end, Arc::clone(&burst)));
        let generation = Some(init.generation);
        Some((Cursor { next: end, generation, is_seeking: false }, init, burst))
    }

    /// A cursor at the live edge, its init segment, and the pieces since the
    /// newest key frame. `None` in the same cases as [`Ring::join_at_edge`].
    pub(super) fn join_with_past(&self) -> Option<(Cursor, Arc<Init>, Vec<Arc<Piece>>)> {
        let init = Arc::clone(self.init.as_ref()?);
        let from = self.newest_key()?;
        let skipped = usize::try_from(from - self.buffer.first()).ok()?;
        let past: Vec<_> = self.buffer.pieces().iter().skip(skipped).cloned().collect();
        let is_usable = |piece: &Arc<Piece>| {
            piece.generation == init.generation && !edge::is_reordered(piece.chunk())
        };
        if !past.iter().all(is_usable) {
            return None;
        }
        let generation = Some(init.generation);
        Some((Cursor { next: self.end(), generation, is_seeking: false }, init, past))
    }

    /// The picture whose arrival is nearest to `moment_ns`, in nanoseconds since
    /// 1970; it may belong to an earlier run.
    ///
    /// # Errors
    /// All pictures are newer: the arrival of the oldest; `None` if there is no
    /// picture.
    pub(super) fn past(&self, moment_ns: u64) -> Result<Past, Option<u64>> {
        let init = self.init.as_ref().ok_or(None)?;
        let is_decodable =
            |piece: &&Arc<Piece>| piece.generation == init.generation && piece.has_video();
        let pictures = self.buffer.pieces().iter().filter(is_decodable);
        let pictures: Vec<_> = pictures.skip_while(|piece| !piece.key).collect();
        let oldest = pictures.first().map(|piece| piece.arrived_ns()).ok_or(None)?;
        if moment_ns < oldest {
            return Err(Some(oldest));
        }
        let after = pictures.partition_point(|piece| piece.arrived_ns() <= moment_ns);
        let distance = |at: usize| Some(pictures.get(at)?.arrived_ns().abs_diff(moment_ns));
        let is_later = distance(after).is_some_and(|later| Some(later) < distance(after - 1));
        let found = if is_later { after } else { after - 1 };
        let key = pictures[..=found].iter().rposition(|piece| piece.key).unwrap_or(0);
        let pieces = pictures[key..=found].iter().map(|piece| Arc::clone(piece)).collect();
        Ok(Past { init: Arc::clone(init), pieces })
    }

    /// The newest key frame with at least [`BURST_FRAMES`] pictures from there
    /// on, or the oldest one of this run within [`BURST_BYTES`].
    fn burst_start(&self, generation: u32) -> Option<u64> {
        let (mut start, mut frames, mut bytes) = (None, 0, 0);
        for (back, piece) in self.buffer.pieces().iter().rev().enumerate() {
            let sequence = self.end() - 1 - back as u64;
            frames += usize::from(piece.has_video());
            bytes += piece.video_len();
            let is_of_other_run = sequence < self.join_from || piece.generation != generation;
            if is_of_other_run || (bytes > BURST_BYTES && start.is_some()) {
                break;
            }
            if piece.key {
                start = Some(sequence);
                if frames >= BURST_FRAMES {
                    break;
                }
            }
        }
        start
    }

    /// Advances the cursor by one piece, or to the piece that it must read next.
    pub(super) fn step(&self, cursor: &mut Cursor) -> Step {
        if cursor.next < self.buffer.first() {
            return self.skip(cursor);
        }
        while let Some(piece) = self.buffer.at(cursor.next) {
            if cursor.is_seeking && !piece.key {
                cursor.next += 1;
                continue;
            }
            if cursor.generation != Some(piece.generation) {
                match self.init.as_ref().filter(|init| init.generation == piece.generation) {
                    Some(init) => {
                        cursor.generation = Some(piece.generation);
                        return Step::Init(Arc::clone(init));
                    }
                    // The init of an older generation is gone; its pieces cannot be decoded.
                    None => {
                        cursor.next += 1;
                        continue;
                    }
                }
            }
            cursor.is_seeking = false;
            cursor.next += 1;
            return Step::Piece(Arc::clone(piece));
        }
        Step::AtEnd
    }

    /// Moves the cursor to the newest key frame, if that is ahead. Returns the
    /// number of pieces skipped.
    pub(super) fn jump(&self, cursor: &mut Cursor) -> u64 {
        let Some(to) = self.newest_key().filter(|key| *key > cursor.next) else { return 0 };
        let lost = to - cursor.next;
        cursor.next = to;
        cursor.is_seeking = true;
        lost
    }

    fn skip(&self, cursor: &mut Cursor) -> Step {
        let to = self.newest_key().unwrap_or(self.end());
        let lost = to - cursor.next;
        cursor.next = to;
        cursor.is_seeking = true;
        Step::Skipped(lost)
    }

    fn newest_key(&self) -> Option<u64> {
        let back = self.buffer.pieces().iter().rev().position(|piece| piece.key)? as u64;
        let sequence = self.end() - 1 - back;
        (sequence >= self.join_from).then_some(sequence)
    }

    fn trim(&mut self) {
        let is_too_long =
            |ring: &Self| ring.buffer.bytes() > ring.limits.bytes || ring.may_drop_oldest();
        while self.buffer.pieces().len() > 1 && is_too_long(self) {
            self.buffer.pop_oldest();
        }
    }

    /// Whether the ring without its oldest piece still spans `Limits::span`.
    fn may_drop_oldest(&self) -> bool {
        let (Some(second), Some(newest)) =
            (self.buffer.pieces().get(1), self.buffer.pieces().back())
        else {
            return false;
        };
        newest.start().since(second.start()) >= self.limits.span
    }
}
