//! HTTP Live Streaming from chunks (RFC 8216): segments and playlists.
//!
//! A segment is a list of chunks that stay shared with everybody else; nothing
//! is copied or written to a disk. Only text and bytes here: who asks, and
//! what is waited for, is decided elsewhere.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::packager::{Chunk, Init};
use crate::base::time::{MediaTime, iso_ms};

/// Segments in a playlist. Apple's authoring rules want six at least.
pub const LISTED: usize = 7;

/// Segments that may still be fetched after they have left the playlist.
const KEPT: usize = 3;

/// Players start three segments before the end.
const FEWEST: usize = 3;

/// A segment ends at the first key frame after this long.
const SHORTEST: Duration = Duration::from_millis(900);

/// A hole in the timeline that players must be told of.
const HOLE: Duration = Duration::from_millis(500);

/// One segment: whole groups of pictures.
#[derive(Clone, Debug)]
pub struct Segment {
    pub number: u64,
    generation: u32,
    /// The timeline jumps, or decoding begins anew, before this segment.
    discontinuous: bool,
    start: MediaTime,
    duration: Duration,
    /// When its first picture came: milliseconds since 1970.
    came_ms: u64,
    pub pieces: Vec<Bytes>,
    /// The length of all pieces.
    pub len: usize,
}

/// The newest segments of a stream.
#[derive(Debug)]
pub struct Window {
    /// What all segments together may hold; the newest three stay whatever they hold.
    most_bytes: usize,
    segments: VecDeque<Segment>,
    inits: Vec<Arc<Init>>,
    open: Option<Segment>,
    next_number: u64,
    /// Discontinuities that have left the playlist.
    discontinuities: u64,
    /// Whole seconds; it only grows, as players may keep the first they see.
    target: u64,
    /// Where the timeline stood at the end of the last chunk.
    reached: Option<(u32, MediaTime)>,
}

impl Window {
    pub fn new(most_bytes: usize) -> Self {
        Self {
            most_bytes,
            segments: VecDeque::new(),
            inits: Vec::new(),
            open: None,
            next_number: 0,
            discontinuities: 0,
            target: 0,
            reached: None,
        }
    }

    /// All segments together may hold so many bytes from now on.
    pub fn set_most_bytes(&mut self, most_bytes: usize) {
        self.most_bytes = most_bytes;
    }

    /// Takes the init segment of the chunks that follow.
    pub fn init(&mut self, init: &Arc<Init>) {
        self.inits.push(Arc::clone(init));
    }

    /// Takes the next chunk, which came at `came_ms` (milliseconds since 1970).
    pub fn push(&mut self, chunk: &Chunk, came_ms: u64) {
        let Some(last) = chunk.units.last() else { return };
        let torn = self.reached.is_none_or(|(generation, reached)| {
            generation != chunk.generation || chunk.start().since(reached) > HOLE
        });
        let full =
            self.open.as_ref().is_some_and(|open| chunk.start().since(open.start) >= SHORTEST);
        if torn {
            self.close(None);
        } else if chunk.key && full {
            self.close(Some(chunk.start()));
        }
        self.reached = Some((chunk.generation, last.dts + last.duration));
        if self.open.is_none() && chunk.key {
            self.open = Some(Segment {
                number: self.next_number,
                generation: chunk.generation,
                discontinuous: torn && self.next_number > 0,
                start: chunk.start(),
                duration: Duration::ZERO,
                came_ms,
                pieces: Vec::new(),
                len: 0,
            });
        }
        if let Some(open) = &mut self.open {
            open.pieces.push(chunk.bytes.clone());
            open.len += chunk.bytes.len();
            open.duration = (last.dts + last.duration).since(open.start);
        }
    }

    /// Lets go of all segments; what comes next is discontinuous with them.
    pub fn clear(&mut self) {
        while let Some(gone) = self.segments.pop_front() {
            self.discontinuities += u64::from(gone.discontinuous);
        }
        self.open = None;
        self.reached = None;
        let latest = self.inits.pop();
        self.inits = latest.into_iter().collect();
    }

    /// The segment of this number, while it may be fetched.
    pub fn segment(&self, number: u64) -> Option<&Segment> {
        self.segments.iter().find(|segment| segment.number == number)
    }

    /// The init segment of this generation, while a segment needs it.
    pub fn init_of(&self, generation: u32) -> Option<&Arc<Init>> {
        self.inits.iter().find(|init| init.generation == generation)
    }

    /// Whether there is a segment to play.
    pub fn is_ready(&self) -> bool {
        !self.segments.is_empty()
    }

