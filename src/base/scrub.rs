//! Takes secrets out of text that people see: command lines, what programs say
//! on their standard error, messages of libraries. Pure.
//!
//! It knows no secret, only the places where they stand: the user, the query
//! and the fragment of a URL, the stream key at the end of one of RTMP, the
//! value behind a name such as `password`. What may be one is hidden.

use std::ops::Range;

const MASK: &str = "•••";

/// Names with a secret value, by their end: `stream_key`, `X-Auth-Token`.
const SECRET: [&str; 20] = [
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

/// Headers whose whole line is the value.
const HEADERS: [&str; 2] = ["authorization", "cookie"];

/// Options of curl and others that take `user:password`.
const LOGINS: [&str; 6] = ["-u", "--user", "-U", "--proxy-user", "-E", "--cert"];

const QUOTES: [char; 3] = ['"', '\'', '`'];

/// More of a line is left out, in bytes.
const LONGEST_LINE: usize = 4096;

/// Returns `text`, which may have many lines, without what may be a secret.
pub fn text(text: &str) -> String {
    let lines = text.split_inclusive(['\n', '\r']);
    lines.map(|line| values(&logins(&urls(line)))).collect()
}

/// The same of the words of a command, where a word may have blanks.
pub fn command<'a>(words: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut before = "";
    let shown = |word| {
        let shown = argument(before, word);
        before = word;
        shown
    };
    words.into_iter().map(shown).collect()
}

fn argument(before: &str, word: &str) -> String {
    let is_its_value =
        before.starts_with('-') && before.chars().all(is_of_name) && is_secret(before);
    if is_its_value || (takes_login(before) && word.contains(':')) {
        return MASK.to_owned();
    }
    let (name, value) = split_at_char(word, |c| !is_of_name(c));
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

/// Whether it is such an option, alone or behind others as in `-su`.
fn takes_login(option: &str) -> bool {
    let letters = option.strip_prefix('-').unwrap_or_default();
    let is_short = letters.len() <= 4 && letters.chars().all(|c| c.is_ascii_alphabetic());
    LOGINS.contains(&option) || (is_short && letters.ends_with(['u', 'U', 'E']))
}

/// Whether a name begins with such an option: `-uanna` of `-uanna:password`.
fn is_joined(option: &str, name: &str) -> bool {
    name.len() > 2 && LOGINS.contains(&option)
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET.iter().any(|secret| name.ends_with(secret))
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-')
}

/// `text` with its URLs as they may be shown.
fn urls(text: &str) -> String {
    let is_of_scheme = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '.' | '-');
    let begin = |at: usize| text[..at].trim_end_matches(is_of_scheme).len();
    let signs: Vec<usize> = text.match_indices("://").map(|(at, _)| at).collect();
    let (mut shown, mut done) = (String::with_capacity(text.len()), 0);
    for (index, &at) in signs.iter().enumerate() {
        let behind = at + "://".len();
        let end = signs.get(index + 1).map_or(text.len(), |next| begin(*next).max(behind));
        shown += &text[done..behind];
        shown += &url(&text[begin(at)..at], &text[behind..end]);
        done = end;
    }
    shown + &text[done..]
}

/// What stands behind `scheme://`, up to the next URL or the end of the line.
fn url(scheme: &str, rest: &str) -> String {
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
        true => path_of_rtmp(path),
        false => path.to_owned(),
    };
    let query = if query.len() > 1 { format!("{}{MASK}", &query[..1]) } else { query.to_owned() };
    format!("{authority}{path}{query}{rest}")
}

