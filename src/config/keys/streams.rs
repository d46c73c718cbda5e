//! `streams.NAME`: one encoding of a feed.

use std::time::Duration;

use super::common::{STREAM, feed_name, url_or_name};
use super::recordings::record;
use super::{bytes, name, refuse_templates, span, unit};
use crate::base::units::{Bitrate, FrameRate, Size};
use crate::config::problem::{either, quote};
use crate::config::section::{Field, Report, word};
use crate::config::settings::{
    ByteFeed, ByteStream, ENCODERS, EncoderSetting, Feed, Profile, Sound, Stream,
};
use crate::config::urls::stream_url;
use crate::model::ids::{FeedName, StreamName};

const GOP: Duration = Duration::from_secs(1);
const MIN_GOP: Duration = Duration::from_millis(100);
const MAX_GOP: Duration = Duration::from_secs(10);

/// The track streams and the byte streams.
pub(in crate::config) fn streams(
    field: &Field<'_>,
    (feeds, byte_feeds): (&[Feed], &[ByteFeed]),
    report: &mut Report,
) -> (Vec<Stream>, Vec<ByteStream>) {
    if report.mapping(field) && field.keys().is_empty() {
        report.add(field, "at least one stream is needed");
    }
    let (mut tracks, mut byte_streams) = (Vec::new(), Vec::new());
    for key in field.keys() {
        let field = field.at(key);
        refuse_templates(&field, report);
        if bytes::is_stream(key, &field, byte_feeds) {
            byte_streams.extend(bytes::stream(key, &field, report));
        } else {
            tracks.extend(stream(key, &field, feeds, report));
        }
    }
    (tracks, byte_streams)
}

fn stream(key: &str, field: &Field<'_>, feeds: &[Feed], report: &mut Report) -> Option<Stream> {
    let named: Option<StreamName> = key.parse().map_err(|bad| report.add(field, name(bad))).ok();
    report.keys(field, &STREAM);
    bytes::refuse_byte_keys(field, report);
    let pair = pair(field, report);
    let feed = match &pair {
        Some((video, _)) => video.clone().or_else(|| key.parse().ok()),
        None => report.read(&field.at("feed"), feed_name).or_else(|| key.parse().ok()),
    };
    let encoder = report.read(&field.at("encoder"), encoder);
    let bitrate = report.read(&field.at("bitrate"), |text| text.parse().map_err(unit));
    let gop = report.read(&field.at("gop"), |text| span(text, MIN_GOP, MAX_GOP, GOPS));
    let profile = report.read(&field.at("profile"), word("a profile of H.264", &PROFILES));
    let quality = report.read(&field.at("quality"), quality);
    let from = feeds.iter().find(|known| Some(&known.name) == feed.as_ref());
    let size = size(&field.at("size"), from, report);
    let fps = fps(&field.at("fps"), from, report);
    let sound = report.read(&field.at("audio"), word("a sound of a stream", &SOUNDS));
    let record = record(field, report);
    let url = named.as_ref().and_then(|named| url(named, field, report));
    let encoded = size.or(from.map(|feed| feed.size));
    Some(Stream {
        name: named?,
        feed: feed?,
        encoder: encoder.unwrap_or(EncoderSetting::Auto),
        bitrate: bitrate.unwrap_or_else(|| default_bitrate(encoded)),
        gop: gop.unwrap_or(GOP),
        profile: profile.unwrap_or(Profile::High),
        quality,
        size,
        fps,
        sound: match pair {
            Some((video, Some(audio))) if Some(&audio) != video.as_ref() => Sound::Of(audio),
            _ => sound.unwrap_or(Sound::Feed),
        },
        record,
        url: url.unwrap_or_default(),
    })
}

/// The default bitrate for this size; any value if the feed has a problem.
fn default_bitrate(size: Option<Size>) -> Bitrate {
    size.map_or(Bitrate::MIN, Bitrate::default_for)
}

/// The URL, by default `/NAME`; `None` after a reported problem.
fn url(named: &StreamName, field: &Field<'_>, report: &mut Report) -> Option<String> {
    url_or_name(named, field, stream_url, report)
}

/// The feeds of video and audio in `feeds`.
fn pair(field: &Field<'_>, report: &mut Report) -> Option<(Option<FeedName>, Option<FeedName>)> {
    let both = field.at("feeds");
    if !both.is_given() || !report.keys(&both, &["video", "audio"]) {
        return None;
    }
    for other in ["feed", "audio"].map(|key| field.at(key)).iter().filter(|key| key.is_given()) {
        report.add(other, "`feeds` says already where picture and sound come from");
    }
    let [video, audio] = ["video", "audio"].map(|key| {
        if !both.at(key).is_given() {
            report.add(&both, format!("needs a feed as `{key}`; a stream of one feed has `feed`"));
        }
        report.read(&both.at(key), feed_name)
    });
    Some((video, audio))
}

pub(in crate::config) const SOUNDS: [(&str, Sound); 2] =
    [("feed", Sound::Feed), ("none", Sound::None)];

/// The size, at most the feed's: a larger one would cost without benefit.
fn size(field: &Field<'_>, from: Option<&Feed>, report: &mut Report) -> Option<Size> {
    let size: Size = report.read(field, |text| text.parse().map_err(unit))?;
    let most = from?.turned_size();
    if size.width > most.width || size.height > most.height {
        report.add(field, format!("{size} is larger than the feed, which has {most}"));
    }
    Some(size)
}

/// The frame rate, at most the feed's.
fn fps(field: &Field<'_>, from: Option<&Feed>, report: &mut Report) -> Option<FrameRate> {
    let fps: FrameRate = report.read(field, |text| text.parse().map_err(unit))?;
    let most = from?.fps;
    if fps.fps() > most.fps() {
        report.add(field, format!("{fps} is more than the feed has, which is {most}"));
    }
    Some(fps)
}

pub(in crate::config) const PROFILES: [(&str, Profile); 3] =
    [("baseline", Profile::Baseline), ("main", Profile::Main), ("high", Profile::High)];

fn encoder(text: &str) -> Result<EncoderSetting, String> {
    if text == "auto" {
        return Ok(EncoderSetting::Auto);
    }
    let known = ENCODERS.iter().find(|known| **known == text);
    known.map(|known| EncoderSetting::Named((*known).to_owned())).ok_or_else(|| {
        let all: Vec<&str> = std::iter::once("auto").chain(ENCODERS).collect();
        format!("{} is not an encoder; use {}", quote(text), either(&all))
    })
}

fn quality(text: &str) -> Result<u8, String> {
    let number = text.parse().ok().filter(|quality| (10..=40).contains(quality));
    number.ok_or_else(|| format!("{} is not a quality from 10 (best) to 40, or null", quote(text)))
}

const GOPS: &str = "a distance of key frames from 0.1 s to 10 s (examples: 1s, 500ms, 2)";
