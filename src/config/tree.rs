//! Trees of values, as the layers of the configuration are.

use ::config::{Map, Value, ValueKind};

use super::yaml::Node;

/// Sets the value at `path` below `root`, unless the file has a value other than
/// a mapping on the way, which the check reports.
pub(super) fn put(root: &mut Value, path: &[String], value: Value, file: &Node) {
    let Some((last, parents)) = path.split_last() else { return };
    let (mut table, mut below) = (root, Some(file));
    for key in parents {
        below = below.and_then(|node| node.get(key)).map(|entry| &entry.value);
        if matches!(below, Some(Node::Text(_) | Node::List(_))) {
            return;
        }
        let ValueKind::Table(entries) = &mut table.kind else { return };
        table = entries.entry(key.clone()).or_insert_with(empty_table);
    }
    if let ValueKind::Table(entries) = &mut table.kind {
        entries.insert(last.clone(), value);
    }
}

pub(super) fn empty_table() -> Value {
    Value::new(None, Map::<String, Value>::new())
}
