//! Parses YAML to a tree that keeps lines and order.
//!
//! Accepts mappings, lists and scalars in one document. Refuses anchors, tags and
//! duplicate keys, and texts that exceed the limits.

use saphyr_parser::{Event, Parser, ScalarStyle, StrInput};

use super::problem::{Problem, child};

pub(super) const MAX_FILE_BYTES: usize = 256 * 1024;
const MAX_DEPTH: usize = 16;
/// Keys, values and lists of one file.
pub(super) const MAX_NODES: usize = 10_000;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    /// Empty, `~` or `null`: stands for the default.
    Null,
    Text(String),
    List(Vec<Node>),
    Mapping(Vec<Entry>),
}

/// A key of a mapping with its value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub key: String,
    pub line: usize,
    pub value: Node,
}

impl Node {
    /// The entries of a mapping; none of anything else.
    pub(super) fn entries(&self) -> &[Entry] {
        match self {
            Node::Mapping(entries) => entries,
            Node::Null | Node::Text(_) | Node::List(_) => &[],
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// The node of an unquoted text, of the file or of the environment.
    pub(super) fn plain(text: &str) -> Node {
        match text {
            "" | "~" | "null" | "Null" | "NULL" => Node::Null,
            _ => Node::Text(text.to_owned()),
        }
    }
}

/// Parses `text`. Adds problems that do not prevent a tree to `problems`.
///
/// # Errors
/// The problem that prevents a tree.
pub(super) fn parse(text: &str, problems: &mut Vec<Problem>) -> Result<Node, Problem> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.len() > MAX_FILE_BYTES {
        return Err(too_long());
    }
    if let Some(line) = first_tab(text) {
        return Err(Problem::on_line(line, "", "a tab indents this line; use spaces"));
    }
    Reader { events: Parser::new_from_str(text), path: Vec::new(), nodes: 0, problems }.document()
}

pub(super) fn too_long() -> Problem {
    let message = format!("the file is longer than {} KiB", MAX_FILE_BYTES / 1024);
    Problem { key: String::new(), origin: None, message }
}

/// The number of the first line that is indented with a tab.
fn first_tab(text: &str) -> Option<usize> {
    let is_tabbed = |line: &str| {
        let body = line.trim_start();
        line[..line.len() - body.len()].contains('\t') && !body.is_empty() && !body.starts_with('#')
    };
    text.lines().position(is_tabbed).map(|index| index + 1)
}

struct Reader<'a> {
    events: Parser<'a, StrInput<'a>>,
    path: Vec<String>,
    nodes: usize,
    problems: &'a mut Vec<Problem>,
}

impl<'a> Reader<'a> {
    fn document(mut self) -> Result<Node, Problem> {
        let mut root = None;
        loop {
            let (event, line) = self.next()?;
            if event == Event::StreamEnd {
                return Ok(root.unwrap_or(Node::Null));
            }
            if !begins_node(&event) {
                continue;
            }
            if root.is_some() {
                let message = "a second document begins here; only one is read";
                return Err(Problem::on_line(line, "", message));
            }
            let node = self.node(event, line)?;
            if matches!(node, Node::Text(_) | Node::List(_)) {
                self.report(
                    line,
                    "the file is a text or a list; it must hold keys, as in `server:`",
                );
            }
            root = Some(node);
        }
    }

    /// The next event and its line.
    fn next(&mut self) -> Result<(Event<'a>, usize), Problem> {
        match self.events.next_event() {
            Some(Ok((event, span))) => Ok((event, span.start.line())),
            Some(Err(error)) => {
                Err(Problem::on_line(error.marker().line(), "", explain(error.info())))
            }
            None => Ok((Event::StreamEnd, 1)),
        }
    }

