//! Access to the merged tree by keys, and the list of problems.
//!
//! Reading never stops: a wrong value is reported and then counts as absent, so
//! that one run reports all problems.

use ::config::{Value, ValueKind};

use super::layers::Layered;
use super::nearest::nearest;
use super::problem::{NOT_ONE_VALUE, NOT_QUOTED, Problem, child, either, line_origin, quote};
use super::yaml::Node;

/// A key of the configuration, given or not.
#[derive(Clone)]
pub(super) struct Field<'a> {
    /// As in problems: `streams.door.bitrate`.
    pub path: String,
    value: Option<&'a Value>,
    /// Its node in the file: the merge drops the lines of mappings.
    node: Option<&'a Node>,
    line: Option<usize>,
}

impl<'a> Field<'a> {
    pub(super) fn root(layers: &'a Layered) -> Self {
        let (value, node) = (Some(&layers.root), Some(&layers.file));
        Self { path: String::new(), value, node, line: None }
    }

    /// The key `key` of this mapping.
    pub(super) fn at(&self, key: &str) -> Field<'a> {
        let value = match self.value.map(|value| &value.kind) {
            Some(ValueKind::Table(table)) => table.get(key),
            _ => None,
        };
        let entry = self.node.and_then(|node| node.get(key));
        Field {
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

/// The origin of the first value inside: a mapping itself has none.
fn first_origin(value: &Value) -> Option<String> {
    if let ValueKind::Table(table) = &value.kind {
        return table.values().find_map(first_origin);
    }
    value.origin().map(str::to_owned)
}

/// All problems, in the order in which they were found.
#[derive(Default)]
pub(super) struct Report {
    pub problems: Vec<Problem>,
}

impl Report {
    pub(super) fn add(&mut self, field: &Field<'_>, message: impl Into<String>) {
        let (key, origin) = (field.path.clone(), field.origin());
        self.problems.push(Problem { key, origin, message: message.into() });
    }

    /// Reports a value that is no mapping, and keys that are not among `known`.
    /// Returns whether it is a mapping or absent.
    pub(super) fn keys(&mut self, field: &Field<'_>, known: &[&str]) -> bool {
        self.unknown_keys(field, known, |key| field.at(key))
    }

    /// As [`Report::keys`], for mappings with secrets: an unknown key that
    /// resembles no known one may itself be a secret and is not shown.
    pub(super) fn keys_beside_secrets(&mut self, field: &Field<'_>, known: &[&str]) -> bool {
        self.unknown_keys(field, known, |_| field.clone())
    }

    fn unknown_keys<'a>(
        &mut self,
        field: &Field<'a>,
        known: &[&str],
        field_to_name: impl Fn(&str) -> Field<'a>,
    ) -> bool {
        for key in field.keys() {
            if known.contains(&key) {
                continue;
            }
            match nearest(key, known) {
                Some(near) => {
                    self.add(&field.at(key), format!("no such key; did you mean {near:?}?"));
                }
                None => {
                    let message = format!("no such key; the keys here are {}", known.join(", "));
                    self.add(&field_to_name(key), message);
                }
            }
        }
        self.mapping(field)
    }

    /// Whether this is a mapping or absent; reports anything else.
    pub(super) fn mapping(&mut self, field: &Field<'_>) -> bool {
        let is_table = |value: &Value| matches!(value.kind, ValueKind::Table(_));
        let is_mapping = !field.is_given() || field.value.is_some_and(is_table);
        if !is_mapping {
            self.add(field, "must hold keys of its own, not a value or a list");
        }
        is_mapping
    }

    /// The text of this key; `None` if it is absent or null. Reports a list or a
    /// mapping.
    pub(super) fn text<'a>(&mut self, field: &Field<'a>) -> Option<&'a str> {
        let given = field.value.filter(|value| value.kind != ValueKind::Nil)?;
        if let ValueKind::String(text) = &given.kind {
            return Some(text);
        }
        let is_unset = |value: &Value| value.kind == ValueKind::Nil;
        let is_placeholder =
            matches!(&given.kind, ValueKind::Table(table) if table.values().any(is_unset));
        self.add(field, if is_placeholder { NOT_QUOTED } else { NOT_ONE_VALUE });
        None
    }

    /// The value of this key, parsed by `parse`; reports its error.
    pub(super) fn read<T>(
        &mut self,
        field: &Field<'_>,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = self.text(field)?;
        parse(text.trim()).map_err(|message| self.add(field, message)).ok()
    }
}

impl Report {
    /// The values of a list, or of a text with commas, each parsed by `parse`;
    /// reports its errors.
    pub(super) fn read_list<T>(
        &mut self,
        field: &Field<'_>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        let texts: Vec<&str> = match field.value.map(|value| &value.kind) {
            None | Some(ValueKind::Nil) => Vec::new(),
            Some(ValueKind::Array(items)) => items.iter().map(text_of).collect(),
            Some(_) => self.text(field).map_or_else(Vec::new, |text| text.split(',').collect()),
        };
        let read = texts.into_iter().map(|text| parse(text.trim()));
        read.filter_map(|one| one.map_err(|message| self.add(field, message)).ok()).collect()
    }
}

/// The text of an item; empty, which is never valid, for anything else.
fn text_of(item: &Value) -> &str {
    if let ValueKind::String(text) = &item.kind { text } else { "" }
}

/// A parser for one of `words`, in any letter case. `what` names the value in errors.
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

/// The word of `words` with this meaning.
pub(super) fn word_for<T: PartialEq>(words: &[(&'static str, T)], wanted: &T) -> &'static str {
    let found = words.iter().find(|(_, meaning)| meaning == wanted);
    found.map(|(word, _)| *word).expect("values are parsed from this table")
}

/// Parses `true`, `yes`, `on`, `1` and their opposites.
pub(super) fn flag(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err(format!("{} is neither true nor false", quote(text))),
    }
}
