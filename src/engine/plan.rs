//! Builds the launch lines of pipelines from settings and profiles. Pure text.

mod remux;
mod shared;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use remux::{RemuxPlan, index_bytes, remux_line};
pub use shared::SourceTrack;

use serde::{Deserialize, Serialize};

use crate::base::units::{FrameRate, Size};
use crate::config::settings::{
    Control, EncoderSetting, Feed, FeedAudio, Overlay, Profile, PushAudio, Rotation, Sound, Source,
    Stream, Turn,
};
use crate::media::flv::Audio;
use crate::model::fault::ProfileError;
use crate::model::given::{Given, Pictures};
use crate::model::picture::Format;
use crate::profile::{self, Kind, Slot};

/// A stream with its feed: the settings of one pipeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub feed: Feed,
    pub stream: Stream,
}

/// The form in which a feed's device gives pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Raw video.
    Raw,
    /// Motion JPEG.
    Mjpeg,
    /// H.264 that passes through.
    H264,
    /// H.264 that this element decodes first.
    Coded(&'static str),
}

/// How a feed is captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capture {
    pub form: Form,
    /// The frame rate of the device as a fraction (frames, seconds). At least the
    /// rate of the plan.
    pub rate: (u32, u32),
    /// Whether the device or file has sound of its own.
    pub sound: bool,
}

impl Capture {
    /// Raw video at exactly the configured rate.
    pub fn plain(fps: FrameRate) -> Self {
        Self { form: Form::Raw, rate: (fps.fps(), 1), sound: false }
    }

    /// Whether frames must be dropped to reach `fps`. 29.97 counts as 30: a difference
    /// of up to half a percent is ignored.
    pub fn is_faster_than(self, fps: FrameRate) -> bool {
        let (rate, per) = (u64::from(self.rate.0), u64::from(self.rate.1));
        rate * 1000 > u64::from(fps.fps()) * per * 1005
    }
}

/// What reads a file feed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FileReader {
    /// Livebox hands its frames to the pipeline, in a loop.
    Livebox,
    /// The pipeline itself, once.
    Pipeline,
}

/// Which parts of the overlay a pipeline draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OverlayPart {
    /// The text and the clock, which belong to the feed.
    Feed,
    /// The name of the stream.
    Stream,
    Both,
}

/// The bit rate of AAC: enough for the test sounds, and accepted by YouTube.
const AUDIO_BPS: u32 = 64_000;

/// The format of silence and the test tone, as in their profiles.
pub const MADE_SOUND: Audio = Audio { rate: 44_100, channels: 2, bps: Some(AUDIO_BPS as u64) };

/// The planned rates of a stream, used before its frames are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nominal {
    pub fps: u32,
    pub video_bps: u32,
    /// None if the sound passes through or comes from another feed.
    pub audio_bps: Option<u32>,
}

/// The end of a video branch: access units in Annex B form, with parameter sets before
/// each key frame. The sink holds at most the one unit that is being read.
const VIDEO_TAIL: &str = "! h264parse config-interval=-1 \
     ! video/x-h264,stream-format=byte-stream,alignment=au \
     ! appsink name=video sync=false max-buffers=1 drop=true";

/// The end of a branch of raw video, for the encoders of several streams.
const PLAIN_TAIL: &str = "! appsink name=plain sync=false max-buffers=1 drop=true";

const AUDIO_TAIL: &str = "! audio/mpeg,mpegversion=4,stream-format=raw \
     ! appsink name=audio sync=false max-buffers=1 drop=true";

/// Without it, an appsink that is not read blocks at the end of the file.
const NO_WAIT_AT_EOS: &str = " wait-on-eos=false";

impl Plan {
    /// Whether this stream may pass a feed's own H.264 through.
    pub fn may_pass_through(&self) -> bool {
        self.stream.encoder == EncoderSetting::Auto
            && self.stream.quality.is_none()
            && self.stream.size.is_none()
            && self.stream.fps.is_none()
            && self.feed.overlay == Overlay::default()
            && self.feed.turn == Turn::default()
    }

