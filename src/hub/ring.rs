//! The newest pieces of a stream.
//!
//! The ring keeps what is young enough and fits, whoever is reading. A reader
//! that falls off the buffer is told so and continues at the newest key frame;
//! the writer never waits for it.

use std::sync::Arc;
use std::time::Duration;

use super::piece::Piece;
use crate::hub::sequenced_buffer::SequencedBuffer;
use crate::media::edge::{self, BURST_BYTES, BURST_FRAMES, Burst};
use crate::media::packager::Init;

/// So many of the newest pieces keep their other shapes: viewers who keep up
/// are done with a piece by then.
const SHAPES_KEPT: usize = 8;

/// How much a ring keeps.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// At least this much of the past, as long as the bytes allow it.
    pub span: Duration,
    /// At most this many bytes, whatever they span.
    pub bytes: usize,
    /// How far apart key frames are meant to be.
    pub gop: Duration,
}

impl Limits {
    /// The larger of 10 s and two groups of pictures, at most 32 MiB and at
    /// most the stream's `share` of the memory for all, in bytes.
    pub fn for_gop(gop: Duration, share: usize) -> Self {
        Self { span: (2 * gop).max(Duration::from_secs(10)), bytes: share.min(32 << 20), gop }
    }
}

#[derive(Debug)]
pub(super) struct Ring {
    buffer: SequencedBuffer<Arc<Piece>>,
    limits: Limits,
    init: Option<Arc<Init>>,
    /// Joiners start at or after this: what lies before belongs to an earlier run.
    join_from: u64,
    /// The burst for who joins now, and the end that it was made for.
    burst: Option<(u64, Burst)>,
}

/// Where one reader stands. Holds no pieces.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor {
    next: u64,
    /// The generation whose init the reader has.
    generation: Option<u32>,
    /// Whether the next piece must be one to start with.
    seeking: bool,
}

impl Cursor {
    pub(super) fn position(self) -> u64 {
        self.next
    }
}

