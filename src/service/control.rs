//! The control data that the livebox API edits, and the parsing of edits. Pure.
//!
//! All values of an edit are checked before any takes effect.

use serde::Serialize;

use crate::base::secret::Secret;
use crate::base::units::{Bitrate, FrameRate, Size};
use crate::config::settings::{self, PushAudio, Settings};
use crate::model::push_url::{PushUrl, is_placeholder};

/// Control data: the settings of the first stream and of its push.
#[derive(Clone, Debug, PartialEq)]
pub struct Control {
    /// The stream key.
    pub name: Option<Secret>,
    /// The receiver's URL. It may hold the key as well.
    pub url: Option<PushUrl>,
    pub resolution: Size,
    pub bitrate: Bitrate,
    pub audio: PushAudio,
    pub fps: FrameRate,
    /// H.264 quantiser, 10 (best) to 40.
    pub quality: Option<u8>,
}

/// Control data and the time of its last change.
#[derive(Clone, Debug)]
pub struct ControlState {
    pub control: Control,
    /// ISO 8601, UTC.
    pub changed: String,
}

impl ControlState {
    pub fn shown(&self) -> ControlView {
        self.control.shown(&self.changed)
    }
}

/// Control data as the API shows it: the key is masked.
#[derive(Clone, Debug, Serialize)]
pub struct ControlView {
    pub name: Option<String>,
    pub url: Option<String>,
    pub resolution: String,
    pub bitrate: u32,
    pub audio: &'static str,
    pub fps: u32,
    pub quality: Option<u8>,
    /// When the values were changed last.
    pub timestamp: String,
}

/// One field of an edit, from JSON or a form.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    pub key: String,
    /// `None` for JSON's `null`.
    pub value: Option<String>,
}

/// Why an edit is rejected. Never quotes the value: it may be a key.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EditError {
    /// `valid` describes the accepted values.
    #[error("Invalid value for '{field}'")]
    Value { field: String, valid: &'static str },
    #[error("Unknown field '{0}'")]
    Unknown(String),
    #[error("Field '{0}' occurs twice")]
    Twice(String),
}

/// The longest stream key that is accepted.
const MAX_KEY_BYTES: usize = 1024;

impl Control {
    /// The control data that the configuration has for `push` and its stream.
    pub fn from_settings(settings: &Settings, push: &settings::Push) -> Self {
        let stream = settings
            .streams
            .iter()
            .find(|stream| stream.name == push.stream)
            .expect("the check refuses a push without its stream");
        let feed = settings.feed_of(stream);
        Self {
            name: push.key.clone(),
            url: push.url.clone(),
            resolution: stream.size.unwrap_or(feed.size),
            bitrate: stream.bitrate,
            audio: push.audio,
            fps: stream.fps.unwrap_or(feed.fps),
            quality: stream.quality,
        }
    }

    /// The control data with its secrets masked; `changed` is the time of the last
    /// edit.
    pub fn shown(&self, changed: &str) -> ControlView {
        ControlView {
            name: self.shown_name(),
            url: self.shown_url(),
            resolution: self.resolution.name(),
            bitrate: self.bitrate.bps(),
            audio: audio_word(self.audio),
            fps: self.fps.fps(),
            quality: self.quality,
            timestamp: changed.to_owned(),
        }
    }

    /// A copy with `fields` applied. A new resolution sets its usual bit rate
    /// unless the edit has one. A `name` or `url` that equals its masked form
    /// stands for the current value, so that a form may send back what it shows.
    ///
    /// # Errors
    /// The first field that is unknown or has an invalid value; then nothing is
    /// applied.
    pub fn edited(&self, fields: &[Field]) -> Result<Self, EditError> {
        let mut edited = self.clone();
        let mut bitrate = None;
        for (index, field) in fields.iter().enumerate() {
            if fields[..index].iter().any(|earlier| earlier.key == field.key) {
                return Err(EditError::Twice(field.key.clone()));
            }
            match field.key.as_str() {
                "name" => edited.name = self.name_from(field)?,
                "url" => edited.url = self.url_from(field)?,
                "resolution" => edited.resolution = parsed(field, RESOLUTIONS)?,
                "bitrate" => bitrate = Some(parsed(field, BITRATES)?),
                "audio" => edited.audio = audio_from(field)?,
                "fps" | "framerate" => edited.fps = parsed(field, FRAME_RATES)?,
                "quality" => edited.quality = quality_from(field)?,
                // Accepted, so that a client may send back the whole object.
                "timestamp" => {}
                _ => return Err(EditError::Unknown(field.key.clone())),
            }
        }
        if let Some(bitrate) = bitrate {
            edited.bitrate = bitrate;
        } else if edited.resolution != self.resolution {
            edited.bitrate = Bitrate::default_for(edited.resolution);
        }
        Ok(edited)
    }

