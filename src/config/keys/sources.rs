//! The keys of `feeds.NAME` that select the source of a feed.

use std::path::PathBuf;

use super::name;
use super::pulls::pull;
use crate::config::problem::quote;
use crate::config::section::{Field, Report, word};
use crate::config::settings::Source;

/// Reads the source from the feed; `None` if its key is not given or is wrong.
type Read = fn(&Field<'_>, &mut Report) -> Option<Source>;

/// The kinds of feeds with tracks.
const TRACK_KINDS: [(&str, Read); 5] = [
    ("test", |feed, report| {
        let clock = [("clock", Source::TestClock)];
        report.read(&feed.at("test"), word("a test picture", &clock))
    }),
    ("v4l2", |feed, report| report.read(&feed.at("v4l2"), device).map(Source::V4l2)),
    ("file", |feed, report| report.read(&feed.at("file"), absolute_path).map(Source::File)),
    ("rtsp", |feed, report| pull(feed, report).map(Source::Rtsp)),
    ("feed", |feed, report| {
        report.read(&feed.at("feed"), |text| text.parse().map_err(name)).map(Source::Made)
    }),
];

/// The kinds of feeds of bytes.
const BYTE_KINDS: [&str; 2] = ["command", "pipe"];

/// The keys of all kinds.
pub(super) fn kinds() -> impl Iterator<Item = &'static str> {
    TRACK_KINDS.into_iter().map(|(key, _)| key).chain(BYTE_KINDS)
}

/// Reports a feed without a source or with several.
pub(super) fn one_kind(field: &Field<'_>, report: &mut Report) {
    let kinds = kinds().map(|kind| (kind, field.at(kind)));
    let mut given: Vec<_> = kinds.filter(|(_, field)| field.is_given()).collect();
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

/// The source of a feed with tracks. Reads all kinds, so that every wrong value is
/// reported.
pub(super) fn read_source(feed: &Field<'_>, report: &mut Report) -> Option<Source> {
    let read: Vec<_> = TRACK_KINDS.iter().map(|(_, read)| read(feed, report)).collect();
    read.into_iter().flatten().next()
}

pub(super) fn is_byte_source(feed: &Field<'_>) -> bool {
    BYTE_KINDS.iter().any(|kind| feed.at(kind).is_given())
}

pub(super) fn absolute_path(text: &str) -> Result<PathBuf, String> {
    let is_path =
        text.starts_with('/') && !text.ends_with('/') && !text.chars().any(char::is_control);
    let wrong =
        || format!("{} is not the absolute path of a file, which begins with a slash", quote(text));
    is_path.then(|| PathBuf::from(text)).ok_or_else(wrong)
}

fn device(text: &str) -> Result<PathBuf, String> {
    let rest = text.strip_prefix("/dev/").unwrap_or("");
    let is_device = !rest.is_empty()
        && !rest.chars().any(char::is_control)
        && !rest.split('/').any(|piece| matches!(piece, "" | "." | ".."));
    let wrong = || format!("{} is not a device; use one below /dev/, as /dev/video0", quote(text));
    is_device.then(|| PathBuf::from(text)).ok_or_else(wrong)
}
