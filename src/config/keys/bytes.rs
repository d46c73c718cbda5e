//! Byte feeds and byte streams.
//!
//! A feed with a `command` or a `pipe` is a byte feed. A stream of a byte feed,
//! or with a `command` of its own, is a byte stream.

use super::common::{STREAM, feed_keys, feed_name, life, url_or_name};
use super::name;
use super::recordings::record;
use super::sources::{absolute_path, one_kind};
use crate::config::problem::quote;
use crate::config::section::{Field, Report, word};
use crate::config::settings::{ByteFeed, ByteSource, ByteStream, Client, CommandLine, Record};
use crate::config::urls::byte_stream_url;
use crate::model::ids::{FeedName, StreamName};

/// Keys that a byte feed does not have.
const PICTURE_KEYS: [&str; 11] = [
    "size",
    "fps",
    "audio",
    "controls",
    "overlay",
    "hflip",
    "vflip",
    "rotation",
    "transport",
    "user",
    "password",
];

/// Keys that a byte stream does not have.
const TRACK_KEYS: [&str; 9] =
    ["feeds", "encoder", "bitrate", "gop", "profile", "quality", "size", "fps", "audio"];

/// Keys that only a byte stream has.
const BYTE_KEYS: [&str; 2] = ["type", "client"];

const MAX_TYPE_BYTES: usize = 200;

/// The content type if neither `type` nor the URL gives one.
const DEFAULT_TYPE: &str = "application/octet-stream";

/// Content types by the suffix of the URL. The boundary is the default of
/// ffmpeg's mpjpeg muxer.
const TYPES: [(&str, &str); 12] = [
    (".ts", "video/mp2t"),
    (".mp4", "video/mp4"),
    (".webm", "video/webm"),
    (".mkv", "video/x-matroska"),
    (".flv", "video/x-flv"),
    (".h264", "video/h264"),
    (".mjpg", "multipart/x-mixed-replace;boundary=ffmpeg"),
    (".mjpeg", "multipart/x-mixed-replace;boundary=ffmpeg"),
    (".wav", "audio/wav"),
    (".mp3", "audio/mpeg"),
    (".aac", "audio/aac"),
    (".ogg", "audio/ogg"),
];

pub(super) fn feed(key: &str, field: &Field<'_>, report: &mut Report) -> Option<ByteFeed> {
    let named: Option<FeedName> = key.parse().map_err(|bad| report.add(field, name(bad))).ok();
    report.keys(field, &feed_keys());
    one_kind(field, report);
    for key in PICTURE_KEYS.iter().filter(|key| field.at(key).is_given()) {
        let message = format!(
            "a feed of this kind gives bytes that livebox passes on as they are; it has no `{key}`"
        );
        report.add(&field.at(key), message);
    }
    let from = report.read(&field.at("feed"), feed_name);
    let command = report.read(&field.at("command"), command).map(|line| match from {
        Some(from) => ByteSource::Made(line, from),
        None => ByteSource::Command(line),
    });
    let pipe = report.read(&field.at("pipe"), absolute_path).map(ByteSource::Pipe);
    let (mode, resurrect) = life(field, report);
    // After a reported problem, a stand-in avoids further ones at its streams.
    let source = command.or(pipe).unwrap_or_else(|| ByteSource::Pipe("/".into()));
    Some(ByteFeed { name: named?, source, mode, resurrect })
}

/// Whether the stream `key` is a byte stream.
pub(super) fn is_stream(key: &str, field: &Field<'_>, feeds: &[ByteFeed]) -> bool {
    let feed = field.at("feed");
    let shows = |known: &ByteFeed| match feed.is_given() {
        true => feed.reads(known.name.as_str()),
        false => known.name.as_str() == key,
    };
    field.at("command").is_given() || feeds.iter().any(shows)
}

/// Reports keys of a track stream that only byte streams have.
pub(super) fn refuse_byte_keys(field: &Field<'_>, report: &mut Report) {
    for key in BYTE_KEYS.iter().filter(|key| field.at(key).is_given()) {
        let message = format!(
            "only a stream of bytes has a `{key}`: one with a `command`, or whose feed is a \
             `command` or a `pipe`"
        );
        report.add(&field.at(key), message);
    }
}

