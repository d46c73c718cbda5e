//! `LIVEBOX__SERVER__PORT=8001`: the environment as a layer.
//!
//! Two underscores separate the levels. Names of variables are in capitals and
//! have few characters, so each piece matches a key of the file in any letter
//! case, with `_` also for `-` and `.`.

use ::config::{Value, ValueKind};

use super::problem::{Problem, either, shorten};
use super::tree::{empty_table, put};
use super::yaml::Node;

const PREFIX: &str = "LIVEBOX__";

/// The layer of all variables that begin with `LIVEBOX__`, by name, so that
/// the result does not depend on the order of the environment.
pub(super) fn layer(
    variables: &[(String, String)],
    file: &Node,
    problems: &mut Vec<Problem>,
) -> Value {
    let mut ours: Vec<_> = variables.iter().filter(|(name, _)| name.starts_with(PREFIX)).collect();
    ours.sort();
    let mut root = empty_table();
    for (name, text) in ours {
        let origin = format!("the environment variable {}", shorten(name));
        match path_of(&name[PREFIX.len()..], file) {
            Ok(path) => put(&mut root, &path, value_of(text, &origin), file),
            Err(message) => problems.push(Problem { key: origin, origin: None, message }),
        }
    }
    root
}

fn value_of(text: &str, origin: &String) -> Value {
    match Node::plain(text) {
        Node::Text(text) => Value::new(Some(origin), text),
        Node::Null | Node::List(_) | Node::Mapping(_) => Value::new(Some(origin), ValueKind::Nil),
    }
}

/// The path of keys that a variable's name denotes.
fn path_of(name: &str, file: &Node) -> Result<Vec<String>, String> {
    let mut node = Some(file);
    let mut path = Vec::new();
    for piece in name.split("__") {
        let key = spell(piece, node)?;
        node = node.and_then(|node| node.get(&key)).map(|entry| &entry.value);
        path.push(key);
    }
    Ok(path)
}

/// The key of `node` that matches `piece`; `piece` in lower case if none does.
fn spell(piece: &str, node: Option<&Node>) -> Result<String, String> {
    if piece.is_empty() {
        return Err("two underscores stand between the levels of a key, and only there".to_owned());
    }
    let keys = || node.into_iter().flat_map(Node::entries).map(|entry| entry.key.as_str());
    if keys().any(|key| key == piece) {
        return Ok(piece.to_owned());
    }
    let fold = |text: &str| text.to_ascii_lowercase().replace(['-', '.'], "_");
    let same_case = keys().filter(|key| key.eq_ignore_ascii_case(piece)).collect::<Vec<_>>();
    let alike = keys().filter(|key| fold(key) == fold(piece)).collect::<Vec<_>>();
    match (same_case.as_slice(), alike.as_slice()) {
        ([key], _) | ([], [key]) => Ok((*key).to_owned()),
        ([], []) => Ok(piece.to_ascii_lowercase()),
        _ => Err(format!("{} may mean {}", shorten(piece), either(&alike))),
    }
}
