//! A problem of the configuration.
//!
//! A problem names the key, the origin of its value, and the valid values. It
//! never shows a text that may contain a stream key or a password.

use std::fmt;

/// Longer values and keys are shortened, in characters.
const MAX_SHOWN: usize = 64;

/// A problem of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// `streams.door.bitrate`; empty for a text that is not YAML.
    pub key: String,
    /// The origin of the value: `line 12`, `the environment variable
    /// LIVEBOX__SERVER__PORT`, `--port`. `None` for a missing value.
    pub origin: Option<String>,
    pub message: String,
}

impl Problem {
    pub(super) fn on_line(line: usize, key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { key: key.into(), origin: Some(line_origin(line)), message: message.into() }
    }

    /// The line, if the value comes from the file.
    pub fn line(&self) -> Option<usize> {
        self.origin.as_deref()?.strip_prefix("line ")?.parse().ok()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.key.as_str(), &self.origin) {
            ("", Some(origin)) => write!(f, "{origin}: {}", self.message),
            (key, Some(origin)) => write!(f, "{key} ({origin}): {}", self.message),
            ("", None) => f.write_str(&self.message),
            (key, None) => write!(f, "{key}: {}", self.message),
        }
    }
}

/// The origin of a value on this line of the file.
pub(super) fn line_origin(line: usize) -> String {
    format!("line {line}")
}

/// The path of `key` inside `parent`, as problems show it.
pub(super) fn child(parent: &str, key: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let shown = word(key);
    let is_plain = !key.is_empty() && shown.trim_end_matches([':', '…']).chars().all(plain);
    let shown = if is_plain { shown } else { format!("{shown:?}") };
    if parent.is_empty() { shown } else { format!("{parent}.{shown}") }
}

/// A key or a name as problems show it: up to a colon or a blank. `key:abcd` may
/// be a key and a secret without the space between, `key abcd` without the colon.
pub(super) fn word(text: &str) -> String {
    match text.find(|c: char| c == ':' || c.is_whitespace()) {
        Some(end) if text[end..].starts_with(':') => format!("{}:…", shorten(&text[..end])),
        Some(end) => format!("{}…", shorten(&text[..end])),
        None => shorten(text),
    }
}

/// A value as problems show it: quoted and shortened. URLs, even mistyped ones,
/// are not shown: their last segment is often a stream key.
pub(super) fn quote(text: &str) -> String {
    if is_url(text) { "the URL".to_owned() } else { format!("{:?}", shorten(text)) }
}

/// Whether the text is a URL, or one with a mistyped `://`. The path of a device
/// has colons only behind its last slash.
pub(super) fn is_url(text: &str) -> bool {
    let torn = text.contains("//") && !text.starts_with('/');
    torn || text.split_once(':').is_some_and(|(_, rest)| rest.contains('/'))
}

pub(super) fn shorten(text: &str) -> String {
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The message for a list or a mapping in place of one value.
pub(super) const NOT_ONE_VALUE: &str = "must be one value, not a list or a mapping";

/// The message for a mapping with a key without a value: YAML parses an unquoted
/// placeholder as one.
pub(super) const NOT_QUOTED: &str =
    "must be one value, not a list or a mapping; a placeholder needs quotes, as in \"{name}\"";

/// A list of alternatives in words: `a, b or c`.
pub(super) fn either(words: &[&str]) -> String {
    match words {
        [] => "none".to_owned(),
        [one] => (*one).to_owned(),
        [head @ .., last] => format!("{} or {last}", head.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_names_its_key_and_the_origin_of_the_value() {
        let problem = Problem::on_line(12, "streams.door.gop", "\"x\" is wrong");
        assert_eq!(problem.to_string(), "streams.door.gop (line 12): \"x\" is wrong");
        assert_eq!(problem.line(), Some(12));

        let absent = Problem { origin: None, ..problem };
        assert_eq!(absent.to_string(), "streams.door.gop: \"x\" is wrong");
        assert_eq!(absent.line(), None);
    }

    #[test]
    fn long_texts_urls_and_secrets_beside_keys_are_not_shown() {
        assert_eq!(quote(&"x".repeat(1000)).chars().count(), MAX_SHOWN + 3);
        for url in [
            "rtmp://a.example/live/KEY",
            "rtmp:: //a/live/KEY",
            "rtmp:/ /a/live/KEY",
            "rtm:p//a/live/KEY",
        ] {
            assert_eq!(quote(url), "the URL");
        }
        assert_eq!(quote("/dev/v4l/by-path/pci-0:1.2"), "\"/dev/v4l/by-path/pci-0:1.2\"");
        assert_eq!(child("pushes.tube", "key:KEY"), "pushes.tube.key:…");
        assert_eq!(child("pushes.tube", "key KEY"), "pushes.tube.key…");
        assert_eq!(child("feeds", "front/door"), "feeds.\"front/door\"");
    }
}
