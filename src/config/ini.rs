//! The text of an INI file as sections that know their lines.
//!
//! As Python's `configparser` reads it, without what makes a line mean something
//! else than it shows (values over several lines, `%` references). The crates
//! that read INI keep no line of a value, so that no mistake in one could be
//! pointed out.

use super::problem::{Problem, word};
use super::yaml::{LONGEST, MOST_NODES, too_long};

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
    /// Without blanks around it; may be empty.
    pub value: String,
}

/// Whether a text is an INI file: its first line that says anything is the head
/// of a section.
pub(super) fn is_ini(text: &str) -> bool {
    let mut lines = without_mark(text).lines().map(str::trim);
    lines.find(|line| !is_silent(line)).and_then(header).is_some()
}

/// Reads the sections of `text`. Mistakes that leave some behind are added to
/// `problems`.
///
/// # Errors
/// The file is larger than any honest one.
pub(super) fn parse(text: &str, problems: &mut Vec<Problem>) -> Result<Vec<Section>, Problem> {
    if text.len() > LONGEST {
        return Err(too_long());
    }
    let mut sections: Vec<Section> = Vec::new();
    let mut count = 0;
    for (index, text) in without_mark(text).lines().map(str::trim).enumerate() {
        let line = index + 1;
        if is_silent(text) {
            continue;
        }
        count += 1;
        if count > MOST_NODES {
            let message = format!("more than {MOST_NODES} sections and settings");
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
        let told = match (text.split_once(['=', ':']), sections.last_mut()) {
            (Some((key, value)), Some(section)) if !key.trim().is_empty() => {
                set(section, line, key, value)
            }
            (_, None) => Err(Problem::on_line(line, "", "stands before the first [section]")),
            (Some(_) | None, Some(section)) => {
                let message = "is neither a [section] nor a line such as `fps = 30`";
                Err(Problem::on_line(line, place(&section.name, ""), message))
            }
        };
        problems.extend(told.err());
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

/// A section or a setting in it, as problems name it: `[server] port`.
pub(super) fn place(section: &str, key: &str) -> String {
    format!("[{}] {}", word(section), word(key)).trim_end().to_owned()
}

fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// Whether a line is empty or a comment.
fn is_silent(line: &str) -> bool {
    line.is_empty() || line.starts_with(['#', ';'])
}

/// The name of the section that begins here.
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
    fn sections_and_settings_know_their_lines() {
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
    fn mistakes_are_told_with_their_lines() {
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
    fn an_ini_file_is_told_from_yaml_by_its_first_line() {
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
        assert!(parse(&"#\n".repeat(LONGEST), &mut problems).is_err());
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
