//! A text with placeholders: `/{name}/view`.
//!
//! `{name}` is a placeholder, `{{` and `}}` are literal braces. Values are not
//! expanded again. In a command each word is a text of its own, so that a value
//! never becomes two words.

use crate::config::templates::budget::{Budget, BudgetExceeded};

/// The maximum length of the name of a placeholder, in bytes.
const MAX_NAME_BYTES: usize = 64;

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Text(Vec<Piece>);

#[derive(Clone, Debug, PartialEq)]
enum Piece {
    Plain(String),
    Placeholder(String),
}

/// The words of a command line.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Command(Vec<Text>);

/// Why a text cannot be filled.
#[derive(Debug, PartialEq)]
pub(super) enum FillError {
    /// There is no value for this placeholder.
    Missing(String),
    /// The words cannot be joined to a command line.
    InvalidCommand,
    BudgetExceeded(BudgetExceeded),
}

impl From<BudgetExceeded> for FillError {
    fn from(exceeded: BudgetExceeded) -> Self {
        Self::BudgetExceeded(exceeded)
    }
}

const BRACE: &str = "a single brace begins or ends no placeholder such as {name}; the brace itself \
    is written twice";

impl Text {
    /// Parses the placeholders of a text.
    ///
    /// # Errors
    /// A brace that is neither part of a placeholder nor doubled; the message of
    /// the problem.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            let from_brace = &rest[at..];
            let brace = &from_brace[..1];
            if from_brace[1..].starts_with(brace) {
                plain.push_str(brace);
                rest = &from_brace[2..];
                continue;
            }
            let end = from_brace.find('}').filter(|_| brace == "{").ok_or(BRACE)?;
            let name = &from_brace[1..end];
            if !is_name(name) {
                return Err(BRACE);
            }
            if !plain.is_empty() {
                pieces.push(Piece::Plain(std::mem::take(&mut plain)));
            }
            pieces.push(Piece::Placeholder(name.to_owned()));
            rest = &from_brace[end + 1..];
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            pieces.push(Piece::Plain(plain));
        }
        Ok(Self(pieces))
    }

    /// The names of the placeholders, as often as they occur.
    pub(super) fn placeholders(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Placeholder(name) => Some(name.as_str()),
            Piece::Plain(_) => None,
        })
    }

    pub(super) fn fill<'a>(
        &self,
        argument: &impl Fn(&str) -> Option<&'a str>,
        budget: &mut Budget,
    ) -> Result<String, FillError> {
        let mut filled = String::new();
        for piece in &self.0 {
            let part = match piece {
                Piece::Plain(text) => text,
                Piece::Placeholder(name) => {
                    argument(name).ok_or_else(|| FillError::Missing(name.clone()))?
                }
            };
            budget.take_text(part.len())?;
            filled.push_str(part);
        }
        Ok(filled)
    }
}

impl Command {
    /// Splits the text like a shell, and parses each word.
    ///
    /// # Errors
    /// As [`Text::parse`], or a quote that is not closed.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let words = shlex::split(text).ok_or("the command has a quote that is not closed")?;
        words.iter().map(|word| Text::parse(word)).collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn placeholders(&self) -> impl Iterator<Item = &str> {
        self.0.iter().flat_map(Text::placeholders)
    }

    /// The command line, with words quoted where needed.
    pub(super) fn fill<'a>(
        &self,
        argument: &impl Fn(&str) -> Option<&'a str>,
        budget: &mut Budget,
    ) -> Result<String, FillError> {
        let words = self.0.iter().map(|word| word.fill(argument, budget));
        let words = words.collect::<Result<Vec<_>, _>>()?;
        shlex::try_join(words.iter().map(String::as_str)).map_err(|_| FillError::InvalidCommand)
    }
}

/// The message for an invalid name.
pub(super) const INVALID_NAME: &str = "is not a name; use 1 to 64 of a-z A-Z 0-9 _ -";

/// Whether this is a valid name of a template or a placeholder.
pub(super) fn is_name(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    (1..=MAX_NAME_BYTES).contains(&text.len()) && text.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filled(text: &str, value: &str) -> String {
        let text = Text::parse(text).unwrap();
        text.fill(&|_| Some(value), &mut Budget::default()).unwrap()
    }

    #[test]
    fn placeholders_are_filled_and_doubled_braces_are_literal() {
        assert_eq!(filled("/{name}/view{{0}}", "a"), "/a/view{0}");
        assert_eq!(filled("{a}{b}", "{c}"), "{c}{c}");
        assert_eq!(filled("{{{a}}}", "x"), "{x}");
        assert_eq!(filled("", "x"), "");
    }

    #[test]
    fn a_single_brace_is_refused() {
        for bad in ["{", "}", "{}", "{a", "a}", "{a b}", "{{a}", "{a}}", "{ä}", "{a.b}"] {
            assert_eq!(Text::parse(bad), Err(BRACE), "{bad}");
        }
    }

    #[test]
    fn a_placeholder_without_a_value_is_named() {
        let command = Command::parse("ff -r {fps} '{in put}'").unwrap_err();
        assert_eq!(command, BRACE);
        let command = Command::parse("ff -r {fps}").unwrap();
        let unfilled = command.fill(&|_| None, &mut Budget::default());
        assert_eq!(unfilled, Err(FillError::Missing("fps".to_owned())));
    }

    proptest! {
        #[test]
        fn a_value_with_any_content_stays_one_word(argument in "[^\\x00]{0,40}") {
            let command = Command::parse("ff -i {x} 'a {x}' end").unwrap();
            let line = command.fill(&|_| Some(&argument), &mut Budget::default()).unwrap();
            let words = shlex::split(&line).unwrap();
            let second = format!("a {argument}");
            prop_assert_eq!(words, ["ff", "-i", &argument, &second, "end"]);
        }

        #[test]
        fn any_text_with_doubled_braces_is_unchanged(text in any::<String>()) {
            let doubled = text.replace('{', "{{").replace('}', "}}");
            prop_assert_eq!(filled(&doubled, "x"), text);
        }
    }
}
