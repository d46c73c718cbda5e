//! A text with places for arguments: `/{name}/view`.
//!
//! `{name}` is a place, `{{` and `}}` are the braces themselves. What is put
//! into a place is not looked at again. In a command each word is a text of its
//! own, so that an argument can never become two words.

use crate::config::templates::budget::{Budget, Full};

/// No name of a place is longer.
const LONGEST_NAME: usize = 64;

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Text(Vec<Piece>);

#[derive(Clone, Debug, PartialEq)]
enum Piece {
    Plain(String),
    Place(String),
}

/// The words of a command line.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Command(Vec<Text>);

/// Why a text cannot be filled.
#[derive(Debug, PartialEq)]
pub(super) enum Unfilled {
    /// Nobody says what belongs here.
    Missing(String),
    /// The words make no command line.
    NoCommand,
    Full(Full),
}

impl From<Full> for Unfilled {
    fn from(full: Full) -> Self {
        Self::Full(full)
    }
}

const BRACE: &str = "a single brace begins or ends no placeholder such as {name}; the brace itself \
    is written twice";

impl Text {
    /// Reads the places of a text.
    ///
    /// # Errors
    /// A brace that is neither part of a place nor doubled, as a person is told.
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
            pieces.push(Piece::Place(name.to_owned()));
            rest = &from_brace[end + 1..];
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            pieces.push(Piece::Plain(plain));
        }
        Ok(Self(pieces))
    }

    /// The names of its places, as often as they occur.
    pub(super) fn places(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Place(name) => Some(name.as_str()),
            Piece::Plain(_) => None,
        })
    }

    pub(super) fn fill<'a>(
        &self,
        argument: &impl Fn(&str) -> Option<&'a str>,
        budget: &mut Budget,
    ) -> Result<String, Unfilled> {
        let mut filled = String::new();
        for piece in &self.0 {
            let part = match piece {
                Piece::Plain(text) => text,
                Piece::Place(name) => {
                    argument(name).ok_or_else(|| Unfilled::Missing(name.clone()))?
                }
            };
            budget.take_text(part.len())?;
            filled.push_str(part);
        }
        Ok(filled)
    }
}

impl Command {
    /// Splits as a shell would, and reads the places of each word.
    ///
    /// # Errors
    /// As [`Text::parse`], or a quote that is not closed.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let words = shlex::split(text).ok_or("the command has a quote that is not closed")?;
        words.iter().map(|word| Text::parse(word)).collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn places(&self) -> impl Iterator<Item = &str> {
        self.0.iter().flat_map(Text::places)
    }

    /// The command line with every word quoted as far as it needs that.
    pub(super) fn fill<'a>(
        &self,
        argument: &impl Fn(&str) -> Option<&'a str>,
        budget: &mut Budget,
    ) -> Result<String, Unfilled> {
        let words = self.0.iter().map(|word| word.fill(argument, budget));
        let words = words.collect::<Result<Vec<_>, _>>()?;
        shlex::try_join(words.iter().map(String::as_str)).map_err(|_| Unfilled::NoCommand)
    }
}

/// What is told of anything else.
pub(super) const NO_NAME: &str = "is not a name; use 1 to 64 of a-z A-Z 0-9 _ -";

/// Whether a template, a place, and so an argument, may be called so.
pub(super) fn is_name(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    (1..=LONGEST_NAME).contains(&text.len()) && text.chars().all(allowed)
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
    fn places_are_filled_and_doubled_braces_are_braces() {
        assert_eq!(filled("/{name}/view{{0}}", "a"), "/a/view{0}");
        assert_eq!(filled("{a}{b}", "{c}"), "{c}{c}");
        assert_eq!(filled("{{{a}}}", "x"), "{x}");
        assert_eq!(filled("", "x"), "");
    }

    #[test]
    fn a_brace_alone_is_refused() {
        for bad in ["{", "}", "{}", "{a", "a}", "{a b}", "{{a}", "{a}}", "{ä}", "{a.b}"] {
            assert_eq!(Text::parse(bad), Err(BRACE), "{bad}");
        }
    }

    #[test]
    fn a_place_without_an_argument_is_named() {
        let command = Command::parse("ff -r {fps} '{in put}'").unwrap_err();
        assert_eq!(command, BRACE);
        let command = Command::parse("ff -r {fps}").unwrap();
        let unfilled = command.fill(&|_| None, &mut Budget::default());
        assert_eq!(unfilled, Err(Unfilled::Missing("fps".to_owned())));
    }

    proptest! {
        #[test]
        fn an_argument_stays_one_word_whatever_is_in_it(argument in "[^\\x00]{0,40}") {
            let command = Command::parse("ff -i {x} 'a {x}' end").unwrap();
            let line = command.fill(&|_| Some(&argument), &mut Budget::default()).unwrap();
            let words = shlex::split(&line).unwrap();
            let second = format!("a {argument}");
            prop_assert_eq!(words, ["ff", "-i", &argument, &second, "end"]);
        }

        #[test]
        fn any_text_with_its_braces_doubled_is_itself(text in any::<String>()) {
            let doubled = text.replace('{', "{{").replace('}', "}}");
            prop_assert_eq!(filled(&doubled, "x"), text);
        }
    }
}
