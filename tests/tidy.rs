//! Rules about the source that the compiler cannot state.
//!
//! Each rule is a function from files to offences, run over the repository and
//! over a small sample that breaks it, so that no rule can fall asleep.

#[path = "tidy/circles.rs"]
mod circles;

use std::fs;
use std::ops::Range;
use std::path::Path;

/// The folders of `src/`, lowest first: a folder may use only what stands in an earlier row.
const LAYERS: &[&[&str]] = &[
    &["base"],
    &["model"],
    &["media", "profile", "wire"],
    &["config", "hub"],
    &["engine", "store"],
    &["accounts", "host"],
    &["outputs"],
    &["service"],
    &["chat"],
    &["http", "rtsp", "rtmp", "webrtc", "fleet"],
];

/// The files that wire the folders together and may name all of them.
const WIRING: &[&str] = &["app", "bin", "cli", "lib", "main"];

/// Crates that only one folder may name.
const OWNERS: &[(&str, &[&str])] = &[
    ("src/host/", &["gstreamer", "gstreamer_app", "gstreamer_video", "glib", "gio"]),
    (
        "src/http/",
        &[
            "actix_web",
            "actix_multipart",
            "actix_http",
            "actix_rt",
            "actix_server",
            "actix_service",
            "actix_ws",
        ],
    ),
    ("src/media/", &["mpeg2ts"]),
    ("src/rtsp", &["rtsp_types"]),
    ("src/store/", &["sqlx", "rusqlite"]),
];

/// Folders that only compute.
const NEVER_ASYNC: &[&str] = &["src/base/", "src/media/", "src/model/", "src/profile/", "src/wire"];

/// Files in those folders that wait all the same, each with its reason.
const MAY_WAIT: &[(&str, &str)] = &[
    ("src/base/disk.rs", "every layer awaits disks, and none may block on them"),
    ("src/base/program.rs", "several layers ask programs, and none may block on them"),
    ("src/base/shutdown.rs", "every layer awaits the end of the process"),
];

const LONGEST_FUNCTION: usize = 80;
const LONGEST_FILE: usize = 600;

/// Macros and notes that belong to unfinished work.
const UNFINISHED_CODE: &[&str] = &["todo!", "unimplemented!", "dbg!"];
const UNFINISHED_NOTES: &[&str] = &["TODO", "FIXME", "XXX", "HACK"];

/// Text that ties the repository to one place, written in halves so that this file passes too.
const FOREIGN: &[(&str, &str)] = &[
    ("deb.deb", "ian.org"),
    ("security.deb", "ian.org"),
    ("snapshot.deb", "ian.org"),
    ("archive.raspberry", "pi."),
    ("static.crates", ".io"),
    ("index.crates", ".io"),
    ("registry.npm", "js.org"),
    ("pypi", ".org"),
    ("files.python", "hosted.org"),
    ("proxy.gol", "ang.org"),
    ("node", "source.com"),
    ("/work", "/main"),
    ("/work", "/shared"),
    ("/ro", "ot/"),
];

#[test]
fn folders_use_only_what_is_below_them() {
    refuse(repository(&["src"]).iter().flat_map(layer_offences));
}

#[test]
fn files_form_no_circle() {
    refuse(circles::circle_offences(&repository(&["src"])).into_iter());
}

#[test]
fn each_large_dependency_has_one_owner() {
    refuse(repository(&["src"]).iter().flat_map(owner_offences));
}

#[test]
fn folders_that_only_compute_never_wait() {
    refuse(repository(&["src"]).iter().flat_map(async_offences));
}

#[test]
fn every_file_says_what_it_is_for() {
    refuse(repository(RUST_FOLDERS).iter().flat_map(header_offences));
}

#[test]
fn functions_and_files_stay_readable() {
    refuse(repository(RUST_FOLDERS).iter().flat_map(size_offences));
}

#[test]
fn nothing_is_left_unfinished() {
    refuse(repository(RUST_FOLDERS).iter().flat_map(unfinished_offences));
}

#[test]
fn tests_are_at_least_half_as_long_as_the_code() {
    let (code, tests) = code_and_test_lines(&repository(RUST_FOLDERS));
    assert!(tests * 2 >= code, "{code} lines of code, but only {tests} lines of tests");
}

