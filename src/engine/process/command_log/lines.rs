//! Which lines of a program the service's log gets. Pure.
//!
//! A library that complains of each frame writes the same line 50,000 times a
//! second. A line is logged when its text comes for the first time, and then at
//! each doubling, with the count; all texts together are few a second.

use std::time::Instant;

use super::Budget;
use crate::base::incident::Incident;

/// So many lines may come at once, and so many a second on average.
const BURST: f64 = 20.0;
const A_SECOND: f64 = 0.5;

/// Longer lines are cut.
const LONGEST: usize = 200;

/// So many texts are counted; then the one that was said least recently makes room.
const TEXTS: usize = 32;

/// Lets a line of a program into the log, or not.
#[derive(Debug)]
pub(in crate::engine::process) struct LineLimit {
    texts: Vec<Text>,
    budget: Budget,
    /// Lines for which there was no room since the last one that was admitted.
    left_out: u64,
}

/// Lines that differ only in words with digits: times, addresses, numbers of processes.
#[derive(Debug)]
struct Text {
    words: String,
    said: Incident,
    last: Instant,
}

impl Default for LineLimit {
    fn default() -> Self {
        let budget = Budget::new(BURST, A_SECOND);
        Self { texts: Vec::new(), budget, left_out: 0 }
    }
}

impl LineLimit {
    /// The line as it is to be logged, if it is: on one line, with how often its text
    /// was said, and how many lines were left out before it.
    pub(in crate::engine::process) fn admit(&mut self, line: &str, now: Instant) -> Option<String> {
        let line: String = line.trim().chars().take(LONGEST).collect();
        if line.is_empty() {
            return None;
        }
        let times = self.count(words(&line), now)?;
        if !self.budget.take(1.0, now) {
            self.left_out += 1;
            return None;
        }
        let mut told = line.escape_debug().to_string();
        if times > 1 {
            told += &format!(" [said {times} times]");
        }
        match std::mem::take(&mut self.left_out) {
            0 => {}
            left_out => told += &format!(" [{left_out} other lines are left out]"),
        }
        Some(told)
    }

    /// How often it was said, if that is worth a line.
    fn count(&mut self, words: String, now: Instant) -> Option<u64> {
        if let Some(text) = self.texts.iter_mut().find(|text| text.words == words) {
            text.last = now;
            return text.said.add(now);
        }
        if self.texts.len() == TEXTS {
            let oldest = self.texts.iter().enumerate().min_by_key(|(_, text)| text.last);
            oldest.map(|(index, _)| index).map(|index| self.texts.swap_remove(index));
        }
        let mut said = Incident::default();
        let times = said.add(now);
        self.texts.push(Text { words, said, last: now });
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

    /// Of one character, as `\\u{10ffff}`.
    const LONGEST_ESCAPE: usize = 10;

    #[test]
    fn a_text_that_is_said_again_and_again_is_told_with_its_count() {
        let (mut limit, now) = (LineLimit::default(), Instant::now());
        let line = |n| format!("0:00:{n} {} {:#x} rtmp2sink: broken pipe", n * 7, n << 12);
        let told: Vec<_> = (0..10_000).filter_map(|n: u32| limit.admit(&line(n), now)).collect();
        assert_eq!(told.len(), 14, "{told:?}");
        assert_eq!(told[0], line(0));
        assert_eq!(told[13], format!("{} [said 8192 times]", line(8191)));
    }

    #[test]
    fn different_texts_are_few_and_those_left_out_are_counted() {
        let (mut limit, now) = (LineLimit::default(), Instant::now());
        let letter = |digit: u8| char::from(digit - b'0' + b'a');
        let text = |n: u32| n.to_string().bytes().map(letter).collect::<String>();
        let told = (0..10_000).filter(|n| limit.admit(&text(*n), now).is_some()).count();
        assert_eq!(told, BURST as usize);
        assert!(limit.texts.len() <= TEXTS);
        let later = limit.admit("something else", now + Duration::from_secs(60)).unwrap();
        assert_eq!(later, "something else [9980 other lines are left out]");
    }

    #[test]
    fn one_text_does_not_hide_another() {
        let (mut limit, now) = (LineLimit::default(), Instant::now());
        (0..10_000).for_each(|_| drop(limit.admit("again", now)));
        assert_eq!(limit.admit("the real cause", now).unwrap(), "the real cause");
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_said_becomes_one_short_line(said in "\\PC{0,300}|(\\s|\\d|[a-z\0])*") {
            let told = LineLimit::default().admit(&said, Instant::now()).unwrap_or_default();
            proptest::prop_assert!(!told.contains(['\n', '\r', '\0']));
            proptest::prop_assert!(told.len() <= LONGEST * LONGEST_ESCAPE);
        }
    }
}
