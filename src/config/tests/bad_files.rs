//! Wrong files and what is said about them.

use std::fs;

use proptest::prelude::*;

use super::*;

/// Each `tests/golden/config/NAME.yaml` or `NAME.conf` beside its `NAME.txt`;
/// `GOLDEN=1` writes the texts anew, to be read in the diff.
#[test]
fn every_bad_file_has_exactly_its_golden_problems() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/config");
    let files = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let mut texts: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|ext| ext != "txt")).collect();
    texts.sort();
    assert!(texts.len() >= 12, "the golden files are missing from {folder:?}");
    for path in texts {
        let said = told(&fs::read_to_string(&path).unwrap());
        let golden = path.with_extension("txt");
        if std::env::var_os("GOLDEN").is_some() {
            fs::write(&golden, &said).unwrap();
        }
        let wanted = fs::read_to_string(&golden).unwrap_or_default();
        assert_eq!(said, wanted, "{} is not what is said about it", golden.display());
    }
}

#[test]
fn all_problems_of_a_file_are_reported_at_once_in_the_order_of_its_lines() {
    let problems = parse_text(
        "server: {port: 0}\n\
         feeds: {camera: {test: clock, fps: 0}}\n\
         streams: {camera: {bitrate: 5, gop: 1h}}\n\
         log: {level: loud}\n",
    )
    .unwrap_err();
    let found: Vec<_> = problems.iter().map(|p| (p.line().unwrap(), p.key.as_str())).collect();
    assert_eq!(
        found,
        [
            (1, "server.port"),
            (2, "feeds.camera.fps"),
            (3, "streams.camera.bitrate"),
            (3, "streams.camera.gop"),
            (4, "log.level"),
        ]
    );
}

#[test]
fn a_load_error_lists_each_problem_on_its_own_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("livebox.yaml");
    fs::write(&path, format!("{SMALL}server: {{port: 0, bind: x}}\n")).unwrap();

    let error = load(&Place::File(path.clone()), &Overrides::default(), std::iter::empty());

    assert_eq!(
        error.unwrap_err().to_string(),
        format!(
            "2 problems in the configuration ({}):\n  \
             server.bind (line 3): \"x\" is not an IP address \
             (examples: 0.0.0.0, 127.0.0.1, \"::\", localhost)\n  \
             server.port (line 3): \"0\" is not a port from 1 to 65535",
            path.display()
        )
    );
}

#[test]
fn a_file_of_ten_megabytes_is_refused_unread() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("big.yaml");
    fs::write(&path, "# comment\n".repeat(1_000_000)).unwrap();

    let error = load(&Place::File(path), &Overrides::default(), std::iter::empty());

    assert!(error.unwrap_err().to_string().ends_with("\n  the file is longer than 256 KiB"));
    assert_eq!(told(&"x".repeat(10_000_000)), "the file is longer than 256 KiB\n");
}

#[test]
fn a_named_file_that_is_missing_is_named() {
    let place = Place::File("/no/such/livebox.yaml".into());
    let error = load(&place, &Overrides::default(), std::iter::empty()).unwrap_err();
    assert_eq!(error.to_string(), "cannot read the configuration \"/no/such/livebox.yaml\"");
}

#[test]
fn a_file_that_is_not_utf_8_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("livebox.yaml");
    fs::write(&path, b"feeds: \xff\xfe").unwrap();
    let error = load(&Place::File(path), &Overrides::default(), std::iter::empty()).unwrap_err();
    let cause = std::error::Error::source(&error).unwrap();
    assert_eq!(cause.to_string(), "it is not UTF-8 text");
}

#[test]
fn an_anchor_bomb_is_refused() {
    let mut text = "a0: &a0 [lol, lol]\n".to_owned();
    for level in 1..40 {
        let below = format!("*a{}, ", level - 1).repeat(10);
        text.push_str(&format!("a{level}: &a{level} [{below}]\n"));
    }
    assert!(told(&text).contains("anchors and aliases (& and *) are not supported"));
}

#[test]
fn too_many_or_too_deep_values_end_the_parsing() {
    let wide = format!("server: [{}]", "x, ".repeat(20_000));
    assert_eq!(told(&wide), "line 1: more than 10000 keys and values\n");
    for open in ["[", "{a: ", "? ", "- ", "{"] {
        let said = told(&open.repeat(200_000 / open.len()));
        assert!(said.contains("deeper") || said.contains("YAML"), "{said}");
    }
}

#[test]
fn overlong_names_are_refused_and_not_shown() {
    let long = "n".repeat(60_000);
    for text in [
        format!("feeds: {{{long}: {{test: clock}}}}\nstreams: {{{long}: {{}}}}\n"),
        format!("{SMALL}{long}: 1\n"),
        format!(
            "{SMALL}templates: {{commands: {{{long}: 'cat'}}, sets: {{a: {{params: [{long}]}}}}}}\n"
        ),
        format!("{SMALL}templates: {{commands: {{{long}: cat}}}}\nuse: [{{set: a}}]\n"),
        format!("streams: {{a: {{template: {long}}}}}\n"),
        format!("{SMALL}use: [{{set: {long}, {long}: 1}}]\n"),
        format!("[{long}]\n{long}\n{long} = {long}\n"),
        format!("[/dev/video0]\n{long} = {long}\nfps = {long}\n"),
    ] {
        let said = told(&text);
        assert!(said.len() < 1000, "{said:.1000}");
    }
}

#[test]
fn no_prefix_of_a_valid_file_panics() {
    let text = include_str!("../../../etc/livebox.yaml");
    for end in (0..text.len()).step_by(5).filter(|end| text.is_char_boundary(*end)) {
        let _either = parse_text(&text[..end]);
    }
}

proptest! {
    #[test]
    fn arbitrary_text_is_read_or_refused_in_whole_lines(text in any::<String>()) {
        if let Err(problems) = parse_text(&text) {
            prop_assert!(!problems.is_empty());
            prop_assert_eq!(lines(&problems).lines().count(), problems.len());
        }
    }

    #[test]
    fn arbitrary_yaml_like_text_is_read_or_refused(
        pieces in proptest::collection::vec(prop_oneof![
            "[ \n]{1,5}", "[a-z0-9]{1,5}", Just(": ".to_owned()), Just(":\n  ".to_owned()),
            "[-?&*!|>'\"%@`{}\\[\\],#~\t]", Just("\n---\n".to_owned()), Just("feeds".to_owned()),
            Just("streams: ".to_owned()), Just("test: clock\n".to_owned()),
        ], 0..60),
    ) {
        if let Err(problems) = parse_text(&pieces.concat()) {
            prop_assert_eq!(lines(&problems).lines().count(), problems.len());
        }
    }

    #[test]
    fn any_word_as_any_value_is_accepted_or_named_with_its_line(
        line in 0_usize..200, word in "[ -~]{0,12}",
    ) {
        let manual = include_str!("../../../etc/livebox.yaml");
        let changed: String = manual.lines().enumerate().map(|(index, text)| {
            match text.split_once(": ") {
                Some((key, _)) if index == line && !key.contains('#') => {
                    format!("{key}: '{}'\n", word.replace('\'', "''"))
                }
                _ => format!("{text}\n"),
            }
        }).collect();
        if let Err(problems) = parse_text(&changed) {
            prop_assert!(problems.iter().any(|problem| problem.line() == Some(line + 1)));
        }
    }
}
