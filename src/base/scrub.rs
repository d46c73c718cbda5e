//! Masks secrets in text that users see: command lines, standard error of
//! programs, messages of libraries. Pure.
//!
//! It knows no secrets, only where they occur: the user, the query and the
//! fragment of a URL, the stream key at the end of an RTMP URL, the value after
//! a name such as `password`. Whatever may be a secret is masked.

use std::ops::Range;

const MASK: &str = "•••";

/// Suffixes of names whose value is secret: `stream_key`, `X-Auth-Token`.
const SECRET_SUFFIXES: [&str; 20] = [
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "pass",
    "pwd",
    "pw",
    "token",
    "secret",
    "key",
    "auth",
    "authorization",
    "credential",
    "credentials",
    "cookie",
    "bearer",
    "signature",
    "sig",
    "streamid",
    "playpath",
];

/// Headers whose value is the rest of the line.
const WHOLE_LINE_HEADERS: [&str; 2] = ["authorization", "cookie"];

/// Options of curl and others that take `user:password`.
const LOGIN_OPTIONS: [&str; 6] = ["-u", "--user", "-U", "--proxy-user", "-E", "--cert"];

const QUOTES: [char; 3] = ['"', '\'', '`'];

/// Longer lines are truncated.
const MAX_LINE_BYTES: usize = 4096;

/// Masks whatever may be a secret in `text`, which may have several lines.
pub fn text(text: &str) -> String {
    let lines = text.split_inclusive(['\n', '\r']);
    lines.map(|line| mask_values(&mask_logins(&mask_urls(line)))).collect()
}

/// As [`text`], for the words of a command line. A word may contain blanks.
pub fn command<'a>(words: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut previous = "";
    let mask = |word| {
        let masked = mask_argument(previous, word);
        previous = word;
        masked
    };
    words.into_iter().map(mask).collect()
}

fn mask_argument(previous: &str, word: &str) -> String {
    let is_secret_value =
        previous.starts_with('-') && previous.chars().all(is_name_char) && is_secret(previous);
    if is_secret_value || (takes_login(previous) && word.contains(':')) {
        return MASK.to_owned();
    }
    let (name, value) = split_at_char(word, |c| !is_name_char(c));
    let has_value = value.starts_with(['=', ':']) && value.len() > 1 && !value.starts_with("://");
    let is_login = takes_login(name) && value.contains(':');
    if has_value && (is_secret(name) || is_login) {
        return format!("{name}{}{MASK}", &value[..1]);
    }
    match word.split_at_checked(2) {
        Some((option, login)) if is_joined(option, name) && login.contains(':') => {
            format!("{option}{MASK}")
        }
        Some(_) | None => text(word),
    }
}

/// Whether `option` is a login option, alone or combined with others as in `-su`.
fn takes_login(option: &str) -> bool {
    let letters = option.strip_prefix('-').unwrap_or_default();
    let is_short = letters.len() <= 4 && letters.chars().all(|c| c.is_ascii_alphabetic());
    LOGIN_OPTIONS.contains(&option) || (is_short && letters.ends_with(['u', 'U', 'E']))
}

/// Whether a login option and its value are one word: `-uanna` in `-uanna:password`.
fn is_joined(option: &str, name: &str) -> bool {
    name.len() > 2 && LOGIN_OPTIONS.contains(&option)
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-')
}

/// Masks the secret parts of all URLs in `text`.
fn mask_urls(text: &str) -> String {
    let is_scheme_char = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '.' | '-');
    let scheme_start = |at: usize| text[..at].trim_end_matches(is_scheme_char).len();
    let separators: Vec<usize> = text.match_indices("://").map(|(at, _)| at).collect();
    let (mut masked, mut done) = (String::with_capacity(text.len()), 0);
    for (index, &at) in separators.iter().enumerate() {
        let after = at + "://".len();
        let next = separators.get(index + 1);
        let end = next.map_or(text.len(), |next| scheme_start(*next).max(after));
        masked += &text[done..after];
        masked += &mask_url(&text[scheme_start(at)..at], &text[after..end]);
        done = end;
    }
    masked + &text[done..]
}

