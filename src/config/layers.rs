//! Merges file, environment and flags.
//!
//! Each layer is a tree of nested tables. The `config` crate merges them and
//! keeps the origin of each value. It splits keys at dots, but only at the top of
//! a layer; therefore each layer has one root key, and the feed `cam.2` keeps its
//! name.

use std::fmt;

use ::config::{Config, ConfigError, Map, Source, Value, ValueKind};

use super::Overrides;
use super::environment;
use super::problem::{Problem, line_origin};
use super::tree::{empty_table, put};
use super::yaml::Node;

/// The key above every layer.
const ROOT: &str = "livebox";

/// The merged tree, and that of the file, which has the lines of its sections.
pub(super) struct Layered {
    pub root: Value,
    pub file: Node,
}

/// Merges the layers: flags override the environment, which overrides the file.
pub(super) fn merge(
    file: Node,
    variables: &[(String, String)],
    overrides: &Overrides,
    problems: &mut Vec<Problem>,
) -> Layered {
    let bottom = Layer(value_of(&file, &line_origin(1)));
    let middle = Layer(environment::layer(variables, &file, problems));
    let top = Layer(flags(overrides, &file));
    let merged = Config::builder().add_source(bottom).add_source(middle).add_source(top).build();
    let root = merged
        .and_then(|config| config.cache.into_table())
        .ok()
        .and_then(|mut table| table.swap_remove(ROOT))
        .expect("layers are built in memory below one root key");
    Layered { root, file }
}

/// The layer of the command line.
fn flags(overrides: &Overrides, file: &Node) -> Value {
    let docroot = overrides.docroot.as_ref().map(|path| path.to_string_lossy().into_owned());
    let given = [
        ("bind", "server.bind", &overrides.bind),
        ("port", "server.port", &overrides.port),
        ("docroot", "server.docroot", &docroot),
        ("mdns", "server.mdns", &overrides.mdns),
        ("log-level", "log.level", &overrides.log_level),
    ];
    let mut root = empty_table();
    for (flag, key, text) in given {
        if let Some(text) = text {
            let value = Value::new(Some(&format!("--{flag}")), text.as_str());
            let path: Vec<_> = key.split('.').map(str::to_owned).collect();
            put(&mut root, &path, value, file);
        }
    }
    root
}

/// A node of the file as a value whose origins are its lines.
fn value_of(node: &Node, origin: &String) -> Value {
    match node {
        Node::Null => Value::new(Some(origin), ValueKind::Nil),
        Node::Text(text) => Value::new(Some(origin), text.as_str()),
        Node::List(items) => {
            let items: Vec<Value> = items.iter().map(|item| value_of(item, origin)).collect();
            Value::new(Some(origin), items)
        }
        Node::Mapping(entries) => {
            let table: Map<String, Value> = entries
                .iter()
                .map(|entry| (entry.key.clone(), value_of(&entry.value, &line_origin(entry.line))))
                .collect();
            Value::new(Some(origin), table)
        }
    }
}

/// A layer as a source of the `config` crate.
#[derive(Clone)]
struct Layer(Value);

impl fmt::Debug for Layer {
    /// Without the values, which include stream keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Layer")
    }
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        Ok(Map::from_iter([(ROOT.to_owned(), self.0.clone())]))
    }
}
