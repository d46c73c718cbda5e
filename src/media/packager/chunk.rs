//! The output of the packager: init segments and chunks, shared by all viewers.
//!
//! A chunk is written once into one buffer. Every other format of it (video
//! alone, one frame, Annex B) is a slice of that buffer or made once on demand.

use std::fmt;
use std::ops::Range;
use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;

use super::frame::Frame;
use crate::base::time::MediaTime;
use crate::media::aac::{FRAME_SAMPLES, adts_header};
use crate::media::fmp4::{self, Fragment, Sample, VIDEO_TIMESCALE};
use crate::model::track::{AudioInfo, Tracks};
use crate::model::unit::{AccessUnit, TrackKind};

/// An init segment. A new generation requires a new decoder.
#[derive(Debug, PartialEq, Eq)]
pub struct Init {
    pub generation: u32,
    pub tracks: Tracks,
    /// `ftyp` and `moov`.
    pub bytes: Bytes,
    /// The same with the video track alone.
    pub video_bytes: Bytes,
}

/// One write to a viewer: an audio fragment and then a video fragment with one
/// picture, or one of them. Each fragment is a `moof` and an `mdat`.
pub struct Chunk {
    /// The generation of its [`Init`].
    pub generation: u32,
    /// Whether a viewer can start here: the chunk holds an IDR picture, or the
    /// stream has no video.
    pub key: bool,
    pub bytes: Bytes,
    pub units: Vec<Unit>,
    audio_len: usize,
    annex_b: OnceLock<Bytes>,
}

/// One access unit inside a chunk, with its original times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    pub track: TrackKind,
    pub pts: MediaTime,
    pub dts: MediaTime,
    pub duration: Duration,
    pub key: bool,
    range: Range<usize>,
}

impl Chunk {
    /// The video fragment of [`Chunk::bytes`]; empty without video.
    pub fn video_bytes(&self) -> Bytes {
        self.bytes.slice(self.audio_len..)
    }

    /// The audio fragment of [`Chunk::bytes`]; empty without audio.
    pub fn audio_bytes(&self) -> Bytes {
        self.bytes.slice(..self.audio_len)
    }

    /// The same media as [`Chunk::bytes`] with video and audio in one fragment,
    /// as slices to be written in order.
    pub fn joint(&self) -> Vec<Bytes> {
        let (video, audio) = (self.video_bytes(), self.audio_bytes());
        if video.is_empty() || audio.is_empty() {
            return vec![self.bytes.clone()];
        }
        let payload = |fragment: &Bytes| fragment.slice(fmp4::header_len(fragment)..);
        let header = fmp4::joint_header(&video, &audio);
        vec![header.into(), payload(&video), payload(&audio)]
    }

    /// The length of [`Chunk::video_bytes`].
    pub fn video_len(&self) -> usize {
        self.bytes.len() - self.audio_len
    }

    pub fn has_video(&self) -> bool {
        self.audio_len < self.bytes.len()
    }

    pub fn has_audio(&self) -> bool {
        self.audio_len > 0
    }

    /// The decoding time of the picture; without one, of the first audio frame.
    pub fn start(&self) -> MediaTime {
        let first = self.video().or(self.units.first());
        first.map_or(MediaTime::default(), |unit| unit.dts)
    }

    /// The payload of one of [`Chunk::units`]: H.264 with a length of four bytes
    /// before each NAL unit, or a raw AAC frame. A slice, not a copy.
    pub fn payload(&self, unit: &Unit) -> Bytes {
        self.bytes.slice(unit.range.clone())
    }

    /// The picture as Annex B, each NAL unit after a four-byte start code; empty
    /// without video. Made for the first caller, shared by all.
    pub fn annex_b(&self) -> Bytes {
        let make = || self.video().map(|unit| annex_b(&self.bytes[unit.range.clone()]));
        self.annex_b.get_or_init(|| make().unwrap_or_default()).clone()
    }

    /// The audio frames as ADTS, each after its header; empty without audio.
    pub fn adts(&self, info: &AudioInfo) -> Vec<u8> {
        let mut bytes = Vec::new();
        for unit in self.units.iter().filter(|unit| unit.track == TrackKind::Audio) {
            let payload = &self.bytes[unit.range.clone()];
            bytes.extend_from_slice(&adts_header(info, payload.len()));
            bytes.extend_from_slice(payload);
        }
        bytes
    }

    /// The picture, if there is one.
    pub fn video(&self) -> Option<&Unit> {
        self.units.iter().find(|unit| unit.track == TrackKind::Video)
    }
}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chunk")
            .field("generation", &self.generation)
            .field("key", &self.key)
            .field("length", &self.bytes.len())
            .field("units", &self.units)
            .finish()
    }
}

/// Replaces each NAL unit's length by a start code of the same four bytes.
fn annex_b(avcc: &[u8]) -> Bytes {
    let mut bytes = avcc.to_vec();
    let mut rest = bytes.as_mut_slice();
    while let Some((length, tail)) = rest.split_first_chunk_mut::<4>() {
        let nal = u32::from_be_bytes(*length) as usize;
        *length = [0, 0, 0, 1];
        rest = tail.get_mut(nal..).unwrap_or_default();
    }
    bytes.into()
}

/// Writes chunks: numbers the fragments and keeps the decode times of each
/// track increasing.
#[derive(Debug, Default)]
pub(super) struct Writer {
    sequence: u32,
    video: Clock,
    audio: Clock,
}