    /// Whether this stream passes through what a shared feed gives.
    pub fn passes_through(&self, given: Given) -> bool {
        match given.pictures {
            Some(Pictures::H264 { in_order }) => in_order && self.may_pass_through(),
            Some(Pictures::Plain) => false,
            None => true,
        }
    }

    /// The size of the encoded pictures.
    pub fn size(&self) -> Size {
        self.stream.size.unwrap_or(self.feed.size)
    }

    /// The expected rates of its frames.
    pub fn nominal(&self) -> Nominal {
        let is_encoded = self.stream.sound == Sound::Feed
            && !matches!(self.feed.audio, FeedAudio::None | FeedAudio::Own);
        Nominal {
            fps: self.fps().fps(),
            video_bps: self.stream.bitrate.bps(),
            audio_bps: is_encoded.then_some(AUDIO_BPS),
        }
    }

    /// The encoded frames per second.
    pub fn fps(&self) -> FrameRate {
        self.stream.fps.unwrap_or(self.feed.fps)
    }

    /// Whether sound is configured; a feed's own may turn out to be missing.
    pub fn has_audio(&self) -> bool {
        match self.stream.sound {
            Sound::Feed => self.feed.audio != FeedAudio::None,
            Sound::None => false,
            Sound::Of(_) => true,
        }
    }

    /// Whether there is sound, given what the feed was found to have.
    pub fn has_sound(&self, capture: Capture) -> bool {
        self.has_audio() && self.feed_has_sound(capture)
    }

    /// Whether the feed has sound, given what it was found to have.
    pub fn feed_has_sound(&self, capture: Capture) -> bool {
        match self.feed.audio {
            FeedAudio::None => false,
            FeedAudio::Own => capture.sound,
            FeedAudio::Silence | FeedAudio::Tone | FeedAudio::Alsa(_) => true,
        }
    }

    /// The launch line of feed, encoder and sound; `encoder` names an encoder
    /// profile and is not used where H.264 passes through.
    ///
    /// # Errors
    /// A profile that cannot take the values, by name.
    pub fn launch_line(&self, capture: Capture, encoder: &str) -> Result<String, ProfileError> {
        self.line(capture, encoder, FileReader::Livebox)
    }

    /// As [`Plan::launch_line`], for `gst-launch-1.0`: a file is read by the pipeline
    /// itself, once.
    ///
    /// # Errors
    /// Likewise.
    pub fn gst_launch_line(&self, capture: Capture, encoder: &str) -> Result<String, ProfileError> {
        self.line(capture, encoder, FileReader::Pipeline)
    }

    fn line(
        &self,
        capture: Capture,
        encoder: &str,
        reader: FileReader,
    ) -> Result<String, ProfileError> {
        let mut parts = vec![self.source(capture, reader)?];
        if capture.form != Form::H264 {
            parts.extend(self.turn_filter()?);
            parts.extend(self.overlay_filter(OverlayPart::Both)?);
            parts.extend(self.fit_filter()?);
            parts.push(self.encoder_part(encoder)?);
        }
        parts.push(self.tail(VIDEO_TAIL, reader));
        if self.has_sound(capture) {
            parts.extend(self.sound(reader)?);
        }
        Ok(parts.join(" "))
    }

    fn encoder_part(&self, encoder: &str) -> Result<String, ProfileError> {
        Ok(format!("! {}", render(Kind::Encoder, encoder, &self.encoder_slots())?))
    }

    /// The filter that lowers frame rate or size, if the stream configures that.
    fn fit_filter(&self) -> Result<Option<String>, ProfileError> {
        let mut slots = Vec::new();
        if let Some(fps) = self.stream.fps.filter(|fps| fps.fps() < self.feed.fps.fps()) {
            slots.push(("fps", Slot::Int(fps.fps())));
        }
        if let Some(Size { width, height }) = self.stream.size {
            slots.extend([("width", Slot::Int(width)), ("height", Slot::Int(height))]);
        }
        if slots.is_empty() {
            return Ok(None);
        }
        render(Kind::Filter, "fit", &slots).map(Some)
    }

