//! `pushes.NAME`: the destination of a stream.
//!
//! Problems never show a key or a URL, which may contain one.

use super::name;
use super::service::file;
use crate::base::secret::Secret;
use crate::config::problem::quote;
use crate::config::section::{Field, Report, flag, word};
use crate::config::settings::{Push, PushAudio, Stream};
use crate::model::ids::{PushName, StreamName};
use crate::model::push_url::{BadPushUrl, PushUrl, is_placeholder};

pub(in crate::config) const PUSH: [&str; 7] =
    ["stream", "url", "backup", "key", "ca", "audio", "start"];

pub(in crate::config) fn pushes(
    field: &Field<'_>,
    streams: &[Stream],
    report: &mut Report,
) -> Vec<Push> {
    if report.mapping(field) && !field.keys().is_empty() && streams.is_empty() {
        report.add(field, "a push needs a stream that livebox encodes, and there is none");
        return Vec::new();
    }
    field.keys().into_iter().filter_map(|key| push(key, &field.at(key), streams, report)).collect()
}

fn push(key: &str, field: &Field<'_>, streams: &[Stream], report: &mut Report) -> Option<Push> {
    let named: Option<PushName> = key.parse().map_err(|bad| report.add(field, name(bad))).ok();
    report.keys_beside_secrets(field, &PUSH);
    let stream = report.read(&field.at("stream"), |text| stream_name(text, streams));
    let url = report.read(&field.at("url"), address);
    let backup = report.read(&field.at("backup"), address);
    let stream_key = report.read(&field.at("key"), stream_key);
    let ca = report.read(&field.at("ca"), file);
    let audio = report.read(&field.at("audio"), word("a sound of a push", &AUDIO));
    let start = report.read(&field.at("start"), flag).unwrap_or(false);
    if start && !field.at("url").is_given() {
        report.add(&field.at("start"), "a push that starts with the service needs its `url`");
    }
    if backup.is_some() && !field.at("url").is_given() {
        report.add(&field.at("backup"), "a backup needs the `url` that it stands in for");
    }
    Some(Push {
        name: named?,
        stream: stream.or_else(|| streams.first().map(|first| first.name.clone()))?,
        url,
        backup,
        key: stream_key,
        ca,
        audio: audio.unwrap_or(PushAudio::Feed),
        start,
    })
}

pub(in crate::config) const AUDIO: [(&str, PushAudio); 3] =
    [("feed", PushAudio::Feed), ("silence", PushAudio::Silence), ("tone", PushAudio::Tone)];

fn stream_name(text: &str, streams: &[Stream]) -> Result<StreamName, String> {
    let known = streams.iter().find(|stream| stream.name.as_str() == text);
    known.map(|stream| stream.name.clone()).ok_or_else(|| {
        let names: Vec<&str> = streams.iter().map(|stream| stream.name.as_str()).collect();
        format!(
            "{} names no stream that livebox encodes; those are: {}",
            quote(text),
            names.join(", ")
        )
    })
}

fn address(text: &str) -> Result<PushUrl, String> {
    text.parse().map_err(|bad: BadPushUrl| bad.to_string())
}

fn stream_key(text: &str) -> Result<Secret, String> {
    if is_placeholder(text) {
        return Err("the key is a placeholder; put the stream key of your channel there".to_owned());
    }
    let is_clean = !text.is_empty() && !text.chars().any(|c| c.is_whitespace() || c.is_control());
    let wrong = || "the key is empty or has a space or a control character in it".to_owned();
    is_clean.then(|| Secret::new(text)).ok_or_else(wrong)
}
