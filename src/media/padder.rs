//! Decides where a stream is padded, once for all its viewers.
//!
//! A chunk reaches Chromium's demuxer when its last block is full. Padding
//! fills that block when the chunk would otherwise wait for longer than the
//! media takes to fill 0.8 blocks. Padding adds at most half of the media bytes.
//! The rate is measured, because the configured one does not hold for a dark
//! picture or for H.264 that passes through.
//!
//! A lower rate than [`MIN_RATE`] is padded as if it were [`MIN_RATE`]: half of
//! a very low rate would fill a block only in many seconds, which viewers would
//! be behind live.

use std::time::Duration;

use super::edge::{BLOCK, Pad};
use crate::base::time::MediaTime;

/// The maximum wait of a chunk, as a share of the time in which the media alone
/// fills a block. Chosen by simulation from 40 kbit/s to 8 Mbit/s: with a lower
/// value, the budget is used up before the next key frame has left, and the
/// longest wait grows.
const MAX_WAIT_SHARE: f64 = 0.8;

/// Time constant of the average rate.
const RATE_WINDOW: Duration = Duration::from_secs(2);

/// Bytes of padding per byte of media: half, less what [`MAX_SAVED`] may add in
/// ten seconds.
const SHARE: f64 = 0.45;

/// The lowest media rate that the budget assumes, in bytes per second: 300
/// kbit/s. Media and padding of a lower rate make up one and a half times that,
/// 56,250 bytes per second, and fill a block in 0.6 s.
const MIN_RATE: f64 = 37_500.0;

/// Upper bound of the unused budget: enough for what a key frame with a third
/// of a second's bytes allows at 3 Mbit/s, and little for a picture that
/// becomes dark.
const MAX_SAVED: f64 = (2 * BLOCK) as f64;

/// Upper bound of the overdrawn budget: a picture that becomes dark is padded
/// again after a second.
const MAX_OVERDRAFT: f64 = BLOCK as f64;

/// See the module's description.
#[derive(Clone, Debug)]
pub struct Padder {
    /// Duration of a chunk.
    frame: Duration,
    /// Average media rate in bytes per second; `None` if the stream is not padded.
    rate: Option<f64>,
    latest: Option<MediaTime>,
    /// Arrival of the oldest chunk whose last block is not full.
    waiting_since: Option<MediaTime>,
    phase: usize,
    budget: Budget,
}

/// The bytes of padding that may be used: the larger of two budgets.
#[derive(Clone, Copy, Debug, Default)]
struct Budget {
    /// [`SHARE`] of the media.
    by_media: f64,
    /// [`MIN_RATE`] and its padding, less the media.
    by_min_rate: f64,
}

impl Budget {
    /// Adds what `length` bytes of media allow, `span` after the previous ones.
    fn earn(&mut self, length: usize, span: Duration) {
        let length = length as f64;
        let min_total = (1.0 + SHARE) * MIN_RATE * span.as_secs_f64();
        self.by_media = (self.by_media + SHARE * length).min(MAX_SAVED);
        let by_min_rate = self.by_min_rate + min_total - length;
        self.by_min_rate = by_min_rate.clamp(-MAX_OVERDRAFT, MAX_SAVED);
    }

    fn covers(self, pad: &Pad) -> bool {
        pad.len() as f64 <= self.by_media.max(self.by_min_rate)
    }

    fn spend(&mut self, pad: &Pad) {
        for budget in [&mut self.by_media, &mut self.by_min_rate] {
            *budget = (*budget - pad.len() as f64).max(-MAX_OVERDRAFT);
        }
    }
}

impl Padder {
    /// A padder for frames of the duration `frame`. `bitrate`, in bits per
    /// second, is the rate until it is measured; 0 means no padding.
    pub fn new(bitrate: u32, frame: Duration) -> Self {
        let rate = (bitrate > 0).then(|| f64::from(bitrate) / 8.0);
        let budget = Budget::default();
        Self { frame, rate, latest: None, waiting_since: None, phase: 0, budget }
    }

    /// Whether this stream is padded at all.
    pub fn is_on(&self) -> bool {
        self.rate.is_some()
    }

    /// Offset of the next chunk within a block, in bytes.
    pub fn phase(&self) -> usize {
        self.phase
    }

    /// Adds a chunk of `length` bytes with the time `now`; returns the padding
    /// to send after it.
    pub fn after(&mut self, length: usize, now: MediaTime) -> Option<Pad> {
        let span = now.since(self.latest.replace(now).unwrap_or(now));
        let rate = self.measure(length, span)?.max(MIN_RATE);
        self.budget.earn(length, span);
        let reached = self.phase + length;
        self.phase = reached % BLOCK;
        if reached >= BLOCK {
            // All earlier chunks are in full blocks.
            self.waiting_since = None;
        }
        let pad = Pad::between(self.phase, 0);
        let Some(pad) = pad.filter(|_| length > 0) else {
            self.waiting_since = self.waiting_since.filter(|_| self.phase > 0);
            return None;
        };
        let since = *self.waiting_since.get_or_insert(now);
        let wait = (now.since(since) + self.frame).as_secs_f64();
        let fills_blocks_by_itself = rate * self.frame.as_secs_f64() >= BLOCK as f64;
        let waits_too_long = wait >= MAX_WAIT_SHARE * BLOCK as f64 / rate;
        if fills_blocks_by_itself || !waits_too_long || !self.budget.covers(&pad) {
            return None;
        }
        self.budget.spend(&pad);
        self.phase = 0;
        self.waiting_since = None;
        Some(pad)
    }

