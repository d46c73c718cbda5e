//! Bytes that are only passed on: a ring of them, one writer, many readers.
//!
//! A place is a number of bytes since the flow was made. A reader holds such a
//! place and nothing else; one that falls off the buffer is told how much it
//! lost and goes on at the newest place where an element begins. The writer
//! never waits for it.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::sync::{Notify, watch};

use crate::base::lock::Lock;
use crate::hub::sequenced_buffer::{SequencedBuffer, Weigh};
use crate::media::container::{Container, Marks, Scan};

/// A source without a clock of its own may be so far ahead of its fastest reader.
const AHEAD: u64 = 256 << 10;

/// Bytes in memory, as they come. Its writer begins and ends runs.
#[derive(Debug)]
pub struct ByteRing {
    container: Option<Container>,
    limit: AtomicUsize,
    inner: Lock<Inner>,
    /// The place after the newest byte. Sent also when a flow is over.
    end: watch::Sender<u64>,
    readers: watch::Sender<usize>,
    /// How many runs have begun.
    runs: watch::Sender<u64>,
    lost: AtomicU64,
    /// Whether the source waits for [`ByteRing::room`].
    is_clockless: AtomicBool,
    /// The fastest reader has gone on.
    taken: Notify,
}

#[derive(Debug)]
struct Inner {
    buffer: SequencedBuffer<Part>,
    end: u64,
    /// Where this run begins: nobody joins before it.
    run: u64,
    scan: Option<Scan>,
    /// How often a run ended that none follows, and whether that is so now.
    overs: u64,
    is_over: bool,
    /// The place of the fastest reader.
    lead: u64,
}

#[derive(Debug)]
struct Part {
    begin: u64,
    bytes: Bytes,
}

/// What a part takes beside its bytes: its place in a queue that grows by doubling.
const PLACE: usize = 2 * size_of::<Part>();

impl Weigh for Part {
    /// A program may write byte by byte: the bytes alone say nothing of the memory.
    fn weight(&self) -> usize {
        self.bytes.len() + PLACE
    }
}

/// Who sets the pace of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// It comes when it comes.
    Own,
    /// A file is read as fast as its fastest reader takes it.
    Readers,
}

/// Where a reader wants to begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Begin {
    /// At the newest place where an element begins.
    #[default]
    Edge,
    /// There as well, with the header first if that is known.
    Now,
    /// There as well, with the header first.
    Header,
    /// At the newest intra frame, with the header first: nothing can be
    /// decoded without it.
    Key,
    /// Where the run begins.
    Run,
}

/// What a reader gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    Bytes(Bytes),
    /// The reader was too slow; so many bytes are lost.
    Skipped(u64),
    /// Nothing more will come.
    Over,
}

/// Reads a flow at its own speed.
#[derive(Debug)]
pub struct Reader {
    flow: Arc<ByteRing>,
    /// Absent where others say that the flow is needed.
    _need: Option<Need>,
    place: Place,
    end: watch::Receiver<u64>,
    /// How often the flow had been over when this reader came.
    overs: u64,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Before(Begin),
    At(u64),
}

/// Says that a flow is needed, without reading it.
#[derive(Debug)]
pub struct Need(Arc<ByteRing>);

impl Need {
    fn new(flow: &Arc<ByteRing>) -> Self {
        flow.readers.send_modify(|count| *count += 1);
        Self(Arc::clone(flow))
    }
}

impl Drop for Need {
    fn drop(&mut self) {
        self.0.readers.send_modify(|count| *count -= 1);
    }
}

