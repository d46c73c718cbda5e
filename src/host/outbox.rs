//! The queue of messages from a host to the service.
//!
//! Pipelines never wait for the service: if it is too slow, frames are dropped up to the
//! next key frame, and counted.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::base::lock::Lock;
use crate::host::fanout::is_key;
use crate::model::track::AudioInfo;
use crate::model::unit::{AccessUnit, TrackKind};
use crate::wire::answer::{News, RunNews};
use crate::wire::{FromHost, encode};

/// Limit of queued frames: two seconds of 16 Mbit/s. The service usually takes each
/// within a millisecond.
const MAX_QUEUED_BYTES: usize = 4 << 20;

/// The queue of one host.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    queue: Lock<Queue>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    messages: VecDeque<(Vec<u8>, Bytes)>,
    bytes: usize,
}

/// The messages of one run.
#[derive(Debug)]
pub(super) struct Out {
    run: u32,
    outbox: Arc<Outbox>,
    frames: AtomicU64,
    dropped: AtomicU64,
    /// The two counts that were last reported to the service.
    reported: Lock<(u64, u64)>,
    /// Whether pictures are dropped until the next key frame.
    awaits_key: AtomicBool,
}

impl Outbox {
    /// Queues a message. Messages without a frame are few and are not limited.
    fn push(&self, news: RunNews, payload: Bytes) {
        // Heads are built here; none is too long.
        let Ok(head) = encode(&FromHost::Answer(news), payload.len()) else { return };
        let mut queue = self.queue.lock();
        queue.bytes += payload.len();
        queue.messages.push_back((head, payload));
        drop(queue);
        self.filled.notify_one();
    }

    fn is_full(&self) -> bool {
        self.queue.lock().bytes >= MAX_QUEUED_BYTES
    }

    /// The next message: head and payload; cancelling loses nothing.
    pub(super) async fn next(&self) -> (Vec<u8>, Bytes) {
        loop {
            if let Some(message) = self.pop() {
                return message;
            }
            self.filled.notified().await;
        }
    }

    fn pop(&self) -> Option<(Vec<u8>, Bytes)> {
        let mut queue = self.queue.lock();
        let (head, payload) = queue.messages.pop_front()?;
        queue.bytes -= payload.len();
        Some((head, payload))
    }
}

impl Out {
    pub(super) fn new(run: u32, outbox: &Arc<Outbox>) -> Arc<Self> {
        Arc::new(Self {
            run,
            outbox: Arc::clone(outbox),
            frames: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            reported: Lock::new((0, 0)),
            awaits_key: AtomicBool::new(false),
        })
    }

    /// Sends a message without payload.
    pub(super) fn send(&self, news: News) {
        self.outbox.push(RunNews { run: self.run, news }, Bytes::new());
    }

    /// Sends an encoded frame. Without room it is dropped and counted, and so are the
    /// pictures that depend on it.
    pub(super) fn unit(&self, unit: AccessUnit) {
        let AccessUnit { track, pts, dts, duration, data } = unit;
        let is_video = track == TrackKind::Video;
        let awaits_key = is_video && self.awaits_key.load(Ordering::Relaxed) && !is_key(&data);
        let is_dropped = awaits_key || self.outbox.is_full();
        if is_video {
            self.awaits_key.store(is_dropped, Ordering::Relaxed);
        }
        if is_dropped {
            return self.count_dropped();
        }
        let news = News::Unit { track, pts, dts, duration };
        self.outbox.push(RunNews { run: self.run, news }, data);
    }

    pub(super) fn audio_config(&self, info: AudioInfo) {
        self.send(News::Sound(info));
    }

    /// Counts a frame that shows progress of a shared feed, whether it has subscribers or
    /// not. The first one is reported at once.
    pub(super) fn count_frame(&self) {
        if self.frames.fetch_add(1, Ordering::Relaxed) == 0 {
            self.report_counts();
        }
    }

    /// Counts a dropped frame.
    pub(super) fn count_dropped(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// Reports the counts if they have changed.
    pub(super) fn report_counts(&self) {
        let now = (self.frames.load(Ordering::Relaxed), self.dropped.load(Ordering::Relaxed));
        let mut reported = self.reported.lock();
        if *reported != now {
            *reported = now;
            self.send(News::Counts { frames: now.0, dropped: now.1 });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::MediaTime;
    use crate::wire::Decoder;

    const IDR: u8 = 0x65;
    const SLICE: u8 = 0x41;

    fn picture(header: u8, bytes: usize) -> AccessUnit {
        let mut data = vec![0, 0, 0, 1, header];
        data.resize(bytes, 0x77);
        AccessUnit {
            track: TrackKind::Video,
            pts: MediaTime(7),
            dts: MediaTime(7),
            duration: None,
            data: data.into(),
        }
    }

    fn sent(outbox: &Outbox) -> Vec<(FromHost<RunNews>, usize)> {
        let mut decoder = Decoder::default();
        while let Some((head, payload)) = outbox.pop() {
            decoder.buffer().extend_from_slice(&head);
            decoder.buffer().extend_from_slice(&payload);
        }
        let messages = std::iter::from_fn(|| decoder.decode().unwrap());
        messages.map(|(head, payload)| (head, payload.len())).collect()
    }

    #[test]
    fn the_queue_is_bounded_and_drops_up_to_the_next_key_frame() {
        let outbox = Arc::<Outbox>::default();
        let out = Out::new(3, &outbox);
        out.unit(picture(IDR, MAX_QUEUED_BYTES));
        for _ in 0..100 {
            out.unit(picture(SLICE, 1000));
        }
        assert_eq!(sent(&outbox).len(), 1, "no more than fits");
        out.unit(picture(SLICE, 1000));
        assert_eq!(sent(&outbox), [], "it depends on dropped frames");
        out.unit(picture(IDR, 1000));
        out.unit(picture(SLICE, 1000));
        assert_eq!(sent(&outbox).iter().map(|(_, bytes)| bytes).sum::<usize>(), 2000);
        out.report_counts();
        out.report_counts();
        let counts = News::Counts { frames: 0, dropped: 101 };
        assert_eq!(sent(&outbox), [(FromHost::Answer(RunNews { run: 3, news: counts }), 0)]);
    }

    #[test]
    fn the_first_frame_is_reported_at_once_and_later_ones_on_request() {
        let outbox = Arc::<Outbox>::default();
        let out = Out::new(1, &outbox);
        for _ in 0..5 {
            out.count_frame();
        }
        let counts = |frames| {
            let news = News::Counts { frames, dropped: 0 };
            (FromHost::Answer(RunNews { run: 1, news }), 0)
        };
        assert_eq!(sent(&outbox), [counts(1)]);
        out.report_counts();
        assert_eq!(sent(&outbox), [counts(5)]);
    }
}
