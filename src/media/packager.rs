//! Turns the access units of a stream into the chunks that all its viewers share.
//!
//! A packager lives as long as its stream, over many runs of the pipeline, so
//! that viewers go on over a restart. No frame is held back: the chunk of a
//! picture is complete when that picture is pushed. It decides nothing about
//! readers and keeps no chunk.

mod chunk;
mod frame;
mod pending_units;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

pub use chunk::{Chunk, Init, Unit};

use super::aac::FRAME_SAMPLES;
use super::fmp4;
use super::h264::{MAX_UNIT, Malformed};
use crate::base::time::MediaTime;
use crate::model::track::{AudioInfo, Tracks, VideoInfo};
use crate::model::unit::{AccessUnit, TrackKind};
use chunk::Writer;
use frame::{Frame, ParameterSets};
use pending_units::PendingUnits;

/// Sounds that wait for a picture: above three frames of 30 per second, so
/// that they leave alone only where pictures fail to come.
const MAX_PENDING_SOUNDS: usize = 4;

/// Pictures wait so long for the description of their sound. A device that gives
/// none in this time is broken, and must not keep the picture from viewers; the
/// sound is added when it comes, as another generation.
const SILENCE: Duration = Duration::from_secs(5);

/// Sounds per chunk where there are no pictures: half the writes per viewer
/// for 21 ms of delay.
const PAIR: usize = 2;

/// The most sound that is kept for the key frame that brings its new
/// configuration into effect: about five seconds.
const MAX_PENDING: usize = 256;

/// The longest time that a frame may claim to last.
const MAX_DURATION: Duration = Duration::from_secs(10);

/// What a run promises to deliver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expect {
    /// The nominal frame duration, where there will be video.
    pub video: Option<Duration>,
    pub audio: bool,
}

/// What came out.
#[derive(Clone, Debug)]
pub enum Packaged {
    Init(Arc<Init>),
    Chunk(Arc<Chunk>),
}

/// See the module's description.
#[derive(Debug)]
pub struct Packager {
    /// When the run began.
    begin: MediaTime,
    expect: Expect,
    gate: Gate,
    /// Pictures are of no use before the next key frame.
    awaiting_key: bool,
    /// Those of the run's latest key frame.
    sets: Option<Arc<ParameterSets>>,
    audio: Option<AudioInfo>,
    /// Sounds that the next chunk takes along.
    pending: Vec<AccessUnit>,
    init: Option<Arc<Init>>,
    writer: Writer,
}

/// Whether a run's units leave.
#[derive(Debug)]
enum Gate {
    /// Not before there is a key frame and the sound's configuration, or that is
    /// waited for no longer.
    Closed(PendingUnits),
    Open,
}

impl Default for Packager {
    fn default() -> Self {
        Self::new()
    }
}

impl Packager {
    pub fn new() -> Self {
        Self {
            begin: MediaTime::default(),
            expect: Expect::default(),
            gate: Gate::Closed(PendingUnits::default()),
            awaiting_key: true,
            sets: None,
            audio: None,
            pending: Vec::new(),
            init: None,
            writer: Writer::default(),
        }
    }

    /// Begins a run. Nothing of the run before is used any further, except
    /// that equal tracks go on as the same generation. Units that were captured
    /// before `begin` are refused: they would be followed by a hole.
    pub fn begin_run(&mut self, begin: MediaTime, expect: Expect) {
        self.begin = begin;
        self.expect = expect;
        self.gate = Gate::Closed(PendingUnits::default());
        self.awaiting_key = true;
        self.sets = None;
        self.audio = None;
        self.pending.clear();
    }

    /// Tells what the sound that follows is like. A change takes effect with
    /// the next key frame; sound of the former kind that has not left is lost.
    pub fn audio_config(&mut self, info: AudioInfo) {
        if self.audio.as_ref() == Some(&info) {
            return;
        }
        self.audio = Some(info);
        self.pending.clear();
        if let Gate::Closed(held) = &mut self.gate {
            held.drop_audio();
        }
    }

    /// The tracks of the latest [`Init`] that left.
    pub fn tracks(&self) -> Option<&Tracks> {
        self.init.as_ref().map(|init| &init.tracks)
    }

    /// Takes one access unit and returns what is complete with it, in order.
    ///
    /// A unit of a track that the run did not promise, or from before the run,
    /// is ignored. A malformed
    /// one leaves everything as it was, except that after a malformed key frame
    /// pictures are skipped up to the next one.
    pub fn push(&mut self, unit: AccessUnit) -> Result<Vec<Packaged>, Malformed> {
        let mut out = Vec::new();
        if unit.pts < self.begin {
            return Ok(out);
        }
        match unit.track {
            TrackKind::Video if self.expect.video.is_some() => self.push_video(unit, &mut out)?,
            TrackKind::Audio if self.expect.audio => self.push_audio(unit, &mut out)?,
            TrackKind::Video | TrackKind::Audio => {}
        }
        Ok(out)
    }