    fn source(&self, capture: Capture, reader: FileReader) -> Result<String, ProfileError> {
        let Size { width, height } = self.feed.size;
        let fps = self.feed.fps.fps();
        let (rate, per) = capture.rate;
        let mut slots = vec![
            ("width", Slot::Int(width)),
            ("height", Slot::Int(height)),
            ("fps", Slot::Int(fps)),
            ("rate", Slot::Int(rate)),
            ("per", Slot::Int(per)),
        ];
        if capture.is_faster_than(self.feed.fps) {
            slots.push(("fewer", Slot::Int(fps)));
        }
        let name = match &self.feed.source {
            Source::TestClock => "test",
            Source::V4l2(device) => {
                slots.push(("device", Slot::Text(device.to_string_lossy().into_owned())));
                slots
                    .extend(controls(&self.feed.controls).map(|all| ("controls", Slot::Text(all))));
                match capture.form {
                    Form::Raw => "v4l2-raw",
                    Form::Mjpeg => "v4l2-mjpeg",
                    Form::H264 | Form::Coded(_) => "v4l2-h264",
                }
            }
            Source::File(path) => {
                if reader == FileReader::Pipeline {
                    slots.push(("location", Slot::Text(path.to_string_lossy().into_owned())));
                }
                match capture.form {
                    Form::Coded(decoder) => {
                        slots.push(("decoder", word(decoder)));
                        "file-decoded"
                    }
                    Form::H264 | Form::Raw | Form::Mjpeg => "file",
                }
            }
            Source::SoundOnly | Source::Made(_) => return Ok(String::new()),
            // A line with H.264: the tracks are known only after the start.
            Source::Unpacked(_) => {
                let line = self.unpack_line()?;
                return Ok(format!("{line} ! {}", render(Kind::Track, "h264", &[])?));
            }
            // As above: the tracks are known only from the server's answer.
            Source::Rtsp(pull) => {
                let line = self.pull_line(pull.transport)?;
                return Ok(format!("{line} ! {}", render(Kind::Pull, "h264", &[])?));
            }
        };
        render(Kind::Feed, name, &slots)
    }

    fn encoder_slots(&self) -> Vec<(&'static str, Slot)> {
        let Stream { bitrate, profile, quality, gop, .. } = &self.stream;
        let mut slots = vec![
            ("bitrate_bps", Slot::Int(bitrate.bps())),
            ("bitrate_kbps", Slot::Int(bitrate.kbps())),
            ("gop", Slot::Int(gop_frames(*gop, self.fps()))),
            ("profile", word(caps_profile(*profile))),
            ("preset", word(if *profile == Profile::Baseline { "ultrafast" } else { "superfast" })),
            ("level", word(level(self.size(), self.fps(), bitrate.bps()))),
        ];
        if let Some(quality) = quality {
            slots.push(("quality", Slot::Int(u32::from(*quality))));
        }
        slots
    }

    /// The filter that turns the picture, if that is configured.
    fn turn_filter(&self) -> Result<Option<String>, ProfileError> {
        let Some(direction) = direction(self.feed.turn) else { return Ok(None) };
        let turn = render(Kind::Filter, "turn", &[("direction", word(direction))])?;
        Ok(Some(format!("! {turn}")))
    }

    /// The filter that draws the overlay, if there is any text.
    fn overlay_filter(&self, part: OverlayPart) -> Result<Option<String>, ProfileError> {
        let Overlay { text, clock, name } = &self.feed.overlay;
        let mut slots = Vec::new();
        let (of_feed, of_stream) = (part != OverlayPart::Stream, part != OverlayPart::Feed);
        if let Some(text) = text.as_ref().filter(|_| of_feed) {
            slots.push(("text", Slot::Text(escape_markup(text))));
        }
        if *name && of_stream {
            slots.push(("name", Slot::Text(escape_markup(self.stream.name.as_str()))));
        }
        if *clock && of_feed {
            slots.push(("clock", Slot::Int(1)));
        }
        if slots.is_empty() {
            return Ok(None);
        }
        Ok(Some(format!("! {}", render(Kind::Filter, "overlay", &slots)?)))
    }

