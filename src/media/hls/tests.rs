//! Windows with the input of real streams.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use mp4_atom::{Any, DecodeMaybe};

use super::*;
use crate::base::time::{MediaTime, WallClock};
use crate::media::aac::lc_config;
use crate::media::packager::{Expect, Packaged, Packager};
use crate::media::samples::{Video, decode, file, interleaved, placeholders, probe, tone};
use crate::model::unit::AccessUnit;

const FRAME: Duration = Duration::from_nanos(33_333_333);
const GOP: Duration = Duration::from_secs(1);

/// Feeds runs of frames into a window, as a stream does.
struct Feeder {
    packager: Packager,
    window: Window,
    clock: WallClock,
}

impl Feeder {
    fn new() -> Self {
        Self { packager: Packager::new(), window: Window::new(1 << 20, GOP), clock: clock(0) }
    }

    fn run(&mut self, units: Vec<AccessUnit>) -> &mut Window {
        self.packager.begin_run(MediaTime::default(), Expect { video: Some(FRAME), audio: false });
        self.add(units)
    }

    fn add(&mut self, units: Vec<AccessUnit>) -> &mut Window {
        for unit in units {
            for item in self.packager.push(unit).unwrap() {
                match item {
                    Packaged::Init(init) => self.window.init(&init),
                    Packaged::Chunk(chunk) => self.window.push(&chunk, self.clock),
                }
            }
        }
        &mut self.window
    }
}

impl Window {
    fn playlist(&mut self, prefix: &str, instance: &str) -> String {
        self.media_playlist().text(prefix, instance)
    }

    fn multivariant(&self, media: &str, bound: Option<u64>) -> Option<String> {
        Some(self.multivariant_playlist()?.text(media, bound))
    }
}

/// A wall clock that is ahead by `ahead_ms`.
fn clock(ahead_ms: u64) -> WallClock {
    WallClock::showing(Duration::from_millis(1_795_240_290_000 + ahead_ms), MediaTime::ORIGIN)
}

/// Frames of one group of pictures that begins with the first of them.
fn group(frames: Range<u32>) -> Vec<AccessUnit> {
    placeholders(MediaTime::ORIGIN + FRAME * frames.start, frames.len() as u32, u32::MAX)
}

/// The lengths of the segments in a playlist.
fn lengths(playlist: &str) -> Vec<f64> {
    let lines = playlist.lines().filter_map(|line| line.strip_prefix("#EXTINF:"));
    lines.map(|line| line.trim_end_matches(',').parse().unwrap()).collect()
}

/// The value of a tag in a playlist.
fn value<'a>(playlist: &'a str, tag: &str) -> Option<&'a str> {
    playlist.lines().find_map(|line| line.strip_prefix(tag)?.strip_prefix(':'))
}

/// Decoding times and durations of the pictures in a segment, in ticks.
fn pictures(segment: &Segment) -> Vec<(u64, u64)> {
    let bytes = segment.pieces.concat();
    let mut rest = &bytes[..];
    let mut found = Vec::new();
    while let Some(atom) = Any::decode_maybe(&mut rest).unwrap() {
        let Any::Moof(moof) = atom else { continue };
        for traf in moof.traf.iter().filter(|traf| traf.tfhd.track_id == 1) {
            let duration = traf.trun[0].samples.get(0).unwrap().duration.unwrap();
            let time = traf.tfdt.as_ref().unwrap().base_media_decode_time;
            found.push((time, u64::from(duration)));
        }
    }
    found
}

fn seconds(from: u64, count: u32) -> Vec<AccessUnit> {
    placeholders(MediaTime::ORIGIN + Duration::from_secs(from), count * 30 + 1, 30)
}

#[test]
fn a_playlist_lists_the_newest_segments_of_one_group_each() {
    let mut feeder = Feeder::new();
    let text = feeder.run(seconds(0, 9)).playlist("front/hls/", "x");
    let expected = "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-INDEPENDENT-SEGMENTS\n\
        #EXT-X-TARGETDURATION:1\n#EXT-X-SERVER-CONTROL:HOLD-BACK=3\n#EXT-X-MEDIA-SEQUENCE:2\n\
        #EXT-X-MAP:URI=\"front/hls/init-x-1.mp4\"\n\
        #EXT-X-PROGRAM-DATE-TIME:2026-11-21T05:51:32.000Z\n#EXTINF:1.00000,\nfront/hls/x-2.m4s\n";
    assert!(text.starts_with(expected), "{text}");
    assert_eq!(text.matches("#EXTINF").count(), MAX_LISTED);
    assert!(!text.contains("ENDLIST") && !text.contains("DISCONTINUITY"));
}

