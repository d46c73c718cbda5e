//! What a host has to say, until the service takes it.
//!
//! Pipelines never wait for the service: where it is too slow for frames, these
//! are left out up to the next key frame, and counted.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::host::fanout::is_key;
use crate::model::track::AudioInfo;
use crate::model::unit::{AccessUnit, TrackKind};
use crate::wire::answer::{News, RunNews};
use crate::wire::{FromHost, encode};

/// Frames that may wait: two seconds of 16 Mbit/s. The service takes each within
/// a millisecond as a rule.
const MOST_BYTES: usize = 4 << 20;

/// The messages of a host that wait for their turn.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    queue: Mutex<Queue>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    messages: VecDeque<(Vec<u8>, Bytes)>,
    bytes: usize,
}

/// What one run says.
#[derive(Debug)]
pub(super) struct Out {
    run: u32,
    outbox: Arc<Outbox>,
    frames: AtomicU64,
    dropped: AtomicU64,
    /// What of these two the service knows.
    told: Mutex<(u64, u64)>,
    /// Whether pictures are of no use before the next key frame.
    awaits_key: AtomicBool,
}

impl Outbox {
    /// Adds a message. Only a few messages have no frame, so that they always find room.
    fn push(&self, news: RunNews, payload: Bytes) {
        // Heads are of our own making; none is too long.
        let Ok(head) = encode(&FromHost::Answer(news), payload.len()) else { return };
        let mut queue = self.lock();
        queue.bytes += payload.len();
        queue.messages.push_back((head, payload));
        drop(queue);
        self.filled.notify_one();
    }

    fn is_full(&self) -> bool {
        self.lock().bytes >= MOST_BYTES
    }

    /// The next message: its beginning, and its payload; cancelling loses nothing.
    pub(super) async fn next(&self) -> (Vec<u8>, Bytes) {
        loop {
            if let Some(message) = self.pop() {
                return message;
            }
            self.filled.notified().await;
        }
    }

    fn pop(&self) -> Option<(Vec<u8>, Bytes)> {
        let mut queue = self.lock();
        let (head, payload) = queue.messages.pop_front()?;
        queue.bytes -= payload.len();
        Some((head, payload))
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Out {
    pub(super) fn new(run: u32, outbox: &Arc<Outbox>) -> Arc<Self> {
        Arc::new(Self {
            run,
            outbox: Arc::clone(outbox),
            frames: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            told: Mutex::new((0, 0)),
            awaits_key: AtomicBool::new(false),
        })
    }

    /// Tells something that has no payload.
    pub(super) fn tell(&self, news: News) {
        self.outbox.push(RunNews { run: self.run, news }, Bytes::new());
    }

    /// Sends an encoded frame; where there is no room it is left out and
    /// counted, and so are the pictures that need it.
    pub(super) fn unit(&self, unit: AccessUnit) {
        let AccessUnit { track, pts, dts, duration, data } = unit;
        let is_video = track == TrackKind::Video;
        let awaits_key = is_video && self.awaits_key.load(Ordering::Relaxed) && !is_key(&data);
        let is_lost = awaits_key || self.outbox.is_full();
        if is_video {
            self.awaits_key.store(is_lost, Ordering::Relaxed);
        }
        if is_lost {
            return self.count_dropped();
        }
        let news = News::Unit { track, pts, dts, duration };
        self.outbox.push(RunNews { run: self.run, news }, data);
    }

    pub(super) fn audio_config(&self, info: AudioInfo) {
        self.tell(News::Sound(info));
    }

    /// Counts a frame that a shared feed lives by, whether it is handed out or
    /// not; the first one is told at once.
    pub(super) fn count_frame(&self) {
        if self.frames.fetch_add(1, Ordering::Relaxed) == 0 {
            self.tell_counts();
        }
    }

    /// Counts a frame that was left out because something was too slow for it.
    pub(super) fn count_dropped(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// Tells the counts, where there is news of them.
    pub(super) fn tell_counts(&self) {
        let now = (self.frames.load(Ordering::Relaxed), self.dropped.load(Ordering::Relaxed));
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if *told != now {
            *told = now;
            self.tell(News::Counts { frames: now.0, dropped: now.1 });
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

    fn said(outbox: &Outbox) -> Vec<(FromHost<RunNews>, usize)> {
        let mut decoder = Decoder::default();
        while let Some((head, payload)) = outbox.pop() {
            decoder.buffer().extend_from_slice(&head);
            decoder.buffer().extend_from_slice(&payload);
        }
        let messages = std::iter::from_fn(|| decoder.decode().unwrap());
        messages.map(|(head, payload)| (head, payload.len())).collect()
    }

    #[test]
    fn a_service_that_takes_nothing_costs_a_bounded_sum_and_whole_groups_of_pictures() {
        let outbox = Arc::<Outbox>::default();
        let out = Out::new(3, &outbox);
        out.unit(picture(IDR, MOST_BYTES));
        for _ in 0..100 {
            out.unit(picture(SLICE, 1000));
        }
        assert_eq!(said(&outbox).len(), 1, "no more than fits");
        out.unit(picture(SLICE, 1000));
        assert_eq!(said(&outbox), [], "it needs those that are lost");
        out.unit(picture(IDR, 1000));
        out.unit(picture(SLICE, 1000));
        assert_eq!(said(&outbox).iter().map(|(_, bytes)| bytes).sum::<usize>(), 2000);
        out.tell_counts();
        out.tell_counts();
        let counts = News::Counts { frames: 0, dropped: 101 };
        assert_eq!(said(&outbox), [(FromHost::Answer(RunNews { run: 3, news: counts }), 0)]);
    }

    #[test]
    fn the_first_frame_is_told_at_once_and_the_rest_when_asked() {
        let outbox = Arc::<Outbox>::default();
        let out = Out::new(1, &outbox);
        for _ in 0..5 {
            out.count_frame();
        }
        let told = |frames| {
            let news = News::Counts { frames, dropped: 0 };
            (FromHost::Answer(RunNews { run: 1, news }), 0)
        };
        assert_eq!(said(&outbox), [told(1)]);
        out.tell_counts();
        assert_eq!(said(&outbox), [told(5)]);
    }
}
