//! Parses profile files and fills their slots.
//!
//! `pipelines/README.md` describes the format.

use std::fmt::Write as _;

use crate::model::fault::ProfileError;

/// A parsed profile.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    name: String,
    slots: Vec<(String, SlotType)>,
    lines: Vec<Line>,
}

/// The value of a slot.
#[derive(Clone, Debug, PartialEq)]
pub enum Slot {
    Int(u32),
    /// Letters, digits and `-_.+`.
    Word(String),
    /// Any text; it is quoted for the launch line.
    Text(String),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum SlotType {
    Int,
    Word,
    Text,
}

/// One line of the body and the condition under which it is used.
#[derive(Clone, Debug, PartialEq)]
struct Line {
    condition: Condition,
    text: String,
}

#[derive(Clone, Debug, PartialEq)]
enum Condition {
    Always,
    Filled(String),
    NotFilled(String),
}

impl Profile {
    /// Parses a profile file.
    ///
    /// # Errors
    /// A slot of the body is not declared with its type, a declared slot does
    /// not occur, or a declaration or condition is malformed.
    pub fn parse(name: &str, text: &str) -> Result<Self, ProfileError> {
        let mut profile = Self { name: name.to_owned(), slots: Vec::new(), lines: Vec::new() };
        for (number, line) in text.lines().enumerate() {
            let form = |what: String| ProfileError::Form {
                profile: name.to_owned(),
                line: number + 1,
                what,
            };
            if let Some(comment) = line.strip_prefix('#') {
                if let Some(declared) = comment.trim().strip_prefix("slots:") {
                    profile.slots = declarations(declared).map_err(form)?;
                }
            } else if !line.trim().is_empty() {
                profile.lines.push(body_line(line).map_err(form)?);
            }
        }
        profile.check_uses()?;
        Ok(profile)
    }

    /// The launch text with `values` in its slots, in one line.
    ///
    /// Values for slots that the profile does not declare are ignored, so that
    /// the same values can be passed to every encoder.
    ///
    /// # Errors
    /// A slot has no value, or one of another type.
    pub fn render(&self, values: &[(&str, Slot)]) -> Result<String, ProfileError> {
        let mut rendered = Vec::new();
        for line in &self.lines {
            let is_used = match &line.condition {
                Condition::Always => true,
                Condition::Filled(slot) => find(values, slot).is_some(),
                Condition::NotFilled(slot) => find(values, slot).is_none(),
            };
            if is_used {
                rendered.push(self.fill(&line.text, values)?);
            }
        }
        let words: Vec<_> = rendered.iter().map(|line| line.trim()).collect();
        Ok(words.join(" "))
    }

    fn fill(&self, text: &str, values: &[(&str, Slot)]) -> Result<String, ProfileError> {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, name, after)) = next_slot(rest) {
            filled.push_str(before);
            let value = find(values, name).ok_or_else(|| ProfileError::Unfilled {
                profile: self.name.clone(),
                slot: name.to_owned(),
            })?;
            self.write_value(&mut filled, name, value)?;
            rest = after;
        }
        filled.push_str(rest);
        Ok(filled)
    }

    fn write_value(&self, line: &mut String, name: &str, value: &Slot) -> Result<(), ProfileError> {
        let wanted = self.slot_type(name);
        match (wanted, value) {
            (Some(SlotType::Int), Slot::Int(number)) => {
                // Writing to a String cannot fail.
                write!(line, "{number}").ok();
            }
            (Some(SlotType::Word), Slot::Word(word)) if is_word(word) => line.push_str(word),
            (Some(SlotType::Text), Slot::Text(text)) => quote(line, text),
            _ => {
                return Err(ProfileError::WrongType {
                    profile: self.name.clone(),
                    slot: name.to_owned(),
                    value: format!("{value:?}"),
                });
            }
        }
        Ok(())
    }

    fn slot_type(&self, name: &str) -> Option<SlotType> {
        self.slots.iter().find(|(slot, _)| slot == name).map(|(_, kind)| *kind)
    }

    fn check_uses(&self) -> Result<(), ProfileError> {
        let mut used: Vec<String> = Vec::new();
        for line in &self.lines {
            let mut rest = line.text.as_str();
            while let Some((_, name, after)) = next_slot(rest) {
                used.push(name.to_owned());
                rest = after;
            }
            match &line.condition {
                Condition::Filled(slot) | Condition::NotFilled(slot) => used.push(slot.clone()),
                Condition::Always => {}
            }
        }
        let unknown = used.iter().find(|name| self.slot_type(name).is_none());
        if let Some(slot) = unknown {
            let (profile, slot) = (self.name.clone(), slot.clone());
            return Err(ProfileError::UnknownSlot { profile, slot });
        }
        match self.slots.iter().find(|(name, _)| !used.contains(name)) {
            Some((name, _)) => Err(ProfileError::Form {
                profile: self.name.clone(),
                line: 1,
                what: format!("the slot {name:?} is declared but not used"),
            }),
            None => Ok(()),
        }
    }
}

