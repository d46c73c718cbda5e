//! The end of a program's standard error, shown to clients as the reason of a failure.
//! Secrets are removed before it is stored.

use crate::base::lock::Lock;

/// How many bytes are kept.
const MAX_BYTES: usize = 4096;

/// The newest output of a program.
#[derive(Debug, Default)]
pub(super) struct StderrTail(Lock<String>);

impl StderrTail {
    pub(super) fn push(&self, text: &str) {
        let mut kept = self.0.lock();
        kept.push_str(text);
        let excess = kept.len().saturating_sub(MAX_BYTES);
        let end = kept.ceil_char_boundary(excess);
        kept.drain(..end);
    }

    /// All that is kept.
    pub(super) fn text(&self) -> String {
        self.0.lock().clone()
    }

    /// The last lines that are not empty, `count` at most, oldest first.
    pub(super) fn last_lines(&self, count: usize) -> Vec<String> {
        let text = self.text();
        let lines = text.split(['\n', '\r']).rev().map(str::trim);
        let mut last: Vec<_> = lines.filter(|line| !line.is_empty()).take(count).collect();
        last.reverse();
        last.into_iter().map(str::to_owned).collect()
    }

    /// The last line that is not empty, at most 200 characters.
    pub(super) fn last_line(&self) -> Option<String> {
        let line = self.last_lines(1).pop()?;
        let line: String = line.chars().filter(|c| !c.is_control()).take(200).collect();
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail_of(text: &str) -> StderrTail {
        let tail = StderrTail::default();
        tail.push(text);
        tail
    }

    #[test]
    fn only_the_end_is_kept_and_empty_lines_are_skipped() {
        let tail = tail_of(&"x".repeat(10_000));
        tail.push("\nfirst\nlast\r\n\n");
        assert_eq!(tail.text().len(), MAX_BYTES);
        assert_eq!(tail.last_line().unwrap(), "last");
        assert_eq!(tail.last_lines(2), ["first", "last"]);
        assert_eq!(tail_of(" \n").last_line(), None);
    }

    proptest::proptest! {
        #[test]
        fn any_output_is_accepted(text in "\\PC{0,3000}") {
            let tail = tail_of(&text);
            tail.push(&text);
            proptest::prop_assert!(tail.text().len() <= MAX_BYTES);
            tail.last_line();
        }
    }
}
