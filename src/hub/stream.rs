//! One stream: its ring, who writes it, how many read it.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use log::warn;
use tokio::sync::watch;

use super::audience::{Audience, Client};
use super::gauge::{Gauge, Measured};
use super::lease::Lease;
use super::piece::{Piece, Placer};
use super::reader::Reader;
use super::ring::{Cursor, Limits, Past, Ring, Step};
use crate::base::lock::Lock;
use crate::base::time::{self, MediaTime, WallClock};
use crate::media::edge::Burst;
use crate::media::hls::Window;
use crate::media::packager::{Chunk, Expect, Init, Packaged, Packager};
use crate::media::padder::Padder;
use crate::media::rtp::Numbers;
use crate::model::ids::StreamName;
use crate::model::track::AudioInfo;
use crate::model::unit::{AccessUnit, TrackKind};

pub use crate::media::h264::Malformed;

/// A frame that is left out now and then is nothing to log.
const WORTH_TELLING: u64 = 64;

/// A stream in memory. The writer never waits for a reader; a reader that is
/// too slow loses chunks, and learns how many.
#[derive(Debug)]
pub struct Stream {
    name: StreamName,
    inner: Lock<Inner>,
    /// Sequence number one past the newest chunk.
    end: watch::Sender<u64>,
    readers: watch::Sender<usize>,
    /// Whether it is taken away.
    retired: AtomicBool,
    /// Tells its segments from those of another stream that had its name.
    mark: String,
    frames: AtomicU64,
    malformed: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    lost: AtomicU64,
    dropped: AtomicU64,
    pub(super) audience: Audience,
    pub(super) lease: Lease,
}

/// A stream's past does not reach back so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfReach {
    /// How far it does; nothing where none of it is in memory.
    pub reach: Option<Duration>,
}

#[derive(Debug)]
struct Inner {
    packager: Packager,
    placer: Placer,
    ring: Ring,
    window: Window,
    gauge: Gauge,
}

impl Stream {
    pub fn new(name: StreamName, limits: Limits) -> Arc<Self> {
        let inner = Inner {
            packager: Packager::new(),
            placer: Placer::new(Padder::new(0, Duration::ZERO), Numbers::first(any_number())),
            ring: Ring::new(limits),
            window: Window::new(limits.bytes, limits.gop),
            gauge: Gauge::default(),
        };
        Arc::new(Self {
            name,
            inner: Lock::new(inner),
            end: watch::Sender::new(0),
            readers: watch::Sender::new(0),
            retired: AtomicBool::new(false),
            mark: format!("{:x}", time::unix().as_millis()),
            frames: AtomicU64::new(0),
            malformed: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            audience: Audience::default(),
            lease: Lease::default(),
        })
    }

    pub fn name(&self) -> &StreamName {
        &self.name
    }

    /// Differs from that of every stream before it, of this process and of
    /// earlier ones, as caches may keep what they have of them.
    pub fn mark(&self) -> &str {
        &self.mark
    }

    /// Takes the stream away: all who read it are told that it is over.
    pub fn retire(&self) {
        self.retired.store(true, Ordering::Release);
        self.end.send_modify(|_| {});
    }

    /// Returns when it is taken away.
    pub async fn gone(&self) {
        let mut ends = self.ends();
        while !self.is_retired() {
            // The sender lives as long as this.
            ends.changed().await.ok();
        }
    }

    /// Whether it is taken away.
    pub fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    /// Keeps this much from the next chunk on.
    pub fn set_limits(&self, limits: Limits) {
        let mut inner = self.inner.lock();
        inner.ring.set_limits(limits);
        inner.window.set_limits(limits.bytes, limits.gop);
    }

    /// A new run of the feed begins and promises these tracks, at about so
    /// many bits a second. Frames from before `begin` are refused.
    pub fn begin_run(&self, begin: MediaTime, expect: Expect, bitrate: u32) {
        let mut inner = self.inner.lock();
        let frame = expect.video.unwrap_or_default();
        inner.placer.repad(Padder::new(bitrate, frame));
        inner.packager.begin_run(begin, expect);
        inner.gauge = Gauge::default();
        inner.ring.close_run();
    }

