//! `templates.sets` and `use`: feeds, streams and pushes with placeholders for
//! names and arguments.

use std::cell::RefCell;

use super::text::{Command, FillError, INVALID_NAME, Text, is_name};
use super::{Location, Report, unknown_name};
use crate::config::problem::{Problem, child, quote, word};
use crate::config::templates::budget::{Budget, BudgetExceeded};
use crate::config::yaml::{Entry, Node};

const SET: [&str; 4] = ["params", "feeds", "streams", "pushes"];

/// The sections of a set.
const SECTIONS: [&str; 3] = ["feeds", "streams", "pushes"];

/// The argument that every set has if it has a placeholder for it.
const NAME: &str = "name";

/// The key of a use that names the set.
const SET_KEY: &str = "set";

/// The sets by name; `None` for one with a problem.
pub(super) struct Sets<'a>(Vec<(&'a str, Option<Set<'a>>)>);

struct Set<'a> {
    params: Vec<Param<'a>>,
    sections: Vec<(&'static str, &'a [Entry])>,
}

struct Param<'a> {
    name: &'a str,
    default: Option<&'a str>,
    line: usize,
}

impl<'a> Sets<'a> {
    pub(super) fn read(section: Option<(Location, &'a Node)>, report: &mut Report<'_>) -> Self {
        let Some((at, node)) = section else { return Self(Vec::new()) };
        let entries = report.named(&at, node);
        let read = entries.into_iter().map(|entry| {
            let earlier = report.problems.len();
            let set = Set::read(&at.at(entry), &entry.value, report);
            (entry.key.as_str(), (report.problems.len() == earlier).then_some(set))
        });
        Self(read.collect())
    }

    /// Expands the sets of `uses` and appends the results to the sections of the
    /// file.
    pub(super) fn use_all(
        &self,
        uses: &Entry,
        file: &mut Vec<Entry>,
        report: &mut Report<'_>,
    ) -> Result<(), Problem> {
        let at = Location::root(uses);
        let items = match &uses.value {
            Node::Null => return Ok(()),
            Node::List(items) => items,
            Node::Text(_) | Node::Mapping(_) => {
                report.add(&at, "must be a list of uses: `- {set: NAME, name: …}`");
                return Ok(());
            }
        };
        for (index, item) in items.iter().enumerate() {
            let line = item.entries().first().map_or(at.line, |first| first.line);
            let at = Location { path: child(&at.path, &index.to_string()), line };
            let Some((of, set, arguments)) = self.find_use(&at, item, report) else { continue };
            for (section, entries) in &set.sections {
                let argument = |placeholder: &str| find(&arguments, placeholder);
                let mut copier = Copier { argument, known: &[], report };
                let here = Location { path: (*section).to_owned(), line: at.line };
                let made = copier.entries(&here, entries, Depth::Section);
                let made = made.map_err(|exceeded| at.exceeded(exceeded))?;
                add(section, made, file, (&at, of), report);
            }
        }
        Ok(())
    }

    /// The set of a use, with a value for each placeholder; reports problems of
    /// either.
    fn find_use<'s>(
        &'s self,
        at: &Location,
        item: &'s Node,
        report: &mut Report<'_>,
    ) -> Option<(&'s str, &'s Set<'a>, Vec<Argument<'s>>)> {
        let given = report.mapping(at, item);
        if matches!(item, Node::Text(_) | Node::List(_)) {
            return None;
        }
        let Some(of) = given.iter().find(|entry| entry.key == SET_KEY) else {
            report.add(at, "needs a `set`, and the arguments of that set");
            return None;
        };
        let name = report.value(&at.at(of), &of.value)?;
        let Some((_, set)) = self.0.iter().find(|(known, _)| *known == name) else {
            let known: Vec<_> = self.0.iter().map(|(known, _)| *known).collect();
            report.add(&at.at(of), unknown_name(name, "set of `templates.sets`", &known));
            return None;
        };
        let set = set.as_ref()?;
        let arguments = set.arguments(at, name, given, report)?;
        Some((name, set, arguments))
    }
}

/// A placeholder and its value.
type Argument<'a> = (&'a str, &'a str);

fn find<'a>(arguments: &[Argument<'a>], placeholder: &str) -> Option<&'a str> {
    arguments.iter().find(|(name, _)| *name == placeholder).map(|(_, value)| *value)
}

