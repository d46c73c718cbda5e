//! `templates.commands`: command lines with placeholders.
//!
//! A feed or a stream has `template: NAME, args: {…}` instead of `command:`.

use super::text::{Command, FillError};
use super::{Location, Report, take, unknown_name};
use crate::config::problem::{Problem, word};
use crate::config::yaml::{Entry, Node};

/// Defaults of placeholders: ffmpeg's names of standard input and output.
const DEFAULTS: [(&str, &str); 2] = [("input", "-"), ("output", "pipe:1")];

/// Replaces a command that could not be expanded, so that only the cause is
/// reported.
const STAND_IN: &str = "false";

/// The templates by name; `None` for one with a problem.
pub(super) struct Commands<'a>(Vec<(&'a str, Option<Command>)>);

impl<'a> Commands<'a> {
    pub(super) fn read(section: Option<(Location, &'a Node)>, report: &mut Report<'_>) -> Self {
        let Some((at, node)) = section else { return Self(Vec::new()) };
        let entries = report.named(&at, node);
        let read = entries.into_iter().map(|entry| {
            let at = at.at(entry);
            let text = report.value(&at, &entry.value);
            let command = text.map(Command::parse).transpose();
            let command = command.map_err(|why| report.add(&at, why)).ok().flatten();
            (entry.key.as_str(), command)
        });
        Self(read.collect())
    }

    /// Expands the templates of all feeds or streams of `section`.
    pub(super) fn apply(
        &self,
        section: &mut Entry,
        report: &mut Report<'_>,
    ) -> Result<(), Problem> {
        let at = Location::root(section);
        let Node::Mapping(entries) = &mut section.value else { return Ok(()) };
        for entry in entries {
            let at = at.at(entry);
            if let Node::Mapping(keys) = &mut entry.value {
                self.expand(keys, &at, report)?;
            }
        }
        Ok(())
    }

    /// Replaces `template` and `args` by the command.
    fn expand(
        &self,
        keys: &mut Vec<Entry>,
        at: &Location,
        report: &mut Report<'_>,
    ) -> Result<(), Problem> {
        let args = take(keys, "args").filter(|args| args.value != Node::Null);
        let index = keys.iter().position(|entry| entry.key == "template");
        let Some(index) = index.filter(|index| keys[*index].value != Node::Null) else {
            if let Some(args) = args {
                report.add(&at.at(&args), "has no effect without `template`");
            }
            take(keys, "template");
            return Ok(());
        };
        let template = at.at(&keys[index]);
        let made = match report.value(&template, &keys[index].value) {
            Some(name) => self.make(name, &template, (args.as_ref(), at), report)?,
            None => None,
        };
        let command = keys.iter().find(|entry| entry.key == "command");
        if let Some(command) = command.filter(|command| command.value != Node::Null) {
            report.add(&at.at(command), "there is `template` already; only one may be given");
            keys.remove(index);
            return Ok(());
        }
        let value = Node::Text(made.unwrap_or_else(|| STAND_IN.to_owned()));
        keys[index] = Entry { key: "command".to_owned(), line: template.line, value };
        Ok(())
    }

    /// The command line of the template `name`; reports why there is none.
    fn make(
        &self,
        name: &str,
        template: &Location,
        (args, owner): (Option<&Entry>, &Location),
        report: &mut Report<'_>,
    ) -> Result<Option<String>, Problem> {
        let Some((_, command)) = self.0.iter().find(|(known, _)| *known == name) else {
            let known: Vec<_> = self.0.iter().map(|(known, _)| *known).collect();
            report.add(template, unknown_name(name, "template of `templates.commands`", &known));
            return Ok(None);
        };
        let Some(command) = command else { return Ok(None) };
        let given = args.map(|args| report.mapping(&owner.at(args), &args.value));
        let given = given.unwrap_or_default();
        let mut placeholders: Vec<_> = command.placeholders().collect();
        placeholders.sort_unstable();
        placeholders.dedup();
        let owner_name = format!("the template {}", word(name));
        if let Some(args) = args {
            let args = owner.at(args);
            report.unused(&args, given, &placeholders, &owner_name);
            let used = given.iter().filter(|entry| placeholders.contains(&entry.key.as_str()));
            let bad = used.filter(|entry| report.value(&args.at(entry), &entry.value).is_none());
            if bad.count() > 0 {
                return Ok(None);
            }
        }
        let missing =
            placeholders.iter().filter(|placeholder| argument(given, placeholder).is_none());
        let missing: Vec<_> = missing.map(|placeholder| format!("`{placeholder}`")).collect();
        if !missing.is_empty() {
            let message = format!("{owner_name} needs {} in `args`", missing.join(" and "));
            report.add(template, message);
            return Ok(None);
        }
        match command.fill(&|placeholder| argument(given, placeholder), &mut report.budget) {
            Ok(line) => Ok(Some(line)),
            Err(FillError::BudgetExceeded(exceeded)) => Err(template.exceeded(exceeded)),
            Err(FillError::Missing(_) | FillError::InvalidCommand) => {
                report.add(template, format!("{owner_name} makes no command: a NUL is in it"));
                Ok(None)
            }
        }
    }
}

/// The value of a placeholder.
fn argument<'a>(given: &'a [Entry], placeholder: &str) -> Option<&'a str> {
    match given.iter().find(|entry| entry.key == placeholder) {
        Some(Entry { value: Node::Text(text), .. }) => Some(text),
        Some(_) => None,
        None => DEFAULTS.iter().find(|(name, _)| *name == placeholder).map(|(_, value)| *value),
    }
}
