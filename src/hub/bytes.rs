//! A ring of bytes that livebox passes on without decoding: one writer, many
//! readers.
//!
//! A position is a number of bytes since the ring was created. A reader holds
//! only a position. A reader whose position is no longer in memory learns how
//! many bytes it lost and continues at the newest element boundary of the
//! container. The writer never waits for it.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::sync::{Notify, watch};

use crate::base::lock::Lock;
use crate::hub::sequenced_buffer::{MemorySize, SequencedBuffer};
use crate::media::container::{Container, Marks, Scan};

/// How far a source without a clock may be ahead of its fastest reader.
const MAX_LEAD_BYTES: u64 = 256 << 10;

/// The newest bytes of a source. Its writer begins and ends runs.
#[derive(Debug)]
pub struct ByteRing {
    container: Option<Container>,
    limit: AtomicUsize,
    inner: Lock<Inner>,
    /// The position after the newest byte. Sent also by [`ByteRing::finish`].
    end: watch::Sender<u64>,
    readers: watch::Sender<usize>,
    /// Number of runs begun.
    runs: watch::Sender<u64>,
    lost: AtomicU64,
    /// Whether the source waits for [`ByteRing::wait_for_room`].
    is_clockless: AtomicBool,
    /// Notified when the fastest reader has advanced.
    advanced: Notify,
}

#[derive(Debug)]
struct Inner {
    buffer: SequencedBuffer<Part>,
    end: u64,
    /// Where this run begins: readers join at or after it.
    run_start: u64,
    scan: Option<Scan>,
    /// Number of calls of [`ByteRing::finish`].
    finish_count: u64,
    /// Whether no run has begun since the last of them.
    is_finished: bool,
    /// The position of the fastest reader.
    fastest: u64,
}

#[derive(Debug)]
struct Part {
    begin: u64,
    bytes: Bytes,
}

/// Memory of a part beside its bytes: its entry in a queue that grows by doubling, and the
/// headers of its allocation and of its reference count.
const PART_OVERHEAD: usize = 2 * size_of::<Part>() + 64;

impl MemorySize for Part {
    /// Counts the overhead, because a program may write single bytes.
    fn memory_size(&self) -> usize {
        self.bytes.len() + PART_OVERHEAD
    }
}

/// What sets the pace of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// The source is live.
    Own,
    /// The source is a file, read as fast as its fastest reader.
    Readers,
}

/// Where a reader begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Begin {
    /// At the newest element boundary.
    #[default]
    Edge,
    /// At the newest element boundary; first the header, if it is known.
    Now,
    /// At the newest element boundary; waits for the header and reads it first.
    Header,
    /// At the newest intra frame, which is needed for decoding; waits for the
    /// header and reads it first.
    Key,
    /// At the beginning of the run.
    Run,
}

/// The result of one read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    Bytes(Bytes),
    /// The reader was too slow and has lost this many bytes.
    Skipped(u64),
    /// The source has ended; nothing follows.
    End,
}

/// Reads a byte ring at its own speed.
#[derive(Debug)]
pub struct Reader {
    ring: Arc<ByteRing>,
    /// `None` for an uncounted reader.
    _need: Option<Need>,
    position: Position,
    end: watch::Receiver<u64>,
    /// `Inner::finish_count` at the time of joining.
    finish_count: u64,
}

#[derive(Clone, Copy, Debug)]
enum Position {
    /// Waits for the header.
    Before(Begin),
    At(u64),
}

/// Counts one reader of the ring, without reading.
#[derive(Debug)]
pub struct Need(Arc<ByteRing>);

impl Need {
    fn new(ring: &Arc<ByteRing>) -> Self {
        ring.readers.send_modify(|count| *count += 1);
        Self(Arc::clone(ring))
    }
}

impl Drop for Need {
    fn drop(&mut self) {
        self.0.readers.send_modify(|count| *count -= 1);
    }
}

impl ByteRing {
    /// Keeps at most `limit` bytes of memory. Readers begin at boundaries of
    /// `container`; without one, it is detected from the first bytes.
    pub fn new(container: Option<Container>, limit: usize) -> Arc<Self> {
        let inner = Inner {
            buffer: SequencedBuffer::new(),
            end: 0,
            run_start: 0,
            scan: None,
            finish_count: 0,
            is_finished: false,
            fastest: 0,
        };
        Arc::new(Self {
            container,
            limit: AtomicUsize::new(limit),
            inner: Lock::new(inner),
            end: watch::Sender::new(0),
            readers: watch::Sender::new(0),
            runs: watch::Sender::new(0),
            lost: AtomicU64::new(0),
            is_clockless: AtomicBool::new(false),
            advanced: Notify::new(),
        })
    }

