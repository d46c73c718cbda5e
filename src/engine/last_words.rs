//! What a program said last on its standard error, as it may be shown to who
//! asks why there is nothing: without what looks like a secret.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// So many bytes are kept.
const KEPT: usize = 4096;

const HIDDEN: &str = "•••";

/// A value behind one of these is nobody's business.
const SECRET: [&str; 8] =
    ["password", "passwd", "passphrase", "pass", "pwd", "token", "secret", "key"];

/// The newest of what a program said.
#[derive(Debug, Default)]
pub(super) struct LastWords(Mutex<Vec<u8>>);

impl LastWords {
    pub(super) fn hear(&self, said: &[u8]) {
        let mut kept = self.lock();
        kept.extend_from_slice(said);
        let more = kept.len().saturating_sub(KEPT);
        kept.drain(..more);
    }

    /// All that is kept.
    pub(super) fn text(&self) -> String {
        let kept = self.lock();
        let text = String::from_utf8_lossy(&kept);
        text.split_inclusive(char::is_whitespace).map(shown).collect()
    }

    /// The last line that says something.
    pub(super) fn last_line(&self) -> Option<String> {
        let text = self.text();
        let mut lines = text.split(['\n', '\r']).rev().map(str::trim);
        let line = lines.find(|line| !line.is_empty())?;
        let line: String = line.chars().filter(|c| !c.is_control()).take(200).collect();
        Some(line)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        // What is kept is whole at every moment.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A word without what may be a secret in it.
fn shown(word: &str) -> String {
    if let Some((scheme, rest)) = word.split_once("://") {
        return shown_url(scheme, rest);
    }
    let Some((name, value)) = word.split_once(['=', ':']) else { return word.to_owned() };
    let lower = name.to_ascii_lowercase();
    let value_text = value.trim_end();
    if value_text.is_empty() || !SECRET.iter().any(|secret| lower.ends_with(secret)) {
        return word.to_owned();
    }
    let sign = &word[name.len()..=name.len()];
    format!("{name}{sign}{HIDDEN}{}", &value[value_text.len()..])
}

/// Without user, password and query; of RTMP without the path, which ends with
/// the key.
fn shown_url(scheme: &str, rest: &str) -> String {
    let url = rest.trim_end();
    let end = &rest[url.len()..];
    let host_end = url.find(['/', '?', '#']).unwrap_or(url.len());
    let (host, path) = url.split_at(host_end);
    let user = match host.rsplit_once('@') {
        Some((_, host)) => format!("{HIDDEN}@{host}"),
        None => host.to_owned(),
    };
    let is_push = scheme.to_ascii_lowercase().contains("rtmp");
    let path = match path.split_once('?') {
        _ if is_push && path.len() > 1 => format!("/{HIDDEN}"),
        Some((path, _)) => format!("{path}?{HIDDEN}"),
        None => path.to_owned(),
    };
    format!("{scheme}://{user}{path}{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(said: &str) -> LastWords {
        let words = LastWords::default();
        words.hear(said.as_bytes());
        words
    }

    #[test]
    fn secrets_are_hidden_and_all_else_is_as_it_was() {
        for (said, shown) in [
            ("boom\n", "boom\n"),
            ("rtsp://u:p@cam/live: 401\n", "rtsp://•••@cam/live: 401\n"),
            ("http://cam/v?user=u&pwd=p failed", "http://cam/v?••• failed"),
            ("rtmps://a.example/live2/K-1: x", "rtmps://a.example/••• x"),
            ("password=p1 stream_key=abc a=b", "password=••• stream_key=••• a=b"),
            ("Token: abc", "Token: abc"),
        ] {
            assert_eq!(heard(said).text(), shown);
        }
    }

    #[test]
    fn only_the_end_is_kept_and_the_last_line_is_the_last_that_says_something() {
        let words = heard(&"x".repeat(10_000));
        words.hear(b"\nfirst\nlast\r\n\n");
        assert_eq!(words.text().len(), KEPT);
        assert_eq!(words.last_line().unwrap(), "last");
        assert_eq!(heard(" \n").last_line(), None);
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_said_is_survived(said in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
            let words = LastWords::default();
            words.hear(&said);
            words.text();
            words.last_line();
        }

        #[test]
        fn no_user_of_a_url_is_shown(user in "[a-z0-9]{8}", rest in "[A-Z /?.:]{0,20}") {
            let said = format!("rtsp://{user}:{user}@host/{rest}");
            let shown = heard(&said).text();
            proptest::prop_assert!(!shown.contains(&user));
        }
    }
}
