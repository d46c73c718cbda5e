//! `livebox pipeline`: what would run, as text for gst-launch-1.0.

use crate::config::settings::{EncoderWish, Settings};
use crate::engine::gst;
use crate::engine::plan::{Form, Plan, push_line};

/// The launch line of what is called `name`: a stream, a feed or a push.
pub(super) fn line(settings: &Settings, name: &str) -> anyhow::Result<String> {
    let stream = settings
        .streams
        .iter()
        .find(|stream| stream.name.as_str() == name || stream.feed.as_str() == name);
    if let Some(stream) = stream {
        let plan = Plan { feed: settings.feed_of(stream).clone(), stream: stream.clone() };
        let capture = gst::find_capture(&plan).map_err(|failure| anyhow::anyhow!("{failure}"))?;
        let encoder = match &stream.encoder {
            EncoderWish::Named(element) => element.clone(),
            // Nothing is encoded, so that none has to be there.
            EncoderWish::Auto if capture.form == Form::H264 => String::new(),
            EncoderWish::Auto => gst::find_encoder(plan.feed.size)?,
        };
        return Ok(for_a_shell(&plan.line_by_hand(capture, &encoder)?));
    }
    if let Some(push) = settings.pushes.iter().find(|push| push.name.as_str() == name) {
        let stream = settings.streams.iter().find(|stream| stream.name == push.stream);
        let has_audio = stream.is_some_and(|stream| {
            Plan { feed: settings.feed_of(stream).clone(), stream: stream.clone() }.has_audio()
        });
        return Ok(for_a_shell(&push_line(push.audio, has_audio)?));
    }
    let bytes = settings.byte_streams.iter().map(|stream| stream.name.as_str());
    let bytes = bytes.chain(settings.byte_feeds.iter().map(|feed| feed.name.as_str()));
    if bytes.into_iter().any(|known| known == name) {
        anyhow::bail!("{name:?} is bytes that are passed on: no pipeline of GStreamer runs for it");
    }
    let streams = settings.streams.iter().map(|stream| stream.name.to_string());
    let pushes = settings.pushes.iter().map(|push| push.name.to_string());
    let known: Vec<_> = streams.chain(pushes).collect();
    anyhow::bail!("nothing is called {name:?}; there are {}", known.join(", "))
}

/// The line so that a shell hands it to gst-launch-1.0 as it is: words with
/// anything in them that a shell reads are put in single quotes.
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
