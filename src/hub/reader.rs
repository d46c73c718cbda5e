//! A reader of a stream: a cursor in its ring that waits for new pieces.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

use super::audience::{Client, ListEntry};
use super::piece::Piece;
use super::ring::{Cursor, Step};
use super::stream::Stream;
use crate::media::packager::Init;

/// Reads a stream at its own speed. While it exists, the stream counts as
/// needed, unless it is uncounted.
#[derive(Debug)]
pub struct Reader {
    stream: Arc<Stream>,
    cursor: Cursor,
    end: watch::Receiver<u64>,
    /// Counts the chunks that this reader has lost.
    lost: Arc<AtomicU64>,
    list_entry: Option<ListEntry>,
    has_ended: bool,
    /// `None` for an uncounted reader.
    _counted: Option<Counted>,
}

/// Counts one reader of the stream.
#[derive(Debug)]
struct Counted(Arc<Stream>);

impl Counted {
    fn new(stream: &Arc<Stream>) -> Self {
        stream.add_reader();
        Self(Arc::clone(stream))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.remove_reader();
    }
}

/// The result of one read.
#[derive(Clone, Debug)]
pub enum Read {
    /// The init segment of the chunks that follow. Comes first, and before the
    /// first chunk of another generation.
    Init(Arc<Init>),
    Chunk(Arc<Piece>),
    /// The reader was too slow and has lost this many chunks; the next one is a
    /// key frame.
    Skipped(u64),
    /// The stream is retired; nothing follows. Returned once.
    End,
}

impl Reader {
    pub(super) fn new(stream: Arc<Stream>, cursor: Cursor, end: watch::Receiver<u64>) -> Self {
        let _counted = Some(Counted::new(&stream));
        Self { _counted, ..Self::uncounted(stream, cursor, end) }
    }

    pub(super) fn uncounted(
        stream: Arc<Stream>,
        cursor: Cursor,
        end: watch::Receiver<u64>,
    ) -> Self {
        Self {
            stream,
            cursor,
            end,
            lost: Arc::default(),
            list_entry: None,
            has_ended: false,
            _counted: None,
        }
    }

    pub fn stream(&self) -> &Arc<Stream> {
        &self.stream
    }

    /// The sequence number of the next chunk.
    pub fn position(&self) -> u64 {
        self.cursor.position()
    }

    /// Adds the chunks that this reader loses to `lost`.
    pub fn with_lost_counter(mut self, lost: &Arc<AtomicU64>) -> Self {
        self.lost = Arc::clone(lost);
        self
    }

    /// Lists this reader as `client` while it exists.
    pub fn with_client(mut self, client: Client) -> Self {
        self.list_entry = Some(self.stream.client_list.add(client));
        self
    }

    /// Returns the next piece without waiting; `None` if it has not come yet.
    pub fn try_next(&mut self) -> Option<Read> {
        self.end.mark_unchanged();
        if self.stream.is_retired() {
            return (!std::mem::replace(&mut self.has_ended, true)).then_some(Read::End);
        }
        match self.stream.step(&mut self.cursor) {
            Step::Init(init) => Some(Read::Init(init)),
            Step::Piece(piece) => Some(Read::Chunk(piece)),
            Step::Skipped(lost) => {
                self.lost.fetch_add(lost, Ordering::Relaxed);
                self.stream.count_lost(lost);
                Some(Read::Skipped(lost))
            }
            Step::AtEnd => None,
        }
    }

    /// Continues at the newest key frame, if that is ahead. Returns the number
    /// of chunks skipped; they are skipped on purpose and do not count as lost.
    pub fn jump(&mut self) -> u64 {
        self.stream.jump(&mut self.cursor)
    }

    /// Waits for the next piece. Cancel safe.
    pub async fn next(&mut self) -> Read {
        loop {
            if let Some(read) = self.try_next() {
                return read;
            }
            // Cannot fail: this reader keeps the stream, which owns the sender.
            self.end.changed().await.ok();
        }
    }
}
