//! `feeds.NAME`: sources of pictures and sound.

use super::common::{feed_keys, life};
use super::made::{Read, resolve};
use super::sources::{is_byte_source, kinds, one_kind, read_source};
use super::{bytes, controls, name, unit};
use crate::base::units::{FrameRate, Size};
use crate::config::problem::quote;
use crate::config::section::{Field, Report, flag, word};
use crate::config::settings::{ByteFeed, Feed, FeedAudio, Overlay, Rotation, Source, Turn};
use crate::model::ids::FeedName;

const OVERLAY: [&str; 3] = ["text", "clock", "name"];

/// The maximum length of an overlay's text, in characters.
const MAX_OVERLAY_CHARS: usize = 200;

const SIZE: Size = Size { width: 1280, height: 720 };

/// The track feeds and the byte feeds.
pub(in crate::config) fn feeds(
    field: &Field<'_>,
    report: &mut Report,
) -> (Vec<Feed>, Vec<ByteFeed>) {
    report.mapping(field);
    let (mut read, mut byte_feeds) = (Vec::new(), Vec::new());
    for key in field.keys() {
        let field = field.at(key);
        if is_byte_source(&field) {
            byte_feeds.extend(bytes::feed(key, &field, report));
        } else {
            read.extend(feed(key, &field, report));
        }
    }
    (resolve(read, &byte_feeds, field, report), byte_feeds)
}

fn feed(key: &str, field: &Field<'_>, report: &mut Report) -> Option<Read> {
    let named: Option<FeedName> = key.parse().map_err(|bad| report.add(field, name(bad))).ok();
    let source = if report.keys_beside_secrets(field, &feed_keys()) {
        source(field, report)
    } else {
        Source::TestClock
    };
    let (mode, resurrect) = life(field, report);
    let size = report.read(&field.at("size"), |text| text.parse().map_err(unit));
    let fps = report.read(&field.at("fps"), |text| text.parse().map_err(unit));
    let audio = audio(&field.at("audio"), &source, report);
    let controls = controls::controls(&field.at("controls"), &source, report);
    let overlay = overlay(&field.at("overlay"), report);
    let turn = turn(field, report);
    let feed = Feed {
        name: named?,
        source,
        mode,
        resurrect,
        size: size.unwrap_or(SIZE),
        fps: fps.unwrap_or_else(default_fps),
        audio,
        controls,
        overlay,
        turn,
    };
    Some(Read { feed, size, fps })
}

fn default_fps() -> FrameRate {
    FrameRate::new(30).expect("30 is in range")
}

pub(in crate::config) const AUDIO: [(&str, FeedAudio); 4] = [
    ("none", FeedAudio::None),
    ("silence", FeedAudio::Silence),
    ("tone", FeedAudio::Tone),
    ("own", FeedAudio::Own),
];

/// The audio; by default the own of a file, a pulled stream or another feed.
fn audio(field: &Field<'_>, source: &Source, report: &mut Report) -> FeedAudio {
    if !field.keys().is_empty() {
        report.keys(field, &["alsa"]);
        return report
            .read(&field.at("alsa"), sound_device)
            .map_or(FeedAudio::None, FeedAudio::Alsa);
    }
    let has_own = source.has_own_sound();
    let usual = if has_own { FeedAudio::Own } else { FeedAudio::None };
    let audio = report.read(field, word("a sound of a feed", &AUDIO)).unwrap_or(usual);
    if audio == FeedAudio::Own && !has_own {
        report.add(field, "only a `file`, `rtsp` and `feed` have a sound of their own");
        return FeedAudio::None;
    }
    audio
}

fn overlay(field: &Field<'_>, report: &mut Report) -> Overlay {
    report.keys(field, &OVERLAY);
    Overlay {
        text: report.read(&field.at("text"), line),
        clock: report.read(&field.at("clock"), flag).unwrap_or(false),
        name: report.read(&field.at("name"), flag).unwrap_or(false),
    }
}

fn line(text: &str) -> Result<String, String> {
    let is_line = text.chars().count() <= MAX_OVERLAY_CHARS && !text.chars().any(char::is_control);
    let wrong =
        || format!("{} is not one line of at most {MAX_OVERLAY_CHARS} characters", quote(text));
    is_line.then(|| text.to_owned()).ok_or_else(wrong)
}

pub(in crate::config) const ROTATIONS: [(&str, Rotation); 4] = [
    ("0", Rotation::None),
    ("90", Rotation::Quarter),
    ("180", Rotation::Half),
    ("270", Rotation::ThreeQuarters),
];

fn turn(field: &Field<'_>, report: &mut Report) -> Turn {
    let rotation = report.read(&field.at("rotation"), word("a rotation in degrees", &ROTATIONS));
    Turn {
        hflip: report.read(&field.at("hflip"), flag).unwrap_or(false),
        vflip: report.read(&field.at("vflip"), flag).unwrap_or(false),
        rotation: rotation.unwrap_or_default(),
    }
}

/// The source of a feed; a test picture after a reported problem.
fn source(field: &Field<'_>, report: &mut Report) -> Source {
    let is_of_a_kind = kinds().any(|kind| field.at(kind).is_given());
    if !is_of_a_kind && makes_sound(&field.at("audio")) {
        return Source::SoundOnly;
    }
    one_kind(field, report);
    read_source(field, report).unwrap_or(Source::TestClock)
}

/// Whether the audio is independent of a picture.
fn makes_sound(field: &Field<'_>) -> bool {
    let is_word = |field: &Field<'_>| {
        let mut ignored = Report::default();
        matches!(
            ignored.read(field, word("a sound", &AUDIO)),
            Some(FeedAudio::Silence | FeedAudio::Tone)
        )
    };
    !field.keys().is_empty() || is_word(field)
}

fn sound_device(text: &str) -> Result<String, String> {
    let is_device = !text.is_empty() && text.len() <= 200 && !text.chars().any(char::is_control);
    let wrong = || format!("{} is not a device; `arecord -L` lists them", quote(text));
    is_device.then(|| text.to_owned()).ok_or_else(wrong)
}
