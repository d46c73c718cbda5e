//! Puts the frames of a looped file on an endless timeline without gaps. Pure.
//!
//! A round is as long as its pictures. Sound is put end to end across the seam, at most
//! half a frame from its own time; overlapping sound is dropped.

use std::collections::VecDeque;
use std::time::Duration;

use crate::model::unit::TrackKind;

/// How many frames are sorted: more than demuxers reorder.
const LOOKAHEAD: usize = 48;

/// One frame with its times in nanoseconds.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Piece<T> {
    pub track: TrackKind,
    pub pts: u64,
    pub dts: u64,
    pub duration: u64,
    pub data: T,
}

/// The timeline of one looped file.
#[derive(Debug)]
pub(super) struct LoopTimeline<T> {
    /// Frames of this round in decoding order.
    waiting: VecDeque<Piece<T>>,
    /// The time in the file of the round's first picture.
    first: Option<u64>,
    /// Where the round begins on the endless timeline.
    begin: u64,
    /// Where its pictures end so far.
    video_end: u64,
    audio_end: Option<u64>,
}

impl<T> Default for LoopTimeline<T> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), first: None, begin: 0, video_end: 0, audio_end: None }
    }
}

impl<T> LoopTimeline<T> {
    /// Takes the next frame of the file; returns the frames whose times are final.
    pub(super) fn push(&mut self, piece: Piece<T>) -> Vec<Piece<T>> {
        if piece.track == TrackKind::Video && self.first.is_none() {
            self.first = Some(piece.dts);
        }
        let later = self.waiting.iter().rev().take_while(|other| other.dts > piece.dts).count();
        self.waiting.insert(self.waiting.len() - later, piece);
        // The round begins at its first picture.
        let ready =
            if self.first.is_some() { self.waiting.len().saturating_sub(LOOKAHEAD) } else { 0 };
        self.release(ready)
    }

    /// Ends the round. Returns whether it had a picture, and the remaining frames.
    pub(super) fn end_round(&mut self) -> (bool, Vec<Piece<T>>) {
        let had_picture = self.first.is_some();
        if !had_picture {
            self.waiting.clear();
        }
        let rest = self.release(self.waiting.len());
        self.first = None;
        self.begin = self.video_end;
        (had_picture, rest)
    }

    fn release(&mut self, count: usize) -> Vec<Piece<T>> {
        let first = self.first.unwrap_or_default();
        let released: Vec<_> = self.waiting.drain(..count).collect();
        released.into_iter().filter_map(|piece| self.place(piece, first)).collect()
    }

    fn place(&mut self, mut piece: Piece<T>, first: u64) -> Option<Piece<T>> {
        let delay = piece.pts.saturating_sub(piece.dts);
        piece.dts = (piece.dts + self.begin).checked_sub(first)?;
        match piece.track {
            TrackKind::Video => self.video_end = self.video_end.max(piece.dts + piece.duration),
            TrackKind::Audio => {
                piece.dts = self.align_sound(piece.dts, piece.duration)?;
                self.audio_end = Some(piece.dts + piece.duration);
            }
        }
        piece.pts = piece.dts + delay;
        Some(piece)
    }

    /// The final time of a sound frame; none if it overlaps earlier sound.
    fn align_sound(&self, time: u64, duration: u64) -> Option<u64> {
        let Some(end) = self.audio_end else { return Some(time) };
        if time + duration / 2 < end {
            return None;
        }
        Some(if time < end + duration / 2 { end } else { time })
    }
}

/// Computes when frames are due, by a clock that the machine may not keep up with.
#[derive(Debug)]
pub(super) struct Pace {
    /// The clock's time, less the timeline's.
    lead: Duration,
}

/// A machine that is later than this does not catch up: the timeline is delayed.
const MAX_LATENESS: Duration = Duration::from_secs(1);

impl Pace {
    /// The timeline begins when the clock shows `now`.
    pub(super) fn new(now: Duration) -> Self {
        Self { lead: now }
    }

