//! `livebox pipeline`: prints a pipeline as text for gst-launch-1.0.

use super::controls;
use crate::config::settings::{EncoderSetting, Settings, Stream};
use crate::engine::plan::{Capture, Form, Plan, push_line};
use crate::host;
use crate::model::given::Pictures;

/// The launch line of the stream, feed or push `name`. If several streams share a
/// feed, the feed and the stream have a line each.
///
/// # Errors
/// There is no such name, or it has no GStreamer pipeline.
pub(super) fn line(settings: &Settings, name: &str) -> anyhow::Result<String> {
    let feed = settings.feeds.iter().find(|feed| feed.name.as_str() == name);
    let stream = settings.streams.iter().find(|stream| stream.name.as_str() == name);
    let first = feed.and_then(|feed| settings.streams_of(&feed.name).next());
    if let Some(any) = stream.or(first) {
        if !settings.is_shared(settings.feed_of(any)) {
            return whole(settings, any);
        }
        let feed = feed.map(|_| capture(settings, any)).transpose()?;
        let stream = stream.map(|stream| encode(settings, stream)).transpose()?;
        let lines: Vec<_> = feed.into_iter().chain(stream).map(|line| for_a_shell(&line)).collect();
        return Ok(lines.join("\n\n"));
    }
    if let Some(push) = settings.pushes.iter().find(|push| push.name.as_str() == name) {
        let stream = settings.streams.iter().find(|stream| stream.name == push.stream);
        let has_audio = stream.is_some_and(|stream| plan(settings, stream).has_audio());
        return Ok(for_a_shell(&push_line(push.audio, has_audio)?));
    }
    let bytes = settings.byte_streams.iter().map(|stream| stream.name.as_str());
    let bytes = bytes.chain(settings.byte_feeds.iter().map(|feed| feed.name.as_str()));
    if bytes.into_iter().any(|known| known == name) {
        anyhow::bail!("{name:?} passes bytes on and has no GStreamer pipeline");
    }
    let feeds = settings.feeds.iter().map(|feed| feed.name.to_string());
    let streams = settings.streams.iter().map(|stream| stream.name.to_string());
    let pushes = settings.pushes.iter().map(|push| push.name.to_string());
    let mut known: Vec<_> = streams.chain(feeds).chain(pushes).collect();
    let mut seen = std::collections::HashSet::new();
    known.retain(|name| seen.insert(name.clone()));
    anyhow::bail!("there is no stream, feed or push {name:?}; there are {}", known.join(", "))
}

/// Quotes the words of the line for a shell.
fn for_a_shell(line: &str) -> String {
    let mut in_text = false;
    let mut escaped = false;
    let ends_word = |c: char| {
        let is_quote = c == '"' && !escaped;
        in_text ^= is_quote;
        escaped = c == '\\' && !escaped;
        c == ' ' && !in_text
    };
    let words: Vec<String> = line.split(ends_word).map(word_for_a_shell).collect();
    words.join(" ")
}

fn word_for_a_shell(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "!=/,.:-_+%@".contains(c);
    if word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

fn plan(settings: &Settings, stream: &Stream) -> Plan {
    Plan { feed: settings.feed_of(stream).clone(), stream: stream.clone() }
}

fn encoder(plan: &Plan) -> anyhow::Result<String> {
    match &plan.stream.encoder {
        EncoderSetting::Named(element) => Ok(element.clone()),
        EncoderSetting::Auto => Ok(host::find_encoder(plan.size())?),
    }
}

/// A feed with its only stream.
fn whole(settings: &Settings, stream: &Stream) -> anyhow::Result<String> {
    let plan = plan(settings, stream);
    let capture = host::find_capture(&plan).map_err(|failure| anyhow::anyhow!("{failure}"))?;
    let plan = controls::resolved(plan, capture)?;
    // Where nothing is encoded, no encoder has to be there.
    let encoder = if capture.form == Form::H264 { String::new() } else { encoder(&plan)? };
    Ok(for_a_shell(&plan.gst_launch_line(capture, &encoder)?))
}

/// A feed that others share, as its first stream has it.
fn capture(settings: &Settings, stream: &Stream) -> anyhow::Result<String> {
    let plan = plan(settings, stream);
    let (capture, _) = found(&plan);
    let plan = controls::resolved(plan, capture)?;
    Ok(plan.capture_line(capture)?)
}

/// One of the streams that share a feed.
fn encode(settings: &Settings, stream: &Stream) -> anyhow::Result<String> {
    let plan = plan(settings, stream);
    let (_, Some(pictures)) = found(&plan) else {
        anyhow::bail!("the stream {} is a sound alone, which its feed has encoded", stream.name)
    };
    let decoder = match pictures {
        Pictures::Plain => "",
        Pictures::H264 { .. } => host::first_decoder().map_err(|why| anyhow::anyhow!("{why}"))?,
    };
    Ok(plan.encode_line(pictures, decoder, &encoder(&plan)?)?)
}

/// What the feed gives; plain pictures where it cannot be asked.
fn found(plan: &Plan) -> (Capture, Option<Pictures>) {
    host::find_shared(plan).unwrap_or((Capture::plain(plan.feed.fps), Some(Pictures::Plain)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shell_would_read_is_quoted_and_the_rest_is_not() {
        for (line, quoted) in [
            ("a ! b c=1", "a ! b c=1"),
            ("x level=(string)4 ! y", "x 'level=(string)4' ! y"),
            ("f location=\"/a $b's.mp4\" ! y", "f 'location=\"/a $b'\\''s.mp4\"' ! y"),
            ("t text=\"say \\\"a b\\\" ! c\" ! y", "t 'text=\"say \\\"a b\\\" ! c\"' ! y"),
        ] {
            assert_eq!(for_a_shell(line), quoted);
        }
    }
}