#[test]
fn the_repository_is_tied_to_no_place() {
    refuse(texts(&["."]).iter().flat_map(foreign_offences));
}

#[test]
fn the_version_is_the_same_everywhere() {
    let version = env!("CARGO_PKG_VERSION");
    for (file, start) in [
        ("debian/changelog", format!("livebox ({version}) ")),
        ("CHANGELOG.md", format!("## {version} ")),
    ] {
        let text = fs::read_to_string(root().join(file)).expect("the file is there");
        let newest = text
            .lines()
            .filter(|line| *line != "## Unreleased")
            .find(|line| line.starts_with("livebox (") || line.starts_with("## "))
            .unwrap_or_default();
        assert!(newest.starts_with(&start), "{file} begins with {newest:?}, not {start:?}");
    }
}

/// Each rule, against a file that breaks it.
mod every_rule_bites {
    use super::*;

    fn count(rule: impl Fn(&Source) -> Vec<String>, path: &str, text: &str) -> usize {
        rule(&Source::new(path, text)).len()
    }

    #[test]
    fn layers() {
        let low = "src/media/fmp4.rs";
        assert_eq!(count(layer_offences, low, "use crate::base::units;"), 0);
        assert_eq!(count(layer_offences, low, "use crate::media::h264;"), 0);
        assert_eq!(count(layer_offences, low, "// crate::http is said, not used"), 0);
        assert_eq!(count(layer_offences, low, "use crate::http::routes;"), 1);
        assert_eq!(count(layer_offences, low, "use crate::profile::text;"), 1);
        assert_eq!(
            count(layer_offences, low, "use crate::{base::units,\n hub::{ring, reader}};"),
            1
        );
        assert_eq!(count(layer_offences, low, "use super::super::http;"), 1);
        assert_eq!(count(layer_offences, "src/media/mod.rs", "use super::http;"), 1);
        assert_eq!(count(layer_offences, "src/media/mod.rs", "mod t {\n use super::*;\n}"), 0);
        assert_eq!(count(layer_offences, "src/helpers/mod.rs", ""), 1);
        assert_eq!(count(layer_offences, "src/app.rs", "use crate::http::routes;"), 0);
    }

    #[test]
    fn owners() {
        assert_eq!(count(owner_offences, "src/hub/ring.rs", "use gstreamer as gst;"), 1);
        assert_eq!(count(owner_offences, "src/host/tap.rs", "use gstreamer as gst;"), 0);
        assert_eq!(
            count(owner_offences, "src/engine/plan.rs", "fn f() { actix_web::rt::spawn() }"),
            1
        );
        assert_eq!(count(owner_offences, "src/hub/ring.rs", "//! not gstreamer's queue"), 0);
    }

    #[test]
    fn waiting() {
        assert_eq!(count(async_offences, "src/media/aac.rs", "pub async fn read() {}"), 1);
        assert_eq!(count(async_offences, "src/hub/ring.rs", "pub async fn read() {}"), 0);
        assert_eq!(count(async_offences, "src/base/shutdown.rs", "pub async fn asked() {}"), 0);
    }

    #[test]
    fn headers() {
        assert_eq!(count(header_offences, "src/hub/ring.rs", "use std::fs;"), 1);
        assert_eq!(count(header_offences, "src/hub/ring.rs", "//! Reading a live stream."), 0);
    }

    #[test]
    fn sizes() {
        let body =
            |lines: usize| format!("fn long(a: [u8; 2]) {{\n{}}}\n", "    work();\n".repeat(lines));
        assert_eq!(count(size_offences, "src/app.rs", &body(LONGEST_FUNCTION - 2)), 0);
        assert_eq!(count(size_offences, "src/app.rs", &body(LONGEST_FUNCTION - 1)), 1);
        assert_eq!(count(size_offences, "src/app.rs", &"//\n".repeat(LONGEST_FILE)), 0);
        assert_eq!(count(size_offences, "src/app.rs", &"//\n".repeat(LONGEST_FILE + 1)), 1);
    }