    /// The run is over: who joins now waits for the next one. Where nobody
    /// reads, the memory is let go.
    pub fn end_run(&self) {
        let idle = self.reader_count() == 0;
        let mut inner = self.inner.lock();
        if idle {
            inner.ring.clear();
            inner.window.clear();
        } else {
            inner.ring.close_run();
        }
    }

    pub fn audio_config(&self, info: AudioInfo) {
        self.inner.lock().packager.audio_config(info);
    }

    /// Hands one encoded frame to all readers. Returns whether any chunk came
    /// of it: audio waits for the next picture, and nothing leaves before the
    /// first key frame.
    ///
    /// # Errors
    /// A malformed access unit is skipped and counted; the next one may come.
    pub fn publish(&self, unit: AccessUnit) -> Result<bool, Malformed> {
        let (came_ns, clock) = (unix_ns(), WallClock::now());
        self.bytes_in.fetch_add(unit.data.len() as u64, Ordering::Relaxed);
        let mut inner = self.inner.lock();
        let packaged = inner.packager.push(unit).inspect_err(|_| {
            self.malformed.fetch_add(1, Ordering::Relaxed);
        })?;
        let mut published = false;
        for item in packaged {
            match item {
                Packaged::Init(init) => {
                    inner.window.init(&init);
                    inner.ring.set_init(init);
                }
                Packaged::Chunk(chunk) => {
                    self.frames.fetch_add(inner.frames_in(&chunk), Ordering::Relaxed);
                    inner.gauge.note(&chunk);
                    inner.window.push(&chunk, clock);
                    let piece = inner.placer.place(chunk, came_ns);
                    inner.ring.push(piece);
                    published = true;
                }
            }
        }
        let end = inner.ring.end();
        drop(inner);
        if published {
            self.end.send_replace(end);
        }
        Ok(published)
    }

    /// A reader that starts at the newest key frame. While it lives, the
    /// stream counts as needed.
    pub fn join(self: &Arc<Self>) -> Reader {
        let cursor = self.inner.lock().ring.join();
        Reader::new(Arc::clone(self), cursor, self.end.subscribe())
    }

    /// As [`Stream::join`], for one that works for others: they say whether the
    /// stream is needed.
    pub fn listen(self: &Arc<Self>) -> Reader {
        let cursor = self.inner.lock().ring.join();
        Reader::listening(Arc::clone(self), cursor, self.end.subscribe())
    }

    /// A reader at the live edge, with the init segment and the bytes that
    /// lead up to there: written out first, they bring a decoder to the edge
    /// at once. Nothing before the first key frame, or where frames are
    /// reordered; then [`Stream::join`] is right.
    pub fn join_at_edge(self: &Arc<Self>) -> Option<(Reader, Arc<Init>, Burst)> {
        let (cursor, init, burst) = self.inner.lock().ring.join_at_edge()?;
        Some((Reader::new(Arc::clone(self), cursor, self.end.subscribe()), init, burst))
    }

    /// A reader at the live edge, and the pieces since the newest key frame:
    /// squeezed, they bring a decoder to the edge at once. Nothing where
    /// [`Stream::join`] is right.
    pub fn join_with_past(self: &Arc<Self>) -> Option<(Reader, Arc<Init>, Vec<Arc<Piece>>)> {
        let (cursor, init, past) = self.inner.lock().ring.join_with_past()?;
        Some((Reader::new(Arc::clone(self), cursor, self.end.subscribe()), init, past))
    }

    /// The picture that was the newest so long `ago`, with what it is decoded from.
    ///
    /// # Errors
    /// The past that is in memory does not reach back so far.
    pub fn past(&self, ago: Duration) -> Result<Past, OutOfReach> {
        let now_ns = unix_ns();
        let ago_ns = u64::try_from(ago.as_nanos()).unwrap_or(u64::MAX);
        self.inner.lock().ring.past(now_ns.saturating_sub(ago_ns)).map_err(|oldest| {
            let reach = oldest.map(|oldest| Duration::from_nanos(now_ns.saturating_sub(oldest)));
            OutOfReach { reach }
        })
    }

    /// The init segment that belongs to what is live now.
    pub fn init(&self) -> Option<Arc<Init>> {
        self.inner.lock().ring.init().cloned()
    }

