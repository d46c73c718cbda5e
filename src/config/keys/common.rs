//! Keys that feeds and streams of tracks and of bytes have in common.

use std::path::PathBuf;
use std::time::Duration;

use super::{name, refuse_templates, span};
use crate::config::problem::quote;
use crate::config::section::{Field, Report, flag};
use crate::config::settings::Mode;
use crate::model::ids::{FeedName, StreamName};

const MAX_LINGER: Duration = Duration::from_secs(86_400);

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

pub(in crate::config) const STREAM: [&str; 18] = [
    "feed", "feeds", "encoder", "bitrate", "gop", "profile", "quality", "size", "fps", "audio",
    "command", "template", "args", "type", "client", "record", "url", "password",
];

/// The keys that select the source.
pub(super) const KINDS: [&str; 7] = ["test", "v4l2", "file", "rtsp", "feed", "command", "pipe"];

/// When a feed of either kind runs, and whether it is restarted.
pub(super) fn life(field: &Field<'_>, report: &mut Report) -> (Mode, bool) {
    refuse_templates(field, report);
    let mode = report.read(&field.at("mode"), mode).unwrap_or(Mode::OnDemand);
    (mode, report.read(&field.at("resurrect"), flag).unwrap_or(true))
}

/// Reports a feed without a source or with several.
pub(super) fn one_kind(field: &Field<'_>, report: &mut Report) {
    let kinds = KINDS.map(|kind| (kind, field.at(kind)));
    let mut given: Vec<_> = kinds.iter().filter(|(_, field)| field.is_given()).collect();
    if field.at("command").is_given() {
        // What the command reads.
        given.retain(|(kind, _)| *kind != "feed");
    }
    match given.as_slice() {
        [] => report.add(
            field,
            "needs a picture: `test: clock`, `v4l2:` with a device such as /dev/video0, \
             `file:` with a path, `rtsp:` with an address, or `feed:` with the name of another; \
             or a sound, as `audio: tone`; or bytes: `command:` or `pipe:`",
        ),
        [_] => {}
        [(first, _), others @ ..] => {
            for (_, other) in others {
                let message = format!("the feed has `{first}` already; only one may be given");
                report.add(other, message);
            }
        }
    }
}

/// The URL, parsed by `read`; by default the stream's name.
pub(super) fn url_or_name(
    named: &StreamName,
    field: &Field<'_>,
    read: impl Fn(&str) -> Result<String, String>,
    report: &mut Report,
) -> Option<String> {
    if field.at("url").is_given() {
        return report.read(&field.at("url"), read);
    }
    let default = read(named.as_str());
    default.map_err(|why| report.add(field, format!("needs a `url`: its name {why}"))).ok()
}

pub(super) fn absolute_path(text: &str) -> Result<PathBuf, String> {
    let is_path =
        text.starts_with('/') && !text.ends_with('/') && !text.chars().any(char::is_control);
    let wrong =
        || format!("{} is not the absolute path of a file, which begins with a slash", quote(text));
    is_path.then(|| PathBuf::from(text)).ok_or_else(wrong)
}

pub(super) fn feed_name(text: &str) -> Result<FeedName, String> {
    text.parse().map_err(name)
}

fn mode(text: &str) -> Result<Mode, String> {
    match text {
        "on-demand" => Ok(Mode::OnDemand),
        // `autostart` is the name in voyandz.
        "continuous" | "autostart" => Ok(Mode::Continuous),
        seconds => span(seconds, Duration::ZERO, MAX_LINGER, MODES).map(Mode::Linger),
    }
}

const MODES: &str = "a mode; use on-demand, continuous or a number of seconds from 0 to 86400";
