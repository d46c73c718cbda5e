//! One stream: its packager and rings, its counters, and its readers.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use log::warn;
use tokio::sync::watch;

use super::gauge::{Gauge, Measured};
use super::lease::Lease;
use super::piece::PieceBuilder;
use super::ring::{Cursor, Limits, Past, Ring, Step};
use super::viewers::{Client, ClientList};
use crate::base::lock::Lock;
use crate::base::time::{self, MediaTime, WallClock};
use crate::media::hls::Window;
use crate::media::packager::{Chunk, Expect, Init, Packaged, Packager};
use crate::media::padder::Padder;
use crate::media::rtp::Numbers;
use crate::model::ids::StreamName;
use crate::model::track::AudioInfo;
use crate::model::unit::{AccessUnit, TrackKind};

pub use crate::media::h264::Malformed;

/// Fewer dropped frames than this are not logged: single ones are normal.
const MIN_LOGGED_DROPS: u64 = 64;

/// A stream in memory. The writer never waits for a reader; a reader that is
/// too slow loses chunks and learns how many.
#[derive(Debug)]
pub struct Stream {
    name: StreamName,
    pub(super) inner: Lock<Inner>,
    /// Sequence number one past the newest chunk.
    pub(super) end: watch::Sender<u64>,
    /// The same number without a lock, for readers that look often.
    chunks: AtomicU64,
    readers: watch::Sender<usize>,
    is_retired: AtomicBool,
    /// Distinguishes its segments from those of other streams with the same name.
    instance_id: String,
    frames: AtomicU64,
    malformed: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    lost: AtomicU64,
    dropped: AtomicU64,
    pub(super) client_list: ClientList,
    pub(super) lease: Lease,
}

/// The pictures in memory do not reach back that far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfReach {
    /// The age of the oldest picture; `None` if none is in memory.
    pub reach: Option<Duration>,
}

#[derive(Debug)]
pub(super) struct Inner {
    packager: Packager,
    builder: PieceBuilder,
    pub(super) ring: Ring,
    window: Window,
    gauge: Gauge,
}

impl Stream {
    pub fn new(name: StreamName, limits: Limits) -> Arc<Self> {
        let inner = Inner {
            packager: Packager::new(),
            builder: PieceBuilder::new(
                Padder::new(0, Duration::ZERO),
                Numbers::first(random_number()),
            ),
            ring: Ring::new(limits),
            window: Window::new(limits.bytes, limits.gop),
            gauge: Gauge::default(),
        };
        Arc::new(Self {
            name,
            inner: Lock::new(inner),
            end: watch::Sender::new(0),
            chunks: AtomicU64::new(0),
            readers: watch::Sender::new(0),
            is_retired: AtomicBool::new(false),
            instance_id: format!("{:x}", time::unix().as_millis()),
            frames: AtomicU64::new(0),
            malformed: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            client_list: ClientList::default(),
            lease: Lease::default(),
        })
    }

    pub fn name(&self) -> &StreamName {
        &self.name
    }

    /// Differs from that of every earlier stream, of this process and of earlier
    /// ones: caches may keep segments of streams that had the same name.
    pub fn instance_id(&self) -> &str {
        &self.instance_id
    }

    /// Removes the stream: every reader gets [`Read::End`](super::Read::End).
    pub fn retire(&self) {
        self.is_retired.store(true, Ordering::Release);
        self.end.send_modify(|_| {});
    }

    /// Waits until the stream is retired.
    pub async fn wait_retired(&self) {
        let mut end = self.subscribe();
        while !self.is_retired() {
            // Cannot fail: `self` owns the sender.
            end.changed().await.ok();
        }
    }

    pub fn is_retired(&self) -> bool {
        self.is_retired.load(Ordering::Acquire)
    }

    /// Replaces the limits; they apply from the next chunk on.
    pub fn set_limits(&self, limits: Limits) {
        let mut inner = self.inner.lock();
        inner.ring.set_limits(limits);
        inner.window.set_limits(limits.bytes, limits.gop);
    }

    /// Begins a run of the feed with the expected tracks and a nominal
    /// `bitrate` in bits per second. Frames from before `begin` are ignored.
    pub fn begin_run(&self, begin: MediaTime, expect: Expect, bitrate: u32) {
        let mut inner = self.inner.lock();
        let frame = expect.video.unwrap_or_default();
        inner.builder.set_padder(Padder::new(bitrate, frame));
        inner.packager.begin_run(begin, expect);
        inner.gauge = Gauge::default();
        inner.ring.close_run();
    }

    /// Ends the run: readers that join later wait for the next run. Without
    /// readers, the memory is freed.
    pub fn end_run(&self) {
        let is_unread = self.reader_count() == 0;
        let mut inner = self.inner.lock();
        if is_unread {
            inner.ring.clear();
            inner.window.clear();
        } else {
            inner.ring.close_run();
        }
    }

    pub fn audio_config(&self, info: AudioInfo) {
        self.inner.lock().packager.audio_config(info);
    }

