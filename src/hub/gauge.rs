//! Measures bit rate, frame rate and key frame distance of a stream.

use std::collections::VecDeque;
use std::time::Duration;

use crate::base::time::MediaTime;
use crate::media::packager::Chunk;

/// Rates are averages over this span of media time.
const WINDOW: Duration = Duration::from_secs(4);

/// Rates are unknown until this span has been measured.
const MIN_SPAN: Duration = Duration::from_secs(1);

/// The measured values; `None` where too little has been measured.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Measured {
    /// Between the last two key frames.
    pub key_distance: Option<Duration>,
    /// Bits per second of video and audio, without container overhead.
    pub bitrate: Option<u64>,
    /// Pictures per second; `None` for a stream without video.
    pub fps: Option<f64>,
}

/// Measures one run of a feed.
#[derive(Debug, Default)]
pub(super) struct Gauge {
    last_key: Option<MediaTime>,
    key_distance: Option<Duration>,
    recent: VecDeque<Sample>,
}

/// The measured properties of one chunk.
#[derive(Clone, Copy, Debug)]
struct Sample {
    start: MediaTime,
    kind: Kind,
    bytes: usize,
}

/// What a chunk holds. Audio has chunks of its own where pictures are far apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Key,
    Picture,
    Sound,
}

impl Gauge {
    pub(super) fn add(&mut self, chunk: &Chunk) {
        let bytes = chunk.units.iter().map(|unit| chunk.payload(unit).len()).sum();
        let kind = match (chunk.has_video(), chunk.key) {
            (true, true) => Kind::Key,
            (true, false) => Kind::Picture,
            (false, _) => Kind::Sound,
        };
        self.add_sample(Sample { start: chunk.start(), kind, bytes });
    }

    fn add_sample(&mut self, sample: Sample) {
        let start = sample.start;
        if sample.kind == Kind::Key {
            self.key_distance = self.last_key.map(|last| start.since(last)).or(self.key_distance);
            self.last_key = Some(start);
        }
        self.recent.push_back(sample);
        while self.recent.front().is_some_and(|first| start.since(first.start) > WINDOW) {
            self.recent.pop_front();
        }
    }

    pub(super) fn measured(&self) -> Measured {
        let mut measured = Measured { key_distance: self.key_distance, ..Measured::default() };
        measured.bitrate =
            per_second(self.recent.iter().map(|sample| (sample.start, sample.bytes)))
                .map(|bytes| (bytes * 8.0) as u64);
        let pictures = self.recent.iter().filter(|sample| sample.kind != Kind::Sound);
        measured.fps = per_second(pictures.map(|sample| (sample.start, 1)));
        measured
    }
}

/// The rate of `amounts`, each with its time, in order. The last amount is left
/// out: it extends beyond the span from first to last.
fn per_second(mut amounts: impl DoubleEndedIterator<Item = (MediaTime, usize)>) -> Option<f64> {
    let (last, _) = amounts.next_back()?;
    let (first, amount) = amounts.next()?;
    let span = last.since(first);
    let sum = amount + amounts.map(|(_, amount)| amount).sum::<usize>();
    (span >= MIN_SPAN).then(|| sum as f64 / span.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(ms: u64, kind: Kind, bytes: usize) -> Sample {
        Sample { start: MediaTime(ms * 1_000_000), kind, bytes }
    }

    #[test]
    fn rates_and_key_distance_are_measured_over_the_last_seconds() {
        let mut gauge = Gauge::default();
        for frame in 0..500u64 {
            let bytes = if frame < 250 { 90_000 } else { 1000 };
            let kind = if frame % 50 == 0 { Kind::Key } else { Kind::Picture };
            gauge.add_sample(sample(frame * 40, kind, bytes));
        }
        let measured = gauge.measured();
        assert_eq!(measured.key_distance, Some(Duration::from_secs(2)));
        assert_eq!(measured.bitrate, Some(200_000));
        assert_eq!(measured.fps, Some(25.0));
    }

    #[test]
    fn rates_are_unknown_until_a_second_is_measured() {
        let mut gauge = Gauge::default();
        assert_eq!(gauge.measured(), Measured::default());
        gauge.add_sample(sample(0, Kind::Key, 1000));
        gauge.add_sample(sample(40, Kind::Picture, 1000));
        assert_eq!(gauge.measured(), Measured::default());
    }

    #[test]
    fn audio_chunks_count_for_the_bit_rate_and_not_for_the_frame_rate() {
        let mut gauge = Gauge::default();
        for frame in 0..60 {
            gauge.add_sample(sample(frame * 100, Kind::Picture, 1000));
            gauge.add_sample(sample(frame * 100 + 50, Kind::Sound, 500));
        }
        let measured = gauge.measured();
        assert_eq!((measured.fps, measured.bitrate), (Some(10.0), Some(120_000)));

        let mut gauge = Gauge::default();
        (0..60).for_each(|chunk| gauge.add_sample(sample(chunk * 40, Kind::Sound, 100)));
        assert_eq!(gauge.measured().fps, None);
    }
}
