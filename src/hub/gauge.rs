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
    /// Frames a second.
    pub fps: Option<f64>,
}

/// Measures one run of a feed.
#[derive(Debug, Default)]
pub(super) struct Gauge {
    last_key: Option<MediaTime>,
    key_distance: Option<Duration>,
    /// When each chunk begins, and its bytes.
    recent: VecDeque<(MediaTime, usize)>,
}

impl Gauge {
    pub(super) fn note(&mut self, chunk: &Chunk) {
        let bytes = chunk.units.iter().map(|unit| chunk.payload(unit).len()).sum();
        self.count(chunk.start(), chunk.key && chunk.has_video(), bytes);
    }

    fn count(&mut self, start: MediaTime, key: bool, bytes: usize) {
        if key {
            self.key_distance = self.last_key.map(|last| start.since(last)).or(self.key_distance);
            self.last_key = Some(start);
        }
        self.recent.push_back((start, bytes));
        while self.recent.front().is_some_and(|(first, _)| start.since(*first) > WINDOW) {
            self.recent.pop_front();
        }
    }

    pub(super) fn measured(&self) -> Measured {
        let mut measured = Measured { key_distance: self.key_distance, ..Measured::default() };
        if let (Some((first, _)), Some((last, newest))) = (self.recent.front(), self.recent.back())
            && last.since(*first) >= ENOUGH
        {
            // The newest chunk lasts beyond the span from first to last.
            let span = last.since(*first).as_secs_f64();
            let bytes: usize = self.recent.iter().map(|(_, bytes)| bytes).sum();
            measured.bitrate = Some(((bytes - newest) as f64 * 8.0 / span) as u64);
            measured.fps = Some((self.recent.len() - 1) as f64 / span);
        }
        measured
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> MediaTime {
        MediaTime(ms * 1_000_000)
    }

    #[test]
    fn rates_and_key_distance_are_those_of_the_last_seconds() {
        let mut gauge = Gauge::default();
        for frame in 0..500u64 {
            let bytes = if frame < 250 { 90_000 } else { 1000 };
            gauge.count(at(frame * 40), frame % 50 == 0, bytes);
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
        gauge.count(at(0), true, 1000);
        gauge.count(at(40), false, 1000);
        assert_eq!(gauge.measured(), Measured::default());
    }
}