    /// As [`Control::edited`], for a form, which sends every value: an unchanged bit
    /// rate does not prevent a new resolution from setting its usual one.
    ///
    /// # Errors
    /// As [`Control::edited`].
    pub fn edited_by_form(&self, fields: &[Field]) -> Result<Self, EditError> {
        let rate = |field: &Field| field.value.as_deref()?.parse::<Bitrate>().ok();
        let is_unchanged =
            |field: &Field| field.key == "bitrate" && rate(field) == Some(self.bitrate);
        let changed = fields.iter().filter(|field| !is_unchanged(field)).cloned();
        self.edited(&changed.collect::<Vec<_>>())
    }

    /// The key, masked.
    pub fn shown_name(&self) -> Option<String> {
        self.name.as_ref().map(Secret::masked)
    }

    /// The URL, with key and password masked.
    pub fn shown_url(&self) -> Option<String> {
        self.url.as_ref().map(|url| url.shown(self.name.as_ref()))
    }

    fn name_from(&self, field: &Field) -> Result<Option<Secret>, EditError> {
        let valid = "the stream key of your channel, without spaces, or null";
        let Some(text) = filled(field) else { return Ok(None) };
        if Some(text) == self.shown_name().as_deref() {
            return Ok(self.name.clone());
        }
        let is_graphic = text.chars().all(|c| c.is_ascii_graphic());
        let is_key = is_graphic && text.len() <= MAX_KEY_BYTES && !is_placeholder(text);
        is_key.then(|| Some(Secret::new(text))).ok_or_else(|| invalid(field, valid))
    }

    fn url_from(&self, field: &Field) -> Result<Option<PushUrl>, EditError> {
        let Some(text) = filled(field) else { return Ok(None) };
        if Some(text) == self.shown_url().as_deref() {
            return Ok(self.url.clone());
        }
        text.parse().map(Some).map_err(|_| invalid(field, URLS))
    }
}

const URLS: &str = "rtmp://host/app or rtmps://host/app, a port from 1 to 65535, no placeholder as its key, or null";
const RESOLUTIONS: &str = "240p, 360p, 480p, 720p, 1080p, or WIDTHxHEIGHT";
const BITRATES: &str = "100k to 50M, like 800k, 1M or 100000";
const FRAME_RATES: &str = "1 to 120";

fn filled(field: &Field) -> Option<&str> {
    field.value.as_deref().map(str::trim).filter(|text| !text.is_empty())
}

fn parsed<T: std::str::FromStr>(field: &Field, valid: &'static str) -> Result<T, EditError> {
    filled(field).and_then(|text| text.parse().ok()).ok_or_else(|| invalid(field, valid))
}

fn audio_from(field: &Field) -> Result<PushAudio, EditError> {
    let text = filled(field).map(str::to_ascii_lowercase);
    match text.as_deref() {
        Some("silence") => Ok(PushAudio::Silence),
        Some("1khz" | "tone") => Ok(PushAudio::Tone),
        Some("feed") => Ok(PushAudio::Feed),
        _ => Err(invalid(field, "silence, 1kHz, feed")),
    }
}

/// The name of a push's audio source in the livebox API.
pub fn audio_word(audio: PushAudio) -> &'static str {
    match audio {
        PushAudio::Silence => "silence",
        PushAudio::Tone => "1kHz",
        PushAudio::Feed => "feed",
    }
}

fn quality_from(field: &Field) -> Result<Option<u8>, EditError> {
    let Some(text) = filled(field).filter(|text| *text != "null") else { return Ok(None) };
    let quality = text.parse().ok().filter(|quality| (10..=40).contains(quality));
    quality.map(Some).ok_or_else(|| invalid(field, "10 (best) to 40, or null"))
}

