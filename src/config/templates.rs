//! What is written once and used often: templates of commands, and sets of
//! feeds, streams and pushes.
//!
//! Resolved on the tree of the file before anything else looks at it, so that
//! all behind sees what the author would have written by hand. A template
//! refers to no template and a set uses no set: nothing can go in a circle, and
//! what comes out is bounded as a file is.

mod budget;
mod commands;
mod sets;
mod text;

use budget::{Budget, Full};
use commands::Commands;
use sets::Sets;
use text::{NO_NAME, is_name};

use super::nearest::nearest;
use super::problem::{NOT_ONE_VALUE, NOT_QUOTED, Problem, child, either, word};
use super::yaml::{Entry, Node};

pub(super) const TEMPLATES: [&str; 2] = ["commands", "sets"];

/// The file as its author would have written it without templates. What is
/// wrong with them is added to `problems`.
///
/// # Errors
/// They make too much of the file to go on.
pub(super) fn resolve(file: Node, problems: &mut Vec<Problem>) -> Result<Node, Problem> {
    let Node::Mapping(mut keys) = file else { return Ok(file) };
    let (templates, uses) = (take(&mut keys, "templates"), take(&mut keys, "use"));
    let mut report = Report { problems, budget: Budget::default() };
    let sections = templates.as_ref().map(|entry| report.mapping(&At::root(entry), &entry.value));
    let sections = sections.unwrap_or_default();
    if let Some(entry) = &templates {
        report.strangers(&At::root(entry), sections, &TEMPLATES);
    }
    let at = |key: &str| {
        let entry = sections.iter().find(|entry| entry.key == key)?;
        Some((At::root(templates.as_ref()?).at(entry), &entry.value))
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
struct At {
    path: String,
    line: usize,
}

impl At {
    fn root(entry: &Entry) -> Self {
        Self { path: child("", &entry.key), line: entry.line }
    }

    /// A key of the mapping that stands here.
    fn at(&self, entry: &Entry) -> Self {
        Self { path: child(&self.path, &entry.key), line: entry.line }
    }

    /// That there is no budget here for more.
    fn full(&self, Full: Full) -> Problem {
        Problem::on_line(self.line, self.path.clone(), Full::told())
    }
}

/// Everything that is wrong, and the budget for what is made.
struct Report<'a> {
    problems: &'a mut Vec<Problem>,
    budget: Budget,
}

impl Report<'_> {
    fn tell(&mut self, at: &At, message: impl Into<String>) {
        self.problems.push(Problem::on_line(at.line, at.path.clone(), message));
    }

    /// The keys of a mapping, or none where there is nothing; tells what is neither.
    fn mapping<'n>(&mut self, at: &At, node: &'n Node) -> &'n [Entry] {
        if matches!(node, Node::Text(_) | Node::List(_)) {
            self.tell(at, "must hold keys of its own, not a value or a list");
        }
        node.entries()
    }

    /// One value; nothing, told, if there is none.
    fn value<'n>(&mut self, at: &At, node: &'n Node) -> Option<&'n str> {
        match node {
            Node::Text(text) => return Some(text),
            Node::Null => self.tell(at, "needs a value"),
            Node::Mapping(keys) if keys.iter().any(|key| key.value == Node::Null) => {
                self.tell(at, NOT_QUOTED);
            }
            Node::List(_) | Node::Mapping(_) => self.tell(at, NOT_ONE_VALUE),
        }
        None
    }

    /// The entries of a mapping whose keys are names; tells those that are none.
    fn named<'n>(&mut self, at: &At, node: &'n Node) -> Vec<&'n Entry> {
        let entries = self.mapping(at, node);
        for entry in entries.iter().filter(|entry| !is_name(&entry.key)) {
            self.tell(&at.at(entry), NO_NAME);
        }
        entries.iter().filter(|entry| is_name(&entry.key)).collect()
    }

    /// Tells the keys that are not among `known`.
    fn strangers(&mut self, at: &At, keys: &[Entry], known: &[&str]) {
        for entry in keys.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
            let message = match nearest(&entry.key, known) {
                Some(near) => format!("no such key; did you mean {near:?}?"),
                None => format!("no such key; the keys here are {}", known.join(", ")),
            };
            self.tell(&at.at(entry), message);
        }
    }

    /// Tells arguments that nothing asks for; `who` is what they are given to. A
    /// key without a value may be a secret whose own key got lost.
    fn unused(&mut self, at: &At, given: &[Entry], known: &[&str], who: &str) {
        let told = &known[..known.len().min(MOST_NAMED)];
        for entry in given.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
            let near = nearest(&entry.key, told);
            let place =
                if entry.value == Node::Null && near.is_none() { at } else { &at.at(entry) };
            let advice = match (near, told) {
                (Some(near), _) => format!("did you mean {near:?}?"),
                (None, []) => "it takes none".to_owned(),
                (None, told) => format!("it takes {}", told.join(", ")),
            };
            self.tell(place, format!("{who} has no use for this argument; {advice}"));
        }
    }
}

/// So many names are looked at for the one that was meant, and told.
const MOST_NAMED: usize = 20;

/// That `name` is none of `known`; `what` is what it should be one of.
fn names_none(name: &str, what: &str, known: &[&str]) -> String {
    // Who has more of them does not want to read them all in each mistake.
    let known = &known[..known.len().min(MOST_NAMED)];
    let advice = match nearest(name, known) {
        Some(near) => format!("did you mean {near:?}?"),
        None if known.is_empty() => format!("there is no {what}"),
        None => format!("there is {}", either(known)),
    };
    format!("{:?} names no {what}; {advice}", word(name))
}
