//! Launch lines of shared feeds, and of the streams and feeds that are made from them.

use super::{
    AUDIO_BPS, AUDIO_TAIL, Capture, FileReader, Form, OverlayPart, PLAIN_TAIL, Plan, VIDEO_TAIL,
    render, word,
};
use crate::base::units::Size;
use crate::config::settings::{FeedAudio, Source, Transport};
use crate::model::fault::ProfileError;
use crate::model::given::Pictures;
use crate::model::unit::TrackKind;
use crate::profile::{self, Kind, Slot};

/// A track of an RTSP server or of a byte feed, and the profile that reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceTrack {
    pub kind: TrackKind,
    /// The folder of its profile: `pipelines/pulls` or `pipelines/tracks`.
    folder: Kind,
    profile: String,
    /// The element that decodes it, if it is always the same; else empty.
    decoder: &'static str,
}

/// Codecs of byte feeds, by GStreamer's media type (and the `mpegversion` of
/// audio/mpeg): the profile in `pipelines/tracks`, and the decoder.
const CODECS: [(&str, Option<i32>, TrackKind, &str, &str); 15] = [
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

impl SourceTrack {
    /// A track of a byte feed, if livebox supports it. `matches` compares its caps with
    /// a media type and, if given, an `mpegversion`.
    pub fn from_caps(matches: impl Fn(&str, Option<i32>) -> bool) -> Option<Self> {
        let found = CODECS.iter().find(|(name, version, ..)| matches(name, *version));
        let (_, _, kind, profile, decoder) = *found?;
        Some(Self { kind, folder: Kind::Track, profile: profile.to_owned(), decoder })
    }

    /// A track that an RTSP server offers with this medium and encoding name (RFC 3551,
    /// section 6, and later registrations), if livebox supports it.
    pub fn from_rtp(media: &str, encoding: &str) -> Option<Self> {
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

    /// The form in which the feed gives it, if it is video.
    pub fn pictures(&self) -> Pictures {
        if self.profile == "h264" { Pictures::H264 { in_order: true } } else { Pictures::Plain }
    }

    /// Whether it is H.265, whose decoder is optional.
    pub fn is_h265(&self) -> bool {
        self.profile == "h265"
    }
}

/// The profiles of `pipelines/pulls` for video.
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
            return Ok(self.sound(FileReader::Livebox)?.unwrap_or_default());
        }
        let mut parts = vec![self.source(capture, FileReader::Livebox)?];
        match capture.form {
            Form::Raw | Form::Mjpeg => {
                parts.extend(self.turn_filter()?);
                parts.extend(self.overlay_filter(OverlayPart::Feed)?);
                parts.push(PLAIN_TAIL.to_owned());
            }
            Form::H264 | Form::Coded(_) => parts.push(VIDEO_TAIL.to_owned()),
        }
        if self.feed_has_sound(capture) {
            parts.extend(self.sound(FileReader::Livebox)?);
        }
        Ok(parts.join(" "))
    }

    /// The launch line of the stream alone, which encodes what its feed gives.
    /// `decoder` is used if that is not raw video.
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
                parts.extend(self.fit_filter()?);
                parts.extend(self.overlay_filter(OverlayPart::Stream)?);
            }
            Pictures::H264 { .. } => {
                parts.push(render(Kind::Feed, "shared-decoded", &[("decoder", word(decoder))])?);
                parts.push(self.size_filter()?);
                parts.extend(self.turn_filter()?);
                parts.extend(self.overlay_filter(OverlayPart::Both)?);
                parts.extend(self.fit_filter()?);
            }
        }
        parts.push(self.encoder_part(encoder)?);
        parts.push(VIDEO_TAIL.to_owned());
        Ok(parts.join(" "))
    }

    /// The launch line of a feed that is made from the feed of `base`, which gives
    /// `pictures`.
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
                parts.push(base.size_filter()?);
                parts.extend(base.turn_filter()?);
                parts.extend(base.overlay_filter(OverlayPart::Feed)?);
            }
        }
        parts.push(self.size_filter()?);
        parts.extend(self.turn_filter()?);
        parts.extend(self.overlay_filter(OverlayPart::Feed)?);
        parts.push(PLAIN_TAIL.to_owned());
        if self.feed.audio != FeedAudio::Own {
            parts.extend(self.sound(FileReader::Livebox)?);
        }
        Ok(parts.join(" "))
    }

    /// The launch line of one source track; `decoder` is used for H.265.
    ///
    /// # Errors
    /// A profile that cannot take the values, by name.
    pub fn track_line(&self, track: &SourceTrack, decoder: &str) -> Result<String, ProfileError> {
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
                parts.push(self.size_filter()?);
                parts.extend(self.turn_filter()?);
                parts.extend(self.overlay_filter(OverlayPart::Feed)?);
                parts.push(PLAIN_TAIL.to_owned());
            }
        }
        Ok(parts.join(" "))
    }

    /// The launch line that pulls an RTSP stream, without the branches of its tracks.
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
            parts.extend(self.sound(FileReader::Livebox)?);
        }
        Ok(parts.join(" "))
    }

    /// The launch line that demultiplexes a byte feed, without the branches of its tracks.
    ///
    /// # Errors
    /// A profile that cannot take the values, by name.
    pub fn unpack_line(&self) -> Result<String, ProfileError> {
        let mut parts = vec![render(Kind::Feed, "bytes", &[])?];
        if self.feed.audio != FeedAudio::Own {
            parts.extend(self.sound(FileReader::Livebox)?);
        }
        Ok(parts.join(" "))
    }

    /// The filter that converts to the feed's size and frame rate.
    fn size_filter(&self) -> Result<String, ProfileError> {
        let Size { width, height } = self.feed.size;
        let slots = [
            ("fps", Slot::Int(self.feed.fps.fps())),
            ("width", Slot::Int(width)),
            ("height", Slot::Int(height)),
        ];
        render(Kind::Filter, "fit", &slots)
    }
}
