//! `feeds.NAME`: where a picture comes from.

use std::path::PathBuf;
use std::time::Duration;

use super::made::{Read, bring_together};
use super::pulls::pull;
use super::{bytes, controls, name, refuse_templates, span, unit};
use crate::base::units::{FrameRate, Size};
use crate::config::problem::quote;
use crate::config::section::{Report, Spot, flag, word};
use crate::config::settings::{ByteFeed, Feed, FeedAudio, Mode, Overlay, Rotation, Source, Turn};
use crate::model::ids::FeedName;

pub(in crate::config) const FEED: [&str; 22] = [
    "feed",
    "test",
    "v4l2",
    "file",
    "rtsp",
    "transport",
    "user",
    "password",
    "command",
    "template",
    "args",
    "pipe",
    "mode",
    "resurrect",
    "size",
    "fps",
    "audio",
    "controls",
    "overlay",
    "hflip",
    "vflip",
    "rotation",
];

/// Which of the keys say where a feed comes from.
const KINDS: [&str; 7] = ["test", "v4l2", "file", "rtsp", "feed", "command", "pipe"];

const OVERLAY: [&str; 3] = ["text", "clock", "name"];

/// More than that is no line over a picture.
const LONGEST_TEXT: usize = 200;

const SIZE: Size = Size { width: 1280, height: 720 };
const LONGEST_LINGER: Duration = Duration::from_secs(86_400);

/// The feeds that give pictures or sound, and those that give bytes.
pub(in crate::config) fn feeds(spot: &Spot<'_>, report: &mut Report) -> (Vec<Feed>, Vec<ByteFeed>) {
    report.mapping(spot);
    let (mut read, mut byte_feeds) = (Vec::new(), Vec::new());
    for key in spot.keys() {
        let spot = spot.at(key);
        if bytes::is_feed(&spot) {
            byte_feeds.extend(bytes::feed(key, &spot, report));
        } else {
            read.extend(feed(key, &spot, report));
        }
    }
    (bring_together(read, &byte_feeds, spot, report), byte_feeds)
}

fn feed(key: &str, spot: &Spot<'_>, report: &mut Report) -> Option<Read> {
    let named: Option<FeedName> = key.parse().map_err(|bad| report.tell(spot, name(bad))).ok();
    let source = if report.keys_beside_secrets(spot, &FEED) {
        source(spot, report)
    } else {
        Source::TestClock
    };
    let (mode, resurrect) = life(spot, report);
    let size = report.read(&spot.at("size"), |text| text.parse().map_err(unit));
    let fps = report.read(&spot.at("fps"), |text| text.parse().map_err(unit));
    let audio = audio(&spot.at("audio"), &source, report);
    let controls = controls::controls(&spot.at("controls"), &source, report);
    let overlay = overlay(&spot.at("overlay"), report);
    let turn = turn(spot, report);
    let feed = Feed {
        name: named?,
        source,
        mode,
        resurrect,
        size: size.unwrap_or(SIZE),
        fps: fps.unwrap_or_else(usual_fps),
        audio,
        controls,
        overlay,
        turn,
    };
    Some(Read { feed, size, fps })
}

/// How long a feed of any kind runs, and whether it is started again.
pub(super) fn life(spot: &Spot<'_>, report: &mut Report) -> (Mode, bool) {
    refuse_templates(spot, report);
    let mode = report.read(&spot.at("mode"), mode).unwrap_or(Mode::OnDemand);
    (mode, report.read(&spot.at("resurrect"), flag).unwrap_or(true))
}

fn usual_fps() -> FrameRate {
    FrameRate::new(30).expect("30 is in range")
}

const AUDIO: [(&str, FeedAudio); 4] = [
    ("none", FeedAudio::None),
    ("silence", FeedAudio::Silence),
    ("tone", FeedAudio::Tone),
    ("own", FeedAudio::Own),
];

/// The sound; that of a film or a fetched stream unless another is asked for.
fn audio(spot: &Spot<'_>, source: &Source, report: &mut Report) -> FeedAudio {
    if !spot.keys().is_empty() {
        report.keys(spot, &["alsa"]);
        return report
            .read(&spot.at("alsa"), sound_device)
            .map_or(FeedAudio::None, FeedAudio::Alsa);
    }
    let has_own = matches!(source, Source::File(_) | Source::Rtsp(_) | Source::Made(_));
    let usual = if has_own { FeedAudio::Own } else { FeedAudio::None };
    let audio = report.read(spot, word("a sound of a feed", &AUDIO)).unwrap_or(usual);
    if audio == FeedAudio::Own && !has_own {
        report.tell(spot, "only a `file`, `rtsp` and `feed` have a sound of their own");
        return FeedAudio::None;
    }
    audio
}

fn overlay(spot: &Spot<'_>, report: &mut Report) -> Overlay {
    report.keys(spot, &OVERLAY);
    Overlay {
        text: report.read(&spot.at("text"), line),
        clock: report.read(&spot.at("clock"), flag).unwrap_or(false),
        name: report.read(&spot.at("name"), flag).unwrap_or(false),
    }
}

