//! Limits the lines of a program in the service's log. Pure.
//!
//! A library that warns about each frame writes the same line 50,000 times per
//! second. A text is logged at its first occurrence and at each doubling, with the
//! count; all texts together share a rate limit.

use std::time::Instant;

use crate::base::incident::Incident;
use crate::engine::process::token_bucket::TokenBucket;

/// Rate limit: lines at once, and lines per second on average.
const BURST_LINES: f64 = 20.0;
const LINES_PER_SECOND: f64 = 0.5;

/// Longer lines are cut.
const MAX_LINE_CHARS: usize = 200;

/// How many texts are counted; a new one replaces the least recent.
const MAX_TEXTS: usize = 32;

/// Decides which lines of a program are logged.
#[derive(Debug)]
pub(in crate::engine::process) struct LineLimit {
    texts: Vec<Text>,
    budget: TokenBucket,
    /// Lines over the rate limit since the last admitted one.
    dropped: u64,
}

/// Lines that are equal but for words with digits: times, addresses, process ids.
#[derive(Debug)]
struct Text {
    words: String,
    count: Incident,
    last: Instant,
}

impl Default for LineLimit {
    fn default() -> Self {
        let budget = TokenBucket::new(BURST_LINES, LINES_PER_SECOND);
        Self { texts: Vec::new(), budget, dropped: 0 }
    }
}

impl LineLimit {
    /// Returns the text to log, if any: one line, with the number of occurrences and of
    /// lines dropped before it.
    pub(in crate::engine::process) fn admit(&mut self, line: &str, now: Instant) -> Option<String> {
        let line: String = line.trim().chars().take(MAX_LINE_CHARS).collect();
        if line.is_empty() {
            return None;
        }
        let times = self.count(words(&line), now)?;
        if !self.budget.take(1.0, now) {
            self.dropped += 1;
            return None;
        }
        let mut admitted = line.escape_debug().to_string();
        if times > 1 {
            admitted += &format!(" [{times} times]");
        }
        match std::mem::take(&mut self.dropped) {
            0 => {}
            dropped => admitted += &format!(" [{dropped} other lines dropped]"),
        }
        Some(admitted)
    }

    /// Counts a text; returns the number of occurrences if it is to be logged.
    fn count(&mut self, words: String, now: Instant) -> Option<u64> {
        if let Some(text) = self.texts.iter_mut().find(|text| text.words == words) {
            text.last = now;
            return text.count.add(now);
        }
        if self.texts.len() == MAX_TEXTS {
            let oldest = self.texts.iter().enumerate().min_by_key(|(_, text)| text.last);
            oldest.map(|(index, _)| index).map(|index| self.texts.swap_remove(index));
        }
        let mut count = Incident::default();
        let times = count.add(now);
        self.texts.push(Text { words, count, last: now });
        times
    }
}

fn words(line: &str) -> String {
    let words = line.split(|c: char| !c.is_alphanumeric());
    let plain = words.filter(|word| !word.is_empty() && !word.contains(char::is_numeric));
    plain.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests choose their own zero")]
mod tests {
    use std::time::Duration;

    use super::*;

    /// The longest escape of one character: `\\u{10ffff}`.
    const MAX_ESCAPE_BYTES: usize = 10;

    #[test]
    fn a_repeated_text_is_logged_at_each_doubling_with_its_count() {
        let (mut limit, now) = (LineLimit::default(), Instant::now());
        let line = |n| format!("0:00:{n} {} {:#x} rtmp2sink: broken pipe", n * 7, n << 12);
        let told: Vec<_> = (0..10_000).filter_map(|n: u32| limit.admit(&line(n), now)).collect();
        assert_eq!(told.len(), 14, "{told:?}");
        assert_eq!(told[0], line(0));
        assert_eq!(told[13], format!("{} [8192 times]", line(8191)));
    }

    #[test]
    fn different_texts_are_limited_and_dropped_ones_are_counted() {
        let (mut limit, now) = (LineLimit::default(), Instant::now());
        let letter = |digit: u8| char::from(digit - b'0' + b'a');
        let text = |n: u32| n.to_string().bytes().map(letter).collect::<String>();
        let told = (0..10_000).filter(|n| limit.admit(&text(*n), now).is_some()).count();
        assert_eq!(told, BURST_LINES as usize);
        assert!(limit.texts.len() <= MAX_TEXTS);
        let later = limit.admit("something else", now + Duration::from_secs(60)).unwrap();
        assert_eq!(later, "something else [9980 other lines dropped]");
    }

    #[test]
    fn one_text_does_not_hide_another() {
        let (mut limit, now) = (LineLimit::default(), Instant::now());
        (0..10_000).for_each(|_| drop(limit.admit("again", now)));
        assert_eq!(limit.admit("the real cause", now).unwrap(), "the real cause");
    }

    proptest::proptest! {
        #[test]
        fn any_line_becomes_one_short_line(said in "\\PC{0,300}|(\\s|\\d|[a-z\0])*") {
            let told = LineLimit::default().admit(&said, Instant::now()).unwrap_or_default();
            proptest::prop_assert!(!told.contains(['\n', '\r', '\0']));
            proptest::prop_assert!(told.len() <= MAX_LINE_CHARS * MAX_ESCAPE_BYTES);
        }
    }
}