    /// Publishes one encoded frame to all readers. Returns whether it completed
    /// a chunk: audio waits for the next picture, and there is no chunk before
    /// the first key frame.
    ///
    /// # Errors
    /// A malformed access unit is skipped and counted; publishing may go on
    /// with the next one.
    pub fn publish(&self, unit: AccessUnit) -> Result<bool, Malformed> {
        let (arrived_ns, clock) = (unix_ns(), WallClock::now());
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
                    inner.gauge.add(&chunk);
                    inner.window.push(&chunk, clock);
                    let piece = inner.builder.build(chunk, arrived_ns);
                    inner.ring.push(piece);
                    published = true;
                }
            }
        }
        let end = inner.ring.end();
        self.chunks.store(end, Ordering::Release);
        drop(inner);
        if published {
            self.end.send_replace(end);
        }
        Ok(published)
    }

    /// The picture of a time `ago`, with the pieces needed to decode it.
    ///
    /// # Errors
    /// The pictures in memory do not reach back that far.
    pub fn past(&self, ago: Duration) -> Result<Past, OutOfReach> {
        let now_ns = unix_ns();
        let ago_ns = u64::try_from(ago.as_nanos()).unwrap_or(u64::MAX);
        self.inner.lock().ring.past(now_ns.saturating_sub(ago_ns)).map_err(|oldest| {
            let reach = oldest.map(|oldest| Duration::from_nanos(now_ns.saturating_sub(oldest)));
            OutOfReach { reach }
        })
    }

    /// The init segment of the newest chunk.
    pub fn init(&self) -> Option<Arc<Init>> {
        self.inner.lock().ring.init().cloned()
    }

    /// Measured rates of the current run, or of the last one.
    pub fn measured(&self) -> Measured {
        self.inner.lock().gauge.measured()
    }

    /// Calls `f` with the HLS segments, under the lock of the stream.
    pub fn with_window<T>(&self, f: impl FnOnce(&mut Window) -> T) -> T {
        f(&mut self.inner.lock().window)
    }

    /// The sequence number one past the newest chunk; changes with every chunk
    /// and when the stream is retired.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.end.subscribe()
    }

    /// The sequence number of the oldest chunk in memory: a reader whose next
    /// chunk is an earlier one has lost chunks.
    pub fn oldest(&self) -> u64 {
        self.inner.lock().ring.first()
    }

    /// The number of counted readers; changes wake the receiver.
    pub fn readers(&self) -> watch::Receiver<usize> {
        self.readers.subscribe()
    }

    pub fn reader_count(&self) -> usize {
        *self.readers.borrow()
    }

    /// Chunks published since the start of the service: a reader at this position
    /// has nothing to read yet.
    pub fn chunks(&self) -> u64 {
        self.chunks.load(Ordering::Acquire)
    }

    /// Pictures published since the start of the service; audio frames for a
    /// stream without video.
    pub fn frames(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }

    pub fn malformed(&self) -> u64 {
        self.malformed.load(Ordering::Relaxed)
    }

    /// Bytes of access units from the feed since the start of the service.
    pub fn bytes_in(&self) -> u64 {
        self.bytes_in.load(Ordering::Relaxed)
    }

    /// Chunks that slow readers have lost since the start of the service.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    pub(super) fn count_lost(&self, chunks: u64) {
        self.lost.fetch_add(chunks, Ordering::Relaxed);
    }

    /// Frames dropped because the encoder was too slow, since the start of the
    /// service.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Counts `more` frames dropped before the encoder; logs each doubling of
    /// the total.
    pub fn count_dropped(&self, more: u64) {
        let add = |before: u64| Some(before.saturating_add(more));
        let counted = self.dropped.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        let before = counted.unwrap_or_default();
        let dropped = before.saturating_add(more);
        if dropped >= MIN_LOGGED_DROPS && dropped.checked_ilog2() != before.checked_ilog2() {
            warn!(stream:% = self.name, dropped; "the encoder is too slow; frames are dropped");
        }
    }

    /// The time since the newest chunk arrived; `None` if none is in memory.
    pub fn newest_age(&self) -> Option<Duration> {
        let arrived_ns = self.inner.lock().ring.newest()?.arrived_ns();
        Some(Duration::from_nanos(unix_ns().saturating_sub(arrived_ns)))
    }

    /// The listed viewers, in the order of their arrival.
    pub fn clients(&self) -> Vec<Client> {
        self.client_list.clients()
    }

    /// Bytes sent to viewers since the start of the service.
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

    pub(super) fn add_reader(&self) {
        self.readers.send_modify(|count| *count += 1);
    }

    pub(super) fn remove_reader(&self) {
        self.readers.send_modify(|count| *count -= 1);
    }
}

impl Inner {
    fn frames_in(&self, chunk: &Chunk) -> u64 {
        let has_video = self.ring.init().is_some_and(|init| init.tracks.video.is_some());
        let counted = if has_video { TrackKind::Video } else { TrackKind::Audio };
        chunk.units.iter().filter(|unit| unit.track == counted).count() as u64
    }
}

/// Makes the RTP sources of streams unique at a receiver (RFC 3550, section 8).
fn random_number() -> u32 {
    RandomState::new().hash_one(()) as u32
}

/// The wall clock in nanoseconds since 1970, for timestamps that measure delays.
fn unix_ns() -> u64 {
    u64::try_from(time::unix().as_nanos()).unwrap_or(u64::MAX)
}