fn line(text: &str) -> Result<String, String> {
    let is_line = text.chars().count() <= LONGEST_TEXT && !text.chars().any(char::is_control);
    let wrong = || format!("{} is not one line of at most {LONGEST_TEXT} characters", quote(text));
    is_line.then(|| text.to_owned()).ok_or_else(wrong)
}

const ROTATIONS: [(&str, Rotation); 4] = [
    ("0", Rotation::None),
    ("90", Rotation::Quarter),
    ("180", Rotation::Half),
    ("270", Rotation::ThreeQuarters),
];

fn turn(spot: &Spot<'_>, report: &mut Report) -> Turn {
    let rotation = report.read(&spot.at("rotation"), word("a rotation in degrees", &ROTATIONS));
    Turn {
        hflip: report.read(&spot.at("hflip"), flag).unwrap_or(false),
        vflip: report.read(&spot.at("vflip"), flag).unwrap_or(false),
        rotation: rotation.unwrap_or_default(),
    }
}

/// Tells a feed that is of no kind, or of several.
pub(super) fn one_kind(spot: &Spot<'_>, report: &mut Report) {
    let kinds = KINDS.map(|kind| (kind, spot.at(kind)));
    let mut given: Vec<_> = kinds.iter().filter(|(_, spot)| spot.is_given()).collect();
    if spot.at("command").is_given() {
        // What the command reads.
        given.retain(|(kind, _)| *kind != "feed");
    }
    match given.as_slice() {
        [] => report.tell(
            spot,
            "needs a picture: `test: clock`, `v4l2:` with a device such as /dev/video0, \
             `file:` with a path, `rtsp:` with an address, or `feed:` with the name of another; \
             or a sound, as `audio: tone`; or bytes: `command:` or `pipe:`",
        ),
        [_] => {}
        [(first, _), others @ ..] => {
            for (_, other) in others {
                let message = format!("the feed has `{first}` already; only one may be given");
                report.tell(other, message);
            }
        }
    }
}

/// The one source of a feed; a test picture where there is a problem.
fn source(spot: &Spot<'_>, report: &mut Report) -> Source {
    let is_of_a_kind = KINDS.iter().any(|kind| spot.at(kind).is_given());
    if !is_of_a_kind && makes_sound(&spot.at("audio")) {
        return Source::SoundOnly;
    }
    one_kind(spot, report);
    let clocks = [("clock", Source::TestClock)];
    let clock = report.read(&spot.at("test"), word("a test picture", &clocks));
    let device = report.read(&spot.at("v4l2"), device).map(Source::V4l2);
    let film = report.read(&spot.at("file"), whole_path).map(Source::File);
    let pull = pull(spot, report).map(Source::Rtsp);
    let other = report.read(&spot.at("feed"), |text| text.parse().map_err(name)).map(Source::Made);
    other.or(pull).or(film).or(device).or(clock).unwrap_or(Source::TestClock)
}

/// Whether there is a sound that needs no picture.
fn makes_sound(spot: &Spot<'_>) -> bool {
    let is_word = |spot: &Spot<'_>| {
        let mut unheard = Report::default();
        matches!(
            unheard.read(spot, word("a sound", &AUDIO)),
            Some(FeedAudio::Silence | FeedAudio::Tone)
        )
    };
    !spot.keys().is_empty() || is_word(spot)
}

pub(super) fn whole_path(text: &str) -> Result<PathBuf, String> {
    let is_path =
        text.starts_with('/') && !text.ends_with('/') && !text.chars().any(char::is_control);
    let wrong =
        || format!("{} is not the whole path of a file; it begins with a slash", quote(text));
    is_path.then(|| PathBuf::from(text)).ok_or_else(wrong)
}

fn sound_device(text: &str) -> Result<String, String> {
    let is_device = !text.is_empty() && text.len() <= 200 && !text.chars().any(char::is_control);
    let wrong = || format!("{} is not a device; `arecord -L` lists them", quote(text));
    is_device.then(|| text.to_owned()).ok_or_else(wrong)
}

fn device(text: &str) -> Result<PathBuf, String> {
    let rest = text.strip_prefix("/dev/").unwrap_or("");
    let is_device = !rest.is_empty()
        && !rest.chars().any(char::is_control)
        && !rest.split('/').any(|piece| matches!(piece, "" | "." | ".."));
    let wrong = || format!("{} is not a device; use one below /dev/, as /dev/video0", quote(text));
    is_device.then(|| PathBuf::from(text)).ok_or_else(wrong)
}

fn mode(text: &str) -> Result<Mode, String> {
    match text {
        "on-demand" => Ok(Mode::OnDemand),
        // The second is what voyandz calls it.
        "continuous" | "autostart" => Ok(Mode::Continuous),
        seconds => span(seconds, Duration::ZERO, LONGEST_LINGER, MODES).map(Mode::Linger),
    }
}

const MODES: &str = "a mode; use on-demand, continuous or a number of seconds from 0 to 86400";
