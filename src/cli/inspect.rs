//! The warnings and the result of `livebox check`: missing files, devices and
//! programs.
//!
//! They do not make a configuration invalid: it may be meant for another machine,
//! or a camera may not be connected yet.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;

use crate::config::Settings;
use crate::config::settings::{ByteSource, CommandLine, LocalNeed};

/// The files, devices and programs that are missing on this machine, each with
/// its key and the cause.
pub(super) fn missing(settings: &Settings) -> Vec<String> {
    let Settings { server, feeds, byte_feeds, byte_streams, pushes, .. } = settings;
    let mut found = Vec::new();
    let mut add = |key: String, why: Option<String>| {
        found.extend(why.map(|why| format!("{key}: {why}")));
    };
    if let Some(tls) = &server.tls {
        add("server.tls.certificate".to_owned(), why_not_a_file(&tls.certificate));
        add("server.tls.key".to_owned(), why_not_a_file(&tls.key));
    }
    for feed in feeds {
        let why = match feed.source.local_need() {
            Some(LocalNeed::Device(device)) => why_not_a_device(device),
            Some(LocalNeed::File(file)) => why_not_a_file(file),
            None => None,
        };
        let key = feed.source.written().map_or("", |(key, _)| key);
        add(format!("feeds.{}.{key}", feed.name), why);
    }
    for feed in byte_feeds {
        match &feed.source {
            ByteSource::Command(command) | ByteSource::Made(command, _) => {
                add(format!("feeds.{}.command", feed.name), why_not_a_program(command));
            }
            ByteSource::Pipe(pipe) => add(format!("feeds.{}.pipe", feed.name), why_missing(pipe)),
        }
    }
    for stream in byte_streams {
        let why = stream.command.as_ref().and_then(why_not_a_program);
        add(format!("streams.{}.command", stream.name), why);
    }
    for push in pushes {
        let why = push.ca.as_deref().and_then(why_not_a_file);
        add(format!("pushes.{}.ca", push.name), why);
    }
    found
}

/// The result of a check without problems, in one line.
pub(super) fn verdict(settings: &Settings, warnings: usize) -> String {
    let feeds = settings.feeds.len() + settings.byte_feeds.len();
    let streams = settings.streams.len() + settings.byte_streams.len();
    let mut words = vec![
        counted(feeds, "feed", "feeds"),
        counted(streams, "stream", "streams"),
        counted(settings.pushes.len(), "push", "pushes"),
    ];
    if warnings > 0 {
        words.push(counted(warnings, "warning", "warnings"));
    }
    format!("the configuration is valid: {}", words.join(", "))
}

pub(super) fn counted(count: usize, one: &str, more: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { more })
}

fn why_missing(path: &Path) -> Option<String> {
    let error = fs::metadata(path).err()?;
    if error.kind() == ErrorKind::NotFound {
        Some(format!("{path:?} is not on this machine"))
    } else {
        Some(format!("{path:?} cannot be read: {error}"))
    }
}

fn why_not_a_file(path: &Path) -> Option<String> {
    why_missing(path).or_else(|| (!path.is_file()).then(|| format!("{path:?} is not a file")))
}

fn why_not_a_device(path: &Path) -> Option<String> {
    let is_device = || fs::metadata(path).is_ok_and(|found| found.file_type().is_char_device());
    why_missing(path).or_else(|| (!is_device()).then(|| format!("{path:?} is not a device")))
}

/// Searches a program as a start does: a name in `PATH`, a path as given.
fn why_not_a_program(command: &CommandLine) -> Option<String> {
    let program = Path::new(&command.program);
    if command.program.contains('/') {
        let unfit = || (!is_program(program)).then(|| format!("{program:?} is not a program"));
        return why_missing(program).or_else(unfit);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = std::env::split_paths(&path).any(|folder| is_program(&folder.join(program)));
    (!is_there).then(|| format!("the program {program:?} is not installed"))
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse_text;

    #[test]
    fn missing_items_are_named_with_their_keys() {
        let settings = parse_text(
            "server: {tls: {certificate: /no/cert.pem, key: /no/key.pem}}\n\
             feeds:\n\
             \x20 cam: {v4l2: /dev/no-camera}\n\
             \x20 odd: {v4l2: /dev/shm}\n\
             \x20 film: {file: /no/film.mp4}\n\
             \x20 raw: {command: 'no-such-program -x'}\n\
             \x20 fifo: {pipe: /no/fifo}\n\
             streams: {cam: {}, odd: {}, film: {}, raw: {feed: raw, command: /etc/passwd}, fifo: {}}\n\
             pushes: {tube: {ca: /no/ca.pem}}\n",
        );
        let settings = settings.unwrap();
        assert_eq!(
            missing(&settings),
            [
                "server.tls.certificate: \"/no/cert.pem\" is not on this machine",
                "server.tls.key: \"/no/key.pem\" is not on this machine",
                "feeds.cam.v4l2: \"/dev/no-camera\" is not on this machine",
                "feeds.odd.v4l2: \"/dev/shm\" is not a device",
                "feeds.film.file: \"/no/film.mp4\" is not on this machine",
                "feeds.raw.command: the program \"no-such-program\" is not installed",
                "feeds.fifo.pipe: \"/no/fifo\" is not on this machine",
                "streams.raw.command: \"/etc/passwd\" is not a program",
                "pushes.tube.ca: \"/no/ca.pem\" is not on this machine",
            ]
        );
        let verdict = verdict(&settings, 9);
        assert_eq!(verdict, "the configuration is valid: 5 feeds, 5 streams, 1 push, 9 warnings");
    }

    #[test]
    fn existing_items_are_not_reported() {
        let settings = parse_text(
            "feeds: {cam: {v4l2: /dev/null}, film: {file: /etc/hostname}, raw: {command: 'cat x'}}\n\
             streams: {cam: {}, film: {}, raw: {feed: raw, command: /bin/cat}}\n",
        );
        assert_eq!(missing(&settings.unwrap()), Vec::<String>::new());
    }
}