    /// The configured container.
    pub fn container(&self) -> Option<Container> {
        self.container
    }

    /// Sets the limit in bytes; it applies from the next `publish` on.
    pub fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// Begins a run: the next bytes come from a new source.
    pub fn begin_run(&self) {
        let mut inner = self.inner.lock();
        inner.run_start = inner.end;
        inner.scan = Some(Scan::new(self.container));
        inner.is_finished = false;
        drop(inner);
        self.runs.send_modify(|count| *count += 1);
    }

    /// The number of runs begun; changes wake the receiver.
    pub fn runs(&self) -> watch::Receiver<u64> {
        self.runs.subscribe()
    }

    /// Ends the run. Without readers, the memory is freed.
    pub fn end_run(&self) {
        let is_unread = *self.readers.borrow() == 0;
        let mut inner = self.inner.lock();
        inner.run_start = inner.end;
        inner.scan = None;
        if is_unread {
            inner.buffer.clear();
        }
    }

    /// Ends all present readers: each gets [`Read::End`] after the last byte.
    pub fn finish(&self) {
        let mut inner = self.inner.lock();
        inner.finish_count += 1;
        inner.is_finished = true;
        let end = inner.end;
        drop(inner);
        self.end.send_replace(end);
    }

    /// Publishes bytes to all readers.
    pub fn publish(&self, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        let mut inner = self.inner.lock();
        let begin = inner.end;
        inner.end += bytes.len() as u64;
        if let Some(scan) = &mut inner.scan {
            scan.push(&bytes);
        }
        inner.buffer.push(Part { begin, bytes });
        let limit = self.limit.load(Ordering::Relaxed);
        while inner.buffer.bytes() > limit && inner.buffer.pieces().len() > 1 {
            inner.buffer.pop_oldest();
        }
        let end = inner.end;
        drop(inner);
        self.end.send_replace(end);
    }

    pub fn set_clock(&self, clock: Clock) {
        self.is_clockless.store(clock == Clock::Readers, Ordering::Relaxed);
    }

    /// Whether the readers set the pace.
    pub fn is_clockless(&self) -> bool {
        self.is_clockless.load(Ordering::Relaxed)
    }

    /// Waits until the fastest reader is less than 256 KiB behind: for files,
    /// which have no clock. Slower readers lose bytes as usual.
    pub async fn wait_for_room(&self) {
        loop {
            let mut advanced = pin!(self.advanced.notified());
            advanced.as_mut().enable();
            {
                let inner = self.inner.lock();
                if inner.end - inner.fastest < MAX_LEAD_BYTES {
                    return;
                }
            }
            advanced.await;
        }
    }

    /// A reader; while it exists, the ring counts as needed.
    pub fn join(self: &Arc<Self>, begin: Begin) -> Reader {
        // In this order: a needed source may start and publish at once.
        let reader = self.join_uncounted(begin);
        Reader { _need: Some(self.need()), ..reader }
    }

    /// A reader that does not count: the ring is needed only while others need it.
    pub fn join_uncounted(self: &Arc<Self>, begin: Begin) -> Reader {
        let mut inner = self.inner.lock();
        let position = match begin {
            Begin::Edge => Position::At(inner.edge()),
            Begin::Run => Position::At(inner.run_start),
            Begin::Now if inner.header_and_start(begin).is_none() => Position::At(inner.edge()),
            Begin::Now | Begin::Header | Begin::Key => Position::Before(begin),
        };
        if let Position::At(position) = position {
            self.advance_fastest(&mut inner, position);
        }
        let finish_count = inner.finish_count;
        drop(inner);
        let end = self.end.subscribe();
        Reader { ring: Arc::clone(self), _need: None, position, end, finish_count }
    }

    /// Where a decoder begins: at the newest intra frame if one is known,
    /// otherwise as [`Begin::Now`].
    pub fn decodable(&self) -> Begin {
        let knows_key = self.inner.lock().marks().is_some_and(|marks| marks.key.is_some());
        if knows_key { Begin::Key } else { Begin::Now }
    }

    /// Counts one reader until the result is dropped.
    pub fn need(self: &Arc<Self>) -> Need {
        Need::new(self)
    }

    /// Whether [`ByteRing::finish`] was called and no run has begun since.
    pub fn is_finished(&self) -> bool {
        self.inner.lock().is_finished
    }

    /// The number of counted readers; changes wake the receiver.
    pub fn readers(&self) -> watch::Receiver<usize> {
        self.readers.subscribe()
    }

