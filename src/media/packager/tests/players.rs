//! The output as mp4-atom, ffprobe and ffmpeg read it.

use mp4_atom::{Any, DecodeMaybe, Moof};
use serde_json::Value;

use super::*;
use crate::media::samples::{decode, file, probe};

#[test]
fn a_stream_with_audio_plays() {
    let mut packager = running(BOTH);
    packager.audio_config(aac::lc_config(48_000, 2).unwrap());
    let out = push_all(&mut packager, &both());
    chunks(&out).iter().for_each(|chunk| drop(check_boxes(chunk)));
    let file = file(&bytes(&out));

    assert_eq!(decode(file.path()), "");
    let seen = probe(file.path());
    let [video, audio] = &seen["streams"].as_array().unwrap()[..] else { panic!("{seen}") };
    assert_eq!(video["codec_name"], "h264");
    assert_eq!(video["profile"], "High");
    assert_eq!((&video["width"], &video["height"]), (&320.into(), &240.into()));
    assert_eq!(video["time_base"], "1/90000");
    assert_eq!(audio["codec_name"], "aac");
    assert_eq!((&audio["sample_rate"], &audio["channels"]), (&"48000".into(), &2.into()));

    let frames = packets(&seen, "video");
    assert_eq!(frames.len(), 30);
    for (index, frame) in frames.iter().enumerate() {
        let time = 900_000 + 3000 * index as i64;
        assert_eq!(
            *frame,
            Packet { pts: time, dts: time, duration: Some(3000), key: index % 15 == 0 }
        );
    }
    let sounds = packets(&seen, "audio");
    assert!(sounds.len() >= 44, "{}", sounds.len());
    for (index, sound) in sounds.iter().enumerate() {
        let time = 480_000 + 1024 * index as i64;
        assert_eq!(*sound, Packet { pts: time, dts: time, duration: Some(1024), key: true });
    }
}

#[test]
fn the_video_plays_without_the_audio() {
    let mut packager = running(BOTH);
    packager.audio_config(aac::lc_config(48_000, 2).unwrap());
    let out = push_all(&mut packager, &both());
    let tracks = Tracks { audio: None, ..packager.tracks().unwrap().clone() };
    let mut pieces = vec![fmp4::init_segment(&tracks)];
    pieces.extend(chunks(&out).iter().map(|chunk| chunk.video_bytes()));

    let file = file(&pieces);
    assert_eq!(decode(file.path()), "");
    let seen = probe(file.path());
    assert_eq!(packets(&seen, "video").len(), 30);
    assert_eq!(packets(&seen, "audio").len(), 0);
}

#[test]
fn a_stream_without_video_plays() {
    let mut packager = running(AUDIO);
    packager.audio_config(aac::lc_config(48_000, 2).unwrap());
    let out = push_all(&mut packager, sounds());
    let file = file(&bytes(&out));
    assert_eq!(decode(file.path()), "");
    let sounds = packets(&probe(file.path()), "audio");
    assert!(sounds.len() >= 44, "{}", sounds.len());
    for (index, sound) in sounds.iter().enumerate().skip(1) {
        let time = 480_000 + 1024 * index as i64;
        assert_eq!(*sound, Packet { pts: time, dts: time, duration: Some(1024), key: true });
    }
}

#[test]
fn two_runs_have_one_timeline_with_a_gap() {
    let mut packager = running(BOTH);
    let sound = aac::lc_config(48_000, 2).unwrap();
    packager.audio_config(sound.clone());
    let mut out = push_all(&mut packager, &both());
    packager.begin_run(MediaTime::default(), BOTH);
    packager.audio_config(sound);
    let gap = Duration::from_millis(3500);
    let later: Vec<_> = both().iter().map(|unit| shifted(unit, gap)).collect();
    out.extend(push_all(&mut packager, &later));

    let file = file(&bytes(&out));
    assert_eq!(decode(file.path()), "");
    let frames = packets(&probe(file.path()), "video");
    assert_eq!(frames.len(), 60);
    assert!(frames.is_sorted_by_key(|frame| frame.dts));
    assert_eq!(frames[30].dts, 900_000 + 3500 * 90);
    assert!(frames[30].key);
}

