//! Files that use each other in a circle.
//!
//! A file uses what its paths from `crate` and `super` name. What a file takes
//! from a module that it is a part of does not count: a folder and the file of
//! its module are one piece. Tests may use whatever they test.

use std::collections::{BTreeMap, BTreeSet};

use super::{Source, pieces, test_modules};

type Module = Vec<String>;
type Uses = BTreeMap<Module, BTreeSet<Module>>;

/// Each circle once, by the modules that form it.
pub(super) fn circle_offences(files: &[Source]) -> Vec<String> {
    let modules: BTreeMap<Module, &Source> =
        files.iter().filter_map(|file| Some((module(&file.path)?, file))).collect();
    let used = |module: &Module, file: &Source| {
        let paths = paths(&without_tests(file)).into_iter();
        let found = paths.filter_map(|path| target(module, &path, &modules));
        found.filter(|other| !module.starts_with(other)).collect()
    };
    let uses: Uses =
        modules.iter().map(|(module, file)| (module.clone(), used(module, file))).collect();
    let mut circles: BTreeSet<Vec<String>> = BTreeSet::new();
    for module in uses.keys() {
        let reached = reached(module, &uses);
        if reached.contains(module) {
            let back = |other: &&Module| self::reached(other, &uses).contains(module);
            circles.insert(reached.iter().filter(back).map(|one| one.join("::")).collect());
        }
    }
    circles.into_iter().map(|circle| format!("a circle: {}", circle.join(", "))).collect()
}

/// The module of a file of `src/`, as its path below `crate`; none for tests.
fn module(path: &str) -> Option<Module> {
    let path = path.strip_prefix("src/")?.strip_suffix(".rs")?;
    let mut module: Module = path.split('/').map(str::to_owned).collect();
    module.pop_if(|last| last == "mod");
    let is_test = module.iter().any(|name| name == "tests");
    let is_root = matches!(module.as_slice(), [root] if root == "lib" || root == "main");
    (!is_test && !is_root).then_some(module)
}

fn without_tests(file: &Source) -> String {
    let mut code = file.code.clone();
    let tests: Vec<_> = test_modules(&file.code).collect();
    tests.into_iter().rev().for_each(|range| code.replace_range(range, ""));
    code
}

/// The module of another file in which the item at `path` is found from `module`.
fn target(module: &Module, path: &[String], modules: &BTreeMap<Module, &Source>) -> Option<Module> {
    let (root, rest) = path.split_first()?;
    let mut full = match root.as_str() {
        "crate" => Module::new(),
        "self" => module.clone(),
        _ => module.split_last()?.1.to_vec(),
    };
    full.extend_from_slice(rest);
    while !full.is_empty() && !modules.contains_key(&full) {
        full.pop();
    }
    (!full.is_empty() && full != *module).then_some(full)
}

/// Every path that begins with `crate`, `super` or `self`, braces spelled out.
fn paths(code: &str) -> Vec<Vec<String>> {
    let all: Vec<String> = pieces(code).map(|piece| piece.name).collect();
    let mut found = Vec::new();
    for (at, name) in all.iter().enumerate() {
        let is_root = matches!(name.as_str(), "crate" | "super" | "self");
        // `pub(in crate::http)` says who may use it.
        let is_visibility = at > 0 && all[at - 1] == "in";
        let goes_on = all.get(at + 1..at + 3).is_some_and(|next| next == [":", ":"]);
        if is_root && goes_on && !is_visibility {
            spell_out(&all[at + 3..], vec![name.clone()], &mut found);
        }
    }
    found
}

/// Follows a path behind its `::`; returns how many pieces it takes.
fn spell_out(rest: &[String], mut path: Vec<String>, found: &mut Vec<Vec<String>>) -> usize {
    let mut at = 0;
    loop {
        match rest.get(at).map(String::as_str) {
            Some("{") => {
                at += 1;
                while rest.get(at).is_some_and(|piece| piece != "}") {
                    at += spell_out(&rest[at..], path.clone(), found);
                    at += usize::from(rest.get(at).is_some_and(|piece| piece != "}"));
                }
                return at + 1;
            }
            Some(name) => path.push(name.to_owned()),
            None => break,
        }
        at += 1;
        if rest.get(at..at + 2).is_none_or(|next| next != [":", ":"]) {
            break;
        }
        at += 2;
    }
    found.push(path);
    at
}

/// Every module that `from` uses, directly or through others.
fn reached(from: &Module, uses: &Uses) -> BTreeSet<Module> {
    let (mut reached, mut open) = (BTreeSet::new(), vec![from]);
    while let Some(module) = open.pop() {
        for used in uses.get(module).into_iter().flatten() {
            if reached.insert(used.clone()) {
                open.push(used);
            }
        }
    }
    reached
}

#[test]
fn a_circle_is_found_through_braces_and_relative_paths() {
    let file = Source::new;
    let circle = [
        file("src/a.rs", "use crate::b::{Sky, c::Sea};"),
        file("src/b/mod.rs", "use crate::d::Sun;"),
        file("src/b/c.rs", "use super::Sky;"),
        file("src/d.rs", "fn f() { super::a::g() }"),
    ];
    assert_eq!(circle_offences(&circle), ["a circle: a, b, d"]);
    let none = [
        file("src/a.rs", "pub(in crate::b) use crate::d::{Sun, Moon};"),
        file("src/b/mod.rs", "use self::c::Sea; #[cfg(test)] mod tests { use crate::a; }"),
        file("src/b/c.rs", "use super::Sky; use crate::b::Sea;"),
        file("src/b/tests.rs", "use crate::a::Star;"),
        file("src/d.rs", "use crate::b::c::Sea;"),
    ];
    assert_eq!(circle_offences(&none), Vec::<String>::new());
}
