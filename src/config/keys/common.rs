//! Keys that feeds and streams of tracks and of bytes have in common.

use std::time::Duration;

use super::sources::kinds;
use super::{name, refuse_templates, span};
use crate::config::section::{Field, Report, flag};
use crate::config::settings::Mode;
use crate::model::ids::{FeedName, StreamName};

const MAX_LINGER: Duration = Duration::from_secs(86_400);

/// The keys of a feed besides those that select its source.
const FEED: [&str; 15] = [
    "transport",
    "user",
    "password",
    "template",
    "args",
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

/// All keys of a feed, those that select its source first.
pub(in crate::config) fn feed_keys() -> Vec<&'static str> {
    kinds().chain(FEED).collect()
}

/// When a feed of either kind runs, and whether it is restarted.
pub(super) fn life(field: &Field<'_>, report: &mut Report) -> (Mode, bool) {
    refuse_templates(field, report);
    let mode = report.read(&field.at("mode"), mode).unwrap_or(Mode::OnDemand);
    (mode, report.read(&field.at("resurrect"), flag).unwrap_or(true))
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