    /// The node that begins with `event`.
    fn node(&mut self, event: Event<'a>, line: usize) -> Result<Node, Problem> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            let message = format!("more than {MAX_NODES} keys and values");
            return Err(Problem::on_line(line, "", message));
        }
        self.refuse_extras(&event, line);
        match event {
            Event::Scalar(text, ScalarStyle::Plain, ..) => Ok(Node::plain(&text)),
            Event::Scalar(text, ..) => Ok(Node::Text(text.into_owned())),
            Event::SequenceStart(..) => self.within(line, Self::list),
            Event::MappingStart(..) => self.within(line, Self::mapping),
            Event::Alias(_)
            | Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd
            | Event::SequenceEnd
            | Event::MappingEnd => Ok(Node::Null),
        }
    }

    fn refuse_extras(&mut self, event: &Event<'_>, line: usize) {
        if let Event::Scalar(_, _, anchor, tag)
        | Event::SequenceStart(anchor, tag)
        | Event::MappingStart(anchor, tag) = event
        {
            if *anchor != 0 {
                self.report(line, NO_ANCHORS);
            }
            if tag.is_some() {
                self.report(line, "tags (!) are not supported");
            }
        }
        if matches!(event, Event::Alias(_)) {
            self.report(line, NO_ANCHORS);
        }
    }

    /// Runs `read` one level deeper.
    fn within(
        &mut self,
        line: usize,
        read: fn(&mut Self) -> Result<Node, Problem>,
    ) -> Result<Node, Problem> {
        if self.path.len() >= MAX_DEPTH {
            let message = format!("nested deeper than {MAX_DEPTH} levels");
            return Err(Problem::on_line(line, "", message));
        }
        read(self)
    }

    fn list(&mut self) -> Result<Node, Problem> {
        let mut items = Vec::new();
        loop {
            let (event, line) = self.next()?;
            if matches!(event, Event::SequenceEnd | Event::StreamEnd) {
                return Ok(Node::List(items));
            }
            self.path.push(child(&self.here(), &items.len().to_string()));
            items.push(self.node(event, line)?);
            self.path.pop();
        }
    }

    fn mapping(&mut self) -> Result<Node, Problem> {
        let mut entries: Vec<Entry> = Vec::new();
        loop {
            let (event, line) = self.next()?;
            if matches!(event, Event::MappingEnd | Event::StreamEnd) {
                return Ok(Node::Mapping(entries));
            }
            let key = self.key(event, line)?;
            let (event, value_line) = self.next()?;
            self.path.push(key.as_deref().map_or(self.here(), |key| child(&self.here(), key)));
            let value = self.node(event, value_line)?;
            if let Some(key) = key {
                match entries.iter().find(|entry| entry.key == key) {
                    Some(first) => {
                        self.report(
                            line,
                            format!("given a second time, after line {}", first.line),
                        );
                    }
                    None => entries.push(Entry { key, line, value }),
                }
            }
            self.path.pop();
        }
    }

    /// A mapping's key; `None`, with a problem, if it is not a scalar.
    fn key(&mut self, event: Event<'a>, line: usize) -> Result<Option<String>, Problem> {
        // One level deeper, but reported under its mapping.
        self.path.push(self.here());
        let is_scalar = matches!(event, Event::Scalar(..));
        let text =
            if let Event::Scalar(text, ..) = &event { text.to_string() } else { String::new() };
        self.node(event, line)?;
        if !is_scalar {
            self.report(line, "a key must be one word, not a list, a mapping or an alias");
        }
        self.path.pop();
        Ok(is_scalar.then_some(text))
    }

    fn here(&self) -> String {
        self.path.last().cloned().unwrap_or_default()
    }

    fn report(&mut self, line: usize, message: impl Into<String>) {
        let problem = Problem::on_line(line, self.here(), message);
        self.problems.push(problem);
    }
}

const NO_ANCHORS: &str = "anchors and aliases (& and *) are not supported";

fn begins_node(event: &Event<'_>) -> bool {
    matches!(
        event,
        Event::Alias(_) | Event::Scalar(..) | Event::SequenceStart(..) | Event::MappingStart(..)
    )
}

/// The parser's message, with advice if the usual cause is known.
fn explain(info: &str) -> String {
    let advice = match info {
        "mapping values are not allowed in this context" => {
            "; is the line above indented like this one, and is a text with \": \" in quotes?"
        }
        "simple key expect ':'" | "simple key expected" => {
            "; is there a colon and a space after the key?"
        }
        _ if info.contains("anchor") => "; a text that begins with & or * needs quotes",
        _ => "",
    };
    format!("not valid YAML: {}{advice}", info.replace(char::is_control, "?"))
}
