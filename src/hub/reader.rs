//! One reader of a stream: a cursor that waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

use super::audience::{Client, Seat};
use super::piece::Piece;
use super::ring::{Cursor, Step};
use super::stream::Stream;
use crate::media::packager::Init;

/// Reads a stream at its own speed. Being alive, it says that the stream is
/// needed, unless it only listens.
#[derive(Debug)]
pub struct Reader {
    stream: Arc<Stream>,
    cursor: Cursor,
    end: watch::Receiver<u64>,
    /// Where the chunks that it was too slow for are counted.
    lost: Arc<AtomicU64>,
    /// Where it is listed.
    seat: Option<Seat>,
    is_over: bool,
    /// Absent where others say that the stream is needed.
    _presence: Option<Presence>,
}

/// One who needs the stream.
#[derive(Debug)]
struct Presence(Arc<Stream>);

impl Presence {
    fn new(stream: &Arc<Stream>) -> Self {
        stream.reader_came();
        Self(Arc::clone(stream))
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.0.reader_went();
    }
}

/// What a reader gets.
#[derive(Clone, Debug)]
pub enum Read {
    /// How to decode what follows. Comes first, and again when that changes.
    Init(Arc<Init>),
    Chunk(Arc<Piece>),
    /// The reader was too slow; so many chunks are lost, and it goes on at a key frame.
    Skipped(u64),
    /// Nothing more will come: the stream is taken away. Told once.
    Over,
}

impl Reader {
    pub(super) fn new(stream: Arc<Stream>, cursor: Cursor, end: watch::Receiver<u64>) -> Self {
        let _presence = Some(Presence::new(&stream));
        Self { _presence, ..Self::listening(stream, cursor, end) }
    }

    pub(super) fn listening(
        stream: Arc<Stream>,
        cursor: Cursor,
        end: watch::Receiver<u64>,
    ) -> Self {
        Self {
            stream,
            cursor,
            end,
            lost: Arc::default(),
            seat: None,
            is_over: false,
            _presence: None,
        }
    }

    pub fn stream(&self) -> &Arc<Stream> {
        &self.stream
    }

    /// The sequence number of the chunk that it reads next.
    pub fn position(&self) -> u64 {
        self.cursor.position()
    }

    /// This reader, whose losses are added to `lost`.
    pub fn counting(mut self, lost: &Arc<AtomicU64>) -> Self {
        self.lost = Arc::clone(lost);
        self
    }

    /// This reader, listed as `client` as long as it lives.
    pub fn of(mut self, client: Client) -> Self {
        self.seat = Some(self.stream.audience.seat(client));
        self
    }

    /// The next piece, if it is there already.
    pub fn try_next(&mut self) -> Option<Read> {
        self.end.mark_unchanged();
        if self.stream.is_retired() {
            return (!std::mem::replace(&mut self.is_over, true)).then_some(Read::Over);
        }
        match self.stream.step(&mut self.cursor) {
            Step::Init(init) => Some(Read::Init(init)),
            Step::Piece(piece) => Some(Read::Chunk(piece)),
            Step::Skipped(lost) => {
                self.lost.fetch_add(lost, Ordering::Relaxed);
                self.stream.count_lost(lost);
                Some(Read::Skipped(lost))
            }
            Step::Nothing => None,
        }
    }

    /// Goes on at the newest key frame, if that is still before it. Returns how
    /// many chunks it leaves out; they are lost on purpose and not counted.
    pub fn jump(&mut self) -> u64 {
        self.stream.jump(&mut self.cursor)
    }

    /// Waits for the next piece. Cancelling loses nothing.
    pub async fn next(&mut self) -> Read {
        loop {
            if let Some(read) = self.try_next() {
                return read;
            }
            // The sender lives in the stream, which this reader holds.
            self.end.changed().await.ok();
        }
    }
}
