//! Where a stream is padded, the same for all its viewers.
//!
//! A chunk reaches Chromium's demuxer when its last block is full. Padding
//! fills that block when the chunk would otherwise wait for longer than 0.8
//! blocks take at the rate of the media. It costs at most half of the media.
//! The rate is measured on what passes: the one that was asked for says nothing
//! about a dark picture, or about H.264 that passes through.
//!
//! Less than [`LEAST_RATE`] is padded as that is: half of next to nothing would
//! fill a block in many seconds, and viewers would be so far behind.

use std::time::Duration;

use super::edge::{BLOCK, Pad};
use crate::base::time::MediaTime;

/// How long a chunk may wait, as the part of the time in which the media alone
/// fills a block. Chosen by simulation from 40 kbit/s to 8 Mbit/s: with less,
/// the budget is used up before the next key frame has left, and the longest
/// wait grows.
const MAX_WAIT_SHARE: f64 = 0.8;

/// The rate is an average over about this long.
const MEMORY: Duration = Duration::from_secs(2);

/// Each byte of media allows so much padding: half, less what the cap below
/// may add in ten seconds.
const SHARE: f64 = 0.45;

/// Bytes of media a second that padding counts on at least: 300 kbit/s. Media
/// and padding of less come to one and a half times that together, 56,250 bytes
/// a second, and fill a block in 0.6 s.
const LEAST_RATE: f64 = 37_500.0;

/// Padding that has not been used is saved up to here: enough for what a key
/// frame of a third of a second's bytes allows at 3 Mbit/s, little for a picture
/// that becomes dark.
const SAVED: f64 = (2 * BLOCK) as f64;

/// What was used in advance counts up to here: a picture that becomes dark is
/// padded again a second later.
const OWED: f64 = BLOCK as f64;

/// See the module's description.
#[derive(Clone, Debug)]
pub struct Padder {
    /// How long a chunk lasts.
    frame: Duration,
    /// Bytes of media a second; none where nothing is padded.
    rate: Option<f64>,
    latest: Option<MediaTime>,
    /// When the oldest chunk came whose last block is not full.
    waiting: Option<MediaTime>,
    phase: usize,
    budget: Budget,
}

/// Bytes of padding that may be used: the larger of the two.
#[derive(Clone, Copy, Debug, Default)]
struct Budget {
    /// By the share of the media.
    of_media: f64,
    /// By what the least rate comes to with its padding, less the media.
    of_least: f64,
}

impl Budget {
    /// `length` bytes of media came, `span` after those before.
    fn earn(&mut self, length: usize, span: Duration) {
        let length = length as f64;
        let least = (1.0 + SHARE) * LEAST_RATE * span.as_secs_f64();
        self.of_media = (self.of_media + SHARE * length).min(SAVED);
        self.of_least = (self.of_least + least - length).clamp(-OWED, SAVED);
    }

    fn covers(self, pad: &Pad) -> bool {
        pad.len() as f64 <= self.of_media.max(self.of_least)
    }

    fn spend(&mut self, pad: &Pad) {
        for budget in [&mut self.of_media, &mut self.of_least] {
            *budget = (*budget - pad.len() as f64).max(-OWED);
        }
    }
}

impl Padder {
    /// For a stream of about `bitrate` bits a second, until that is measured,
    /// with frames of this length. Without a bit rate nothing is padded.
    pub fn new(bitrate: u32, frame: Duration) -> Self {
        let rate = (bitrate > 0).then(|| f64::from(bitrate) / 8.0);
        let budget = Budget::default();
        Self { frame, rate, latest: None, waiting: None, phase: 0, budget }
    }

    /// Whether this stream is padded at all.
    pub fn is_on(&self) -> bool {
        self.rate.is_some()
    }

    /// Where the next chunk begins within a block.
    pub fn phase(&self) -> usize {
        self.phase
    }

    /// Takes `length` bytes of media that came at `now`; returns the padding
    /// that follows them.
    pub fn after(&mut self, length: usize, now: MediaTime) -> Option<Pad> {
        let span = now.since(self.latest.replace(now).unwrap_or(now));
        let rate = self.measure(length, span)?.max(LEAST_RATE);
        self.budget.earn(length, span);
        let reached = self.phase + length;
        self.phase = reached % BLOCK;
        if reached >= BLOCK {
            // All before it has left.
            self.waiting = None;
        }
        let pad = Pad::between(self.phase, 0);
        let Some(pad) = pad.filter(|_| length > 0) else {
            self.waiting = self.waiting.filter(|_| self.phase > 0);
            return None;
        };
        let since = *self.waiting.get_or_insert(now);
        let wait = (now.since(since) + self.frame).as_secs_f64();
        let fills_blocks_by_itself = rate * self.frame.as_secs_f64() >= BLOCK as f64;
        let waits_too_long = wait >= MAX_WAIT_SHARE * BLOCK as f64 / rate;
        if fills_blocks_by_itself || !waits_too_long || !self.budget.covers(&pad) {
            return None;
        }
        self.budget.spend(&pad);
        self.phase = 0;
        self.waiting = None;
        Some(pad)
    }

    fn measure(&mut self, length: usize, span: Duration) -> Option<f64> {
        let rate = self.rate.as_mut()?;
        let memory = MEMORY.as_secs_f64();
        *rate = *rate * (-span.as_secs_f64() / memory).exp() + length as f64 / memory;
        Some(*rate)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    const FPS: u64 = 30;
    const NOMINAL: u32 = 2_000_000;

    /// What a stream comes to.
    struct Padded {
        /// When each frame came, its bytes and the padding behind it.
        frames: Vec<(MediaTime, usize, usize)>,
        /// How long frames waited for their last block, after the first ten seconds.
        waits: Vec<Duration>,
    }

    /// Runs frames of so many kilobits a second through a padder; `kbps` says
    /// it for each second, of which a key frame takes a third.
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
        /// The most that any ten seconds come to, for what their media is or counts as.
        fn worst(&self) -> f64 {
            let window = (10 * FPS) as usize;
            let of = |frames: &[(MediaTime, usize, usize)]| {
                let media: usize = frames.iter().map(|(_, media, _)| media).sum();
                let padding: usize = frames.iter().map(|(_, _, padding)| padding).sum();
                (media + padding) as f64 / (media as f64).max(10.0 * LEAST_RATE)
            };
            self.frames.windows(window).map(of).fold(0.0, f64::max)
        }

        fn longest_wait(&self) -> Duration {
            self.waits.iter().copied().max().unwrap()
        }
    }

    #[test]
    fn padding_is_at_most_half_of_the_media_of_any_ten_seconds_or_of_300_kbit_s() {
        for kbps in [10, 40, 200, 300, 400, 831, 2000, 5000] {
            let worst = padded(|_| kbps, 40).worst();
            assert!(worst <= 1.5, "{worst} times {kbps} kbit/s");
        }
    }

    #[test]
    fn a_frame_waits_for_less_than_the_media_take_to_fill_a_block() {
        for (kbps, most_ms) in [(400, 655), (831, 315), (2000, 131), (4000, 66)] {
            let wait = padded(|_| kbps, 40).longest_wait();
            let most = Duration::from_millis(most_ms);
            assert!(wait <= most, "{wait:?} at {kbps} kbit/s");
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
    fn a_picture_that_becomes_dark_is_padded_less_and_goes_on() {
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
        fn whatever_comes_the_phase_is_where_the_bytes_are(
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