    /// The branch of the feed's audio.
    fn sound(&self, reader: FileReader) -> Result<Option<String>, ProfileError> {
        let source = match &self.feed.audio {
            FeedAudio::None => return Ok(None),
            FeedAudio::Alsa(device) => {
                let slots =
                    [("device", Slot::Text(device.clone())), ("bitrate_bps", Slot::Int(AUDIO_BPS))];
                render(Kind::Audio, "alsa", &slots)?
            }
            FeedAudio::Own => {
                let alone = (reader == FileReader::Pipeline).then_some(("alone", Slot::Int(1)));
                render(Kind::Audio, "own", alone.as_slice())?
            }
            FeedAudio::Silence => test_sound("silence")?,
            FeedAudio::Tone => test_sound("tone")?,
        };
        Ok(Some(format!("{source} {}", self.tail(AUDIO_TAIL, reader))))
    }

    /// The end of a branch, with [`NO_WAIT_AT_EOS`] if the pipeline reads a file.
    fn tail(&self, tail: &str, reader: FileReader) -> String {
        let ends = matches!(self.feed.source, Source::File(_)) && reader == FileReader::Pipeline;
        [tail, if ends { NO_WAIT_AT_EOS } else { "" }].concat()
    }
}

/// The launch line of an RTMP push. The destination is not in it: it may hold
/// the key. `stream_has_audio` decides what `audio: feed` means.
///
/// # Errors
/// A profile that cannot take the values, by name.
pub fn push_line(audio: PushAudio, stream_has_audio: bool) -> Result<String, ProfileError> {
    let line = render(Kind::Push, "rtmp", &[])?;
    let sound = match (audio, stream_has_audio) {
        (PushAudio::Feed, true) => "appsrc name=audio is-live=true format=time".to_owned(),
        (PushAudio::Feed, false) | (PushAudio::Silence, _) => test_sound("silence")?,
        (PushAudio::Tone, _) => test_sound("tone")?,
    };
    Ok(format!("{line} {sound} ! aacparse ! mux."))
}

/// The launch line that decodes the frames of a still with this element.
///
/// # Errors
/// A profile that cannot take the values, by name.
pub fn decode_line(decoder: &str) -> Result<String, ProfileError> {
    render(Kind::Picture, "decode", &[("decoder", word(decoder))])
}

/// The launch line that decodes one picture of any encoding.
///
/// # Errors
/// The profile does not parse.
pub fn decode_any_line() -> Result<String, ProfileError> {
    render(Kind::Picture, "decode-any", &[])
}

/// The launch line that finds pictures in bytes.
///
/// # Errors
/// The profile does not parse.
pub fn extract_line() -> Result<String, ProfileError> {
    render(Kind::Picture, "bytes", &[])
}

/// The end of a branch that gives encoded key frames, of H.264 or another encoding.
///
/// # Errors
/// The profile does not parse.
pub fn intra_line(is_h264: bool) -> Result<String, ProfileError> {
    let slots = [("h264", word("h264parse"))];
    render(Kind::Picture, "intra", if is_h264 { &slots } else { &[] })
}

/// The launch line that encodes every frame of a stream as JPEG, scaled to
/// `size` (width and height) if there is one.
///
/// # Errors
/// A profile that cannot take the values, by name.
pub fn mjpeg_line(
    decoder: &str,
    quality: u8,
    size: Option<(u32, u32)>,
) -> Result<String, ProfileError> {
    let mut slots = vec![("decoder", word(decoder)), ("quality", Slot::Int(quality.into()))];
    if let Some((width, height)) = size {
        slots.extend([("width", Slot::Int(width)), ("height", Slot::Int(height))]);
    }
    render(Kind::Picture, "mjpeg", &slots)
}

/// The size of a `source` (width, height) scaled down to `width`, both even; none if
/// the source is not wider.
pub fn narrowed(source: (u32, u32), width: u32) -> Option<(u32, u32)> {
    let width = Some(width).filter(|width| *width < source.0)? & !1;
    let height = u64::from(source.1) * u64::from(width) / u64::from(source.0);
    let height = u32::try_from(height).unwrap_or(source.1) & !1;
    Some((width, height.max(2)))
}