    /// Bytes published since the start of the service.
    pub fn bytes_in(&self) -> u64 {
        *self.end.borrow()
    }

    /// Bytes that slow readers have lost since the start of the service.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    fn advance_fastest(&self, inner: &mut Inner, position: u64) {
        if position > inner.fastest {
            inner.fastest = position;
            self.advanced.notify_waiters();
        }
    }
}

impl Inner {
    fn marks(&self) -> Option<&Marks> {
        self.scan.as_ref().map(Scan::marks)
    }

    /// The newest element boundary of this run that is in memory; the end if
    /// none is known.
    fn edge(&self) -> u64 {
        let edge = self.marks().and_then(|marks| marks.edge).map(|edge| self.run_start + edge);
        edge.filter(|edge| *edge >= self.first()).unwrap_or(self.end)
    }

    /// The position of the oldest byte.
    fn first(&self) -> u64 {
        self.buffer.pieces().front().map_or(self.end, |part| part.begin)
    }

    /// The header, and the position at which to continue after it.
    fn header_and_start(&self, begin: Begin) -> Option<(Bytes, u64)> {
        let marks = self.marks()?;
        let header = marks.header.clone()?;
        let start = match begin {
            Begin::Key => self.run_start + marks.key?,
            Begin::Edge | Begin::Now | Begin::Header => self.edge(),
            Begin::Run => self.run_start,
        };
        // A group of pictures that is too large for the ring: wait for the next.
        (start >= self.first()).then_some((header, start))
    }

    /// The bytes from `position` to the end of their part.
    fn bytes_at(&self, position: u64) -> Option<Bytes> {
        let parts: &VecDeque<Part> = self.buffer.pieces();
        let after = parts.partition_point(|part| part.begin <= position);
        let part = parts.get(after.checked_sub(1)?)?;
        let offset = usize::try_from(position - part.begin).ok()?;
        (offset < part.bytes.len()).then(|| part.bytes.slice(offset..))
    }
}

impl Reader {
    /// Reads without waiting; `None` if there is nothing to read yet.
    pub fn try_next(&mut self) -> Option<Read> {
        self.end.mark_unchanged();
        let ring = Arc::clone(&self.ring);
        let mut inner = ring.inner.lock();
        let position = match self.position {
            Position::At(position) => position,
            Position::Before(begin) => {
                let Some((header, start)) = inner.header_and_start(begin) else {
                    return self.end_if_finished(&inner);
                };
                self.position = Position::At(start);
                ring.advance_fastest(&mut inner, start);
                return Some(Read::Bytes(header));
            }
        };
        if position < inner.first() {
            let edge = inner.edge();
            self.position = Position::At(edge);
            ring.lost.fetch_add(edge - position, Ordering::Relaxed);
            return Some(Read::Skipped(edge - position));
        }
        let Some(bytes) = inner.bytes_at(position) else { return self.end_if_finished(&inner) };
        let next = position + bytes.len() as u64;
        self.position = Position::At(next);
        ring.advance_fastest(&mut inner, next);
        Some(Read::Bytes(bytes))
    }

    fn end_if_finished(&self, inner: &Inner) -> Option<Read> {
        (inner.finish_count > self.finish_count).then_some(Read::End)
    }