    /// The media playlist. `prefix` leads from its URL to the segments, and
    /// `mark` tells this process's segments from those of an earlier one.
    pub fn playlist(&self, prefix: &str, mark: &str) -> String {
        let hidden = self.segments.len().saturating_sub(LISTED);
        let gone = self.segments.iter().take(hidden).filter(|segment| segment.discontinuous);
        let discontinuities = self.discontinuities + gone.count() as u64;
        let listed = || self.segments.iter().skip(hidden);
        let first = listed().next().map_or(self.next_number, |segment| segment.number);
        let mut text = format!(
            "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-INDEPENDENT-SEGMENTS\n\
             #EXT-X-TARGETDURATION:{}\n#EXT-X-MEDIA-SEQUENCE:{first}\n",
            self.target.max(1)
        );
        if discontinuities > 0 {
            write_line(&mut text, format_args!("#EXT-X-DISCONTINUITY-SEQUENCE:{discontinuities}"));
        }
        let mut generation = None;
        for segment in listed() {
            if segment.discontinuous {
                write_line(&mut text, format_args!("#EXT-X-DISCONTINUITY"));
            }
            if generation.replace(segment.generation) != Some(segment.generation) {
                let of = segment.generation;
                let map = format_args!("#EXT-X-MAP:URI=\"{prefix}init-{mark}-{of}.mp4\"");
                write_line(&mut text, map);
            }
            let seconds = segment.duration.as_secs_f64();
            let (number, came) = (segment.number, iso_ms(segment.came_ms));
            write_line(&mut text, format_args!("#EXT-X-PROGRAM-DATE-TIME:{came}"));
            write_line(&mut text, format_args!("#EXTINF:{seconds:.5},"));
            write_line(&mut text, format_args!("{prefix}{mark}-{number}.m4s"));
        }
        text
    }

    /// The multivariant playlist with one variant at `media`. `bitrate` stands
    /// in until there are segments to measure.
    pub fn multivariant(&self, media: &str, bitrate: u32) -> Option<String> {
        let tracks = &self.inits.last()?.tracks;
        let rate = |segment: &Segment| {
            (segment.len as f64 * 8.0 / segment.duration.as_secs_f64().max(0.001)) as u64
        };
        let peak = self.segments.iter().map(rate).max().unwrap_or(u64::from(bitrate));
        let (bytes, span) = self
            .segments
            .iter()
            .fold((0, Duration::ZERO), |(bytes, span), one| (bytes + one.len, span + one.duration));
        let mean = (bytes as f64 * 8.0 / span.as_secs_f64().max(0.001)) as u64;
        let mut text = format!(
            "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-INDEPENDENT-SEGMENTS\n#EXT-X-STREAM-INF:\
             BANDWIDTH={peak},AVERAGE-BANDWIDTH={mean},CODECS=\"{}\"",
            tracks.codecs()
        );
        if let Some(video) = &tracks.video {
            text += &format!(",RESOLUTION={}x{}", video.width, video.height);
            if let Some(frame) = video.frame_duration {
                text += &format!(",FRAME-RATE={:.3}", 1.0 / frame.as_secs_f64());
            }
        }
        text += &format!("\n{media}\n");
        Some(text)
    }

    /// Ends the open segment; `until` is where the next one begins, if it is known.
    fn close(&mut self, until: Option<MediaTime>) {
        let Some(mut segment) = self.open.take() else { return };
        if let Some(until) = until {
            segment.duration = until.since(segment.start);
        }
        // EXTINF, rounded, must not exceed the target (RFC 8216, 4.3.3.1).
        self.target = self.target.max(segment.duration.as_secs_f64().round() as u64);
        self.next_number += 1;
        self.segments.push_back(segment);
        while self.is_too_large() {
            if let Some(gone) = self.segments.pop_front() {
                self.discontinuities += u64::from(gone.discontinuous);
            }
        }
        let oldest = self.segments.front().map(|segment| segment.generation);
        self.inits.retain(|init| oldest.is_none_or(|oldest| init.generation >= oldest));
    }

    fn is_too_large(&self) -> bool {
        let bytes: usize = self.segments.iter().map(|segment| segment.len).sum();
        match self.segments.len() {
            0..=FEWEST => false,
            count => count > LISTED + KEPT || bytes > self.most_bytes,
        }
    }
}