    #[test]
    fn unfinished_work() {
        assert_eq!(count(unfinished_offences, "src/app.rs", "fn f() { todo!() }"), 1);
        assert_eq!(count(unfinished_offences, "src/app.rs", "// FIXME: later"), 1);
        assert_eq!(
            count(unfinished_offences, "src/app.rs", "const WORD: &str = \"todo! FIXME\";"),
            0
        );
    }

    #[test]
    fn the_share_of_tests() {
        let module =
            "//! Doc.\nfn f() {}\n\n#[cfg(test)]\nmod tests {\n    fn t() {}\n}\nfn g() {}\n";
        let line = "fn t() {}\n";
        let files = [
            Source::new("src/app.rs", module),
            Source::new("src/media/aac/tests.rs", line),
            Source::new("tests/a.rs", line),
        ];
        assert_eq!(code_and_test_lines(&files), (3, 6));
    }

    #[test]
    fn foreign_names() {
        let line = format!("curl http://{}{}/", FOREIGN[0].0, FOREIGN[0].1);
        assert_eq!(count(foreign_offences, "scripts/x", &line), 1);
    }
}

fn layer_offences(file: &Source) -> Vec<String> {
    let Some(folder) = file.folder() else { return Vec::new() };
    let Some(own) = layer(folder) else {
        return vec![format!("{}: {folder} has no place in LAYERS", file.path)];
    };
    let mut offences = Vec::new();
    for used in names_below_crate(&file.code) {
        if used.name != folder && layer(&used.name).is_none_or(|other| other >= own) {
            offences.push(file.at(used.at, &format!("{folder} uses {}", used.name)));
        }
    }
    let at_top = file.path == format!("src/{folder}/mod.rs");
    for (number, line) in file.code.lines().enumerate() {
        let climbs = line.contains("super::super::") || (at_top && line.starts_with("use super::"));
        if climbs {
            offences.push(format!("{}:{}: begin the path with crate::", file.path, number + 1));
        }
    }
    offences
}

fn layer(folder: &str) -> Option<usize> {
    LAYERS.iter().position(|row| row.contains(&folder))
}

fn owner_offences(file: &Source) -> Vec<String> {
    let mut offences = Vec::new();
    for (owner, crates) in OWNERS.iter().filter(|(owner, _)| !file.path.starts_with(owner)) {
        for word in words(&file.code).filter(|word| crates.contains(&word.name.as_str())) {
            offences.push(file.at(word.at, &format!("{} belongs to {owner}", word.name)));
        }
    }
    offences
}

fn async_offences(file: &Source) -> Vec<String> {
    let computes = NEVER_ASYNC.iter().any(|folder| file.path.starts_with(folder));
    if !computes || MAY_WAIT.iter().any(|(path, _)| *path == file.path) {
        return Vec::new();
    }
    words(&file.code)
        .filter(|word| matches!(word.name.as_str(), "async" | "await"))
        .map(|word| file.at(word.at, "this folder only computes"))
        .collect()
}

fn header_offences(file: &Source) -> Vec<String> {
    let silent = !file.text.starts_with("//!");
    silent.then(|| format!("{}: no //! header", file.path)).into_iter().collect()
}

fn size_offences(file: &Source) -> Vec<String> {
    let mut offences = Vec::new();
    let lines = file.text.lines().count();
    if lines > LONGEST_FILE {
        offences.push(format!("{}: {lines} lines; {LONGEST_FILE} is the limit", file.path));
    }
    for function in words(&file.code).filter(|word| word.name == "fn") {
        let Some(body) = block(&file.code, function.at) else { continue };
        let lines = file.code[function.at..body.end].lines().count();
        if lines > LONGEST_FUNCTION {
            let told = format!("a function of {lines} lines; {LONGEST_FUNCTION} is the limit");
            offences.push(file.at(function.at, &told));
        }
    }
    offences
}

fn unfinished_offences(file: &Source) -> Vec<String> {
    let in_code = UNFINISHED_CODE.iter().flat_map(|word| file.code.match_indices(word));
    let in_notes = UNFINISHED_NOTES.iter().flat_map(|word| file.notes.match_indices(word));
    in_code.chain(in_notes).map(|(at, word)| file.at(at, &format!("{word} is left over"))).collect()
}

