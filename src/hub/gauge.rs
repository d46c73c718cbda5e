//! What a stream really gives, measured on its way into the ring.

use std::collections::VecDeque;
use std::time::Duration;

use crate::base::time::MediaTime;
use crate::media::packager::Chunk;

/// Rates are taken over this much of the past.
const WINDOW: Duration = Duration::from_secs(4);

/// Nothing is said about rates before this much has been seen.
const ENOUGH: Duration = Duration::from_secs(1);

/// What was measured; nothing where there is not enough yet.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Measured {
    /// Between the last two key frames.
    pub key_distance: Option<Duration>,
    /// Bits a second of picture and sound, without any container.
    pub bitrate: Option<u64>,
    /// Pictures a second; nothing where there is only sound.
    pub fps: Option<f64>,
}

/// Measures one run of a feed.
#[derive(Debug, Default)]
pub(super) struct Gauge {
    last_key: Option<MediaTime>,
    key_distance: Option<Duration>,
    recent: VecDeque<Seen>,
}

/// A chunk that came.
#[derive(Clone, Copy, Debug)]
struct Seen {
    start: MediaTime,
    kind: Kind,
    bytes: usize,
}

/// What a chunk holds: sound leaves alone where pictures are far apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Key,
    Picture,
    Sound,
}

impl Gauge {
    pub(super) fn note(&mut self, chunk: &Chunk) {
        let bytes = chunk.units.iter().map(|unit| chunk.payload(unit).len()).sum();
        let kind = match (chunk.has_video(), chunk.key) {
            (true, true) => Kind::Key,
            (true, false) => Kind::Picture,
            (false, _) => Kind::Sound,
        };
        self.count(Seen { start: chunk.start(), kind, bytes });
    }

    fn count(&mut self, seen: Seen) {
        let start = seen.start;
        if seen.kind == Kind::Key {
            self.key_distance = self.last_key.map(|last| start.since(last)).or(self.key_distance);
            self.last_key = Some(start);
        }
        self.recent.push_back(seen);
        while self.recent.front().is_some_and(|first| start.since(first.start) > WINDOW) {
            self.recent.pop_front();
        }
    }

    pub(super) fn measured(&self) -> Measured {
        let mut measured = Measured { key_distance: self.key_distance, ..Measured::default() };
        // The newest chunk lasts beyond the span from first to last.
        measured.bitrate = per_second(self.recent.iter().map(|seen| (seen.start, seen.bytes)))
            .map(|bytes| (bytes * 8.0) as u64);
        let pictures = self.recent.iter().filter(|seen| seen.kind != Kind::Sound);
        measured.fps = per_second(pictures.map(|seen| (seen.start, 1)));
        measured
    }
}

/// How much comes a second, where each amount comes at a time, in order.
fn per_second(mut amounts: impl DoubleEndedIterator<Item = (MediaTime, usize)>) -> Option<f64> {
    let (last, _) = amounts.next_back()?;
    let (first, amount) = amounts.next()?;
    let span = last.since(first);
    let sum = amount + amounts.map(|(_, amount)| amount).sum::<usize>();
    (span >= ENOUGH).then(|| sum as f64 / span.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(ms: u64, kind: Kind, bytes: usize) -> Seen {
        Seen { start: MediaTime(ms * 1_000_000), kind, bytes }
    }

    #[test]
    fn rates_and_key_distance_are_those_of_the_last_seconds() {
        let mut gauge = Gauge::default();
        for frame in 0..500u64 {
            let bytes = if frame < 250 { 90_000 } else { 1000 };
            let kind = if frame % 50 == 0 { Kind::Key } else { Kind::Picture };
            gauge.count(seen(frame * 40, kind, bytes));
        }
        let measured = gauge.measured();
        assert_eq!(measured.key_distance, Some(Duration::from_secs(2)));
        assert_eq!(measured.bitrate, Some(200_000));
        assert_eq!(measured.fps, Some(25.0));
    }

    #[test]
    fn nothing_is_said_too_early() {
        let mut gauge = Gauge::default();
        assert_eq!(gauge.measured(), Measured::default());
        gauge.count(seen(0, Kind::Key, 1000));
        gauge.count(seen(40, Kind::Picture, 1000));
        assert_eq!(gauge.measured(), Measured::default());
    }

    #[test]
    fn sound_that_leaves_alone_counts_for_the_bit_rate_and_not_as_a_picture() {
        let mut gauge = Gauge::default();
        for frame in 0..60 {
            gauge.count(seen(frame * 100, Kind::Picture, 1000));
            gauge.count(seen(frame * 100 + 50, Kind::Sound, 500));
        }
        let measured = gauge.measured();
        assert_eq!((measured.fps, measured.bitrate), (Some(10.0), Some(120_000)));

        let mut gauge = Gauge::default();
        (0..60).for_each(|chunk| gauge.count(seen(chunk * 40, Kind::Sound, 100)));
        assert_eq!(gauge.measured().fps, None);
    }
}