/// Masks `rest`: the text after `scheme://`, up to the next URL or the end of the line.
fn mask_url(scheme: &str, rest: &str) -> String {
    let ends_authority = |c: char| c.is_whitespace() || matches!(c, '/' | '?' | '#');
    let (authority, rest) = split_at_char(rest, ends_authority);
    let authority = match authority.rfind('@') {
        Some(at) => format!("{MASK}{}", &authority[at..]),
        None => authority.to_owned(),
    };
    let ends_url =
        |c: char| c.is_whitespace() || matches!(c, '<' | '>' | '|') || QUOTES.contains(&c);
    let (target, rest) = split_at_char(rest, ends_url);
    let (path, query) = split_at_char(target, |c| matches!(c, '?' | '#'));
    let path = match scheme.to_ascii_lowercase().starts_with("rtmp") {
        true => mask_rtmp_path(path),
        false => path.to_owned(),
    };
    let query = if query.len() > 1 { format!("{}{MASK}", &query[..1]) } else { query.to_owned() };
    format!("{authority}{path}{query}{rest}")
}

/// Masks the key of `/APPLICATION/KEY`; a single segment may be the key.
fn mask_rtmp_path(path: &str) -> String {
    let inner = path.trim_matches('/');
    match inner.split_once('/') {
        Some((application, _)) => format!("/{application}/{MASK}"),
        None if inner.is_empty() => path.to_owned(),
        None => format!("/{MASK}"),
    }
}

fn split_at_char(text: &str, is_end: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(is_end).unwrap_or(text.len()))
}

/// Masks the login in each `user:password@host`.
fn mask_logins(text: &str) -> String {
    let ends_word = |c: char| c.is_whitespace() || QUOTES.contains(&c) || c == '/';
    let words = text.split_inclusive(ends_word);
    words.map(|word| mask_login(word).unwrap_or(word.to_owned())).collect()
}

fn mask_login(word: &str) -> Option<String> {
    let at = word.rfind('@')?;
    let colon = word[..at].find(':')?;
    let begin = word[..colon].rfind(['=', '(', '[', '{', ',', '|']).map_or(0, |sign| sign + 1);
    Some(format!("{}{MASK}{}", &word[..begin], &word[at..]))
}

/// Masks the values of secret names.
fn mask_values(text: &str) -> String {
    let (mut masked, mut done) = (String::with_capacity(text.len()), 0);
    let mut begin = 0;
    while let Some(name) = next_name(text, begin) {
        begin = name.end;
        if let Some(value) = secret_value(text, &name) {
            masked += &text[done..value.start];
            masked += MASK;
            (done, begin) = (value.end, value.end);
        }
    }
    masked + &text[done..]
}

/// The next run of name characters.
fn next_name(text: &str, from: usize) -> Option<Range<usize>> {
    let start = from + text[from..].find(is_name_char)?;
    let length = text[start..].find(|c| !is_name_char(c)).unwrap_or(text.len() - start);
    Some(start..start + length)
}

