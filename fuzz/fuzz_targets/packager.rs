//! Arbitrary lives of a stream: runs, sound configurations, good and bad units.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use livebox::base::time::MediaTime;
use livebox::media::aac::{lc_config, parse_config};
use livebox::media::h264::nal_units;
use livebox::media::packager::{Expect, Packaged, Packager};
use livebox::model::unit::{AccessUnit, TrackKind};

#[derive(Arbitrary, Debug)]
enum Step {
    Run {
        begin: u32,
        video: bool,
        audio: bool,
    },
    KnownSound {
        mono: bool,
    },
    Sound(Vec<u8>),
    Audio {
        time: u32,
        data: Vec<u8>,
    },
    Video {
        time: u32,
        ahead: i16,
        duration: Option<u32>,
        data: Vec<u8>,
    },
    /// A key frame that begins well: mutation alone seldom finds one.
    Key {
        time: u32,
        sps: Vec<u8>,
        slice: Vec<u8>,
    },
}

const SPS: &[u8] = &[0, 0, 0, 1, 0x67, 0x42, 0xc0, 0x0a, 0xf8, 0x41, 0xa2];
const PPS: &[u8] = &[0, 0, 0, 1, 0x68, 0xce, 0x38, 0x80];

fuzz_target!(|steps: Vec<Step>| {
    let mut packager = Packager::new();
    let mut generation = 0;
    for step in steps {
        let unit = match step {
            Step::Run { begin, video, audio } => {
                let video = video.then(|| Duration::from_millis(33));
                packager.begin_run(at(begin), Expect { video, audio });
                continue;
            }
            Step::KnownSound { mono } => {
                let channels = if mono { 1 } else { 2 };
                packager.audio_config(lc_config(48_000, channels).expect("a usual sound"));
                continue;
            }
            Step::Sound(config) => {
                if let Ok(info) = parse_config(&config) {
                    packager.audio_config(info);
                }
                continue;
            }
            Step::Audio { time, data } => unit(TrackKind::Audio, time, 0, None, data),
            Step::Video { time, ahead, duration, data } => {
                unit(TrackKind::Video, time, ahead, duration, data)
            }
            Step::Key { time, sps, slice } => {
                let data = [SPS, &sps, PPS, &[0, 0, 1, 0x65, 0x88], &slice].concat();
                unit(TrackKind::Video, time, 0, None, data)
            }
        };
        for packaged in packager.push(unit).unwrap_or_default() {
            match packaged {
                Packaged::Init(init) => generation = init.generation,
                Packaged::Chunk(chunk) => {
                    assert_eq!(chunk.generation, generation);
                    assert_eq!(chunk.has_video(), !chunk.annex_b().is_empty());
                    assert_eq!(chunk.has_video(), nal_units(&chunk.annex_b()).next().is_some());
                    assert!(chunk.units.iter().all(|unit| !chunk.payload(unit).is_empty()));
                }
            }
        }
    }
});

fn unit(
    track: TrackKind,
    time: u32,
    ahead: i16,
    duration: Option<u32>,
    data: Vec<u8>,
) -> AccessUnit {
    let dts = at(time);
    let pts = MediaTime(dts.0.saturating_add_signed(i64::from(ahead) * 1_000_000));
    let duration = duration.map(|micros| Duration::from_micros(micros.into()));
    AccessUnit { track, pts, dts, duration, data: data.into() }
}

fn at(time: u32) -> MediaTime {
    MediaTime(MediaTime::ORIGIN.0 + u64::from(time) * 1000)
}
