//! Parser of INI files that keeps the line of each value.
//!
//! The format of Python's `configparser`, without values over several lines and
//! `%` references. The INI crates do not keep the lines of values, which problems
//! must name.

use super::problem::{Problem, word};
use super::yaml::{MAX_FILE_BYTES, MAX_NODES, too_long};

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Section {
    pub name: String,
    pub line: usize,
    pub settings: Vec<Setting>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Setting {
    /// In lower case.
    pub key: String,
    pub line: usize,
    /// Trimmed; may be empty.
    pub value: String,
}

/// Whether a text is an INI file: its first line that is not empty or a comment
/// is a section header.
pub(super) fn is_ini(text: &str) -> bool {
    let mut lines = without_bom(text).lines().map(str::trim);
    lines.find(|line| !is_blank(line)).and_then(header).is_some()
}

/// Parses the sections of `text`. Adds problems that do not prevent that to
/// `problems`.
///
/// # Errors
/// The text exceeds the limits of a file.
pub(super) fn parse(text: &str, problems: &mut Vec<Problem>) -> Result<Vec<Section>, Problem> {
    if text.len() > MAX_FILE_BYTES {
        return Err(too_long());
    }
    let mut sections: Vec<Section> = Vec::new();
    let mut count = 0;
    for (index, text) in without_bom(text).lines().map(str::trim).enumerate() {
        let line = index + 1;
        if is_blank(text) {
            continue;
        }
        count += 1;
        if count > MAX_NODES {
            let message = format!("more than {MAX_NODES} sections and settings");
            return Err(Problem::on_line(line, "", message));
        }
        if let Some(name) = header(text) {
            let name = name.to_owned();
            if let Some(first) = sections.iter().find(|section| section.name == name) {
                problems.push(twice(line, first.line, place(&name, "")));
            }
            sections.push(Section { name, line, settings: Vec::new() });
            continue;
        }
        let added = match (text.split_once(['=', ':']), sections.last_mut()) {
            (Some((key, value)), Some(section)) if !key.trim().is_empty() => {
                set(section, line, key, value)
            }
            (_, None) => Err(Problem::on_line(line, "", "stands before the first [section]")),
            (Some(_) | None, Some(section)) => {
                let message = "is neither a [section] nor a line such as `fps = 30`";
                Err(Problem::on_line(line, place(&section.name, ""), message))
            }
        };
        problems.extend(added.err());
    }
    Ok(sections)
}

fn set(section: &mut Section, line: usize, key: &str, value: &str) -> Result<(), Problem> {
    let key = key.trim().to_lowercase();
    if let Some(first) = section.settings.iter().find(|setting| setting.key == key) {
        return Err(twice(line, first.line, place(&section.name, &key)));
    }
    section.settings.push(Setting { key, line, value: value.trim().to_owned() });
    Ok(())
}

fn twice(line: usize, first: usize, key: String) -> Problem {
    Problem::on_line(line, key, format!("given a second time, after line {first}"))
}

/// The name of a section or of a setting in it, in problems: `[server] port`.
pub(super) fn place(section: &str, key: &str) -> String {
    format!("[{}] {}", word(section), word(key)).trim_end().to_owned()
}

fn without_bom(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// Whether a line is empty or a comment.
fn is_blank(line: &str) -> bool {
    line.is_empty() || line.starts_with(['#', ';'])
}

/// The name in a section header.
fn header(line: &str) -> Option<&str> {
    let name = line.strip_prefix('[')?.strip_suffix(']')?.trim();
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> (Vec<Section>, String) {
        let mut problems = Vec::new();
        let sections = parse(text, &mut problems).unwrap();
        (sections, problems.iter().map(|problem| format!("{problem}\n")).collect())
    }

    #[test]
    fn sections_and_settings_have_their_lines() {
        let (sections, told) = read(
            "\u{feff}# a comment\n\n[server]\nPort = 8000\nkeyfile=\n ; another\n[/dev/video0]\n  a:b = c  \n",
        );
        assert_eq!(told, "");
        let [server, device] = sections.as_slice() else { panic!("{sections:?}") };
        let setting = |key: &str, line, value: &str| Setting {
            key: key.to_owned(),
            line,
            value: value.to_owned(),
        };
        assert_eq!(server.settings, [setting("port", 4, "8000"), setting("keyfile", 5, "")]);
        assert_eq!((device.name.as_str(), device.line), ("/dev/video0", 7));
        assert_eq!(device.settings, [setting("a", 8, "b = c")]);
    }

    #[test]
    fn problems_have_their_lines() {
        let (_, told) = read("a = b\n[s]\nnothing\n= x\nk = 1\nK = 2\n[s]\n[\n[]\n");
        assert_eq!(
            told,
            "line 1: stands before the first [section]\n\
             [s] (line 3): is neither a [section] nor a line such as `fps = 30`\n\
             [s] (line 4): is neither a [section] nor a line such as `fps = 30`\n\
             [s] k (line 6): given a second time, after line 5\n\
             [s] (line 7): given a second time, after line 2\n\
             [s] (line 8): is neither a [section] nor a line such as `fps = 30`\n\
             [s] (line 9): is neither a [section] nor a line such as `fps = 30`\n"
        );
    }

    #[test]
    fn an_ini_file_is_detected_by_its_first_line() {
        for ini in ["[server]\n", "\n; x\n# y\n [/dev/video0] \nfps = 3"] {
            assert!(is_ini(ini), "{ini}");
        }
        for yaml in ["", "server: {}\n", "# [server]\nfeeds:\n", "[a, b", "[]"] {
            assert!(!is_ini(yaml), "{yaml}");
        }
    }

    #[test]
    fn a_file_that_is_too_long_is_refused() {
        let mut problems = Vec::new();
        assert!(parse(&"#\n".repeat(MAX_FILE_BYTES), &mut problems).is_err());
        let many: String = (0..20_000).map(|index| format!("{index}=\n")).collect();
        let told = parse(&format!("[s]\n{many}"), &mut problems).unwrap_err().to_string();
        assert_eq!(told, "line 10001: more than 10000 sections and settings");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "([\\[\\]=:#; a-c\n/]|\\PC){0,80}") {
            let (sections, told) = read(&text);
            let settings: usize = sections.iter().map(|section| section.settings.len()).sum();
            prop_assert!(sections.len() + settings + told.lines().count() <= 2 * text.lines().count());
        }
    }
}