impl ByteRing {
    /// What is kept takes at most `limit` bytes of memory. The container decides where readers may
    /// begin; where it is not given, its first bytes tell.
    pub fn new(container: Option<Container>, limit: usize) -> Arc<Self> {
        let inner = Inner {
            buffer: SequencedBuffer::new(),
            end: 0,
            run: 0,
            scan: None,
            overs: 0,
            is_over: false,
            lead: 0,
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
            taken: Notify::new(),
        })
    }

    /// What decides where readers may begin, where that was given.
    pub fn container(&self) -> Option<Container> {
        self.container
    }

    /// Keeps at most so many bytes from now on.
    pub fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// Bytes of a new source follow.
    pub fn begin_run(&self) {
        let mut inner = self.inner.lock();
        inner.run = inner.end;
        inner.scan = Some(Scan::new(self.container));
        inner.is_over = false;
        drop(inner);
        self.runs.send_modify(|count| *count += 1);
    }

    /// How many runs have begun; changes wake the receiver.
    pub fn runs(&self) -> watch::Receiver<u64> {
        self.runs.subscribe()
    }

    /// The source has ended. Where nobody reads, the memory is let go.
    pub fn end_run(&self) {
        let idle = *self.readers.borrow() == 0;
        let mut inner = self.inner.lock();
        inner.run = inner.end;
        inner.scan = None;
        if idle {
            inner.buffer.clear();
        }
    }

    /// Tells all readers, once they have read everything, that none follows.
    pub fn finish(&self) {
        let mut inner = self.inner.lock();
        inner.overs += 1;
        inner.is_over = true;
        let end = inner.end;
        drop(inner);
        self.end.send_replace(end);
    }

    /// Hands bytes to all readers.
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
            inner.buffer.shorten();
        }
        let end = inner.end;
        drop(inner);
        self.end.send_replace(end);
    }

    /// Says who sets the pace.
    pub fn set_clock(&self, clock: Clock) {
        self.is_clockless.store(clock == Clock::Readers, Ordering::Relaxed);
    }

    /// Whether its readers set the pace.
    pub fn is_clockless(&self) -> bool {
        self.is_clockless.load(Ordering::Relaxed)
    }

    /// Waits until the fastest reader is close behind: for files, which have
    /// no clock of their own. Who is slower than that loses bytes as ever.
    pub async fn room(&self) {
        loop {
            let mut taken = pin!(self.taken.notified());
            taken.as_mut().enable();
            {
                let inner = self.inner.lock();
                if inner.end - inner.lead < AHEAD {
                    return;
                }
            }
            taken.await;
        }
    }

    /// A reader; while it lives, the flow counts as needed.
    pub fn join(self: &Arc<Self>, begin: Begin) -> Reader {
        // In this order: what is needed may start at once, and begin to give.
        let reader = self.listen(begin);
        Reader { _need: Some(self.need()), ..reader }
    }

    /// A reader for whom others say that the flow is needed.
    pub fn listen(self: &Arc<Self>, begin: Begin) -> Reader {
        let mut inner = self.inner.lock();
        let place = match begin {
            Begin::Edge => Place::At(inner.edge()),
            Begin::Run => Place::At(inner.run),
            Begin::Now if inner.enter(begin).is_none() => Place::At(inner.edge()),
            Begin::Now | Begin::Header | Begin::Key => Place::Before(begin),
        };
        if let Place::At(place) = place {
            self.lead(&mut inner, place);
        }
        let overs = inner.overs;
        drop(inner);
        Reader { flow: Arc::clone(self), _need: None, place, end: self.end.subscribe(), overs }
    }

    /// Where one begins who decodes: at the newest intra frame, where one is
    /// known; where nothing is known of the bytes, at the next ones.
    pub fn decodable(&self) -> Begin {
        let knows_key = self.inner.lock().marks().is_some_and(|marks| marks.key.is_some());
        if knows_key { Begin::Key } else { Begin::Now }
    }

    /// Counts as a reader until it is dropped.
    pub fn need(self: &Arc<Self>) -> Need {
        Need::new(self)
    }

    /// Whether the source has ended and none has followed yet.
    pub fn is_over(&self) -> bool {
        self.inner.lock().is_over
    }

    /// How many read or need it; changes wake the receiver.
    pub fn readers(&self) -> watch::Receiver<usize> {
        self.readers.subscribe()
    }

    /// Bytes published since the start of the service.
    pub fn bytes_in(&self) -> u64 {
        *self.end.borrow()
    }

    /// Bytes that readers were too slow for, since the start of the service.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    fn lead(&self, inner: &mut Inner, place: u64) {
        if place > inner.lead {
            inner.lead = place;
            self.taken.notify_waiters();
        }
    }
}

impl Inner {
    fn marks(&self) -> Option<&Marks> {
        self.scan.as_ref().map(Scan::marks)
    }

