//! A reader of a stream: a cursor in its ring that waits for new pieces.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::piece::Piece;
use super::ring::{Cursor, Step};
use super::stream::Stream;
use super::viewers::{Client, ListEntry};
use crate::media::edge::Burst;
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

impl Stream {
    /// A reader that starts at the newest key frame. While it exists, the
    /// stream counts as needed.
    pub fn join(self: &Arc<Self>) -> Reader {
        let cursor = self.inner.lock().ring.join();
        Reader::new(Arc::clone(self), cursor, self.end.subscribe())
    }

    /// As [`Stream::join`], but the reader does not count: the stream is needed
    /// only while other readers need it.
    pub fn join_uncounted(self: &Arc<Self>) -> Reader {
        let cursor = self.inner.lock().ring.join();
        Reader::uncounted(Arc::clone(self), cursor, self.end.subscribe())
    }

    /// A reader at the live edge, with the init segment and the burst to send
    /// before its first chunk: with them, a decoder is at the live edge at
    /// once. `None` before the first key frame and for streams with reordered
    /// frames: use [`Stream::join`] then.
    pub fn join_at_edge(self: &Arc<Self>) -> Option<(Reader, Arc<Init>, Burst)> {
        let (cursor, init, burst) = self.inner.lock().ring.join_at_edge()?;
        let burst = burst.render()?;
        Some((Reader::new(Arc::clone(self), cursor, self.end.subscribe()), init, burst))
    }

    /// A reader at the live edge, with the init segment and the pieces since
    /// the newest key frame: sent with squeezed times, they bring a decoder to
    /// the live edge at once. `None` as for [`Stream::join_at_edge`].
    pub fn join_with_past(self: &Arc<Self>) -> Option<(Reader, Arc<Init>, Vec<Arc<Piece>>)> {
        let (cursor, init, past) = self.inner.lock().ring.join_with_past()?;
        Some((Reader::new(Arc::clone(self), cursor, self.end.subscribe()), init, past))
    }

    /// Counts one reader for the next ten seconds or three target durations,
    /// whichever is longer. Must be called on a runtime.
    pub fn lease(self: &Arc<Self>) {
        let target = Duration::from_secs(self.with_window(|window| window.target()));
        if self.lease.renew(target, Instant::now()) {
            tokio::spawn(keep_until_expired(self.join()));
        }
    }
}

async fn keep_until_expired(reader: Reader) {
    while let Some(until) = reader.stream().lease.expire(Instant::now()) {
        tokio::time::sleep_until(until).await;
    }
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
        if self.cursor.position() >= self.stream.chunks() {
            return None;
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