/// The launch line that encodes a decoded picture as JPEG or PNG.
///
/// # Errors
/// A profile that cannot take the values, by name.
pub fn picture_line(format: Format, size: Option<(u32, u32)>) -> Result<String, ProfileError> {
    let mut slots = Vec::new();
    if let Some((width, height)) = size {
        slots.extend([("width", Slot::Int(width)), ("height", Slot::Int(height))]);
    }
    match format {
        Format::Jpg { quality } => {
            slots.push(("quality", Slot::Int(u32::from(quality))));
            render(Kind::Picture, "jpg", &slots)
        }
        Format::Png => render(Kind::Picture, "png", &slots),
    }
}

fn test_sound(name: &str) -> Result<String, ProfileError> {
    render(Kind::Audio, name, &[("bitrate_bps", Slot::Int(AUDIO_BPS))])
}

fn render(kind: Kind, name: &str, slots: &[(&str, Slot)]) -> Result<String, ProfileError> {
    let profile = profile::profile(kind, name).ok_or_else(|| ProfileError::Unknown {
        profile: name.to_owned(),
        known: profile::names(kind).collect::<Vec<_>>().join(", "),
    })?;
    profile.render(slots)
}

/// The controls of a camera, as a GStreamer structure. Values that are not numbers
/// are left out: [`super::controls`] replaces labels by numbers before.
fn controls(controls: &[Control]) -> Option<String> {
    let numbers = controls.iter().filter(|control| control.value.parse::<i32>().is_ok());
    let all: String =
        numbers.map(|Control { name, value }| format!(",{name}=(int){value}")).collect();
    (!all.is_empty()).then(|| format!("controls{all}"))
}

/// The `video-direction` of videoflip for a mirror and a rotation together.
fn direction(turn: Turn) -> Option<&'static str> {
    // Both mirrors together are half a turn.
    let (mirrored, quarters) = match (turn.hflip, turn.vflip) {
        (false, false) => (false, 0),
        (true, true) => (false, 2),
        (true, false) => (true, 0),
        (false, true) => (true, 2),
    };
    let quarters = match turn.rotation {
        Rotation::None => quarters,
        Rotation::Quarter => quarters + 1,
        Rotation::Half => quarters + 2,
        Rotation::ThreeQuarters => quarters + 3,
    } % 4;
    match (mirrored, quarters) {
        (false, 0) => None,
        (false, 1) => Some("90r"),
        (false, 2) => Some("180"),
        (false, _) => Some("90l"),
        (true, 0) => Some("horiz"),
        (true, 1) => Some("ur-ll"),
        (true, 2) => Some("vert"),
        (true, _) => Some("ul-lr"),
    }
}

/// Escapes text for an element that takes Pango markup.
fn escape_markup(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn word(text: &str) -> Slot {
    Slot::Word(text.to_owned())
}

/// The profile in GStreamer's caps. Baseline means constrained baseline: plain baseline
/// is not in use.
fn caps_profile(profile: Profile) -> &'static str {
    match profile {
        Profile::Baseline => "constrained-baseline",
        Profile::Main | Profile::High => profile.word(),
    }
}

/// At least one frame between key frames.
fn gop_frames(gop: Duration, fps: FrameRate) -> u32 {
    let frames = (gop.as_secs_f64() * f64::from(fps.fps())).round();
    (frames as u32).max(1)
}

/// The lowest H.264 level that the Pi's encoder is known to run well with: 4.2 for
/// more macroblocks per second than 1080p30, 4.1 for more than 10 Mbit/s.
fn level(size: Size, fps: FrameRate, bps: u32) -> &'static str {
    let macroblocks = size.width.div_ceil(16) * size.height.div_ceil(16) * fps.fps();
    match (macroblocks, bps) {
        (245_761.., _) => "4.2",
        (_, 10_000_001..) => "4.1",
        _ => "4",
    }
}