fn foreign_offences(file: &Source) -> Vec<String> {
    FOREIGN
        .iter()
        .map(|(first, second)| format!("{first}{second}"))
        .filter_map(|word| Some(file.at(file.text.find(&word)?, &format!("names {word}"))))
        .collect()
}

/// Lines that are not blank: of the program, and of its tests without this file.
fn code_and_test_lines(files: &[Source]) -> (usize, usize) {
    let full = |text: &str| text.lines().filter(|line| !line.trim().is_empty()).count();
    let (mut code, mut tests) = (0, 0);
    for file in files.iter().filter(|file| !file.path.starts_with("tests/tidy")) {
        let is_test = !file.path.starts_with("src/")
            || file.path.ends_with("/tests.rs")
            || file.path.contains("/tests/");
        if is_test {
            tests += full(&file.text);
        } else {
            let inside: usize = test_modules(&file.code).map(|range| full(&file.text[range])).sum();
            code += full(&file.text) - inside;
            tests += inside;
        }
    }
    (code, tests)
}

fn test_modules(code: &str) -> impl Iterator<Item = Range<usize>> {
    code.match_indices("#[cfg(test)]")
        .filter_map(|(at, _)| Some(at..block(code, at + "#[cfg(test)]".len())?.end))
}

/// One file, and the same text with everything blanked but the code, or but the comments.
struct Source {
    path: String,
    text: String,
    code: String,
    notes: String,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        let (code, notes) = if path.ends_with(".rs") { split(text) } else { Default::default() };
        Self { path: path.to_owned(), text: text.to_owned(), code, notes }
    }

    /// The folder of `src/` that the file is in, unless it is one of the wiring files.
    fn folder(&self) -> Option<&str> {
        let first = self.path.strip_prefix("src/")?.split('/').next()?;
        let folder = first.trim_end_matches(".rs");
        (!WIRING.contains(&folder)).then_some(folder)
    }

    fn at(&self, offset: usize, told: &str) -> String {
        let line = self.text[..offset].lines().count().max(1);
        format!("{}:{line}: {told}", self.path)
    }
}

struct Word {
    name: String,
    at: usize,
}

/// Every identifier and keyword, with its place.
fn words(code: &str) -> impl Iterator<Item = Word> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    code.split(move |c| !is_part(c)).filter(|piece| !piece.is_empty()).map(|piece| Word {
        name: piece.to_owned(),
        at: piece.as_ptr() as usize - code.as_ptr() as usize,
    })
}

/// The first names in `crate::first::…` and `crate::{first::…, second}`.
fn names_below_crate(code: &str) -> Vec<Word> {
    let mut found = Vec::new();
    for (at, start) in code.match_indices("crate::") {
        let from = at + start.len();
        let mut depth = 0;
        let mut expects_name = true;
        for word_or_mark in pieces(&code[from..]) {
            match word_or_mark.name.as_str() {
                "{" => depth += 1,
                "}" => depth -= 1,
                "," if depth == 1 => expects_name = true,
                mark if !mark.starts_with(|c: char| c.is_alphanumeric() || c == '_') => {}
                name if expects_name => {
                    found.push(Word { name: name.to_owned(), at: from + word_or_mark.at });
                    expects_name = false;
                }
                _ => {}
            }
            if depth <= 0 && !expects_name {
                break;
            }
        }
    }
    found
}

/// Identifiers and single marks, in order.
fn pieces(code: &str) -> impl Iterator<Item = Word> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let mut at = 0;
    std::iter::from_fn(move || {
        at += code[at..].len() - code[at..].trim_start().len();
        let first = code[at..].chars().next()?;
        let rest = &code[at..];
        let length =
            if is_part(first) { rest.find(|c| !is_part(c)) } else { Some(first.len_utf8()) };
        let name = &rest[..length.unwrap_or(rest.len())];
        let word = Word { name: name.to_owned(), at };
        at += name.len();
        Some(word)
    })
}

