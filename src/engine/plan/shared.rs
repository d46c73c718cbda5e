//! Launch lines of feeds that others take from, and of those who take.

use super::{
    AUDIO_BPS, AUDIO_TAIL, Capture, Form, PLAIN_TAIL, Plan, Reader, VIDEO_TAIL, Writes, render,
    word,
};
use crate::base::units::Size;
use crate::config::settings::{FeedAudio, Source, Transport};
use crate::model::given::Pictures;
use crate::model::unit::TrackKind;
use crate::profile::{self, Kind, ProfileError, Slot};

/// A track that comes from elsewhere, and what is done with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offered {
    pub kind: TrackKind,
    /// The folder of its profile: `pipelines/pulls` or `pipelines/tracks`.
    folder: Kind,
    profile: String,
    /// The element that decodes it, where that is always the same.
    decoder: &'static str,
}

/// Codecs that are found in bytes, by GStreamer's names (and, of audio/mpeg,
/// its version): the profile in `pipelines/tracks`, and the decoder.
const FOUND: [(&str, Option<i32>, TrackKind, &str, &str); 15] = [
    ("video/x-h264", None, TrackKind::Video, "h264", ""),
    ("video/x-h265", None, TrackKind::Video, "h265", ""),
    ("image/jpeg", None, TrackKind::Video, "picture", "jpegdec"),
    ("video/x-vp8", None, TrackKind::Video, "picture", "vp8dec"),
    ("video/x-vp9", None, TrackKind::Video, "picture", "vp9dec"),
    ("video/mpeg", None, TrackKind::Video, "picture", "mpeg2dec"),
    ("video/x-raw", None, TrackKind::Video, "picture", "identity"),
    ("audio/mpeg", Some(4), TrackKind::Audio, "aac", ""),
    ("audio/mpeg", Some(1), TrackKind::Audio, "sound", "mpg123audiodec"),
    ("audio/x-opus", None, TrackKind::Audio, "sound", "opusdec"),
    ("audio/x-vorbis", None, TrackKind::Audio, "sound", "vorbisdec"),
    ("audio/x-ac3", None, TrackKind::Audio, "sound", "a52dec"),
    ("audio/x-alaw", None, TrackKind::Audio, "sound", "alawdec"),
    ("audio/x-mulaw", None, TrackKind::Audio, "sound", "mulawdec"),
    ("audio/x-raw", None, TrackKind::Audio, "sound", "identity"),
];

impl Offered {
    /// A track that was found in bytes, if livebox can use it. `fits` tells
    /// whether it has this name and, where that is given, this version of MPEG.
    pub fn found(fits: impl Fn(&str, Option<i32>) -> bool) -> Option<Self> {
        let found = FOUND.iter().find(|(name, version, ..)| fits(name, *version));
        let (_, _, kind, profile, decoder) = *found?;
        Some(Self { kind, folder: Kind::Track, profile: profile.to_owned(), decoder })
    }

    /// A track of this medium and encoding that a server offers over RTSP, if
    /// livebox can use it. It is taken as its payload's name says (RFC 3551,
    /// section 6, and the names registered since).
    pub fn new(media: &str, encoding: &str) -> Option<Self> {
        let kind = match media {
            "video" => TrackKind::Video,
            "audio" => TrackKind::Audio,
            _ => return None,
        };
        let profile = encoding.to_ascii_lowercase();
        let is_video = VIDEO_PULLS.contains(&profile.as_str());
        let fits = (kind == TrackKind::Video) == is_video;
        let known = profile::names(Kind::Pull).any(|name| name == profile);
        (fits && known).then_some(Self { kind, folder: Kind::Pull, profile, decoder: "" })
    }

    /// What becomes of it, where it is video.
    pub fn pictures(&self) -> Pictures {
        if self.profile == "h264" { Pictures::H264 { in_order: true } } else { Pictures::Plain }
    }

    /// Whether it needs a decoder that is not always there.
    pub fn is_h265(&self) -> bool {
        self.profile == "h265"
    }
}

/// Those of `pipelines/pulls` that are pictures.
const VIDEO_PULLS: [&str; 3] = ["h264", "h265", "jpeg"];

impl Plan {
    /// The launch line of the feed alone, for several streams that share it.
    ///
    /// # Errors
    /// A profile that cannot take the values, by name.
    pub fn capture_line(&self, capture: Capture) -> Result<String, ProfileError> {
        if let Source::Made(_) = self.feed.source {
            return self.made_line(self, Pictures::Plain, "");
        }
        if self.feed.source == Source::SoundOnly {
            return Ok(self.sound(Reader::Livebox)?.unwrap_or_default());
        }
        let mut parts = vec![self.source(capture, Reader::Livebox)?];
        match capture.form {
            Form::Raw | Form::Mjpeg => {
                parts.extend(self.turned()?);
                parts.extend(self.overlaid(Writes::OfFeed)?);
                parts.push(PLAIN_TAIL.to_owned());
            }
            Form::H264 | Form::Coded(_) => parts.push(VIDEO_TAIL.to_owned()),
        }
        if self.feed_sounds(capture) {
            parts.extend(self.sound(Reader::Livebox)?);
        }
        Ok(parts.join(" "))
    }