    fn push_video(&mut self, unit: AccessUnit, out: &mut Vec<Packaged>) -> Result<(), Malformed> {
        let frame = Frame::read(unit, self.sets.as_ref()).map_err(|rejected| {
            self.awaiting_key |= rejected.key;
            rejected.why
        })?;
        match &frame.sets {
            Some(sets) => {
                self.sets = Some(Arc::clone(sets));
                self.awaiting_key = false;
            }
            None if self.awaiting_key => return Ok(()),
            None => {}
        }
        match &mut self.gate {
            Gate::Open => self.package_video(&frame, out),
            Gate::Closed(held) => {
                held.push_video(frame);
                self.awaiting_key = !held.has_video();
                self.open_if_ready(out);
            }
        }
        Ok(())
    }

    fn push_audio(&mut self, unit: AccessUnit, out: &mut Vec<Packaged>) -> Result<(), Malformed> {
        match unit.data.len() {
            0 => return Err(Malformed::EmptyAudio),
            length if length > MAX_UNIT => return Err(Malformed::TooLong(length)),
            _ => {}
        }
        match &mut self.gate {
            // Nobody could decode it.
            Gate::Open if self.audio.is_none() => {}
            Gate::Open => self.package_audio(unit, out),
            Gate::Closed(held) => {
                held.push_audio(unit);
                self.open_if_ready(out);
            }
        }
        Ok(())
    }

    /// Lets out what was held, once everything is there that was promised.
    fn open_if_ready(&mut self, out: &mut Vec<Packaged>) {
        let Gate::Closed(held) = &mut self.gate else { return };
        let rate = match &self.audio {
            Some(audio) => audio.rate,
            None if self.expect.audio && held.waited() < SILENCE => return,
            None => {
                held.drop_audio();
                1
            }
        };
        if self.expect.video.is_some() && !held.has_video() {
            return;
        }
        let frame_span = Duration::from_secs(1) * FRAME_SAMPLES / rate;
        let (video, mut audio) = std::mem::take(held).into_parts(frame_span);
        self.gate = Gate::Open;
        for frame in video {
            while let Some(unit) = audio.pop_front_if(|unit| unit.dts <= frame.unit.dts) {
                self.pending.push(unit);
            }
            self.package_video(&frame, out);
        }
        for unit in audio {
            self.package_audio(unit, out);
        }
    }

    fn package_video(&mut self, frame: &Frame, out: &mut Vec<Packaged>) {
        if let Some(sets) = &frame.sets {
            let video = Some(sets.info.clone());
            self.announce(Tracks { video, audio: self.promised_audio().cloned() }, out);
        }
        let Some(init) = &self.init else { return };
        let audio = if init.tracks.audio.as_ref() == self.promised_audio() {
            std::mem::take(&mut self.pending)
        } else {
            Vec::new()
        };
        let duration = self.duration_of(frame, init.tracks.video.as_ref());
        let chunk = self.writer.chunk(init, &audio, Some((frame, duration)));
        out.push(Packaged::Chunk(Arc::new(chunk)));
    }

    fn package_audio(&mut self, unit: AccessUnit, out: &mut Vec<Packaged>) {
        self.pending.push(unit);
        let has_video = self.expect.video.is_some();
        if self.pending.len() < if has_video { MAX_PENDING_SOUNDS } else { PAIR } {
            return;
        }
        if !has_video {
            self.announce(Tracks { video: None, audio: self.promised_audio().cloned() }, out);
        }
        match &self.init {
            Some(init) if init.tracks.audio == self.audio => {
                let audio = std::mem::take(&mut self.pending);
                let chunk = self.writer.chunk(init, &audio, None);
                out.push(Packaged::Chunk(Arc::new(chunk)));
            }
            // A new configuration waits for the next key frame.
            Some(_) | None => {
                let over = self.pending.len().saturating_sub(MAX_PENDING);
                self.pending.drain(..over);
            }
        }
    }

    /// Puts a new [`Init`] out if these tracks differ from those of the latest.
    fn announce(&mut self, tracks: Tracks, out: &mut Vec<Packaged>) {
        if self.tracks() == Some(&tracks) {
            return;
        }
        let generation = self.init.as_ref().map_or(1, |latest| latest.generation.wrapping_add(1));
        let bytes = fmp4::init_segment(&tracks);
        let video_bytes = match &tracks.audio {
            Some(_) => fmp4::init_segment(&Tracks { audio: None, ..tracks.clone() }),
            None => bytes.clone(),
        };
        let init = Arc::new(Init { generation, tracks, bytes, video_bytes });
        self.init = Some(Arc::clone(&init));
        out.push(Packaged::Init(init));
    }

    fn promised_audio(&self) -> Option<&AudioInfo> {
        self.audio.as_ref().filter(|_| self.expect.audio)
    }

    /// How long a frame is shown: as the feed says, as the encoder says, as was promised.
    fn duration_of(&self, frame: &Frame, info: Option<&VideoInfo>) -> Duration {
        let stated = frame.unit.duration.filter(|duration| !duration.is_zero());
        let duration = stated
            .or_else(|| info.and_then(|info| info.frame_duration))
            .or(self.expect.video)
            .unwrap_or_default();
        duration.min(MAX_DURATION)
    }
}
