//! Packages the access units of a stream into the chunks that all viewers share.
//!
//! A packager exists as long as its stream, over many runs of the pipeline, so
//! that viewers stay connected over a restart. It adds no delay: the chunk of a
//! picture is complete when that picture is pushed. It knows no readers and
//! keeps no chunk.

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

/// Audio frames that wait for the next picture. At most two do at 30 pictures
/// a second, so audio gets chunks of its own only when pictures are missing.
const MAX_PENDING_AUDIO: usize = 4;

/// How long video waits for the audio configuration. A device that gives none
/// in this time is broken and must not block the video; its audio is added when
/// it comes, as another generation.
const AUDIO_CONFIG_TIMEOUT: Duration = Duration::from_secs(5);

/// Audio frames per chunk of a stream without video: half the writes per viewer
/// for 21 ms of delay.
const AUDIO_ONLY_FRAMES: usize = 2;

/// Audio frames kept while a new audio configuration waits for a key frame:
/// about five seconds.
const MAX_PENDING: usize = 256;

/// Upper bound for the duration that a frame states.
const MAX_DURATION: Duration = Duration::from_secs(10);

/// The tracks that a run is expected to deliver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expect {
    /// The nominal frame duration; `None` without video.
    pub video: Option<Duration>,
    pub audio: bool,
}

/// The output of the packager.
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
    state: State,
    /// Pictures cannot be decoded before the next key frame.
    awaiting_key: bool,
    /// The parameter sets of the run's latest key frame.
    sets: Option<Arc<ParameterSets>>,
    audio: Option<AudioInfo>,
    /// Audio frames for the next chunk.
    pending: Vec<AccessUnit>,
    init: Option<Arc<Init>>,
    writer: Writer,
}

/// Whether a run has begun to output chunks.
#[derive(Debug)]
enum State {
    /// Waits for a key frame and the audio configuration, the latter for at
    /// most [`AUDIO_CONFIG_TIMEOUT`].
    Waiting(PendingUnits),
    Running,
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
            state: State::Waiting(PendingUnits::default()),
            awaiting_key: true,
            sets: None,
            audio: None,
            pending: Vec::new(),
            init: None,
            writer: Writer::default(),
        }
    }

    /// Begins a run and discards the state of the last one, except that equal
    /// tracks continue as the same generation. Units captured before `begin`
    /// are ignored: a gap would follow them.
    pub fn begin_run(&mut self, begin: MediaTime, expect: Expect) {
        self.begin = begin;
        self.expect = expect;
        self.state = State::Waiting(PendingUnits::default());
        self.awaiting_key = true;
        self.sets = None;
        self.audio = None;
        self.pending.clear();
    }

    /// Sets the configuration of the audio units that follow. A change takes
    /// effect with the next key frame; pending audio is discarded.
    pub fn audio_config(&mut self, info: AudioInfo) {
        if self.audio.as_ref() == Some(&info) {
            return;
        }
        self.audio = Some(info);
        self.pending.clear();
        if let State::Waiting(pending) = &mut self.state {
            pending.drop_audio();
        }
    }

    /// The tracks of the latest [`Init`].
    pub fn tracks(&self) -> Option<&Tracks> {
        self.init.as_ref().map(|init| &init.tracks)
    }

    /// Takes one access unit and returns the output that it completes, in order.
    ///
    /// A unit of an unexpected track, or from before the run, is ignored.
    ///
    /// # Errors
    /// The unit is malformed. It is skipped; after a malformed key frame, so are
    /// pictures up to the next key frame.
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
            rejected.error
        })?;
        match &frame.sets {
            Some(sets) => {
                self.sets = Some(Arc::clone(sets));
                self.awaiting_key = false;
            }
            None if self.awaiting_key => return Ok(()),
            None => {}
        }
        match &mut self.state {
            State::Running => self.package_video(&frame, out),
            State::Waiting(pending) => {
                pending.push_video(frame);
                self.awaiting_key = !pending.has_video();
                self.start_if_ready(out);
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
        match &mut self.state {
            // Without a configuration it cannot be decoded.
            State::Running if self.audio.is_none() => {}
            State::Running => self.package_audio(unit, out),
            State::Waiting(pending) => {
                pending.push_audio(unit);
                self.start_if_ready(out);
            }
        }
        Ok(())
    }

    /// Outputs the pending units once a key frame and the audio configuration
    /// are there, as far as they are expected.
    fn start_if_ready(&mut self, out: &mut Vec<Packaged>) {
        let State::Waiting(pending) = &mut self.state else { return };
        let rate = match &self.audio {
            Some(audio) => audio.rate,
            None if self.expect.audio && pending.waited() < AUDIO_CONFIG_TIMEOUT => return,
            None => {
                pending.drop_audio();
                1
            }
        };
        if self.expect.video.is_some() && !pending.has_video() {
            return;
        }
        let frame_span = Duration::from_secs(1) * FRAME_SAMPLES / rate;
        let (video, mut audio) = std::mem::take(pending).into_parts(frame_span);
        self.state = State::Running;
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
            self.set_tracks(Tracks { video, audio: self.expected_audio().cloned() }, out);
        }
        let Some(init) = &self.init else { return };
        let audio = if init.tracks.audio.as_ref() == self.expected_audio() {
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
        if self.pending.len() < if has_video { MAX_PENDING_AUDIO } else { AUDIO_ONLY_FRAMES } {
            return;
        }
        if !has_video {
            self.set_tracks(Tracks { video: None, audio: self.expected_audio().cloned() }, out);
        }
        match &self.init {
            Some(init) if init.tracks.audio == self.audio => {
                let audio = std::mem::take(&mut self.pending);
                let chunk = self.writer.chunk(init, &audio, None);
                out.push(Packaged::Chunk(Arc::new(chunk)));
            }
            // A new configuration waits for the next key frame.
            Some(_) | None => {
                let excess = self.pending.len().saturating_sub(MAX_PENDING);
                self.pending.drain(..excess);
            }
        }
    }

    /// Outputs a new [`Init`] if `tracks` differ from those of the latest one.
    fn set_tracks(&mut self, tracks: Tracks, out: &mut Vec<Packaged>) {
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

    fn expected_audio(&self) -> Option<&AudioInfo> {
        self.audio.as_ref().filter(|_| self.expect.audio)
    }

    /// The duration of a frame: from the feed, else from the SPS, else nominal.
    fn duration_of(&self, frame: &Frame, info: Option<&VideoInfo>) -> Duration {
        let stated = frame.unit.duration.filter(|duration| !duration.is_zero());
        let duration = stated
            .or_else(|| info.and_then(|info| info.frame_duration))
            .or(self.expect.video)
            .unwrap_or_default();
        duration.min(MAX_DURATION)
    }
}