/// A picture of the past.
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
    Nothing,
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
        if let Some(old) = self.buffer.pieces().iter().rev().nth(SHAPES_KEPT) {
            old.forget_shapes();
        }
        self.trim();
    }

    /// From here on joiners get only what comes next: the run is over, and a
    /// picture from before it would be a lie about what is live.
    pub(super) fn close_run(&mut self) {
        self.join_from = self.end();
    }

    /// Lets go of all pieces; cursors go on with what comes next.
    pub(super) fn clear(&mut self) {
        self.buffer.clear();
        self.burst = None;
        self.join_from = self.end();
    }

    /// The oldest piece that is kept.
    pub(super) fn begin(&self) -> u64 {
        self.buffer.first()
    }

    pub(super) fn newest(&self) -> Option<&Arc<Piece>> {
        self.buffer.pieces().back()
    }

    /// One past the newest piece.
    pub(super) fn end(&self) -> u64 {
        self.buffer.end()
    }

    /// A cursor on the newest key frame of this run, so that a picture can be
    /// shown at once; before the first one, on the end.
    pub(super) fn join(&self) -> Cursor {
        let next = self.newest_key().unwrap_or(self.end());
        Cursor { next, generation: None, seeking: true }
    }

    /// A cursor at the live edge, the init segment there, and everything that
    /// leads up to it, squeezed. Nothing before this run's first key frame, or
    /// where frames are reordered: then [`Ring::join`] is right.
    pub(super) fn join_at_edge(&mut self) -> Option<(Cursor, Arc<Init>, Burst)> {
        let init = Arc::clone(self.init.as_ref()?);
        let end = self.end();
        let burst = match &self.burst {
            Some((made_for, burst)) if *made_for == end => burst.clone(),
            _ => {
                let from = self.burst_start(init.generation)?;
                let skipped = usize::try_from(from - self.buffer.first()).ok()?;
                let pieces = self.buffer.pieces().iter().skip(skipped);
                edge::burst(pieces.map(|piece| piece.chunk()))?
            }
        };
        self.burst = Some((end, burst.clone()));
        let generation = Some(init.generation);
        Some((Cursor { next: end, generation, seeking: false }, init, burst))
    }

    /// A cursor at the live edge, the init segment there, and the pieces since
    /// the newest key frame. Nothing before this run's first key frame, or
    /// where frames are reordered: then [`Ring::join`] is right.
    pub(super) fn join_with_past(&self) -> Option<(Cursor, Arc<Init>, Vec<Arc<Piece>>)> {
        let init = Arc::clone(self.init.as_ref()?);
        let from = self.newest_key()?;
        let skipped = usize::try_from(from - self.buffer.first()).ok()?;
        let past: Vec<_> = self.buffer.pieces().iter().skip(skipped).cloned().collect();
        let fits = |piece: &Arc<Piece>| {
            piece.generation == init.generation && !edge::is_reordered(piece.chunk())
        };
        if !past.iter().all(fits) {
            return None;
        }
        let generation = Some(init.generation);
        Some((Cursor { next: self.end(), generation, seeking: false }, init, past))
    }

    /// The picture that came nearest to `moment`, in nanoseconds since 1970, also
    /// of an earlier run. Where the oldest is younger, or there is none, when
    /// the oldest came.
    pub(super) fn past(&self, moment: u64) -> Result<Past, Option<u64>> {
        let init = self.init.as_ref().ok_or(None)?;
        let fits = |piece: &&Arc<Piece>| piece.generation == init.generation && piece.has_video();
        let pictures = self.buffer.pieces().iter().filter(fits).skip_while(|piece| !piece.key);
        let pictures: Vec<_> = pictures.collect();
        let oldest = pictures.first().map(|piece| piece.came_ns()).ok_or(None)?;
        if moment < oldest {
            return Err(Some(oldest));
        }
        let after = pictures.partition_point(|piece| piece.came_ns() <= moment);
        let distance = |at: usize| Some(pictures.get(at)?.came_ns().abs_diff(moment));
        let is_later = distance(after).is_some_and(|later| Some(later) < distance(after - 1));
        let found = if is_later { after } else { after - 1 };
        let key = pictures[..=found].iter().rposition(|piece| piece.key).unwrap_or(0);
        let pieces = pictures[key..=found].iter().map(|piece| Arc::clone(piece)).collect();
        Ok(Past { init: Arc::clone(init), pieces })
    }

    /// The newest key frame with enough pictures behind it, or the oldest one
    /// of this run that fits.
    fn burst_start(&self, generation: u32) -> Option<u64> {
        let (mut start, mut frames, mut bytes) = (None, 0, 0);
        for (back, piece) in self.buffer.pieces().iter().rev().enumerate() {
            let sequence = self.end() - 1 - back as u64;
            frames += usize::from(piece.has_video());
            bytes += piece.video_len();
            let foreign = sequence < self.join_from || piece.generation != generation;
            if foreign || (bytes > BURST_BYTES && start.is_some()) {
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

    /// Takes one step, at most to the end.
    pub(super) fn step(&self, cursor: &mut Cursor) -> Step {
        if cursor.next < self.buffer.first() {
            return self.skip(cursor);
        }
        while let Some(piece) = self.buffer.at(cursor.next) {
            if cursor.seeking && !piece.key {
                cursor.next += 1;
                continue;
            }
            if cursor.generation != Some(piece.generation) {
                match self.init.as_ref().filter(|init| init.generation == piece.generation) {
                    Some(init) => {
                        cursor.generation = Some(piece.generation);
                        return Step::Init(Arc::clone(init));
                    }
                    // The init of an older generation is gone; its pieces are useless.
                    None => {
                        cursor.next += 1;
                        continue;
                    }
                }
            }
            cursor.seeking = false;
            cursor.next += 1;
            return Step::Piece(Arc::clone(piece));
        }
        Step::Nothing
    }

    /// Moves a cursor on to the newest key frame, if that is before it.
    pub(super) fn jump(&self, cursor: &mut Cursor) -> u64 {
        let Some(to) = self.newest_key().filter(|key| *key > cursor.next) else { return 0 };
        let lost = to - cursor.next;
        cursor.next = to;
        cursor.seeking = true;
        lost
    }

    fn skip(&self, cursor: &mut Cursor) -> Step {
        let to = self.newest_key().unwrap_or(self.end());
        let lost = to - cursor.next;
        cursor.next = to;
        cursor.seeking = true;
        Step::Skipped(lost)
    }

    fn newest_key(&self) -> Option<u64> {
        let back = self.buffer.pieces().iter().rev().position(|piece| piece.key)? as u64;
        let sequence = self.end() - 1 - back;
        (sequence >= self.join_from).then_some(sequence)
    }

    fn trim(&mut self) {
        let too_many = |ring: &Self| ring.buffer.bytes() > ring.limits.bytes || ring.spans_enough();
        while self.buffer.pieces().len() > 1 && too_many(self) {
            self.buffer.shorten();
        }
    }

    /// Whether the ring without its oldest piece still spans the limit.
    fn spans_enough(&self) -> bool {
        let (Some(second), Some(newest)) =
            (self.buffer.pieces().get(1), self.buffer.pieces().back())
        else {
            return false;
        };
        newest.start().since(second.start()) >= self.limits.span
    }
}
