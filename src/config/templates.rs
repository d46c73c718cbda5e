//! Templates: of commands, and of sets of feeds, streams and pushes.
//!
//! Expanded on the tree of the file before the check, which sees the result only.
//! A template cannot refer to a template and a set cannot use a set, so there are
//! no cycles; the result has the bounds of a file.

mod budget;
mod commands;
mod sets;
mod text;

use budget::{Budget, BudgetExceeded};
use commands::Commands;
use sets::Sets;
use text::{INVALID_NAME, is_name};

use super::nearest::nearest;
use super::problem::{NOT_ONE_VALUE, NOT_QUOTED, Problem, child, either, word};
use super::yaml::{Entry, Node};

pub(super) const TEMPLATES: [&str; 2] = ["commands", "sets"];

/// Expands the templates of the file. Adds their problems to `problems`.
///
/// # Errors
/// The result exceeds the bounds of a file.
pub(super) fn resolve(file: Node, problems: &mut Vec<Problem>) -> Result<Node, Problem> {
    let Node::Mapping(mut keys) = file else { return Ok(file) };
    let (templates, uses) = (take(&mut keys, "templates"), take(&mut keys, "use"));
    let mut report = Report { problems, budget: Budget::default() };
    let sections =
        templates.as_ref().map(|entry| report.mapping(&Location::root(entry), &entry.value));
    let sections = sections.unwrap_or_default();
    if let Some(entry) = &templates {
        report.unknown_keys(&Location::root(entry), sections, &TEMPLATES);
    }
    let at = |key: &str| {
        let entry = sections.iter().find(|entry| entry.key == key)?;
        Some((Location::root(templates.as_ref()?).at(entry), &entry.value))
    };
    let commands = Commands::read(at("commands"), &mut report);
    let sets = Sets::read(at("sets"), &mut report);
    if let Some(uses) = &uses {
        sets.use_all(uses, &mut keys, &mut report)?;
    }
    for section in keys.iter_mut().filter(|entry| matches!(entry.key.as_str(), "feeds" | "streams"))
    {
        commands.apply(section, &mut report)?;
    }
    Ok(Node::Mapping(keys))
}

/// Takes a key out of a mapping.
fn take(keys: &mut Vec<Entry>, key: &str) -> Option<Entry> {
    keys.iter().position(|entry| entry.key == key).map(|index| keys.remove(index))
}

/// A key of the file, as problems name it.
#[derive(Clone, Debug)]
struct Location {
    path: String,
    line: usize,
}

impl Location {
    fn root(entry: &Entry) -> Self {
        Self { path: child("", &entry.key), line: entry.line }
    }

    /// A key of the mapping at this location.
    fn at(&self, entry: &Entry) -> Self {
        Self { path: child(&self.path, &entry.key), line: entry.line }
    }

    /// The problem of an exceeded budget at this location.
    fn exceeded(&self, BudgetExceeded: BudgetExceeded) -> Problem {
        Problem::on_line(self.line, self.path.clone(), BudgetExceeded::message())
    }
}

/// The problems, and the budget of the expansion.
struct Report<'a> {
    problems: &'a mut Vec<Problem>,
    budget: Budget,
}

impl Report<'_> {
    fn add(&mut self, at: &Location, message: impl Into<String>) {
        self.problems.push(Problem::on_line(at.line, at.path.clone(), message));
    }

    /// The keys of a mapping, none for null; reports anything else.
    fn mapping<'n>(&mut self, at: &Location, node: &'n Node) -> &'n [Entry] {
        if matches!(node, Node::Text(_) | Node::List(_)) {
            self.add(at, "must hold keys of its own, not a value or a list");
        }
        node.entries()
    }

    /// One value; reports anything else.
    fn value<'n>(&mut self, at: &Location, node: &'n Node) -> Option<&'n str> {
        match node {
            Node::Text(text) => return Some(text),
            Node::Null => self.add(at, "needs a value"),
            Node::Mapping(keys) if keys.iter().any(|key| key.value == Node::Null) => {
                self.add(at, NOT_QUOTED);
            }
            Node::List(_) | Node::Mapping(_) => self.add(at, NOT_ONE_VALUE),
        }
        None
    }

    /// The entries of a mapping whose keys are names; reports the others.
    fn named<'n>(&mut self, at: &Location, node: &'n Node) -> Vec<&'n Entry> {
        let entries = self.mapping(at, node);
        for entry in entries.iter().filter(|entry| !is_name(&entry.key)) {
            self.add(&at.at(entry), INVALID_NAME);
        }
        entries.iter().filter(|entry| is_name(&entry.key)).collect()
    }

    /// Reports the keys that are not among `known`.
    fn unknown_keys(&mut self, at: &Location, keys: &[Entry], known: &[&str]) {
        for entry in keys.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
            let message = match nearest(&entry.key, known) {
                Some(near) => format!("no such key; did you mean {near:?}?"),
                None => format!("no such key; the keys here are {}", known.join(", ")),
            };
            self.add(&at.at(entry), message);
        }
    }

    /// Reports arguments that are not among `known`; `owner` names their template
    /// or set. A key without a value may be a secret without its key and is not
    /// shown.
    fn unused(&mut self, at: &Location, given: &[Entry], known: &[&str], owner: &str) {
        let listed = &known[..known.len().min(MAX_LISTED)];
        for entry in given.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
            let near = nearest(&entry.key, listed);
            let place =
                if entry.value == Node::Null && near.is_none() { at } else { &at.at(entry) };
            let advice = match (near, listed) {
                (Some(near), _) => format!("did you mean {near:?}?"),
                (None, []) => "it takes none".to_owned(),
                (None, listed) => format!("it takes {}", listed.join(", ")),
            };
            self.add(place, format!("{owner} has no such argument; {advice}"));
        }
    }
}

/// The number of known names that a problem suggests or lists.
const MAX_LISTED: usize = 20;

/// The message for a `name` that is not among `known`; `what` is the kind of name.
fn unknown_name(name: &str, what: &str, known: &[&str]) -> String {
    let known = &known[..known.len().min(MAX_LISTED)];
    let advice = match nearest(name, known) {
        Some(near) => format!("did you mean {near:?}?"),
        None if known.is_empty() => format!("there is no {what}"),
        None => format!("there is {}", either(known)),
    };
    format!("{:?} names no {what}; {advice}", word(name))
}
