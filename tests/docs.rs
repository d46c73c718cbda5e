//! The documents: their lengths, and that what they point at exists.
//!
//! Each rule is a function from a text to offences, run over the repository and
//! over a small sample that breaks it. `src/config/tests/manual.rs` loads the
//! examples.

use std::fs;
use std::path::{Path, PathBuf};

/// The longest that documents for newcomers may be, in lines.
const LENGTHS: &[(&str, usize)] = &[("README.md", 130), ("ARCHITECTURE.md", 150)];

/// How a path begins that a document names in backticks.
const FOLDERS: &[&str] =
    &["benches/", "debian/", "docs/", "etc/", "pipelines/", "scripts/", "src/", "tests/", "web/"];

#[test]
fn documents_for_newcomers_are_short() {
    for (name, limit) in LENGTHS {
        let lines = fs::read_to_string(root().join(name)).unwrap().lines().count();
        assert!(lines <= *limit, "{name} has {lines} lines, more than {limit}");
    }
}

#[test]
fn links_between_documents_lead_somewhere() {
    refuse(documents().iter().flat_map(|page| dead_links(page, &read(page))));
}

#[test]
fn files_that_documents_name_exist() {
    refuse(documents().iter().flat_map(|page| missing_files(page, &read(page))));
}

#[test]
fn dead_links_and_missing_files_are_found() {
    let page = root().join("docs/api.md");
    let links =
        "[a](no.md) [b](https.md) [c](https.md#no-such) [d](access.md#passwords) [e](https://x/)";
    let dead = dead_links(&page, links);
    assert_eq!(
        dead,
        ["docs/api.md: no.md leads nowhere", "docs/api.md: https.md#no-such leads nowhere"]
    );
    let names = "`src/main.rs` `src/no.rs` `src/media` `src/config/keys/NAME.rs` `/src/x`";
    assert_eq!(missing_files(&page, names), ["docs/api.md: there is no src/no.rs"]);
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The documents at the top and all below `docs/`.
fn documents() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join("docs")];
    while let Some(folder) = folders.pop() {
        for path in entries(&folder) {
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found.extend(entries(root()));
    found.retain(|path| path.extension().is_some_and(|ending| ending == "md"));
    // It tells of files of earlier versions as well.
    found.retain(|path| !path.ends_with("CHANGELOG.md"));
    found
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let found = fs::read_dir(folder).expect("the folder is readable");
    found.map(|entry| entry.expect("the folder is readable").path()).collect()
}

fn read(page: &Path) -> String {
    fs::read_to_string(page).expect("the page is readable")
}

fn refuse(offences: impl Iterator<Item = String>) {
    let offences: Vec<_> = offences.collect();
    assert!(offences.is_empty(), "{}", offences.join("\n"));
}

fn dead_links(page: &Path, text: &str) -> Vec<String> {
    let targets = text.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0));
    let inside = targets.filter(|target| !target.contains("://"));
    let dead = inside.filter(|target| !leads_somewhere(page, target));
    dead.map(|target| format!("{}: {target} leads nowhere", shown(page))).collect()
}

fn leads_somewhere(page: &Path, target: &str) -> bool {
    let (file, heading) = target.split_once('#').unwrap_or((target, ""));
    let path = if file.is_empty() {
        page.to_owned()
    } else {
        page.parent().expect("a page is in a folder").join(file)
    };
    let has = |text: String| text.lines().any(|line| anchor(line).as_deref() == Some(heading));
    path.exists() && (heading.is_empty() || fs::read_to_string(path).is_ok_and(has))
}

/// The anchor of a heading, as renderers of Markdown make it.
fn anchor(line: &str) -> Option<String> {
    let title = line.strip_prefix('#')?.trim_start_matches('#').trim().to_lowercase();
    let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    Some(kept.collect::<String>().replace(' ', "-"))
}

fn missing_files(page: &Path, text: &str) -> Vec<String> {
    let named =
        text.split('`').filter(|word| FOLDERS.iter().any(|folder| word.starts_with(folder)));
    let plain = named
        .filter(|word| !word.contains(|c: char| c.is_ascii_uppercase() || " *{<\n".contains(c)));
    let missing = plain.filter(|word| !root().join(word).exists());
    missing.map(|word| format!("{}: there is no {word}", shown(page))).collect()
}

fn shown(page: &Path) -> String {
    page.strip_prefix(root()).expect("the walk began at the root").display().to_string()
}