#[test]
fn a_segment_stays_for_its_own_duration_and_that_of_the_playlist_that_listed_it() {
    let mut feeder = Feeder::new();
    // Seven of a second each: whatever has left the playlist stays for eight seconds.
    let window = feeder.run(seconds(0, 30));
    let oldest_listed = 30 - MAX_LISTED as u64;
    assert!(window.segment(oldest_listed - 8).is_some());
    assert!(window.segment(oldest_listed - 9).is_none());
    let segment = window.segment(oldest_listed).unwrap();
    assert_eq!(segment.pieces.iter().map(Bytes::len).sum::<usize>(), segment.len);
}

#[test]
fn an_init_segment_stays_as_long_as_the_segments_that_need_it() {
    let mut feeder = Feeder::new();
    let small = Video { size: "160x120", seconds: 3, ..Video::default() };
    feeder.run(small.timed(MediaTime::ORIGIN));
    // The last of the small segments leaves the playlist with the eighth that follows.
    let window = feeder.run(seconds(3, 10));
    assert!(!window.playlist("", "x").contains("init-x-1.mp4"));
    assert!(window.init_of(1).is_some());
    assert!(feeder.add(group(480..1000)).init_of(1).is_none());
}

#[test]
fn a_window_over_its_memory_limit_lists_the_minimum_of_segments() {
    let mut feeder = Feeder::new();
    feeder.window = Window::new(1, GOP);
    let window = feeder.run(seconds(0, 9));
    let text = window.playlist("", "x");
    assert_eq!(lengths(&text).len(), MIN_LISTED, "{text}");
    assert_eq!(window.segments.len(), MIN_LISTED);
}

#[test]
fn short_groups_are_combined_into_a_segment() {
    let mut feeder = Feeder::new();
    let text = feeder.run(placeholders(MediaTime::ORIGIN, 121, 10)).playlist("", "x");
    assert_eq!(lengths(&text), [1.0; 4], "{text}");
}

#[test]
fn a_group_that_would_exceed_the_target_begins_a_segment_of_its_own() {
    let mut feeder = Feeder::new();
    feeder.run(placeholders(MediaTime::ORIGIN, 60, 30)).playlist("", "x");
    // 0.8 s, below the minimum of a segment, and then whole seconds again.
    for frames in [60..84, 84..114, 114..144, 144..145] {
        feeder.add(group(frames));
    }
    let text = feeder.window.playlist("", "x");
    assert_eq!(value(&text, "#EXT-X-TARGETDURATION"), Some("1"));
    assert_eq!(lengths(&text), [1.0, 1.0, 0.8, 1.0, 1.0], "{text}");
}

#[test]
fn the_target_is_the_duration_of_groups_at_the_first_playlist() {
    for (group, gop, target) in [(30, 1.0, "1"), (120, 1.0, "4"), (30, 4.0, "4"), (24, 0.8, "2")] {
        let mut feeder = Feeder::new();
        feeder.window = Window::new(1 << 20, Duration::from_secs_f64(gop));
        let text = feeder.run(placeholders(MediaTime::ORIGIN, 301, group)).playlist("", "x");
        assert_eq!(value(&text, "#EXT-X-TARGETDURATION"), Some(target), "{text}");
    }
}

#[test]
fn a_target_never_changes_and_no_segment_of_a_long_group_exceeds_it() {
    let mut feeder = Feeder::new();
    let text = feeder.run(seconds(0, 3)).playlist("", "x");
    assert!(text.contains("#EXT-X-INDEPENDENT-SEGMENTS\n"), "{text}");

    let text = feeder.add(group(90..400)).playlist("", "x");

    assert_eq!(value(&text, "#EXT-X-TARGETDURATION"), Some("1"), "{text}");
    let lengths = lengths(&text);
    assert_eq!(lengths.len(), MAX_LISTED, "{text}");
    assert!(lengths.iter().all(|seconds| seconds.round() <= 1.0), "{text}");
    assert!(!text.contains("INDEPENDENT"), "not every segment has a key frame: {text}");
    assert!(!text.contains("DISCONTINUITY"), "decoding continues: {text}");
}