    /// Waits for the next bytes. Cancel safe.
    pub async fn next(&mut self) -> Read {
        loop {
            if let Some(read) = self.try_next() {
                return read;
            }
            // Cannot fail: this reader keeps the ring, which owns the sender.
            self.end.changed().await.ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn text(reader: &mut Reader) -> String {
        let mut all = Vec::new();
        while let Some(Read::Bytes(bytes)) = reader.try_next() {
            all.extend_from_slice(&bytes);
        }
        String::from_utf8(all).unwrap()
    }

    #[test]
    fn every_reader_gets_every_byte_since_it_joined() {
        let ring = ByteRing::new(None, 1000);
        let mut early = ring.join(Begin::Edge);
        ring.begin_run();
        ring.publish(Bytes::from_static(b"one "));
        let mut late = ring.join(Begin::Edge);
        ring.publish(Bytes::from_static(b"two"));
        assert_eq!((text(&mut early).as_str(), text(&mut late).as_str()), ("one two", "two"));
        assert_eq!(*ring.readers().borrow(), 2);
        drop((early, late));
        assert_eq!(*ring.readers().borrow(), 0);
    }

    #[test]
    fn a_slow_reader_learns_how_much_it_lost_and_continues_at_the_newest_bytes() {
        let ring = ByteRing::new(None, 10 + 2 * PART_OVERHEAD);
        let mut slow = ring.join(Begin::Edge);
        for _ in 0..5 {
            ring.publish(Bytes::from_static(b"12345"));
        }
        assert_eq!(slow.try_next(), Some(Read::Skipped(25)));
        assert_eq!(slow.try_next(), None);
        ring.publish(Bytes::from_static(b"new"));
        assert_eq!(text(&mut slow), "new");
        assert_eq!(ring.lost(), 25);
    }

    #[test]
    fn the_memory_for_single_bytes_is_bounded() {
        let ring = ByteRing::new(None, 1 << 20);
        for _ in 0..100_000 {
            ring.publish(Bytes::from_static(b"x"));
        }
        let kept = ring.inner.lock().buffer.pieces().capacity() * size_of::<Part>();
        assert!(kept <= 2 << 20, "{kept} bytes");
    }

    #[test]
    fn a_transport_stream_is_joined_and_resumed_at_a_packet_boundary() {
        let packet = |fill: u8| {
            let mut packet = vec![0x47, 0x1f, 0xff, 0x10];
            packet.resize(188, fill);
            packet
        };
        let bytes = [packet(1), packet(2), packet(3)].concat();
        let ring = ByteRing::new(Some(Container::Ts), 264 + 3 * PART_OVERHEAD);
        ring.begin_run();
        let mut slow = ring.join(Begin::Edge);
        for part in bytes.chunks(100) {
            ring.publish(Bytes::copy_from_slice(part));
        }
        let Some(Read::Bytes(first)) = ring.join(Begin::Edge).try_next() else { panic!("bytes") };
        assert_eq!((first[0], first[4]), (0x47, 3));
        assert_eq!(slow.try_next(), Some(Read::Skipped(376)));
        let Some(Read::Bytes(first)) = slow.try_next() else { panic!("bytes") };
        assert_eq!(first[0], 0x47);
    }

    #[test]
    fn a_reader_that_begins_with_the_header_waits_for_it() {
        let mut header = b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
        header.extend_from_slice(b"\0\0\0\0\0\0\0\0\x02\0\x10\0data\xff\xff\xff\xff");
        let ring = ByteRing::new(Some(Container::Wav), 10_000);
        ring.begin_run();
        let mut reader = ring.join(Begin::Header);
        ring.publish(Bytes::copy_from_slice(&header[..20]));
        assert_eq!(reader.try_next(), None);
        ring.publish(Bytes::copy_from_slice(&header[20..]));
        ring.publish(Bytes::from_static(&[7; 1001]));
        assert_eq!(reader.try_next(), Some(Read::Bytes(Bytes::from(header))));
        let Some(Read::Bytes(samples)) = reader.try_next() else { panic!("samples") };
        assert_eq!(samples.len() % 2, 1);
    }

    #[test]
    fn a_reader_that_joins_between_two_runs_gets_no_bytes_of_the_ended_one() {
        let ring = ByteRing::new(None, 1000);
        let mut stays = ring.join(Begin::Edge);
        ring.begin_run();
        ring.publish(Bytes::from_static(b"old "));
        ring.end_run();
        let mut joins = ring.join(Begin::Edge);
        ring.begin_run();
        ring.publish(Bytes::from_static(b"new"));
        assert_eq!((text(&mut stays).as_str(), text(&mut joins).as_str()), ("old new", "new"));
    }

    #[test]
    fn late_joiners_can_read_a_run_from_its_beginning() {
        let ring = ByteRing::new(None, 1000);
        ring.publish(Bytes::from_static(b"old "));
        ring.begin_run();
        ring.publish(Bytes::from_static(b"new"));
        assert_eq!(text(&mut ring.join_uncounted(Begin::Run)), "new");
    }

    #[test]
    fn readers_get_the_end_after_the_last_byte() {
        let ring = ByteRing::new(None, 1000);
        let mut reader = ring.join(Begin::Edge);
        ring.publish(Bytes::from_static(b"last"));
        ring.finish();
        assert_eq!(reader.try_next(), Some(Read::Bytes(Bytes::from_static(b"last"))));
        assert_eq!(reader.try_next(), Some(Read::End));
        assert_eq!(ring.join(Begin::Edge).try_next(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_waits_for_its_fastest_reader_only() {
        let ring = ByteRing::new(None, 1 << 20);
        let (mut fast, _slow) = (ring.join(Begin::Edge), ring.join(Begin::Edge));
        ring.publish(Bytes::from(vec![0; MAX_LEAD_BYTES as usize]));
        let full = tokio::time::timeout(Duration::from_secs(1), ring.wait_for_room()).await;
        assert!(full.is_err(), "there is room before a reader has read");
        fast.try_next();
        ring.wait_for_room().await;
    }
}