fn declarations(text: &str) -> Result<Vec<(String, SlotType)>, String> {
    let mut slots = Vec::new();
    for declaration in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let Some((name, kind)) = declaration.split_once(' ') else {
            return Err(format!("{declaration:?} is not \"name type\""));
        };
        let kind = match kind.trim() {
            "int" => SlotType::Int,
            "word" => SlotType::Word,
            "text" => SlotType::Text,
            other => return Err(format!("{other:?} is not a slot type; use int, word or text")),
        };
        slots.push((name.to_owned(), kind));
    }
    Ok(slots)
}

fn body_line(line: &str) -> Result<Line, String> {
    let Some(conditional) = line.strip_prefix('?') else {
        return Ok(Line { condition: Condition::Always, text: line.to_owned() });
    };
    let Some((condition, text)) = conditional.split_once(' ') else {
        return Err("a condition needs a text after it".to_owned());
    };
    let condition = match condition.strip_prefix('!') {
        Some(slot) => Condition::NotFilled(slot.to_owned()),
        None => Condition::Filled(condition.to_owned()),
    };
    Ok(Line { condition, text: text.to_owned() })
}

/// Splits at the first `{name}`: the text before, the name, the text after.
fn next_slot(text: &str) -> Option<(&str, &str, &str)> {
    let open = text.find('{')?;
    let length = text[open..].find('}')?;
    Some((&text[..open], &text[open + 1..open + length], &text[open + length + 1..]))
}

fn find<'a>(values: &'a [(&str, Slot)], name: &str) -> Option<&'a Slot> {
    values.iter().find(|(slot, _)| *slot == name).map(|(_, value)| value)
}

fn is_word(text: &str) -> bool {
    !text.is_empty()
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '+'))
}

/// Quotes for `gst_parse_launch`: double quotes and backslash escapes.
fn quote(line: &mut String, text: &str) {
    line.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            line.push('\\');
        }
        line.push(c);
    }
    line.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "# A sample.\n# slots: size int, name word, device text, extra int\n\
                          source device={device}\n! caps,w={size},n={name}\n\
                          ?extra  extra={extra}\n?!extra  plain=true\n";

    fn sample() -> Profile {
        Profile::parse("sample", SAMPLE).unwrap()
    }

    fn values() -> Vec<(&'static str, Slot)> {
        vec![
            ("size", Slot::Int(640)),
            ("name", Slot::Word("high-10".into())),
            ("device", Slot::Text("/dev/a \"b\\c".into())),
            ("undeclared", Slot::Int(1)),
        ]
    }

    #[test]
    fn slots_are_filled_by_type_and_texts_are_quoted() {
        assert_eq!(
            sample().render(&values()).unwrap(),
            r#"source device="/dev/a \"b\\c" ! caps,w=640,n=high-10 plain=true"#
        );
    }

    #[test]
    fn a_conditional_line_is_used_if_its_slot_has_a_value() {
        let mut values = values();
        values.push(("extra", Slot::Int(7)));
        assert!(sample().render(&values).unwrap().ends_with("n=high-10 extra=7"));
    }

    #[test]
    fn a_word_cannot_add_an_element() {
        let mut values = values();
        values[1].1 = Slot::Word("x ! filesink location=/etc/passwd".into());
        assert!(matches!(sample().render(&values), Err(ProfileError::WrongType { .. })));
    }

    #[test]
    fn the_error_for_a_missing_value_names_the_slot() {
        let error = sample().render(&values()[1..]).unwrap_err();
        assert_eq!(error.to_string(), r#"profile "sample" needs a value for "size""#);
    }

    #[test]
    fn a_malformed_file_is_refused_with_its_line() {
        for (text, message) in [
            ("a {b}", r#"profile "p" has no slot "b""#),
            ("# slots: b int\na", r#"profile "p" line 1: the slot "b" is declared but not used"#),
            ("x\n# slots: b", r#"profile "p" line 2: "b" is not "name type""#),
            (
                "# slots: b real\n{b}",
                r#"profile "p" line 1: "real" is not a slot type; use int, word or text"#,
            ),
            ("?b", r#"profile "p" line 1: a condition needs a text after it"#),
        ] {
            assert_eq!(Profile::parse("p", text).unwrap_err().to_string(), message);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_causes_a_panic(text in ".{0,200}") {
            if let Ok(profile) = Profile::parse("p", &text) {
                profile.render(&[]).ok();
            }
        }

        #[test]
        fn a_quoted_text_never_ends_early(text in ".{0,40}") {
            let mut line = String::new();
            quote(&mut line, &text);
            let inner = &line[1..line.len() - 1];
            let mut escaped = false;
            for c in inner.chars() {
                assert!(escaped || c != '"');
                escaped = !escaped && c == '\\';
            }
            assert!(!escaped);
        }
    }
}
