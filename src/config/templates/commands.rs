//! `templates.commands`: command lines with places for arguments.
//!
//! A feed or a stream says `template: NAME, args: {…}` instead of `command:`.

use super::text::{Command, Unfilled};
use super::{At, Report, names_none, take};
use crate::config::problem::{Problem, word};
use crate::config::yaml::{Entry, Node};

/// What a place is filled with where no argument says so: what ffmpeg calls its
/// input and its output.
const DEFAULTS: [(&str, &str); 2] = [("input", "-"), ("output", "pipe:1")];

/// What stands in for a command that could not be made, so that nothing else is
/// blamed for that.
const STAND_IN: &str = "false";

/// The templates by their names; one that is a problem is known, and empty.
pub(super) struct Commands<'a>(Vec<(&'a str, Option<Command>)>);

impl<'a> Commands<'a> {
    pub(super) fn read(section: Option<(At, &'a Node)>, report: &mut Report<'_>) -> Self {
        let Some((at, node)) = section else { return Self(Vec::new()) };
        let entries = report.named(&at, node);
        let read = entries.into_iter().map(|entry| {
            let at = at.at(entry);
            let text = report.value(&at, &entry.value);
            let command = text.map(Command::parse).transpose();
            let command = command.map_err(|why| report.tell(&at, why)).ok().flatten();
            (entry.key.as_str(), command)
        });
        Self(read.collect())
    }

    /// Gives every feed or stream of `section` its command.
    pub(super) fn apply(
        &self,
        section: &mut Entry,
        report: &mut Report<'_>,
    ) -> Result<(), Problem> {
        let at = At::root(section);
        let Node::Mapping(entries) = &mut section.value else { return Ok(()) };
        for entry in entries {
            let at = at.at(entry);
            if let Node::Mapping(keys) = &mut entry.value {
                self.settle(keys, &at, report)?;
            }
        }
        Ok(())
    }

    /// Puts a command in the place of `template` and `args`.
    fn settle(
        &self,
        keys: &mut Vec<Entry>,
        at: &At,
        report: &mut Report<'_>,
    ) -> Result<(), Problem> {
        let args = take(keys, "args").filter(|args| args.value != Node::Null);
        let index = keys.iter().position(|entry| entry.key == "template");
        let Some(index) = index.filter(|index| keys[*index].value != Node::Null) else {
            if let Some(args) = args {
                report.tell(&at.at(&args), "is of no use without `template`");
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
            report.tell(&at.at(command), "there is `template` already; only one may be given");
            keys.remove(index);
            return Ok(());
        }
        let value = Node::Text(made.unwrap_or_else(|| STAND_IN.to_owned()));
        keys[index] = Entry { key: "command".to_owned(), line: template.line, value };
        Ok(())
    }

    /// The command line of the template `name`; nothing, told, if it cannot be made.
    fn make(
        &self,
        name: &str,
        template: &At,
        (args, owner): (Option<&Entry>, &At),
        report: &mut Report<'_>,
    ) -> Result<Option<String>, Problem> {
        let Some((_, command)) = self.0.iter().find(|(known, _)| *known == name) else {
            let known: Vec<_> = self.0.iter().map(|(known, _)| *known).collect();
            report.tell(template, names_none(name, "template of `templates.commands`", &known));
            return Ok(None);
        };
        let Some(command) = command else { return Ok(None) };
        let given = args.map(|args| report.mapping(&owner.at(args), &args.value));
        let given = given.unwrap_or_default();
        let mut places: Vec<_> = command.places().collect();
        places.sort_unstable();
        places.dedup();
        let who = format!("the template {}", word(name));
        if let Some(args) = args {
            let args = owner.at(args);
            report.unused(&args, given, &places, &who);
            let used = given.iter().filter(|entry| places.contains(&entry.key.as_str()));
            let told = used.filter(|entry| report.value(&args.at(entry), &entry.value).is_none());
            if told.count() > 0 {
                return Ok(None);
            }
        }
        let missing = places.iter().filter(|place| argument(given, place).is_none());
        let missing: Vec<_> = missing.map(|place| format!("`{place}`")).collect();
        if !missing.is_empty() {
            let message = format!("{who} needs {} in `args`", missing.join(" and "));
            report.tell(template, message);
            return Ok(None);
        }
        match command.fill(&|place| argument(given, place), &mut report.budget) {
            Ok(line) => Ok(Some(line)),
            Err(Unfilled::Full(full)) => Err(template.full(full)),
            Err(Unfilled::Missing(_) | Unfilled::NoCommand) => {
                report.tell(template, format!("{who} makes no command: a NUL is in it"));
                Ok(None)
            }
        }
    }
}

/// What `place` is filled with.
fn argument<'a>(given: &'a [Entry], place: &str) -> Option<&'a str> {
    match given.iter().find(|entry| entry.key == place) {
        Some(Entry { value: Node::Text(text), .. }) => Some(text),
        Some(_) => None,
        None => DEFAULTS.iter().find(|(name, _)| *name == place).map(|(_, value)| *value),
    }
}