    /// When, by the clock, a frame of the timeline's `time` is due.
    pub(super) fn due(&mut self, time: Duration, now: Duration) -> Duration {
        if self.lead + time + MAX_LATENESS < now {
            self.lead = now.saturating_sub(time);
        }
        self.lead + time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn piece(track: TrackKind, at: u64, duration: u64) -> Piece<()> {
        Piece { track, pts: at * MS, dts: at * MS, duration: duration * MS, data: () }
    }

    /// Several rounds of a file; times and ends in milliseconds, by track.
    fn played(file: &[Piece<()>], rounds: usize, track: TrackKind) -> Vec<(u64, u64)> {
        let mut timeline = LoopTimeline::default();
        let mut out = Vec::new();
        for _ in 0..rounds {
            for piece in file {
                out.extend(timeline.push(piece.clone()));
            }
            out.extend(timeline.end_round().1);
        }
        let mine = out.into_iter().filter(|piece| piece.track == track);
        mine.map(|piece| (piece.dts / MS, (piece.dts + piece.duration) / MS)).collect()
    }

    fn film(pictures: u64, sounds: u64, sound_from: u64) -> Vec<Piece<()>> {
        let video = (0..pictures).map(|index| piece(TrackKind::Video, 700 + index * 40, 40));
        let audio = (0..sounds).map(|index| piece(TrackKind::Audio, sound_from + index * 20, 20));
        video.chain(audio).collect()
    }

    #[test]
    fn pictures_continue_over_the_seam_without_a_gap() {
        let times = played(&film(10, 0, 0), 3, TrackKind::Video);
        assert_eq!(times.len(), 30);
        assert_eq!(times[0].0, 0);
        assert!(times.windows(2).all(|pair| pair[0].1 == pair[1].0), "{times:?}");
    }

    #[test]
    fn sound_that_is_longer_or_begins_earlier_is_put_end_to_end() {
        for (sounds, from) in [(20, 700), (25, 700), (24, 640), (21, 695)] {
            let times = played(&film(10, sounds, from), 3, TrackKind::Audio);
            let gaps = times.windows(2).filter(|pair| pair[0].1 != pair[1].0).count();
            assert_eq!(gaps, 0, "{sounds} from {from}: {times:?}");
            assert!(times.last().unwrap().1.abs_diff(1200) <= 110, "{times:?}");
        }
    }

    #[test]
    fn sound_that_is_shorter_leaves_a_gap_and_stays_in_sync() {
        let times = played(&film(10, 10, 700), 2, TrackKind::Audio);
        assert_eq!((times[9], times[10]), ((180, 200), (400, 420)));
    }

    #[test]
    fn sound_that_lacks_part_of_a_frame_stays_in_sync() {
        let mut film = film(10, 7, 700);
        for (index, sound) in (0..).zip(film.iter_mut().skip(10)) {
            *sound = piece(TrackKind::Audio, 700 + index * 55, 55);
        }
        let times = played(&film, 5, TrackKind::Audio);
        let apart = |round: usize| times[round * 7].0.abs_diff(round as u64 * 400);
        assert!((0..5).all(|round| apart(round) <= 27), "{times:?}");
    }

    #[test]
    fn a_round_without_a_picture_is_reported() {
        let mut timeline = LoopTimeline::default();
        timeline.push(piece(TrackKind::Audio, 0, 20));
        assert_eq!(timeline.end_round(), (false, Vec::new()));
    }

    #[test]
    fn a_machine_that_is_too_late_delays_the_timeline() {
        let ms = Duration::from_millis;
        let mut pace = Pace::new(ms(500));
        assert_eq!(pace.due(ms(40), ms(510)), ms(540));
        assert_eq!(pace.due(ms(80), ms(1_400)), ms(580), "it catches up");
        assert_eq!(pace.due(ms(120), ms(9_000)), ms(9_000));
        assert_eq!(pace.due(ms(160), ms(9_001)), ms(9_040));
    }

    proptest::proptest! {
        #[test]
        fn time_never_goes_back(file in proptest::collection::vec((proptest::bool::ANY, 0u64..5_000, 0u64..100), 0..120)) {
            let file: Vec<_> = file
                .into_iter()
                .map(|(video, at, span)| {
                    piece(if video { TrackKind::Video } else { TrackKind::Audio }, at, span)
                })
                .collect();
            let times = played(&file, 2, TrackKind::Audio);
            assert!(times.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{times:?}");
        }
    }
}