pub(super) fn stream(key: &str, field: &Field<'_>, report: &mut Report) -> Option<ByteStream> {
    let named: Option<StreamName> = key.parse().map_err(|bad| report.add(field, name(bad))).ok();
    report.keys(field, &STREAM);
    for key in TRACK_KEYS.iter().filter(|key| field.at(key).is_given()) {
        let message = format!(
            "a stream of bytes is passed on as it is and has no `{key}`; its `command` may encode it"
        );
        report.add(&field.at(key), message);
    }
    let has_command = field.at("command").is_given();
    let given = report.read(&field.at("feed"), feed_name);
    // A command reads a feed only if it is named; there is no default.
    let feed = if has_command || field.at("feed").is_given() { given } else { key.parse().ok() };
    let command = report.read(&field.at("command"), command);
    let content_type = report.read(&field.at("type"), content_type);
    let client = report.read(&field.at("client"), word("a kind of client", &CLIENTS));
    if client.is_some_and(|client| client != Client::Shared) && !has_command {
        let message = "a feed runs once for all; a `command` of the stream can run for each client";
        report.add(&field.at("client"), message);
    }
    let record = record(field, report);
    if client == Some(Client::Shot) && record != Record::Off {
        report.add(&field.at("record"), "a shot is one answer; there is nothing to record");
    }
    let url = named.as_ref().and_then(|named| url_or_name(named, field, byte_stream_url, report));
    let url = url.unwrap_or_default();
    Some(ByteStream {
        name: named?,
        feed,
        command,
        content_type: content_type.unwrap_or_else(|| type_by_suffix(&url)),
        client: client.unwrap_or(Client::Shared),
        record,
        url,
    })
}

pub(in crate::config) const CLIENTS: [(&str, Client); 3] =
    [("shared", Client::Shared), ("exclusive", Client::Exclusive), ("shot", Client::Shot)];

fn type_by_suffix(url: &str) -> String {
    let known = TYPES.iter().find(|(ending, _)| url.ends_with(ending));
    known.map_or(DEFAULT_TYPE, |(_, usual)| usual).to_owned()
}

/// Splits the text like a shell. Problems do not show it: commands may contain
/// passwords.
fn command(text: &str) -> Result<CommandLine, String> {
    if text.chars().any(|c| c.is_control() && !c.is_whitespace()) {
        return Err("the command has a control character in it".to_owned());
    }
    let words = shlex::split(text).ok_or("the command has a quote that is not closed")?;
    let mut words = words.into_iter();
    match words.next() {
        Some(program) if !program.is_empty() => {
            Ok(CommandLine { program, arguments: words.collect() })
        }
        _ => Err("the command is empty".to_owned()),
    }
}