    /// The launch line of the stream alone, which encodes what its feed gives.
    /// `decoder` is used where that is not plain.
    ///
    /// # Errors
    /// A profile that cannot take the values, by name.
    pub fn encode_line(
        &self,
        pictures: Pictures,
        decoder: &str,
        encoder: &str,
    ) -> Result<String, ProfileError> {
        let mut parts = Vec::new();
        match pictures {
            Pictures::Plain => {
                parts.push(render(Kind::Feed, "shared", &[])?);
                parts.extend(self.fitted()?);
                parts.extend(self.overlaid(Writes::OfStream)?);
            }
            Pictures::H264 { .. } => {
                parts.push(render(Kind::Feed, "shared-decoded", &[("decoder", word(decoder))])?);
                parts.push(self.brought_to_size()?);
                parts.extend(self.turned()?);
                parts.extend(self.overlaid(Writes::Both)?);
                parts.extend(self.fitted()?);
            }
        }
        parts.push(self.encoded(encoder)?);
        parts.push(VIDEO_TAIL.to_owned());
        Ok(parts.join(" "))
    }

    /// The launch line of a feed that is made from that of `base`, which gives
    /// these pictures.
    ///
    /// # Errors
    /// A profile that cannot take the values, by name.
    pub fn made_line(
        &self,
        base: &Plan,
        pictures: Pictures,
        decoder: &str,
    ) -> Result<String, ProfileError> {
        let mut parts = Vec::new();
        match pictures {
            Pictures::Plain => parts.push(render(Kind::Feed, "shared", &[])?),
            Pictures::H264 { .. } => {
                parts.push(render(Kind::Feed, "shared-decoded", &[("decoder", word(decoder))])?);
                parts.push(base.brought_to_size()?);
                parts.extend(base.turned()?);
                parts.extend(base.overlaid(Writes::OfFeed)?);
            }
        }
        parts.push(self.brought_to_size()?);
        parts.extend(self.turned()?);
        parts.extend(self.overlaid(Writes::OfFeed)?);
        parts.push(PLAIN_TAIL.to_owned());
        if self.feed.audio != FeedAudio::Own {
            parts.extend(self.sound(Reader::Livebox)?);
        }
        Ok(parts.join(" "))
    }

    /// The launch line of one track that comes from elsewhere; `decoder` is used
    /// for H.265.
    ///
    /// # Errors
    /// A profile that cannot take the values, by name.
    pub fn pulled_line(&self, track: &Offered, decoder: &str) -> Result<String, ProfileError> {
        let mut slots = vec![("bitrate_bps", Slot::Int(AUDIO_BPS))];
        let decoder = if track.is_h265() { decoder } else { track.decoder };
        if !decoder.is_empty() {
            slots.push(("decoder", word(decoder)));
        }
        let mut parts = vec![render(track.folder, &track.profile, &slots)?];
        match (track.kind, track.pictures()) {
            (TrackKind::Audio, _) => parts.push(AUDIO_TAIL.to_owned()),
            (TrackKind::Video, Pictures::H264 { .. }) => parts.push(VIDEO_TAIL.to_owned()),
            (TrackKind::Video, Pictures::Plain) => {
                parts.push(self.brought_to_size()?);
                parts.extend(self.turned()?);
                parts.extend(self.overlaid(Writes::OfFeed)?);
                parts.push(PLAIN_TAIL.to_owned());
            }
        }
        Ok(parts.join(" "))
    }

    /// The launch line of what fetches a stream over RTSP, without its tracks.
    ///
    /// # Errors
    /// A profile that cannot take the values, by name.
    pub fn pull_line(&self, transport: Transport) -> Result<String, ProfileError> {
        let word = word(match transport {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
        });
        let mut parts = vec![render(Kind::Feed, "rtsp", &[("transport", word)])?];
        if self.feed.audio != FeedAudio::Own {
            parts.extend(self.sound(Reader::Livebox)?);
        }
        Ok(parts.join(" "))
    }

    /// The launch line of what finds out what is in bytes, without its tracks.
    ///
    /// # Errors
    /// A profile that cannot take the values, by name.
    pub fn unpack_line(&self) -> Result<String, ProfileError> {
        let mut parts = vec![render(Kind::Feed, "bytes", &[])?];
        if self.feed.audio != FeedAudio::Own {
            parts.extend(self.sound(Reader::Livebox)?);
        }
        Ok(parts.join(" "))
    }

    /// What makes pictures of any size and rate those that the feed is set to.
    fn brought_to_size(&self) -> Result<String, ProfileError> {
        let Size { width, height } = self.feed.size;
        let slots = [
            ("fps", Slot::Int(self.feed.fps.fps())),
            ("width", Slot::Int(width)),
            ("height", Slot::Int(height)),
        ];
        render(Kind::Filter, "fit", &slots)
    }
}