    /// The newest place of this run where an element begins and that is still
    /// there; the end, where none is known.
    fn edge(&self) -> u64 {
        let edge = self.marks().and_then(|marks| marks.edge).map(|edge| self.run + edge);
        edge.filter(|edge| *edge >= self.first()).unwrap_or(self.end)
    }

    /// The place of the oldest byte.
    fn first(&self) -> u64 {
        self.buffer.pieces().front().map_or(self.end, |part| part.begin)
    }

    /// The header, and the place that follows it.
    fn enter(&self, begin: Begin) -> Option<(Bytes, u64)> {
        let marks = self.marks()?;
        let header = marks.header.clone()?;
        let place = match begin {
            Begin::Key => self.run + marks.key?,
            Begin::Edge | Begin::Now | Begin::Header => self.edge(),
            Begin::Run => self.run,
        };
        // A group of pictures that is too large for the ring: wait for the next.
        (place >= self.first()).then_some((header, place))
    }

    /// What lies at `place`, to the end of its part.
    fn at(&self, place: u64) -> Option<Bytes> {
        let parts: &VecDeque<Part> = self.buffer.pieces();
        let after = parts.partition_point(|part| part.begin <= place);
        let part = parts.get(after.checked_sub(1)?)?;
        let inside = usize::try_from(place - part.begin).ok()?;
        (inside < part.bytes.len()).then(|| part.bytes.slice(inside..))
    }
}

impl Reader {
    /// What there is to read, if it is there already.
    pub fn try_next(&mut self) -> Option<Read> {
        self.end.mark_unchanged();
        let flow = Arc::clone(&self.flow);
        let mut inner = flow.inner.lock();
        let place = match self.place {
            Place::At(place) => place,
            Place::Before(begin) => {
                let Some((header, place)) = inner.enter(begin) else {
                    return self.over(&inner);
                };
                self.place = Place::At(place);
                flow.lead(&mut inner, place);
                return Some(Read::Bytes(header));
            }
        };
        if place < inner.first() {
            let to = inner.edge();
            self.place = Place::At(to);
            flow.lost.fetch_add(to - place, Ordering::Relaxed);
            return Some(Read::Skipped(to - place));
        }
        let Some(bytes) = inner.at(place) else { return self.over(&inner) };
        let next = place + bytes.len() as u64;
        self.place = Place::At(next);
        flow.lead(&mut inner, next);
        Some(Read::Bytes(bytes))
    }

    fn over(&self, inner: &Inner) -> Option<Read> {
        (inner.overs > self.overs).then_some(Read::Over)
    }