#[test]
fn a_second_of_annex_b_decodes() {
    let mut packager = running(VIDEO);
    let out = push_all(&mut packager, pictures());
    let stream: Vec<_> = chunks(&out).iter().map(|chunk| chunk.annex_b()).collect();
    let file = file(&stream);
    assert_eq!(decode(file.path()), "");
}

#[test]
fn reordered_pictures_keep_their_presentation_times() {
    let video = Video { b_frames: 2, fps: 25, ..Video::default() };
    // I P B B P B B …, with P B at the end: a P is decoded before its Bs.
    let shown = |index: usize| match (index % 15, index % 3) {
        (0, _) => index,
        (13, _) => index + 1,
        (_, 1) => index + 2,
        _ => index - 1,
    };
    let frame = Duration::from_millis(40);
    let timed = |(index, data)| AccessUnit {
        track: TrackKind::Video,
        pts: START + frame * (shown(index) as u32 + 1),
        dts: START + frame * index as u32,
        duration: Some(frame),
        data,
    };
    let units: Vec<_> = video.units().into_iter().enumerate().map(timed).collect();
    let mut packager = running(VIDEO);
    let out = push_all(&mut packager, &units);

    let file = file(&bytes(&out));
    assert_eq!(decode(file.path()), "");
    let frames = packets(&probe(file.path()), "video");
    for (index, frame) in frames.iter().enumerate() {
        assert_eq!(frame.dts, 900_000 + 3600 * index as i64);
        assert_eq!(frame.pts, 903_600 + 3600 * shown(index) as i64, "frame {index}");
    }
}

#[derive(Debug, PartialEq)]
struct Packet {
    pts: i64,
    dts: i64,
    /// ffprobe 5.1 reports none for the first packet of a file without video.
    duration: Option<i64>,
    key: bool,
}

fn packets(probe: &Value, kind: &str) -> Vec<Packet> {
    let of_kind = |packet: &&Value| packet["codec_type"] == kind;
    let number = |value: &Value| value.as_i64().unwrap();
    let packet = |packet: &Value| Packet {
        pts: number(&packet["pts"]),
        dts: number(&packet["dts"]),
        duration: packet["duration"].as_i64(),
        key: packet["flags"].as_str().unwrap().starts_with('K'),
    };
    probe["packets"].as_array().unwrap().iter().filter(of_kind).map(packet).collect()
}

/// One fragment, as mp4-atom reads it.
pub(super) struct ParsedFragment {
    pub(super) decode_time: u64,
}

/// Parses a chunk's boxes; fails unless they hold exactly the chunk's units.
pub(super) fn check_boxes(chunk: &Chunk) -> Vec<ParsedFragment> {
    let mut rest = chunk.bytes.as_ref();
    let mut parsed = Vec::new();
    let mut payloads = Vec::new();
    while !rest.is_empty() {
        let fragment = rest;
        let Some(Any::Moof(moof)) = Any::decode_maybe(&mut rest).unwrap() else { panic!() };
        let Some(Any::Mdat(_)) = Any::decode_maybe(&mut rest).unwrap() else { panic!() };
        let length = fragment.len() - rest.len();
        payloads.extend(samples(&moof, &fragment[..length]));
        let decode_time = moof.traf[0].tfdt.as_ref().unwrap().base_media_decode_time;
        parsed.push(ParsedFragment { decode_time });
    }
    let expected: Vec<_> = chunk.units.iter().map(|unit| chunk.payload(unit)).collect();
    assert_eq!(payloads, expected);
    parsed
}

fn samples<'a>(moof: &Moof, fragment: &'a [u8]) -> Vec<&'a [u8]> {
    let trun = &moof.traf[0].trun[0];
    let mut rest = &fragment[trun.data_offset.unwrap() as usize..];
    let take = |entry: mp4_atom::TrunEntry| {
        let (sample, tail) = rest.split_at(entry.size.unwrap() as usize);
        rest = tail;
        sample
    };
    let samples = trun.samples.iter().map(take).collect();
    assert!(rest.is_empty(), "the mdat holds the samples and nothing else");
    samples
}
