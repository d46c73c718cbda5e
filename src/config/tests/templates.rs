//! Templates and sets: as if all had been written by hand.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;
use crate::config::settings::ByteSource;

/// As a user of voyandz would write it.
const WRITTEN_ONCE: &str = r#"
server: {port: 8090}
templates:
  commands:
    mpjpeg: "ffmpeg -i {input} -f mpjpeg -r {fps} -q:v {q} -boundary_tag b {output}"
  sets:
    camera:
      params: [dev]
      feeds:
        "{name}": {command: "ffmpeg -i {dev} -c:v libx264 -g 15 -f mpegts -", mode: 5}
      streams:
        "{name}_view": {template: mpjpeg, args: {fps: 10, q: 4}, feed: "{name}",
                        type: multipart/x-mixed-replace;boundary=b, url: "/{name}/view"}
        "{name}_raw": {command: cat, feed: "{name}", type: video/mp2t}
use:
  - {set: camera, name: front, dev: /dev/video0}
  - {set: camera, name: back, dev: /dev/video2}
"#;

const WRITTEN_BY_HAND: &str = r#"
server: {port: 8090}
feeds:
  front: {command: "ffmpeg -i /dev/video0 -c:v libx264 -g 15 -f mpegts -", mode: 5}
  back: {command: "ffmpeg -i /dev/video2 -c:v libx264 -g 15 -f mpegts -", mode: 5}
streams:
  front_view: {command: "ffmpeg -i - -f mpjpeg -r 10 -q:v 4 -boundary_tag b pipe:1",
               feed: front, type: multipart/x-mixed-replace;boundary=b, url: /front/view}
  front_raw: {command: cat, feed: front, type: video/mp2t}
  back_view: {command: "ffmpeg -i - -f mpjpeg -r 10 -q:v 4 -boundary_tag b pipe:1",
               feed: back, type: multipart/x-mixed-replace;boundary=b, url: /back/view}
  back_raw: {command: cat, feed: back, type: video/mp2t}
"#;

#[test]
fn a_file_with_templates_equals_the_expanded_file() {
    let (once, by_hand) = (parse_text(WRITTEN_ONCE).unwrap(), parse_text(WRITTEN_BY_HAND).unwrap());
    assert_eq!(format!("{once:#?}"), format!("{by_hand:#?}"));
    let feeds: Vec<_> = once.byte_feeds.iter().map(|feed| feed.name.as_str()).collect();
    let streams: Vec<_> = once.byte_streams.iter().map(|stream| stream.name.as_str()).collect();
    assert_eq!(feeds, ["front", "back"]);
    assert_eq!(streams, ["front_view", "front_raw", "back_view", "back_raw"]);
}