/// The position of the value that follows `name`, if that value is secret.
fn secret_value(text: &str, name: &Range<usize>) -> Option<Range<usize>> {
    let (word, rest) = (&text[name.clone()], &text[name.end..]);
    if takes_login(word) {
        let after = rest.strip_prefix('=').unwrap_or(rest);
        let is_separated = after.starts_with(|c: char| c.is_whitespace() || QUOTES.contains(&c));
        let value = value_at(text, text.len() - after.len(), None);
        let has_colon = |value: &Range<usize>| text[value.clone()].contains(':');
        return value.filter(|value| (is_separated || after != rest) && has_colon(value));
    }
    let option = word.get(..2).unwrap_or_default();
    if is_joined(option, word) && rest.starts_with(':') {
        return value_at(text, name.start + 2, None);
    }
    if !is_secret(word) {
        return None;
    }
    let open_quote = text[..name.start].chars().next_back().filter(|c| QUOTES.contains(c));
    // As in JSON: the name itself is quoted, perhaps within a quoted (escaped) text.
    let unquoted = rest.trim_start_matches('\\').trim_start_matches(QUOTES);
    let (open_quote, rest) = match unquoted.len() < rest.len() {
        true => (None, unquoted),
        false => (open_quote, rest),
    };
    let after = rest.trim_start_matches([' ', '\t']);
    let lower = word.to_ascii_lowercase();
    let is_header = WHOLE_LINE_HEADERS.iter().any(|header| lower.ends_with(header));
    if let Some(value) = after.strip_prefix(['=', ':'])
        && !after.starts_with("://")
    {
        let from = text.len() - value.len();
        return match is_header && open_quote.is_none() {
            true => rest_of_line(text, from),
            false => value_at(text, from, open_quote),
        };
    }
    let takes_next_word = word.starts_with('-') || lower == "bearer";
    let is_separated = after.len() < rest.len();
    (takes_next_word && is_separated)
        .then(|| value_at(text, text.len() - after.len(), open_quote))
        .flatten()
}

/// The value that begins at `from`: up to its closing quote, or up to the one
/// that closes `open_quote`, otherwise up to a blank. `None` if it is empty.
fn value_at(text: &str, from: usize, open_quote: Option<char>) -> Option<Range<usize>> {
    let value = text[from..].trim_start_matches([' ', '\t', '\\']);
    let (value, quote) = match value.chars().next().filter(|c| QUOTES.contains(c)) {
        Some(quote) => (&value[1..], Some(quote)),
        None => (value, open_quote),
    };
    let start = text.len() - value.len();
    let line = value.trim_end_matches(['\n', '\r']);
    let length = match quote {
        Some(quote) => find_unescaped(line, quote).unwrap_or(line.len()),
        None => line.find(char::is_whitespace).unwrap_or(line.len()),
    };
    (length > 0).then_some(start..start + length)
}

fn rest_of_line(text: &str, from: usize) -> Option<Range<usize>> {
    let value = text[from..].trim_start();
    let length = value.trim_end().len();
    let start = text.len() - value.len();
    (length > 0).then_some(start..start + length)
}

/// The position of the first `quote` without a backslash before it.
fn find_unescaped(text: &str, quote: char) -> Option<usize> {
    let mut is_escaped = false;
    text.char_indices().find_map(|(at, c)| {
        let is_match = c == quote && !is_escaped;
        is_escaped = c == '\\' && !is_escaped;
        is_match.then_some(at)
    })
}

/// Joins the output of a program into lines before masking, so that a secret
/// split between two reads is masked as well.
#[derive(Debug, Default)]
pub struct Lines {
    line: Vec<u8>,
    is_truncated: bool,
}

impl Lines {
    /// Appends `bytes`; returns the lines that they complete, masked.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        let mut masked = String::new();
        for part in bytes.split_inclusive(|byte| matches!(byte, b'\n' | b'\r')) {
            let room = MAX_LINE_BYTES.saturating_sub(self.line.len());
            self.line.extend_from_slice(&part[..part.len().min(room)]);
            self.is_truncated |= part.len() > room;
            if part.ends_with(b"\n") || part.ends_with(b"\r") {
                masked += &self.finish();
            }
        }
        masked
    }

    /// Returns the incomplete last line, masked.
    pub fn finish(&mut self) -> String {
        let line = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&line);
        if !std::mem::take(&mut self.is_truncated) {
            return text(&line);
        }
        // The last word may be the beginning of something to mask.
        let whole = line.rfind(char::is_whitespace).map_or("", |at| &line[..at]);
        format!("{}…\n", text(whole))
    }
}

#[cfg(test)]
mod tests;