    /// Waits for what comes next. Cancelling loses nothing.
    pub async fn next(&mut self) -> Read {
        loop {
            if let Some(read) = self.try_next() {
                return read;
            }
            // The sender lives in the flow, which this reader holds.
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
    fn every_reader_gets_every_byte_since_it_came() {
        let flow = ByteRing::new(None, 1000);
        let mut early = flow.join(Begin::Edge);
        flow.begin_run();
        flow.publish(Bytes::from_static(b"one "));
        let mut late = flow.join(Begin::Edge);
        flow.publish(Bytes::from_static(b"two"));
        assert_eq!((text(&mut early).as_str(), text(&mut late).as_str()), ("one two", "two"));
        assert_eq!(*flow.readers().borrow(), 2);
        drop((early, late));
        assert_eq!(*flow.readers().borrow(), 0);
    }

    #[test]
    fn a_slow_reader_is_told_what_it_lost_and_goes_on_at_the_newest() {
        let flow = ByteRing::new(None, 10 + 2 * PLACE);
        let mut slow = flow.join(Begin::Edge);
        for _ in 0..5 {
            flow.publish(Bytes::from_static(b"12345"));
        }
        assert_eq!(slow.try_next(), Some(Read::Skipped(25)));
        assert_eq!(slow.try_next(), None);
        flow.publish(Bytes::from_static(b"new"));
        assert_eq!(text(&mut slow), "new");
        assert_eq!(flow.lost(), 25);
    }

    #[test]
    fn bytes_that_come_one_by_one_take_no_more_memory_than_others() {
        let flow = ByteRing::new(None, 1 << 20);
        for _ in 0..100_000 {
            flow.publish(Bytes::from_static(b"x"));
        }
        let kept = flow.inner.lock().buffer.pieces().capacity() * size_of::<Part>();
        assert!(kept <= 2 << 20, "{kept} bytes");
    }

    #[test]
    fn a_transport_stream_is_joined_and_resumed_at_a_packet() {
        let packet = |fill: u8| {
            let mut packet = vec![0x47, 0x1f, 0xff, 0x10];
            packet.resize(188, fill);
            packet
        };
        let bytes = [packet(1), packet(2), packet(3)].concat();
        let flow = ByteRing::new(Some(Container::Ts), 400 + 2 * PLACE);
        flow.begin_run();
        let mut slow = flow.join(Begin::Edge);
        for part in bytes.chunks(100) {
            flow.publish(Bytes::copy_from_slice(part));
        }
        let Some(Read::Bytes(first)) = flow.join(Begin::Edge).try_next() else { panic!("bytes") };
        assert_eq!((first[0], first[4]), (0x47, 3));
        assert_eq!(slow.try_next(), Some(Read::Skipped(376)));
        let Some(Read::Bytes(first)) = slow.try_next() else { panic!("bytes") };
        assert_eq!(first[0], 0x47);
    }

    #[test]
    fn who_wants_a_header_waits_for_it() {
        let mut header = b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
        header.extend_from_slice(b"\0\0\0\0\0\0\0\0\x02\0\x10\0data\xff\xff\xff\xff");
        let flow = ByteRing::new(Some(Container::Wav), 10_000);
        flow.begin_run();
        let mut reader = flow.join(Begin::Header);
        flow.publish(Bytes::copy_from_slice(&header[..20]));
        assert_eq!(reader.try_next(), None);
        flow.publish(Bytes::copy_from_slice(&header[20..]));
        flow.publish(Bytes::from_static(&[7; 1001]));
        assert_eq!(reader.try_next(), Some(Read::Bytes(Bytes::from(header))));
        let Some(Read::Bytes(samples)) = reader.try_next() else { panic!("samples") };
        assert_eq!(samples.len() % 2, 1);
    }

    #[test]
    fn a_new_run_is_not_joined_with_what_came_before() {
        let flow = ByteRing::new(None, 1000);
        let mut stays = flow.join(Begin::Edge);
        flow.begin_run();
        flow.publish(Bytes::from_static(b"old "));
        flow.end_run();
        let mut joins = flow.join(Begin::Edge);
        flow.begin_run();
        flow.publish(Bytes::from_static(b"new"));
        assert_eq!((text(&mut stays).as_str(), text(&mut joins).as_str()), ("old new", "new"));
    }

    #[test]
    fn a_run_can_be_read_from_its_beginning_by_those_who_come_a_little_later() {
        let flow = ByteRing::new(None, 1000);
        flow.publish(Bytes::from_static(b"old "));
        flow.begin_run();
        flow.publish(Bytes::from_static(b"new"));
        assert_eq!(text(&mut flow.listen(Begin::Run)), "new");
    }

    #[test]
    fn readers_learn_that_it_is_over_once_they_have_everything() {
        let flow = ByteRing::new(None, 1000);
        let mut reader = flow.join(Begin::Edge);
        flow.publish(Bytes::from_static(b"last"));
        flow.finish();
        assert_eq!(reader.try_next(), Some(Read::Bytes(Bytes::from_static(b"last"))));
        assert_eq!(reader.try_next(), Some(Read::Over));
        assert_eq!(flow.join(Begin::Edge).try_next(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_waits_for_its_fastest_reader_and_for_nobody_else() {
        let flow = ByteRing::new(None, 1 << 20);
        let (mut fast, _slow) = (flow.join(Begin::Edge), flow.join(Begin::Edge));
        flow.publish(Bytes::from(vec![0; AHEAD as usize]));
        let full = tokio::time::timeout(Duration::from_secs(1), flow.room()).await;
        assert!(full.is_err(), "there is room though nobody has read");
        fast.try_next();
        flow.room().await;
    }
}