impl Writer {
    /// Writes audio frames and a picture with its duration as one chunk of `init`.
    pub(super) fn chunk(
        &mut self,
        init: &Init,
        audio: &[AccessUnit],
        video: Option<(&Frame, Duration)>,
    ) -> Chunk {
        let audio_info = init.tracks.audio.as_ref().filter(|_| !audio.is_empty());
        let audio_part = audio_info.map(|info| (info.rate, self.audio_part(info.rate, audio)));
        let video_part = video.map(|video| (video, self.video_part(video)));
        let length = |part: &Part| part.fragment().total_len();
        let mut bytes = Vec::with_capacity(
            audio_part.as_ref().map_or(0, |(_, part)| length(part))
                + video_part.as_ref().map_or(0, |(_, part)| length(part)),
        );
        let mut units = Vec::with_capacity(audio.len() + 1);

        if let Some((rate, part)) = audio_part {
            part.fragment().write_header(&mut bytes);
            let nominal = Duration::from_secs(1) * FRAME_SAMPLES / rate;
            units.extend(audio.iter().map(|unit| write_audio(unit, nominal, &mut bytes)));
        }
        let audio_len = bytes.len();
        if let Some(((frame, duration), part)) = video_part {
            part.fragment().write_header(&mut bytes);
            units.push(write_video(frame, duration, &mut bytes));
        }
        Chunk {
            generation: init.generation,
            key: init.tracks.video.is_none() || units.last().is_some_and(Unit::starts_video),
            bytes: bytes.into(),
            units,
            audio_len,
            annex_b: OnceLock::new(),
        }
    }

    fn audio_part(&mut self, rate: u32, audio: &[AccessUnit]) -> Part {
        let starts: Vec<_> = audio.iter().map(|unit| self.audio.tick(unit.dts, rate)).collect();
        let duration = |index: usize| match starts.get(index + 1) {
            Some(next) => u32::try_from(next - starts[index]).unwrap_or(FRAME_SAMPLES),
            None => FRAME_SAMPLES,
        };
        let samples = audio.iter().enumerate().map(|(index, unit)| Sample {
            duration: duration(index),
            size: unit.data.len() as u32,
            key: true,
            composition: 0,
        });
        let decode_time = starts.first().copied().unwrap_or_default();
        self.part(TrackKind::Audio, decode_time, samples.collect())
    }

    fn video_part(&mut self, (frame, duration): (&Frame, Duration)) -> Part {
        let AccessUnit { pts, dts, .. } = frame.unit;
        let decode_time = self.video.tick(dts, VIDEO_TIMESCALE);
        let shift = pts.nearest_ticks(VIDEO_TIMESCALE).cast_signed()
            - dts.nearest_ticks(VIDEO_TIMESCALE).cast_signed();
        let span = MediaTime::default() + duration;
        let ticks = u32::try_from(span.nearest_ticks(VIDEO_TIMESCALE)).unwrap_or(u32::MAX);
        let sample = Sample {
            duration: ticks.max(1),
            size: frame.size() as u32,
            key: frame.is_key(),
            composition: i32::try_from(shift).unwrap_or(0),
        };
        self.part(TrackKind::Video, decode_time, vec![sample])
    }

    fn part(&mut self, track: TrackKind, decode_time: u64, samples: Vec<Sample>) -> Part {
        self.sequence = self.sequence.wrapping_add(1);
        Part { sequence: self.sequence, track, decode_time, samples }
    }
}

/// A fragment that owns its samples.
struct Part {
    sequence: u32,
    track: TrackKind,
    decode_time: u64,
    samples: Vec<Sample>,
}

impl Part {
    fn fragment(&self) -> Fragment<'_> {
        Fragment {
            sequence: self.sequence,
            track: self.track,
            decode_time: self.decode_time,
            samples: &self.samples,
        }
    }
}

impl Unit {
    fn starts_video(&self) -> bool {
        self.track == TrackKind::Video && self.key
    }
}

fn write_audio(unit: &AccessUnit, nominal: Duration, bytes: &mut Vec<u8>) -> Unit {
    let begin = bytes.len();
    bytes.extend_from_slice(&unit.data);
    Unit {
        track: TrackKind::Audio,
        pts: unit.pts,
        dts: unit.dts,
        duration: unit.duration.unwrap_or(nominal),
        key: true,
        range: begin..bytes.len(),
    }
}

fn write_video(frame: &Frame, duration: Duration, bytes: &mut Vec<u8>) -> Unit {
    let begin = bytes.len();
    for nal in frame.nals() {
        // Fits: `MAX_UNIT` bounds access units, and so their NAL units.
        bytes.extend_from_slice(&(nal.len() as u32).to_be_bytes());
        bytes.extend_from_slice(nal);
    }
    Unit {
        track: TrackKind::Video,
        pts: frame.unit.pts,
        dts: frame.unit.dts,
        duration,
        key: frame.is_key(),
        range: begin..bytes.len(),
    }
}

/// The latest decoding time of a track, in its ticks.
#[derive(Debug, Default)]
struct Clock(Option<u64>);

impl Clock {
    /// Returns `time` in ticks, or the tick after the latest if that is later:
    /// players stop at a `tfdt` that does not increase.
    fn tick(&mut self, time: MediaTime, timescale: u32) -> u64 {
        let tick = time.nearest_ticks(timescale);
        let tick = self.0.map_or(tick, |latest| tick.max(latest + 1));
        self.0 = Some(tick);
        tick
    }
}
