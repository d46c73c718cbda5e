//! Reading the merged tree: one place in it, and the list of what is wrong.
//!
//! Reading never stops: a wrong value is told and then counts as absent, so
//! that one look at the output shows every mistake.

use ::config::{Value, ValueKind};

use super::layers::Layered;
use super::nearest::nearest;
use super::problem::{NOT_ONE_VALUE, NOT_QUOTED, Problem, child, either, line_origin, quote};
use super::yaml::Node;

/// A key of the configuration, whether it is given or not.
#[derive(Clone)]
pub(super) struct Spot<'a> {
    /// As problems show it: `streams.door.bitrate`.
    pub path: String,
    value: Option<&'a Value>,
    /// The same place in the file: the merge forgets the lines of mappings.
    node: Option<&'a Node>,
    line: Option<usize>,
}

impl<'a> Spot<'a> {
    pub(super) fn root(layers: &'a Layered) -> Self {
        let (value, node) = (Some(&layers.root), Some(&layers.file));
        Self { path: String::new(), value, node, line: None }
    }

    /// The place of `key` in this mapping.
    pub(super) fn at(&self, key: &str) -> Spot<'a> {
        let value = match self.value.map(|value| &value.kind) {
            Some(ValueKind::Table(table)) => table.get(key),
            _ => None,
        };
        let entry = self.node.and_then(|node| node.get(key));
        Spot {
            path: child(&self.path, key),
            value,
            node: entry.map(|entry| &entry.value),
            line: entry.map(|entry| entry.line),
        }
    }

    /// The keys of this mapping, in the order of the file.
    pub(super) fn keys(&self) -> Vec<&'a str> {
        match self.value.map(|value| &value.kind) {
            Some(ValueKind::Table(table)) => table.keys().map(String::as_str).collect(),
            _ => Vec::new(),
        }
    }

    /// Whether there is a value other than null.
    pub(super) fn is_given(&self) -> bool {
        self.value.is_some_and(|value| value.kind != ValueKind::Nil)
    }

    /// Whether the value is this text.
    pub(super) fn reads(&self, text: &str) -> bool {
        let given = self.value.map(|value| &value.kind);
        matches!(given, Some(ValueKind::String(given)) if given.trim() == text)
    }

    fn origin(&self) -> Option<String> {
        let own = self.value.and_then(Value::origin).map(str::to_owned);
        own.or(self.line.map(line_origin)).or_else(|| self.value.and_then(first_origin))
    }
}

/// Where the first value inside came from: a mapping itself does not remember.
fn first_origin(value: &Value) -> Option<String> {
    if let ValueKind::Table(table) = &value.kind {
        return table.values().find_map(first_origin);
    }
    value.origin().map(str::to_owned)
}

/// Everything that is wrong, in the order in which it was found.
#[derive(Default)]
pub(super) struct Report {
    pub problems: Vec<Problem>,
}

impl Report {
    pub(super) fn tell(&mut self, spot: &Spot<'_>, message: impl Into<String>) {
        let (key, origin) = (spot.path.clone(), spot.origin());
        self.problems.push(Problem { key, origin, message: message.into() });
    }

    /// Tells what is no mapping, and its keys that are not among `known`.
    /// Returns whether it is one.
    pub(super) fn keys(&mut self, spot: &Spot<'_>, known: &[&str]) -> bool {
        self.unknown_keys(spot, known, |key| spot.at(key))
    }

    /// As [`Report::keys`], where secrets are at home: a key that resembles no
    /// known one may be a secret on its own, and only its mapping is named.
    pub(super) fn keys_beside_secrets(&mut self, spot: &Spot<'_>, known: &[&str]) -> bool {
        self.unknown_keys(spot, known, |_| spot.clone())
    }

    fn unknown_keys<'a>(
        &mut self,
        spot: &Spot<'a>,
        known: &[&str],
        place_of_stranger: impl Fn(&str) -> Spot<'a>,
    ) -> bool {
        for key in spot.keys() {
            if known.contains(&key) {
                continue;
            }
            match nearest(key, known) {
                Some(near) => {
                    self.tell(&spot.at(key), format!("no such key; did you mean {near:?}?"));
                }
                None => {
                    let message = format!("no such key; the keys here are {}", known.join(", "));
                    self.tell(&place_of_stranger(key), message);
                }
            }
        }
        self.mapping(spot)
    }

    /// Whether this is a mapping or absent; tells what is not.
    pub(super) fn mapping(&mut self, spot: &Spot<'_>) -> bool {
        let is_table = |value: &Value| matches!(value.kind, ValueKind::Table(_));
        let is_mapping = !spot.is_given() || spot.value.is_some_and(is_table);
        if !is_mapping {
            self.tell(spot, "must hold keys of its own, not a value or a list");
        }
        is_mapping
    }

    /// The text at this place; nothing if there is none or null, or, told, if
    /// there is more than one value.
    pub(super) fn text<'a>(&mut self, spot: &Spot<'a>) -> Option<&'a str> {
        let given = spot.value.filter(|value| value.kind != ValueKind::Nil)?;
        if let ValueKind::String(text) = &given.kind {
            return Some(text);
        }
        let is_unset = |value: &Value| value.kind == ValueKind::Nil;
        let is_placeholder =
            matches!(&given.kind, ValueKind::Table(table) if table.values().any(is_unset));
        let told = if is_placeholder { NOT_QUOTED } else { NOT_ONE_VALUE };
        self.tell(spot, told);
        None
    }

    /// The value at this place as `parse` reads it, whose error is told.
    pub(super) fn read<T>(
        &mut self,
        spot: &Spot<'_>,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = self.text(spot)?;
        parse(text.trim()).map_err(|message| self.tell(spot, message)).ok()
    }
}

impl Report {
    /// The values of a list at this place, or of a text with commas between
    /// them, as `parse` reads each; its errors are told.
    pub(super) fn read_list<T>(
        &mut self,
        spot: &Spot<'_>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        let texts: Vec<&str> = match spot.value.map(|value| &value.kind) {
            None | Some(ValueKind::Nil) => Vec::new(),
            Some(ValueKind::Array(items)) => items.iter().map(text_of).collect(),
            Some(_) => self.text(spot).map_or_else(Vec::new, |text| text.split(',').collect()),
        };
        let read = texts.into_iter().map(|text| parse(text.trim()));
        read.filter_map(|one| one.map_err(|told| self.tell(spot, told)).ok()).collect()
    }
}

/// Empty where it is something else, which is no value of any list.
fn text_of(item: &Value) -> &str {
    if let ValueKind::String(text) = &item.kind { text } else { "" }
}

/// Reads one of a few words, in any letter case.
pub(super) fn word<T: Clone>(
    what: &'static str,
    words: &[(&'static str, T)],
) -> impl Fn(&str) -> Result<T, String> {
    let words = words.to_vec();
    move |text| {
        let found = words.iter().find(|(word, _)| word.eq_ignore_ascii_case(text));
        found.map(|(_, meaning)| meaning.clone()).ok_or_else(|| {
            let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            format!("{} is not {what}; use {}", quote(text), either(&all))
        })
    }
}

/// Reads `true`, `yes`, `on`, `1` and their opposites.
pub(super) fn flag(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err(format!("{} is neither true nor false", quote(text))),
    }
}