/// The next `{…}` after `from`, unless a `;` ends the item before it.
fn block(code: &str, from: usize) -> Option<Range<usize>> {
    let (mut braces, mut brackets, mut start) = (0, 0, None);
    for (offset, c) in code[from..].char_indices() {
        match c {
            '(' | '[' => brackets += 1,
            ')' | ']' => brackets -= 1,
            ';' if brackets == 0 && start.is_none() => return None,
            '{' => {
                braces += 1;
                start.get_or_insert(from + offset);
            }
            '}' => {
                braces -= 1;
                if braces == 0 {
                    return start.map(|start| start..from + offset + 1);
                }
            }
            _ => {}
        }
    }
    None
}

/// Splits a Rust text into its code and its comments, each with the other's bytes blanked; string
/// and character literals are blanked in both.
fn split(text: &str) -> (String, String) {
    let bytes = text.as_bytes();
    let (mut code, mut notes) = (vec![b' '; bytes.len()], vec![b' '; bytes.len()]);
    let mut at = 0;
    while at < bytes.len() {
        let end = at + literal_or_comment(&text[at..]).unwrap_or(0);
        if end > at && bytes[at] == b'/' {
            notes[at..end].copy_from_slice(&bytes[at..end]);
        }
        let end = end.max(at + 1);
        if end == at + 1 && bytes[at].is_ascii() {
            code[at] = bytes[at];
        }
        at = end;
        while !text.is_char_boundary(at) {
            at += 1;
        }
    }
    for (place, byte) in bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
        (code[place], notes[place]) = (*byte, *byte);
    }
    let code = String::from_utf8(code).expect("only whole ASCII bytes were copied");
    (code, String::from_utf8(notes).expect("comments were copied whole"))
}

/// The length of the comment, string or character that the text begins with, if it does.
fn literal_or_comment(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if text.starts_with("/*") {
        return Some(text.find("*/").map_or(text.len(), |end| end + 2));
    }
    if let Some(rest) = text.strip_prefix('r') {
        let hashes = rest.len() - rest.trim_start_matches('#').len();
        if rest[hashes..].starts_with('"') {
            let close = format!("\"{}", "#".repeat(hashes));
            let body = hashes + 2;
            return Some(
                text[body..].find(&close).map_or(text.len(), |end| body + end + close.len()),
            );
        }
    }
    if text.starts_with('"') {
        return Some(quoted(text, '"'));
    }
    let mut chars = text.chars();
    match (chars.next(), chars.next(), chars.next()) {
        (Some('\''), Some('\\'), _) => Some(quoted(text, '\'')),
        (Some('\''), Some(c), Some('\'')) => Some(c.len_utf8() + 2),
        _ => None,
    }
}

fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if !escaped && c == quote {
            return at + 1;
        }
        escaped = !escaped && c == '\\';
    }
    text.len()
}

const RUST_FOLDERS: &[&str] = &["src", "tests", "benches", "fuzz"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The Rust files below these folders.
fn repository(folders: &[&str]) -> Vec<Source> {
    texts(folders).into_iter().filter(|file| file.path.ends_with(".rs")).collect()
}

/// The text files below these folders that people write: no builds, no lock files.
fn texts(folders: &[&str]) -> Vec<Source> {
    let mut found = Vec::new();
    let mut waiting: Vec<_> = folders.iter().map(|folder| root().join(folder)).collect();
    while let Some(folder) = waiting.pop() {
        if !folder.is_dir() {
            continue;
        }
        for entry in fs::read_dir(folder).expect("the folder is readable") {
            let path = entry.expect("the folder is readable").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let skipped = matches!(name.as_str(), "target" | ".git" | "node_modules" | "corpus");
            if path.is_dir() && !skipped {
                waiting.push(path);
            } else if path.is_file()
                && !skipped
                && !name.ends_with(".lock")
                && name != "package-lock.json"
            {
                let Ok(text) = fs::read_to_string(&path) else { continue };
                let path = path.strip_prefix(root()).expect("the walk began at the root");
                found.push(Source::new(&path.to_string_lossy().replace("./", ""), &text));
            }
        }
    }
    found
}

fn refuse(offences: impl Iterator<Item = String>) {
    let offences: Vec<_> = offences.collect();
    assert!(offences.is_empty(), "\n{}", offences.join("\n"));
}