    /// What the run that goes on, or the last one, really gives.
    pub fn measured(&self) -> Measured {
        self.inner.lock().gauge.measured()
    }

    /// Looks at the segments for HLS.
    pub fn with_window<T>(&self, look: impl FnOnce(&mut Window) -> T) -> T {
        look(&mut self.inner.lock().window)
    }

    /// Changes with every chunk; for who waits for something new.
    pub fn ends(&self) -> watch::Receiver<u64> {
        self.end.subscribe()
    }

    /// The sequence number of the oldest chunk that is kept: who reads one
    /// before it next has lost some.
    pub fn oldest(&self) -> u64 {
        self.inner.lock().ring.begin()
    }

    /// How many read the stream; changes wake the receiver.
    pub fn readers(&self) -> watch::Receiver<usize> {
        self.readers.subscribe()
    }

    pub fn reader_count(&self) -> usize {
        *self.readers.borrow()
    }

    /// Chunks published since the start of the service; changes while anything comes.
    pub fn chunks(&self) -> u64 {
        *self.end.borrow()
    }

    /// Pictures since the start of the service; frames of sound where that is
    /// all there is.
    pub fn frames(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }

    pub fn malformed(&self) -> u64 {
        self.malformed.load(Ordering::Relaxed)
    }

    /// Bytes of access units that the feed has given since the start of the service.
    pub fn bytes_in(&self) -> u64 {
        self.bytes_in.load(Ordering::Relaxed)
    }

    /// Chunks that readers were too slow for, since the start of the service.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    pub(super) fn count_lost(&self, chunks: u64) {
        self.lost.fetch_add(chunks, Ordering::Relaxed);
    }

    /// Frames that were left out because the encoder was too slow for them,
    /// since the start of the service.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Counts `more` frames that were left out before its encoder; each doubling
    /// of their number is told.
    pub fn count_dropped(&self, more: u64) {
        let add = |before: u64| Some(before.saturating_add(more));
        let counted = self.dropped.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        let before = counted.unwrap_or_default();
        let dropped = before.saturating_add(more);
        if dropped >= WORTH_TELLING && dropped.checked_ilog2() != before.checked_ilog2() {
            warn!(stream:% = self.name, dropped; "the encoder is too slow; frames are left out");
        }
    }

    /// How long ago the newest chunk came; nothing if there is none in memory.
    pub fn newest_age(&self) -> Option<Duration> {
        let came_ns = self.inner.lock().ring.newest()?.came_ns();
        Some(Duration::from_nanos(unix_ns().saturating_sub(came_ns)))
    }

    /// The viewers that are listed, in the order in which they came.
    pub fn clients(&self) -> Vec<Client> {
        self.audience.clients()
    }

    /// Bytes handed to viewers since the start of the service.
    pub fn bytes_out(&self) -> u64 {
        self.bytes_out.load(Ordering::Relaxed)
    }

    pub fn count_bytes_out(&self, bytes: usize) {
        self.bytes_out.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn step(&self, cursor: &mut Cursor) -> Step {
        self.inner.lock().ring.step(cursor)
    }

    pub(super) fn jump(&self, cursor: &mut Cursor) -> u64 {
        self.inner.lock().ring.jump(cursor)
    }

    pub(super) fn reader_came(&self) {
        self.readers.send_modify(|count| *count += 1);
    }

    pub(super) fn reader_went(&self) {
        self.readers.send_modify(|count| *count -= 1);
    }
}

impl Inner {
    fn frames_in(&self, chunk: &Chunk) -> u64 {
        let has_picture = self.ring.init().is_some_and(|init| init.tracks.video.is_some());
        let counted = if has_picture { TrackKind::Video } else { TrackKind::Audio };
        chunk.units.iter().filter(|unit| unit.track == counted).count() as u64
    }
}

/// Tells streams apart whose packets meet at one receiver (RFC 3550, section 8).
fn any_number() -> u32 {
    RandomState::new().hash_one(()) as u32
}

/// The wall clock, for the stamps by which delays are measured.
fn unix_ns() -> u64 {
    u64::try_from(time::unix().as_nanos()).unwrap_or(u64::MAX)
}
