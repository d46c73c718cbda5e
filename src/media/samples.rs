//! H.264 and AAC for tests: real ones made by ffmpeg, and placeholders for tests
//! that do not decode.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use bytes::Bytes;

use super::h264::{NalType, nal_ranges};
use crate::base::time::MediaTime;
use crate::model::unit::{AccessUnit, TrackKind};

/// Parameters of a test video that x264 encodes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Video {
    pub(crate) size: &'static str,
    pub(crate) profile: &'static str,
    pub(crate) pixels: &'static str,
    pub(crate) fps: u32,
    pub(crate) gop: u32,
    pub(crate) b_frames: u32,
    pub(crate) seconds: u32,
}

impl Default for Video {
    fn default() -> Self {
        Self {
            size: "320x240",
            profile: "high",
            pixels: "yuv420p",
            fps: 30,
            gop: 15,
            b_frames: 0,
            seconds: 1,
        }
    }
}

impl Video {
    /// The access units in the form of an encoder, with delimiters.
    pub(crate) fn units(self) -> Vec<Bytes> {
        let source = format!("testsrc2=size={}:rate={}", self.size, self.fps);
        let gop = self.gop.to_string();
        let b_frames = self.b_frames.to_string();
        let seconds = self.seconds.to_string();
        let stream = ffmpeg(&[
            "-f",
            "lavfi",
            "-i",
            &source,
            "-t",
            &seconds,
            "-c:v",
            "libx264",
            "-preset",
            "superfast",
            "-pix_fmt",
            self.pixels,
            "-profile:v",
            self.profile,
            "-bf",
            &b_frames,
            "-g",
            &gop,
            "-x264-params",
            "aud=1:scenecut=0:b-adapt=0",
            "-f",
            "h264",
            "-",
        ]);
        let starts: Vec<_> = nal_ranges(&stream)
            .filter(|nal| NalType::of(stream[nal.start]) == NalType::AccessUnitDelimiter)
            .map(|nal| nal.start - 4)
            .collect();
        let ends = starts.iter().skip(1).copied().chain([stream.len()]);
        let stream = Bytes::from(stream.clone());
        starts.iter().zip(ends).map(|(&start, end)| stream.slice(start..end)).collect()
    }

    /// The access units with their times from `start` on; for video without B-frames.
    pub(crate) fn timed(self, start: MediaTime) -> Vec<AccessUnit> {
        let at = |index: usize| Duration::from_secs(1) * index as u32 / self.fps;
        let timed = |(index, data): (usize, Bytes)| AccessUnit {
            track: TrackKind::Video,
            pts: start + at(index),
            dts: start + at(index),
            duration: None,
            data,
        };
        self.units().into_iter().enumerate().map(timed).collect()
    }
}

/// One second of a tone in 48 kHz stereo AAC-LC, from `start` on.
pub(crate) fn tone(start: MediaTime) -> Vec<AccessUnit> {
    let adts = ffmpeg(&[
        "-f",
        "lavfi",
        "-i",
        "sine=frequency=440:sample_rate=48000",
        "-t",
        "1",
        "-ac",
        "2",
        "-c:a",
        "aac",
        "-f",
        "adts",
        "-",
    ]);
    let mut rest = Bytes::from(adts);
    let mut units = Vec::new();
    while !rest.is_empty() {
        let length =
            usize::from(rest[3] & 3) << 11 | usize::from(rest[4]) << 3 | usize::from(rest[5]) >> 5;
        let frame = rest.split_to(length);
        let at = start + Duration::from_secs(1) * 1024 * units.len() as u32 / 48_000;
        units.push(AccessUnit {
            track: TrackKind::Audio,
            pts: at,
            dts: at,
            duration: None,
            data: frame.slice(7..),
        });
    }
    units
}

/// Pictures with valid H.264 headers, 320x240 and 30 per second, with a key
/// frame every `gop` pictures; they cannot be decoded.
pub(crate) fn placeholders(start: MediaTime, count: u32, gop: u32) -> Vec<AccessUnit> {
    let picture = |index: u32| {
        let at = start + Duration::from_secs(1) * index / 30;
        let nals: &[&[u8]] = if index.is_multiple_of(gop) {
            &[SPS, PPS, &[0x65, 0x88, 0x84]]
        } else {
            &[&[0x41, 0x9a, 0x21]]
        };
        let mut data =
            nals.iter().flat_map(|nal| [&[0, 0, 0, 1], *nal].concat()).collect::<Vec<_>>();
        data.extend(index.to_be_bytes().map(|byte| byte | 0x80));
        AccessUnit { track: TrackKind::Video, pts: at, dts: at, duration: None, data: data.into() }
    };
    (0..count).map(picture).collect()
}

/// Parameter sets of x264: High profile, 320x240.
pub(crate) const SPS: &[u8] = &[
    0x67, 0x64, 0x00, 0x0d, 0xac, 0xb4, 0x0a, 0x0f, 0xd8, 0x08, 0x80, 0x00, 0x00, 0x03, 0x00, 0x80,
    0x00, 0x00, 0x1e, 0x07, 0x8a, 0x15, 0x50,
];
pub(crate) const PPS: &[u8] = &[0x68, 0xef, 0x0f, 0xcb];

/// Units of both tracks in the order of their times.
pub(crate) fn interleaved(mut units: Vec<AccessUnit>, more: Vec<AccessUnit>) -> Vec<AccessUnit> {
    units.extend(more);
    units.sort_by_key(|unit| unit.dts);
    units
}

/// Runs ffmpeg and returns what it writes to its standard output.
pub(crate) fn ffmpeg(arguments: &[&str]) -> Vec<u8> {
    run("ffmpeg", arguments).0
}

/// Decodes a whole file and returns ffmpeg's error messages.
pub(crate) fn decode(file: &Path) -> String {
    let file = file.to_str().expect("test paths are text");
    run("ffmpeg", &["-i", file, "-f", "null", "-"]).1
}

/// Returns the output of ffprobe for a file.
pub(crate) fn probe(file: &Path) -> serde_json::Value {
    let file = file.to_str().expect("test paths are text");
    let (json, complaints) =
        run("ffprobe", &["-show_streams", "-show_packets", "-of", "json", file]);
    assert_eq!(complaints, "");
    serde_json::from_slice(&json).expect("ffprobe writes JSON")
}

/// Writes `pieces` into a new temporary file.
pub(crate) fn file(pieces: &[Bytes]) -> tempfile::NamedTempFile {
    let mut file = tempfile::Builder::new().suffix(".mp4").tempfile().unwrap();
    for piece in pieces {
        file.write_all(piece).unwrap();
    }
    file
}

fn run(program: &str, arguments: &[&str]) -> (Vec<u8>, String) {
    let output = Command::new(program)
        .args(["-v", "error"])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("the tests need {program} (Debian: ffmpeg): {error}"));
    let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {complaints}");
    (output.stdout, complaints)
}