impl<'a> Set<'a> {
    fn read(at: &Location, node: &'a Node, report: &mut Report<'_>) -> Self {
        let keys = report.mapping(at, node);
        let here = |key: &str| keys.iter().find(|entry| entry.key == key);
        if let Some(uses) = here("use") {
            let message = "a set cannot use other sets";
            report.add(&at.at(uses), message);
        } else {
            report.unknown_keys(at, keys, &SET);
        }
        let earlier = report.problems.len();
        let params = here("params").map(|entry| (at.at(entry), &entry.value));
        let params = params.map(|(at, node)| read_params(&at, node, report)).unwrap_or_default();
        let are_valid = report.problems.len() == earlier;
        let mut sections = Vec::new();
        for section in SECTIONS {
            if let Some(entry) = here(section) {
                sections.push((section, report.mapping(&at.at(entry), &entry.value)));
            }
        }
        if sections.iter().all(|(_, entries)| entries.is_empty()) {
            report.add(at, "makes nothing; it needs `feeds`, `streams` or `pushes`");
        }
        let mut set = Self { params, sections };
        let unused = set.check_placeholders(at, report);
        if are_valid {
            report.problems.extend(unused);
        }
        set
    }

    /// Reports placeholders without a param, and returns the problem of each param
    /// without a placeholder. Adds the param `name` if it has a placeholder.
    fn check_placeholders(&mut self, at: &Location, report: &mut Report<'_>) -> Vec<Problem> {
        let names: Vec<_> = self.params.iter().map(|param| param.name).chain([NAME]).collect();
        let shown: Vec<_> = names.iter().map(|name| (*name, format!("{{{name}}}"))).collect();
        let used = RefCell::new(Vec::new());
        let argument = |placeholder: &str| {
            let (name, shown) = shown.iter().find(|(name, _)| *name == placeholder)?;
            used.borrow_mut().push(*name);
            Some(shown.as_str())
        };
        // Checking a set does not count; using it does.
        let budget = std::mem::take(&mut report.budget);
        for (section, entries) in &self.sections {
            let at = Location { path: child(&at.path, section), line: at.line };
            let mut copier = Copier { argument, known: &names, report };
            if let Err(exceeded) = copier.entries(&at, entries, Depth::Section) {
                report.problems.push(at.exceeded(exceeded));
            }
        }
        report.budget = budget;
        let used = used.into_inner();
        let unused = self.params.iter().filter(|param| !used.contains(&param.name));
        let unused = unused.map(|Param { name, line, .. }| {
            let message = format!("nothing in the set has a placeholder for `{name}`");
            Problem::on_line(*line, child(&at.path, "params"), message)
        });
        let unused = unused.collect();
        if used.contains(&NAME) {
            self.params.insert(0, Param { name: NAME, default: None, line: at.line });
        }
        unused
    }

    /// The value of each placeholder; reports missing and unknown arguments.
    fn arguments<'u>(
        &'u self,
        at: &Location,
        set: &str,
        given: &'u [Entry],
        report: &mut Report<'_>,
    ) -> Option<Vec<Argument<'u>>> {
        let earlier = report.problems.len();
        let owner = format!("the set {}", word(set));
        let known = std::iter::once(SET_KEY).chain(self.params.iter().map(|param| param.name));
        report.unused(at, given, &known.collect::<Vec<_>>(), &owner);
        let (mut arguments, mut missing) = (Vec::new(), Vec::new());
        for param in &self.params {
            let entry = given.iter().find(|entry| entry.key == param.name);
            let value = match entry.filter(|entry| entry.value != Node::Null) {
                Some(entry) => report.value(&at.at(entry), &entry.value),
                None => param.default,
            };
            match value {
                Some(value) => arguments.push((param.name, value)),
                None => missing.push(format!("`{}`", param.name)),
            }
        }
        if !missing.is_empty() && report.problems.len() == earlier {
            report.add(at, format!("{owner} needs {}", missing.join(" and ")));
        }
        (report.problems.len() == earlier).then_some(arguments)
    }
}

/// The params of a set: a list of names, or names with their defaults.
fn read_params<'a>(at: &Location, node: &'a Node, report: &mut Report<'_>) -> Vec<Param<'a>> {
    let mut params: Vec<Param<'a>> = Vec::new();
    match node {
        Node::Null => {}
        Node::Text(_) => report.add(at, "must be a list of names"),
        Node::List(items) => {
            let names = items.iter().filter_map(|item| report.value(at, item));
            params = names.map(|name| Param { name, default: None, line: at.line }).collect();
        }
        Node::Mapping(entries) => {
            for entry in entries {
                let default = match &entry.value {
                    Node::Null => None,
                    given @ (Node::Text(_) | Node::List(_) | Node::Mapping(_)) => {
                        report.value(&at.at(entry), given)
                    }
                };
                params.push(Param { name: &entry.key, default, line: entry.line });
            }
        }
    }
    for (index, Param { name, line, .. }) in params.iter().enumerate() {
        let at = Location { path: at.path.clone(), line: *line };
        if [SET_KEY, NAME].contains(name) {
            report.add(&at, format!("`{name}` is no param: every use of a set has it"));
        } else if !is_name(name) {
            let shown = quote(name);
            report.add(&at, format!("{shown} {INVALID_NAME}"));
        } else if params[..index].iter().any(|other| other.name == *name) {
            report.add(&at, format!("`{name}` is given a second time"));
        }
    }
    params
}