fn invalid(field: &Field, valid: &'static str) -> EditError {
    EditError::Value { field: field.key.clone(), valid }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control() -> Control {
        Control {
            name: None,
            url: None,
            resolution: "360p".parse().unwrap(),
            bitrate: "750k".parse().unwrap(),
            audio: PushAudio::Tone,
            fps: "25".parse().unwrap(),
            quality: None,
        }
    }

    fn field(key: &str, value: &str) -> Field {
        Field { key: key.to_owned(), value: Some(value.to_owned()) }
    }

    #[test]
    fn a_new_resolution_brings_its_usual_bit_rate() {
        let slow = control().edited(&[field("bitrate", "123000")]).unwrap();
        assert_eq!(slow.bitrate.bps(), 123_000);
        let edited = slow.edited(&[field("resolution", "480p")]).unwrap();
        assert_eq!(edited.bitrate.bps(), 1_000_000);
    }

    #[test]
    fn a_bit_rate_in_the_same_edit_wins_in_any_order() {
        let both = [field("bitrate", "800k"), field("resolution", "240p")];
        assert_eq!(control().edited(&both).unwrap().bitrate.bps(), 800_000);
    }

    #[test]
    fn a_form_that_leaves_the_bit_rate_alone_has_not_chosen_one() {
        let sent = [field("bitrate", "750000"), field("resolution", "480p")];
        assert_eq!(control().edited_by_form(&sent).unwrap().bitrate.bps(), 1_000_000);
        let sent = [field("bitrate", "900k"), field("resolution", "480p")];
        assert_eq!(control().edited_by_form(&sent).unwrap().bitrate.bps(), 900_000);
    }

    #[test]
    fn one_bad_value_refuses_the_whole_edit_by_name() {
        let error = control().edited(&[field("fps", "30"), field("resolution", "999p")]);
        assert_eq!(error.unwrap_err().to_string(), "Invalid value for 'resolution'");
    }

    #[test]
    fn bad_values_are_refused() {
        for (key, value) in [
            ("fps", "0"),
            ("fps", "25.5"),
            ("framerate", ""),
            ("bitrate", "fast"),
            ("quality", "9"),
            ("quality", "41"),
            ("audio", "loud"),
            ("url", "http://x/"),
            ("url", "rtmp://"),
            ("url", "rtmp:// x/y"),
            ("url", "rtmp://x:99999/y"),
            ("url", "rtmp://[::zz]/y"),
            ("name", "two words"),
            ("name", "YOUR-KEY"),
            ("url", "rtmp://x/live2/xxxx-xxxx"),
            ("colour", "red"),
        ] {
            assert!(control().edited(&[field(key, value)]).is_err(), "{key}={value}");
        }
        let twice = [field("fps", "25"), field("fps", "30")];
        assert_eq!(control().edited(&twice), Err(EditError::Twice("fps".to_owned())));
    }

    #[test]
    fn what_is_shown_never_holds_the_key_and_may_be_sent_back() {
        let edit = [field("url", "rtmp://u:p@a.example/live2/KEY-1234?x=KEY-1234")];
        let whole = control().edited(&edit).unwrap();
        let shown = whole.shown_url().unwrap();
        assert_eq!(shown, "rtmp://a.example/live2/••••••");
        assert_eq!(whole.edited(&[field("url", &shown)]).unwrap(), whole);

        let edit = [field("url", "rtmp://a.example/live2/"), field("name", "KEY-1234")];
        let split = control().edited(&edit).unwrap();
        assert_eq!(split.shown_name().unwrap(), "••••••34");
        assert_eq!(split.shown_url().unwrap(), "rtmp://a.example/live2/");
        let again = [field("name", "••••••34"), field("fps", "30")];
        assert_eq!(split.edited(&again).unwrap().name, split.name);
    }

    #[test]
    fn an_empty_value_clears_what_may_be_absent() {
        let set = control().edited(&[field("url", "rtmp://a/b"), field("quality", "20")]).unwrap();
        let cleared =
            set.edited(&[Field { key: "url".into(), value: None }, field("quality", "")]).unwrap();
        assert_eq!((cleared.url, cleared.quality), (None, None));
    }

    proptest::proptest! {
        #[test]
        fn no_refusal_quotes_a_key(key in "[a-zA-Z0-9]{12,30}", rest in ".{0,20}") {
            let fields = [field("url", &format!("http://x/{key}{rest}"))];
            let told = control().edited(&fields).unwrap_err().to_string();
            assert!(!told.contains(&key));
        }
    }
}