    /// Updates the average rate and returns it.
    fn measure(&mut self, length: usize, span: Duration) -> Option<f64> {
        let rate = self.rate.as_mut()?;
        let window = RATE_WINDOW.as_secs_f64();
        *rate = *rate * (-span.as_secs_f64() / window).exp() + length as f64 / window;
        Some(*rate)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    const FPS: u64 = 30;
    const NOMINAL: u32 = 2_000_000;

    /// The result of padding a stream.
    struct Padded {
        /// Time of each frame, its bytes and the bytes of padding after it.
        frames: Vec<(MediaTime, usize, usize)>,
        /// How long frames waited for their last block, after the first ten seconds.
        waits: Vec<Duration>,
    }

    /// Pads a stream with the rate `kbps(second)` in kilobits per second, of
    /// which a key frame takes a third.
    fn padded(kbps: impl Fn(u64) -> usize, seconds: u64) -> Padded {
        let frame = Duration::from_secs(1) / FPS as u32;
        let mut padder = Padder::new(NOMINAL, frame);
        let (mut frames, mut waits, mut offset) = (Vec::new(), Vec::new(), 0);
        let mut waiting = VecDeque::new();
        for index in 0..seconds * FPS {
            let now = MediaTime::ORIGIN + frame * index as u32;
            let second = kbps(index / FPS) * 125;
            let is_key = index % FPS == 0;
            let length = if is_key { second / 3 } else { second * 2 / 3 / (FPS as usize - 1) };
            assert_eq!(padder.phase(), offset % BLOCK);
            offset += length;
            waiting.push_back((now, offset));
            let padding = padder.after(length, now).map_or(0, |pad| pad.len());
            offset += padding;
            frames.push((now, length, padding));
            let full = offset - offset % BLOCK;
            while let Some((came, _)) = waiting.pop_front_if(|(_, end)| *end <= full) {
                waits.extend((index > 10 * FPS).then(|| now.since(came)));
            }
        }
        Padded { frames, waits }
    }

    impl Padded {
        /// The highest ratio of all bytes to media bytes in any ten seconds,
        /// where media counts as at least [`MIN_RATE`].
        fn worst(&self) -> f64 {
            let window = (10 * FPS) as usize;
            let ratio = |frames: &[(MediaTime, usize, usize)]| {
                let media: usize = frames.iter().map(|(_, media, _)| media).sum();
                let padding: usize = frames.iter().map(|(_, _, padding)| padding).sum();
                (media + padding) as f64 / (media as f64).max(10.0 * MIN_RATE)
            };
            self.frames.windows(window).map(ratio).fold(0.0, f64::max)
        }

        fn longest_wait(&self) -> Duration {
            self.waits.iter().copied().max().unwrap()
        }
    }

    #[test]
    fn padding_of_any_ten_seconds_is_at_most_half_of_the_media_or_of_300_kbit_s() {
        for kbps in [10, 40, 200, 300, 400, 831, 2000, 5000] {
            let worst = padded(|_| kbps, 40).worst();
            assert!(worst <= 1.5, "{worst} times {kbps} kbit/s");
        }
    }

    #[test]
    fn a_frame_waits_for_less_than_the_media_takes_to_fill_a_block() {
        for (kbps, max_ms) in [(400, 655), (831, 315), (2000, 131), (4000, 66)] {
            let wait = padded(|_| kbps, 40).longest_wait();
            let max = Duration::from_millis(max_ms);
            assert!(wait <= max, "{wait:?} at {kbps} kbit/s");
        }
    }

    #[test]
    fn a_frame_of_a_dark_picture_waits_for_less_than_a_second() {
        for kbps in [10, 40, 200, 300] {
            let wait = padded(|_| kbps, 40).longest_wait();
            assert!(wait <= Duration::from_millis(700), "{wait:?} at {kbps} kbit/s");
        }
    }

    #[test]
    fn a_picture_that_becomes_dark_waits_for_little_more_than_a_second() {
        for kbps in [300, 831, 2000, 8000] {
            let darkens = padded(|second| if second < 20 { kbps } else { 40 }, 40);
            let wait = darkens.longest_wait();
            assert!(wait <= Duration::from_millis(1250), "{wait:?} from {kbps} kbit/s");
            let dark = Padded { frames: darkens.frames[(20 * FPS) as usize..].to_vec(), ..darkens };
            assert!(dark.worst() <= 1.5, "{}", dark.worst());
        }
    }

    #[test]
    fn frames_that_fill_blocks_by_themselves_are_not_padded() {
        let mut padder = Padder::new(NOMINAL, Duration::from_millis(33));
        let pads = (0..300).filter_map(|index| {
            let now = MediaTime::ORIGIN + Duration::from_millis(33) * index;
            padder.after(50_000, now).filter(|_| index > 100)
        });
        assert_eq!(pads.count(), 0);
    }

    #[test]
    fn a_stream_without_a_bit_rate_is_not_padded() {
        let mut padder = Padder::new(0, Duration::ZERO);
        assert!(!padder.is_on());
        assert!(padder.after(1000, MediaTime::ORIGIN).is_none());
    }

    proptest::proptest! {
        #[test]
        fn the_phase_is_the_offset_of_the_bytes_for_any_chunks(
            chunks in proptest::collection::vec((0usize..100_000, 0u64..1000), 1..200)
        ) {
            let mut padder = Padder::new(NOMINAL, Duration::from_millis(33));
            let (mut offset, mut now) = (0, MediaTime::ORIGIN);
            for (length, ms) in chunks {
                now = now + Duration::from_millis(ms);
                assert_eq!(padder.phase(), offset % BLOCK);
                offset += length;
                offset += padder.after(length, now).map_or(0, |pad| pad.len());
            }
        }
    }
}