#[test]
fn a_stream_of_one_endless_group_has_segments_that_do_not_grow() {
    let mut feeder = Feeder::new();
    let window = feeder.run(group(0..1500));
    assert!(window.segmenter.open.as_ref().unwrap().duration <= window.max_duration());
    assert_eq!(window.segments.len(), 4);
}

#[test]
fn another_nominal_gop_has_another_target() {
    let mut feeder = Feeder::new();
    feeder.run(seconds(0, 3)).playlist("", "x");
    feeder.window.set_limits(1 << 20, Duration::from_secs(3));
    let text = feeder.run(placeholders(MediaTime::ORIGIN + 9 * GOP, 301, 90)).playlist("", "x");
    assert_eq!(value(&text, "#EXT-X-TARGETDURATION"), Some("3"), "{text}");
}

#[test]
fn a_gap_is_a_discontinuity_even_if_no_key_frame_follows_it() {
    let mut feeder = Feeder::new();
    feeder.run(seconds(0, 2));
    // The rest of the group comes 0.7 s late.
    let late = group(61..90).into_iter().skip(1);
    let late = late.map(|unit| {
        let at = unit.pts + Duration::from_millis(700);
        AccessUnit { pts: at, dts: at, ..unit }
    });
    feeder.add(late.collect());
    let text = feeder.add(placeholders(MediaTime::ORIGIN + FRAME * 111, 61, 30));
    let text = text.playlist("", "x");
    assert_eq!(text.matches("#EXT-X-DISCONTINUITY\n").count(), 1, "{text}");
    assert_eq!(lengths(&text).len(), 5, "{text}");
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
fn discontinuities_that_have_left_the_playlist_are_counted() {
    let mut feeder = Feeder::new();
    feeder.run(seconds(0, 3));
    let text = feeder.run(seconds(6, 12)).playlist("", "x");
    assert!(text.contains("#EXT-X-DISCONTINUITY-SEQUENCE:1\n"), "{text}");
    assert!(!text.contains("#EXT-X-DISCONTINUITY\n"), "{text}");
}

#[test]
fn another_picture_size_has_its_own_init() {
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
fn segments_are_dated_by_the_media_timeline_and_follow_a_clock_that_is_set() {
    let mut feeder = Feeder::new();
    feeder.run(group(0..45));
    // The clock is not read at the same moment each time; later it is set.
    feeder.clock = clock(40);
    feeder.add(group(45..60));
    feeder.add(group(60..90));
    feeder.clock = clock(5000);
    feeder.add(group(90..120));
    let text = feeder.add(group(120..121)).playlist("", "x");
    let dates = text.lines().filter_map(|line| line.strip_prefix("#EXT-X-PROGRAM-DATE-TIME:"));
    let seconds: Vec<_> = dates.map(|date| &date[17..23]).collect();
    assert_eq!(seconds, ["30.000", "31.499", "37.999"], "{text}");
}

#[test]
fn the_bandwidth_is_the_measured_peak_or_the_bound() {
    let mut feeder = Feeder::new();
    let window = feeder.run(seconds(0, 3));
    let rate = window.segment(1).unwrap().len as u64 * 8;
    let bandwidth = |window: &Window, bound| {
        let text = window.multivariant("x", bound).unwrap();
        let (_, rest) = text.split_once(":BANDWIDTH=").unwrap();
        rest.split_once(',').unwrap().0.parse::<u64>().unwrap()
    };
    assert!(bandwidth(window, Some(1)) >= rate);
    assert_eq!(bandwidth(window, Some(9_000_000)), 9_000_000);
    assert!(bandwidth(window, None) >= rate * 3 / 2);

    // One large picture, long out of the playlist, still counts.
    let mut large = group(91..92);
    large[0].data = [&large[0].data[..], &[0xff; 50_000]].concat().into();
    feeder.add(large);
    let window = feeder.add(placeholders(MediaTime::ORIGIN + FRAME * 92, 600, 30));
    assert!(bandwidth(window, Some(1)) >= 400_000);
}

#[test]
fn short_segments_count_together_with_their_neighbours() {
    let mut feeder = Feeder::new();
    feeder.run(seconds(0, 2)).playlist("", "x");
    let steady = feeder.window.peak;
    // A tenth of a second before a gap: by itself it is mostly a key frame.
    let mut short = group(61..64);
    short[0].data = [&short[0].data[..], &[0xff; 1000]].concat().into();
    let hole = short.into_iter().map(|unit| {
        let at = unit.pts + GOP;
        AccessUnit { pts: at, dts: at, ..unit }
    });
    feeder.add(hole.collect());
    feeder.add(placeholders(MediaTime::ORIGIN + 5 * GOP, 61, 30));
    assert!(feeder.window.peak < steady + 2 * 8000, "{} after {steady}", feeder.window.peak);
}

#[test]
fn a_segment_begins_with_video_and_audio_in_one_fragment() {
    let mut feeder = Feeder::new();
    feeder.packager.begin_run(MediaTime::default(), Expect { video: Some(FRAME), audio: true });
    feeder.packager.audio_config(lc_config(48_000, 2).unwrap());
    let video = Video { seconds: 2, gop: 30, ..Video::default() }.timed(MediaTime::ORIGIN);
    feeder.add(interleaved(video, tone(MediaTime::ORIGIN.before(FRAME / 4))));
    let segment = feeder.window.segment(0).unwrap();
    let bytes = segment.pieces.concat();
    assert_eq!(bytes.len(), segment.len);
    let tracks = |bytes: &[u8]| {
        let heads = bytes.windows(4).enumerate().filter(|(_, name)| name == b"tfhd");
        heads.map(|(at, _)| bytes[at + 11]).collect::<Vec<_>>()
    };
    let first = u32::from_be_bytes(*bytes.first_chunk().unwrap()) as usize;
    assert_eq!(tracks(&bytes[..first]), [1, 2]);

    let init = feeder.window.init_of(1).unwrap().bytes.clone();
    let file = file(&[init, bytes.into()]);
    assert_eq!(decode(file.path()), "");
    let seen = probe(file.path());
    let times = |kind: &str| {
        let packets = seen["packets"].as_array().unwrap();
        let of_kind = packets.iter().filter(|packet| packet["codec_type"] == kind);
        of_kind.map(|packet| packet["pts"].as_i64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(times("video"), (0..30).map(|frame| 900_000 + 3000 * frame).collect::<Vec<_>>());
    assert!(times("audio").windows(2).all(|pair| pair[1] - pair[0] == 1024));
}

#[test]
fn a_picture_before_missing_ones_lasts_until_the_next() {
    for audio in [false, true] {
        let mut feeder = Feeder::new();
        feeder.packager.begin_run(MediaTime::default(), Expect { video: Some(FRAME), audio });
        feeder.packager.audio_config(lc_config(48_000, 2).unwrap());
        let mut video = Video { seconds: 3, gop: 30, ..Video::default() }.timed(MediaTime::ORIGIN);
        // After the first picture, inside the first segment, and at the end of it.
        for missing in [29, 12, 11, 1] {
            video.remove(missing);
        }
        feeder.add(interleaved(video, tone(MediaTime::ORIGIN.before(FRAME / 4))));

        let segments = [0, 1].map(|number| feeder.window.segment(number).unwrap());
        let pictures: Vec<_> = segments.into_iter().flat_map(pictures).collect();
        assert_eq!(pictures.len(), 56);
        for pair in pictures.windows(2) {
            let [(time, duration), (next, _)] = pair else { unreachable!() };
            assert_eq!(time + duration, *next, "{pictures:?}");
        }
        for segment in segments {
            assert!(segment.pieces.iter().all(|piece| !piece.is_empty()));
            assert_eq!(segment.pieces.iter().map(Bytes::len).sum::<usize>(), segment.len);
        }
    }
}

#[test]
fn the_multivariant_playlist_has_codecs_size_and_frame_rate() {
    let mut feeder = Feeder::new();
    let text = feeder.run(seconds(0, 3)).multivariant("front/hls/live.m3u8", Some(1)).unwrap();
    assert!(
        text.contains("CODECS=\"avc1.64000d\",RESOLUTION=320x240,FRAME-RATE=30.000\n"),
        "{text}"
    );
    assert!(text.ends_with("\nfront/hls/live.m3u8\n"), "{text}");
    assert!(Window::new(1, GOP).multivariant("x", None).is_none());
}