#[test]
fn entries_of_a_set_follow_those_of_the_file_and_may_be_overridden() {
    let file = "use: [{set: cam, name: b, fps: 5}]\n\
        templates:\n  sets:\n    cam:\n      params: {fps: , size: 360p}\n      \
        feeds: {'{name}': {test: clock, fps: '{fps}', size: '{size}', overlay: {text: 'Gate {{{name}}}'}}}\n      \
        streams: {'{name}': {}}\n      \
        pushes: {'to-{name}': {stream: '{name}', url: 'rtmp://a.example/{name}'}}\n\
        feeds: {a: {test: clock}}\nstreams: {a: {}}\n";
    let variables = [("LIVEBOX__STREAMS__B__BITRATE".to_owned(), "1M".to_owned())];
    let settings = parse_layers(file, &variables, &Overrides::default()).unwrap();
    let names: Vec<_> = settings.streams.iter().map(|stream| stream.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    let (feed, stream) = (&settings.feeds[1], &settings.streams[1]);
    assert_eq!((feed.fps.fps(), feed.size.height, stream.bitrate.kbps()), (5, 360, 1000));
    assert_eq!(feed.overlay.text.as_deref(), Some("Gate {b}"));
    assert_eq!(settings.pushes[0].stream.as_str(), "b");
}

#[test]
fn an_argument_with_any_content_is_one_word_of_the_command() {
    let settings = parse_text(
        "templates: {commands: {show: \"ff -i {input} -vf 'drawtext={text}' {output}\"}, \
         sets: {cam: {params: [dev], feeds: {'{name}': {command: \"gen '{dev}' {dev}\"}}}}}\n\
         use: [{set: cam, name: a, dev: \"/dev/my 'cam'; rm -rf $HOME {name}\"}]\n\
         streams: {a: {feed: a, template: show, args: {input: a b, text: \"it's \\\"{fps}\\\" -y /etc/x\"}}}\n",
    )
    .unwrap();
    let ByteSource::Command(feed) = &settings.byte_feeds[0].source else { panic!("a command") };
    let dev = "/dev/my 'cam'; rm -rf $HOME {name}";
    assert_eq!(feed.arguments, [dev, dev]);
    let command = settings.byte_streams[0].command.as_ref().unwrap();
    let text = "drawtext=it's \"{fps}\" -y /etc/x";
    assert_eq!(command.arguments, ["-i", "a b", "-vf", text, "pipe:1"]);
}

#[test]
fn braces_of_a_command_without_a_template_are_literal() {
    let settings = parse_text(
        "templates: {commands: {count: \"awk '{{print {column}}}'\"}}\n\
         streams: {a: {command: \"awk '{print $1}'\"}, b: {template: count, args: {column: $2}}}\n",
    )
    .unwrap();
    let arguments =
        |index: usize| &settings.byte_streams[index].command.as_ref().unwrap().arguments;
    assert_eq!((arguments(0)[0].as_str(), arguments(1)[0].as_str()), ("{print $1}", "{print $2}"));
}

#[test]
fn a_variable_cannot_add_a_template_but_overrides_its_command() {
    let variable = |name: &str, value: &str| [(format!("LIVEBOX__{name}"), value.to_owned())];
    let file = "templates: {commands: {c: 'cat {x}'}}\nstreams: {a: {template: c, args: {x: b}}}\n";
    let parse_layers = |variables: &[_]| parse_layers(file, variables, &Overrides::default());
    let settings = parse_layers(&variable("STREAMS__A__COMMAND", "date")).unwrap();
    assert_eq!(settings.byte_streams[0].command.as_ref().unwrap().program, "date");
    for name in ["STREAMS__A__TEMPLATE", "STREAMS__A__ARGS__X", "TEMPLATES__COMMANDS__C", "USE"] {
        let problems = parse_layers(&variable(name, "c")).unwrap_err();
        assert!(lines(&problems).contains("is allowed in the file only"), "{name}: {problems:?}");
    }
}

#[test]
fn templates_with_an_oversized_result_are_refused() {
    let mut wide = "templates: {sets: {s: {params: [x], streams: {".to_owned();
    for index in 0..100 {
        write!(wide, "'{{name}}{index}': {{command: 'cat {{x}}'}}, ").unwrap();
    }
    wide.push_str("}}}}\nuse:\n");
    for index in 0..500 {
        writeln!(wide, "- {{set: s, name: n{index}-, x: y}}").unwrap();
    }
    assert!(told(&wide).contains("the templates would make more than 10000 keys"), "many");

    // A gigabyte, if it were made first.
    let places = "{x}".repeat(10_000);
    let long = "y".repeat(100_000);
    let text = format!(
        "templates: {{commands: {{c: 'cat {places}'}}}}\n\
         streams: {{a: {{template: c, args: {{x: {long}}}}}}}\n"
    );
    let said = told(&text);
    assert!(said.contains("or more than 256 KiB of text") && said.len() < 500, "{said:.500}");
}

/// Slips of an editor anywhere in a file of templates.
fn pieces() -> impl Strategy<Value = String> {
    prop_oneof![
        "[{} \n:,'\"a-z-]{1,4}",
        Just("{name}".to_owned()),
        Just("use:\n- {set: camera, name: x}\n".to_owned()),
        Just("templates:\n".to_owned()),
        Just("\u{0}".to_owned()),
    ]
}

proptest! {
    #[test]
    fn a_spoiled_file_of_templates_is_read_or_refused(
        at in 0_usize..900, drop in 0_usize..20, put in pieces(),
    ) {
        let letters: Vec<char> = WRITTEN_ONCE.chars().collect();
        let at = at.min(letters.len());
        let end = (at + drop).min(letters.len());
        let text: String = letters[..at].iter().chain(&put.chars().collect::<Vec<_>>())
            .chain(&letters[end..]).collect();
        if let Err(problems) = parse_text(&text) {
            prop_assert!(!problems.is_empty());
            prop_assert_eq!(lines(&problems).lines().count(), problems.len());
        }
    }
}