/// The level of a mapping below a section of a set.
#[derive(Clone, Copy, PartialEq)]
enum Depth {
    /// Its keys are names.
    Section,
    /// A feed, a stream or a push.
    Member,
    Below,
}

/// Copies a part of a set with its placeholders filled.
struct Copier<'r, 'p, F> {
    argument: F,
    /// The names of valid placeholders.
    known: &'r [&'r str],
    report: &'r mut Report<'p>,
}

impl<'v, F: Fn(&str) -> Option<&'v str>> Copier<'_, '_, F> {
    fn entries(
        &mut self,
        at: &Location,
        entries: &[Entry],
        depth: Depth,
    ) -> Result<Vec<Entry>, BudgetExceeded> {
        let mut copied: Vec<Entry> = Vec::new();
        for entry in entries {
            self.report.budget.take_node()?;
            let here = at.at(entry);
            let key = self.text(&here, Text::parse(&entry.key), Text::fill)?;
            let is_command = depth == Depth::Member && entry.key == "command";
            let value = match &entry.value {
                Node::Text(text) if is_command => {
                    self.report.budget.take_node()?;
                    Node::Text(self.text(&here, Command::parse(text), Command::fill)?)
                }
                value @ (Node::Null | Node::Text(_) | Node::List(_) | Node::Mapping(_)) => {
                    self.node(&here, value, depth)?
                }
            };
            // Duplicate names of a section are reported when they are added to the file.
            if depth != Depth::Section && copied.iter().any(|other| other.key == key) {
                self.report.add(&here, "given a second time");
            }
            copied.push(Entry { key, line: entry.line, value });
        }
        Ok(copied)
    }

    fn node(&mut self, at: &Location, node: &Node, depth: Depth) -> Result<Node, BudgetExceeded> {
        self.report.budget.take_node()?;
        Ok(match node {
            Node::Null => Node::Null,
            Node::Text(text) => Node::Text(self.text(at, Text::parse(text), Text::fill)?),
            Node::List(items) => {
                let items = items.iter().map(|item| self.node(at, item, Depth::Below));
                Node::List(items.collect::<Result<_, _>>()?)
            }
            Node::Mapping(entries) => {
                let below = match depth {
                    Depth::Section => Depth::Member,
                    Depth::Member | Depth::Below => Depth::Below,
                };
                Node::Mapping(self.entries(at, entries, below)?)
            }
        })
    }

    /// A filled text; empty, with a report, if that is not possible.
    fn text<T>(
        &mut self,
        at: &Location,
        parsed: Result<T, &'static str>,
        fill: impl Fn(&T, &F, &mut Budget) -> Result<String, FillError>,
    ) -> Result<String, BudgetExceeded> {
        let why = match parsed.map(|text| fill(&text, &self.argument, &mut self.report.budget)) {
            Ok(Ok(filled)) => return Ok(filled),
            Ok(Err(FillError::BudgetExceeded(exceeded))) => return Err(exceeded),
            Ok(Err(FillError::Missing(placeholder))) => {
                unknown_name(&placeholder, "param of this set", self.known)
            }
            Ok(Err(FillError::InvalidCommand)) => "makes no command: a NUL is in it".to_owned(),
            Err(why) => why.to_owned(),
        };
        self.report.add(at, why);
        Ok(String::new())
    }
}

/// Appends the entries of a set to a section of the file.
fn add(
    section: &str,
    made: Vec<Entry>,
    file: &mut Vec<Entry>,
    (at, set): (&Location, &str),
    report: &mut Report<'_>,
) {
    let found = file.iter().position(|entry| entry.key == section);
    let index = found.unwrap_or_else(|| {
        file.push(Entry { key: section.to_owned(), line: at.line, value: Node::Null });
        file.len() - 1
    });
    let value = &mut file[index].value;
    if *value == Node::Null {
        *value = Node::Mapping(Vec::new());
    }
    // The check reports a section that is not a mapping.
    let Node::Mapping(there) = value else { return };
    for entry in made {
        match there.iter().find(|other| other.key == entry.key) {
            Some(first) => {
                let (set, name) = (word(set), child(section, &entry.key));
                let line = first.line;
                report.add(
                    at,
                    format!("the set {set} makes {name}, which exists already (line {line})"),
                );
            }
            None => there.push(entry),
        }
    }
}