/// `/APPLICATION/KEY`, or one that cannot be told from the other.
fn path_of_rtmp(path: &str) -> String {
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

/// `text` without what stands before the host in `user:password@host`.
fn logins(text: &str) -> String {
    let ends_word = |c: char| c.is_whitespace() || QUOTES.contains(&c) || c == '/';
    text.split_inclusive(ends_word).map(|word| login(word).unwrap_or(word.to_owned())).collect()
}

fn login(word: &str) -> Option<String> {
    let at = word.rfind('@')?;
    let colon = word[..at].find(':')?;
    let begin = word[..colon].rfind(['=', '(', '[', '{', ',', '|']).map_or(0, |sign| sign + 1);
    Some(format!("{}{MASK}{}", &word[..begin], &word[at..]))
}

/// `text` without the values of secret names.
fn values(text: &str) -> String {
    let (mut shown, mut done) = (String::with_capacity(text.len()), 0);
    let mut begin = 0;
    while let Some(name) = next_name(text, begin) {
        begin = name.end;
        if let Some(value) = value_of(text, &name) {
            shown += &text[done..value.start];
            shown += MASK;
            (done, begin) = (value.end, value.end);
        }
    }
    shown + &text[done..]
}

/// The next run of characters of which names consist.
fn next_name(text: &str, from: usize) -> Option<Range<usize>> {
    let start = from + text[from..].find(is_of_name)?;
    let length = text[start..].find(|c| !is_of_name(c)).unwrap_or(text.len() - start);
    Some(start..start + length)
}

/// Where the value of this name is, if that must not be seen.
fn value_of(text: &str, name: &Range<usize>) -> Option<Range<usize>> {
    let (word, rest) = (&text[name.clone()], &text[name.end..]);
    if takes_login(word) {
        let behind = rest.strip_prefix('=').unwrap_or(rest);
        let is_apart = behind.starts_with(|c: char| c.is_whitespace() || QUOTES.contains(&c));
        let value = value_at(text, text.len() - behind.len(), None);
        let has_colon = |value: &Range<usize>| text[value.clone()].contains(':');
        return value.filter(|value| (is_apart || behind != rest) && has_colon(value));
    }
    let option = word.get(..2).unwrap_or_default();
    if is_joined(option, word) && rest.starts_with(':') {
        return value_at(text, name.start + 2, None);
    }
    if !is_secret(word) {
        return None;
    }
    let opened = text[..name.start].chars().next_back().filter(|c| QUOTES.contains(c));
    // As in JSON: the name is in quotes, perhaps in a text that is so itself.
    let unquoted = rest.trim_start_matches('\\').trim_start_matches(QUOTES);
    let (opened, rest) = match unquoted.len() < rest.len() {
        true => (None, unquoted),
        false => (opened, rest),
    };
    let behind = rest.trim_start_matches([' ', '\t']);
    let lower = word.to_ascii_lowercase();
    let is_header = HEADERS.iter().any(|header| lower.ends_with(header));
    if let Some(value) = behind.strip_prefix(['=', ':'])
        && !behind.starts_with("://")
    {
        let from = text.len() - value.len();
        return match is_header && opened.is_none() {
            true => whole_line(text, from),
            false => value_at(text, from, opened),
        };
    }
    let takes_next = word.starts_with('-') || lower == "bearer";
    let is_apart = behind.len() < rest.len();
    (takes_next && is_apart).then(|| value_at(text, text.len() - behind.len(), opened)).flatten()
}

/// The value from there on: up to the quote that ends it or that was `opened`
/// before its name, otherwise up to a blank. Nothing if there is none.
fn value_at(text: &str, from: usize, opened: Option<char>) -> Option<Range<usize>> {
    let value = text[from..].trim_start_matches([' ', '\t', '\\']);
    let (value, quote) = match value.chars().next().filter(|c| QUOTES.contains(c)) {
        Some(quote) => (&value[1..], Some(quote)),
        None => (value, opened),
    };
    let start = text.len() - value.len();
    let line = value.trim_end_matches(['\n', '\r']);
    let length = match quote {
        Some(quote) => unescaped(line, quote).unwrap_or(line.len()),
        None => line.find(char::is_whitespace).unwrap_or(line.len()),
    };
    (length > 0).then_some(start..start + length)
}

fn whole_line(text: &str, from: usize) -> Option<Range<usize>> {
    let value = text[from..].trim_start();
    let length = value.trim_end().len();
    let start = text.len() - value.len();
    (length > 0).then_some(start..start + length)
}

/// Where `quote` stands without a backslash before it.
fn unescaped(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    text.char_indices().find_map(|(at, c)| {
        let is_it = c == quote && !escaped;
        escaped = c == '\\' && !escaped;
        is_it.then_some(at)
    })
}

/// Puts together the lines of a program whose output comes in pieces, so that
/// no secret is torn, and scrubs them.
#[derive(Debug, Default)]
pub struct Lines {
    line: Vec<u8>,
    is_cut: bool,
}

impl Lines {
    /// Returns the lines that are complete with these bytes.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        let mut shown = String::new();
        for part in bytes.split_inclusive(|byte| matches!(byte, b'\n' | b'\r')) {
            let room = LONGEST_LINE.saturating_sub(self.line.len());
            self.line.extend_from_slice(&part[..part.len().min(room)]);
            self.is_cut |= part.len() > room;
            if part.ends_with(b"\n") || part.ends_with(b"\r") {
                shown += &self.finish();
            }
        }
        shown
    }

    /// Returns what is left of a last line.
    pub fn finish(&mut self) -> String {
        let line = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&line);
        if !std::mem::take(&mut self.is_cut) {
            return text(&line);
        }
        // The last word may be half of something that would be hidden.
        let whole = line.rfind(char::is_whitespace).map_or("", |at| &line[..at]);
        format!("{}…\n", text(whole))
    }
}

#[cfg(test)]
mod tests;
