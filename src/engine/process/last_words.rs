//! What a program said last on its standard error, as it may be shown to
//! clients that ask why there is nothing. It is given without secrets.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// So many bytes are kept.
const KEPT: usize = 4096;

/// The newest of what a program said.
#[derive(Debug, Default)]
pub(super) struct LastWords(Mutex<String>);

impl LastWords {
    pub(super) fn hear(&self, said: &str) {
        let mut kept = self.lock();
        kept.push_str(said);
        let more = kept.len().saturating_sub(KEPT);
        let end = kept.ceil_char_boundary(more);
        kept.drain(..end);
    }

    /// All that is kept.
    pub(super) fn text(&self) -> String {
        self.lock().clone()
    }

    /// The last lines that say something, so many at most, in their order.
    pub(super) fn last_lines(&self, count: usize) -> Vec<String> {
        let text = self.text();
        let lines = text.split(['\n', '\r']).rev().map(str::trim);
        let mut last: Vec<_> = lines.filter(|line| !line.is_empty()).take(count).collect();
        last.reverse();
        last.into_iter().map(str::to_owned).collect()
    }

    /// The last line that says something.
    pub(super) fn last_line(&self) -> Option<String> {
        let line = self.last_lines(1).pop()?;
        let line: String = line.chars().filter(|c| !c.is_control()).take(200).collect();
        Some(line)
    }

    fn lock(&self) -> MutexGuard<'_, String> {
        // What is kept is whole at every moment.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(said: &str) -> LastWords {
        let words = LastWords::default();
        words.hear(said);
        words
    }

    #[test]
    fn only_the_end_is_kept_and_the_last_line_is_the_last_that_says_something() {
        let words = heard(&"x".repeat(10_000));
        words.hear("\nfirst\nlast\r\n\n");
        assert_eq!(words.text().len(), KEPT);
        assert_eq!(words.last_line().unwrap(), "last");
        assert_eq!(words.last_lines(2), ["first", "last"]);
        assert_eq!(heard(" \n").last_line(), None);
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_said_is_survived(said in "\\PC{0,3000}") {
            let words = heard(&said);
            words.hear(&said);
            proptest::prop_assert!(words.text().len() <= KEPT);
            words.last_line();
        }
    }
}