/// Writing to a `String` cannot fail.
fn write_line(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").ok();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::packager::{Expect, Packaged, Packager};
    use crate::media::samples::{Video, placeholders};
    use crate::model::unit::AccessUnit;

    const FRAME: Duration = Duration::from_nanos(33_333_333);

    /// Feeds runs of frames into a window, as a stream does.
    struct Feeder {
        packager: Packager,
        window: Window,
    }

    impl Feeder {
        fn new() -> Self {
            Self { packager: Packager::new(), window: Window::new(1 << 20) }
        }

        fn run(&mut self, units: Vec<AccessUnit>) -> &Window {
            self.packager
                .begin_run(MediaTime::default(), Expect { video: Some(FRAME), audio: false });
            for unit in units {
                let came_ms =
                    1_795_240_290_000 + unit.pts.since(MediaTime::ORIGIN).as_millis() as u64;
                for item in self.packager.push(unit).unwrap() {
                    match item {
                        Packaged::Init(init) => self.window.init(&init),
                        Packaged::Chunk(chunk) => self.window.push(&chunk, came_ms),
                    }
                }
            }
            &self.window
        }
    }

    fn seconds(from: u64, count: u32) -> Vec<AccessUnit> {
        placeholders(MediaTime::ORIGIN + Duration::from_secs(from), count * 30 + 1, 30)
    }

    #[test]
    fn a_playlist_slides_over_segments_of_one_group_each() {
        let mut feeder = Feeder::new();
        let text = feeder.run(seconds(0, 9)).playlist("front/hls/", "x");
        let expected = "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-INDEPENDENT-SEGMENTS\n\
            #EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:2\n\
            #EXT-X-MAP:URI=\"front/hls/init-x-1.mp4\"\n\
            #EXT-X-PROGRAM-DATE-TIME:2026-11-21T05:51:32.000Z\n#EXTINF:1.00000,\nfront/hls/x-2.m4s\n";
        assert!(text.starts_with(expected), "{text}");
        assert_eq!(text.matches("#EXTINF").count(), LISTED);
        assert!(!text.contains("ENDLIST") && !text.contains("DISCONTINUITY"));
    }

    #[test]
    fn a_segment_that_has_left_the_playlist_may_still_be_fetched_for_a_while() {
        let mut feeder = Feeder::new();
        let window = feeder.run(seconds(0, 12));
        assert!(window.segment(2).is_some() && window.segment(1).is_none());
        let segment = window.segment(5).unwrap();
        assert_eq!(segment.pieces.iter().map(Bytes::len).sum::<usize>(), segment.len);
    }

    #[test]
    fn a_window_that_would_hold_too_much_is_shorter() {
        let mut feeder = Feeder::new();
        feeder.window = Window::new(1);
        let text = feeder.run(seconds(0, 9)).playlist("", "x");
        assert_eq!(text.matches("#EXTINF").count(), FEWEST, "{text}");
    }

    #[test]
    fn short_groups_are_gathered_and_long_ones_raise_the_target() {
        let mut feeder = Feeder::new();
        let short = placeholders(MediaTime::ORIGIN, 121, 10);
        let text = feeder.run(short).playlist("", "x");
        assert!(text.contains("#EXTINF:1.00000"), "{text}");

        let mut feeder = Feeder::new();
        let long = placeholders(MediaTime::ORIGIN, 301, 120);
        let text = feeder.run(long).playlist("", "x");
        assert!(text.contains("#EXT-X-TARGETDURATION:4\n"), "{text}");
    }

    #[test]
    fn a_restart_of_the_feed_is_a_discontinuity_with_the_same_init() {
        let mut feeder = Feeder::new();
        feeder.run(seconds(0, 3));
        let text = feeder.run(seconds(6, 3)).playlist("", "x");
        assert_eq!(text.matches("#EXT-X-DISCONTINUITY\n").count(), 1, "{text}");
        assert_eq!(text.matches("#EXT-X-MAP").count(), 1, "{text}");
    }

    #[test]
    fn discontinuities_that_slide_out_are_counted() {
        let mut feeder = Feeder::new();
        feeder.run(seconds(0, 3));
        let text = feeder.run(seconds(6, 12)).playlist("", "x");
        assert!(text.contains("#EXT-X-DISCONTINUITY-SEQUENCE:1\n"), "{text}");
        assert!(!text.contains("#EXT-X-DISCONTINUITY\n"), "{text}");
    }

    #[test]
    fn another_picture_comes_with_its_own_init() {
        let mut feeder = Feeder::new();
        for (size, at) in [("320x240", 0), ("160x120", 5)] {
            let video = Video { size, seconds: 3, ..Video::default() };
            feeder.run(video.timed(MediaTime::ORIGIN + Duration::from_secs(at)));
        }
        let text = feeder.window.playlist("", "x");
        assert!(text.contains("init-x-1.mp4") && text.contains("init-x-2.mp4"), "{text}");
        assert!(feeder.window.init_of(1).is_some() && feeder.window.init_of(2).is_some());
    }

    #[test]
    fn the_multivariant_playlist_says_what_the_stream_is() {
        let mut feeder = Feeder::new();
        let text = feeder.run(seconds(0, 3)).multivariant("front/hls/live.m3u8", 1).unwrap();
        assert!(
            text.contains("CODECS=\"avc1.64000d\",RESOLUTION=320x240,FRAME-RATE=30.000\n"),
            "{text}"
        );
        assert!(text.ends_with("\nfront/hls/live.m3u8\n"), "{text}");
        assert!(Window::new(1).multivariant("x", 1).is_none());
    }
}