fn content_type(text: &str) -> Result<String, String> {
    let is_header =
        text.len() <= MAX_TYPE_BYTES && text.bytes().all(|b| (b' '..=b'~').contains(&b));
    let kind = text.split_once('/').filter(|(left, right)| !left.is_empty() && !right.is_empty());
    let wrong = || format!("{} is not a content type, such as video/mp2t", quote(text));
    (is_header && kind.is_some()).then(|| text.to_owned()).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse_text;
    use crate::config::settings::Mode;

    /// What a person would read for this text.
    fn told(text: &str) -> String {
        let problems = parse_text(text).expect_err("the text has a mistake");
        problems.iter().map(|problem| format!("{problem}\n")).collect()
    }

    #[test]
    fn a_command_is_split_as_a_shell_would_and_has_no_default_feed() {
        let settings = parse_text(
            "feeds: {a: {command: \"gen 'a b' --c=\\\"d e\\\" f\\\\ g\", mode: 5, resurrect: no}}\n\
             streams: {a: {}, b: {command: date}, c: {feed: a, command: cat, url: /c.ts}}\n",
        )
        .unwrap();
        let feed = &settings.byte_feeds[0];
        let ByteSource::Command(command) = &feed.source else { panic!("{feed:?}") };
        assert_eq!(command.program, "gen");
        assert_eq!(command.arguments, ["a b", "--c=d e", "f g"]);
        assert_eq!(
            (feed.mode, feed.resurrect),
            (Mode::Linger(std::time::Duration::from_secs(5)), false)
        );
        let [plain, alone, both] = settings.byte_streams.as_slice() else {
            panic!("three streams")
        };
        assert_eq!((&plain.feed, &plain.command), (&"a".parse().ok(), &None));
        assert_eq!((alone.feed.as_ref(), alone.content_type.as_str()), (None, DEFAULT_TYPE));
        assert_eq!((&both.feed, both.content_type.as_str()), (&"a".parse().ok(), "video/mp2t"));
        assert!(settings.streams.is_empty());
    }

    #[test]
    fn a_feed_of_bytes_is_made_from_another_one_by_a_command() {
        let settings = parse_text(
            "feeds: {a: {command: gen}, b: {feed: a, command: cat}, c: {feed: b}}\n\
             streams: {b: {url: /b.ts}, c: {}}\n",
        )
        .unwrap();
        assert_eq!(settings.byte_feeds[1].made_from(), "a".parse().ok().as_ref());
        assert_eq!(settings.feeds[0].source.unpacked_from(), "b".parse().ok().as_ref());

        let said = told(
            "feeds:\n  a: {feed: b, command: cat}\n  b: {feed: a, command: cat}\n  \
             c: {test: clock}\n  d: {feed: c, command: cat}\n  e: {feed: x, command: cat}\n  \
             f: {feed: a, pipe: /f}\n\
             streams: {a: {}, c: {}, d: {}, e: {}, f: {}}\n",
        );
        for part in [
            "feeds.a.feed (line 2): a is made from itself",
            "feeds.b.feed (line 3): b is made from itself",
            "feeds.d.feed (line 5): the feed c gives pictures, not bytes",
            "feeds.e.feed (line 6): \"x\" names no feed; the feeds are: a, b, d, e, f, c",
            "feeds.f.pipe (line 7): the feed has `feed` already",
        ] {
            assert!(said.contains(part), "{part}\n---\n{said}");
        }
    }

    #[test]
    fn keys_that_bytes_cannot_have_are_reported() {
        let said = told(
            "feeds:\n  a: {command: cat, size: 720p}\n  b: {pipe: fifo}\n  c: {test: clock}\n  \
             d: {command: 'cat \"a', mode: continuous}\n  e: {pipe: /f, command: cat}\n\
             streams:\n  a: {bitrate: 1M}\n  b: {client: exclusive}\n  c: {type: video/mp2t}\n  \
             d: {type: video}\n  e: {command: cat, feed: c}\n  f: {command: ''}\n  \
             g: {command: cat, url: /c.mp4}\n  h: {command: cat, feed: nobody}\n\
             pushes: {p: {stream: a}}\n",
        );
        for part in [
            "feeds.a.size (line 2): a feed of this kind gives bytes",
            "feeds.b.pipe (line 3): \"fifo\" is not the absolute path",
            "feeds.d.command (line 5): the command has a quote that is not closed",
            "feeds.e.pipe (line 6): the feed has `command` already",
            "streams.a.bitrate (line 8): a stream of bytes is passed on as it is",
            "streams.b.client (line 9): a feed runs once for all",
            "streams.c.type (line 10): only a stream of bytes has a `type`",
            "streams.d.type (line 11): \"video\" is not a content type",
            "streams.e.feed (line 12): the feed c gives pictures, not bytes",
            "streams.f.command (line 13): the command is empty",
            "streams.g.url (line 14): /c.mp4 collides with /c of the stream c",
            "streams.h.feed (line 15): \"nobody\" names no feed; the feeds are: c, a, b, d, e",
            "pushes.p.stream (line 16): \"a\" names no stream that livebox encodes",
        ] {
            assert!(said.contains(part), "{part}\n---\n{said}");
        }
    }

    #[test]
    fn a_push_without_a_track_stream_is_reported() {
        let said = told("streams: {a: {command: date}}\npushes: {p: {}}\n");
        assert!(said.contains("pushes (line 2): a push needs a stream that livebox encodes"));
    }
}
