//! One thing wrong with the configuration, as its author is told.
//!
//! A problem names the key, where its value came from, and what would be
//! right. It never shows what may hold a stream key or a password.

use std::fmt;

/// How much of a value or key is worth repeating.
const SHOWN: usize = 64;

/// One thing wrong, at one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// `streams.door.bitrate`; empty where the text is no YAML.
    pub key: String,
    /// Where the value came from: `line 12`, `the environment variable
    /// LIVEBOX__SERVER__PORT`, `--port`. Nothing where something is absent.
    pub origin: Option<String>,
    pub message: String,
}

impl Problem {
    pub(super) fn on_line(line: usize, key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { key: key.into(), origin: Some(line_origin(line)), message: message.into() }
    }

    /// The line of the file, if the value stands in it.
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

/// The origin of what stands on this line of the file.
pub(super) fn line_origin(line: usize) -> String {
    format!("line {line}")
}

/// The name of `key` inside `parent`, as problems show it.
pub(super) fn child(parent: &str, key: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let shown = word(key);
    let is_plain = !key.is_empty() && shown.trim_end_matches([':', '…']).chars().all(plain);
    let shown = if is_plain { shown } else { format!("{shown:?}") };
    if parent.is_empty() { shown } else { format!("{parent}.{shown}") }
}

/// A key or a name as problems show it: up to a colon or a blank. `key:abcd` is a
/// key and a secret whose space was forgotten, `key abcd` one whose colon was.
pub(super) fn word(text: &str) -> String {
    match text.find(|c: char| c == ':' || c.is_whitespace()) {
        Some(end) if text[end..].starts_with(':') => format!("{}:…", shorten(&text[..end])),
        Some(end) => format!("{}…", shorten(&text[..end])),
        None => shorten(text),
    }
}

/// A value as problems show it: in quotes, not endless, and a URL not at all,
/// for its last piece is often a stream key. A mistyped URL is one as well.
pub(super) fn quote(text: &str) -> String {
    if is_url(text) { "the URL".to_owned() } else { format!("{:?}", shorten(text)) }
}

/// Whether it is a URL, or was one before a slip of the keyboard tore its `://`
/// apart. A device's path has a colon behind its last slash only.
pub(super) fn is_url(text: &str) -> bool {
    let torn = text.contains("//") && !text.starts_with('/');
    torn || text.split_once(':').is_some_and(|(_, rest)| rest.contains('/'))
}

pub(super) fn shorten(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// What is told where one value should stand.
pub(super) const NOT_ONE_VALUE: &str = "must be one value, not a list or a mapping";

/// The same of a mapping with a key that has no value: to YAML, a placeholder
/// without quotes is one.
pub(super) const NOT_QUOTED: &str =
    "must be one value, not a list or a mapping; a placeholder needs quotes, as in \"{name}\"";

/// Words as a person lists them: `a, b or c`.
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
    fn a_problem_names_its_key_and_where_the_value_came_from() {
        let problem = Problem::on_line(12, "streams.door.gop", "\"x\" is wrong");
        assert_eq!(problem.to_string(), "streams.door.gop (line 12): \"x\" is wrong");
        assert_eq!(problem.line(), Some(12));

        let absent = Problem { origin: None, ..problem };
        assert_eq!(absent.to_string(), "streams.door.gop: \"x\" is wrong");
        assert_eq!(absent.line(), None);
    }

    #[test]
    fn neither_long_texts_nor_urls_nor_glued_secrets_are_repeated() {
        assert_eq!(quote(&"x".repeat(1000)).chars().count(), SHOWN + 3);
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
