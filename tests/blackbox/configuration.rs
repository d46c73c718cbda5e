//! Files that are written in another way: with templates, or for fmp4streamer.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::common::livebox::{Launch, binary, livebox};
use crate::common::process::{Finished, run};
use crate::common::wait;

const LIMIT: Duration = wait::TIMEOUT;

const WITH_TEMPLATES: &str = r#"
templates:
  commands:
    view: "ffmpeg -i {input} -an -f mpjpeg -r {fps} {output}"
  sets:
    camera:
      params: [dev]
      feeds:
        "{name}": {command: "ffmpeg -i {dev} -f mpegts -", mode: 5}
      streams:
        "{name}_view": {feed: "{name}", template: view, args: {fps: 10}, url: "/{name}/view.mjpg"}
        "{name}_raw": {feed: "{name}", url: "/{name}/raw.ts"}
use:
  - {set: camera, name: front, dev: "/dev/my camera"}
  - {set: camera, name: back, dev: /dev/video2}
"#;

const BY_HAND: &str = r#"
feeds:
  front: {command: "ffmpeg -i '/dev/my camera' -f mpegts -", mode: 5}
  back: {command: "ffmpeg -i /dev/video2 -f mpegts -", mode: 5}
streams:
  front_view: {feed: front, command: "ffmpeg -i - -an -f mpjpeg -r 10 pipe:1", url: /front/view.mjpg}
  front_raw: {feed: front, url: /front/raw.ts}
  back_view: {feed: back, command: "ffmpeg -i - -an -f mpjpeg -r 10 pipe:1", url: /back/view.mjpg}
  back_raw: {feed: back, url: /back/raw.ts}
"#;

#[test]
fn check_prints_a_file_with_templates_as_the_one_written_by_hand() {
    let (once, by_hand) = (check("-f", WITH_TEMPLATES), check("-f", BY_HAND));
    assert_eq!(once.code, Some(0), "{}", once.stderr);
    assert!(once.stdout.contains("command: \"ffmpeg -i '/dev/my camera' -f mpegts -\""));
    assert_eq!(once.stdout, by_hand.stdout);
}

#[test]
fn a_mistake_in_a_template_ends_the_start_and_is_named_with_its_line() {
    let config = WITH_TEMPLATES.replace("set: camera, name: back", "set: camrea, name: back");
    let finished = Launch::with(&config).finish();
    assert_eq!(finished.code, Some(1));
    let told = "use.1.set (line 15): \"camrea\" names no set of `templates.sets`; did you mean \"camera\"?";
    assert!(finished.stderr.contains(told), "{}", finished.stderr);
}

#[test]
fn an_argument_of_a_template_reaches_its_command_as_one_word() {
    let livebox = Launch::with(
        "templates: {commands: {say: 'printf {form} {what}'}}\n\
         streams: {a: {template: say, args: {form: '[%s]', what: \"a  'b' \\\"$HOME\\\" ; c\"}, \
         client: exclusive, url: /a.txt}}\n\
         pages: {config: true}\n",
    )
    .start();
    assert!(livebox.get("/config").text().contains("printf '[%s]'"));
    let (_, mut body) = livebox.http().open("/a.txt");
    let wanted = "[a  'b' \"$HOME\" ; c]";
    let bytes = body.take_bytes(wanted.len()).expect("the command writes that");
    assert_eq!(String::from_utf8_lossy(&bytes), wanted);
}

const FMP4STREAMER: &str = "\
[server]
listen =
port = 8000
keyfile =
certfile =
priority = 7

[/dev/video0]
width = 800
height = 600
fps = 30
h264_profile = High
h264_level = 4.2
h264_i_frame_period = 15
capture_format = YUYV
";

#[test]
fn a_file_of_fmp4streamer_is_served_and_printed_as_one_of_livebox() {
    let printed = check("-c", FMP4STREAMER);
    assert_eq!(printed.code, Some(0), "{}", printed.stderr);
    let warning =
        "livebox: warning: [/dev/video0] capture_format (line 15): \"YUYV\": has no effect";
    assert!(printed.stderr.starts_with(warning), "{}", printed.stderr);
    assert!(printed.stdout.contains("\"h264_level\": \"4.2\""), "{}", printed.stdout);
    assert_eq!(check("-f", FMP4STREAMER).stdout, printed.stdout);
    assert_eq!(check("-f", &printed.stdout).stdout, printed.stdout);

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("fmp4streamer.conf");
    fs::write(&file, FMP4STREAMER).unwrap();
    let livebox = Launch::on_default().argument("-c").argument(&file.display().to_string()).start();
    assert!(livebox.log().contains("capture_format (line 15)"), "{}", livebox.log().text());
    assert_eq!(livebox.get("/cam/0/stream/").status(), 200);
    assert!(livebox.get("/stat.json").text().contains("\"cam0\""));
    let threads = fs::read_dir(format!("/proc/{}/task", livebox.pid())).unwrap();
    let nice: Vec<_> = threads.map(|thread| niceness(&thread.unwrap().path())).collect();
    assert!(nice.len() > 2 && nice.iter().all(|nice| nice == "7"), "{nice:?}");
}

#[test]
fn without_its_file_fmp4streamers_own_defaults_are_served() {
    let livebox = Launch::on_default().argument("--config").argument("/no/such.conf").start();
    let told = "configuration: cannot read \"/no/such.conf\"";
    assert!(livebox.log().contains(told), "{}", livebox.log().text());
    let page = wait::until("the page says what is missing", LIMIT, || {
        let page = livebox.get("/").text();
        page.contains("/dev/video0").then_some(page)
    });
    assert!(page.contains("/dev/video0 is not there"), "{page}");
}

#[test]
fn controls_of_a_camera_that_is_away_cannot_be_listed_and_the_reason_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("fmp4streamer.conf");
    fs::write(&file, FMP4STREAMER.replace("/dev/video0", "/dev/nowhere")).unwrap();
    let mut command = Command::new(binary());
    command.arg("-l").arg("-c").arg(&file);
    let finished = run(&mut command, b"", LIMIT);
    assert_eq!(finished.code, Some(1));
    assert!(finished.stderr.contains("/dev/nowhere: v4l2-ctl: Cannot open"), "{}", finished.stderr);

    let finished = run(command.env("PATH", "/nowhere"), b"", LIMIT);
    assert_eq!(finished.code, Some(1));
    let told = "the program v4l2-ctl is missing; the Debian package v4l-utils has it";
    assert!(finished.stderr.contains(told), "{}", finished.stderr);
}

#[test]
fn the_version_is_told_by_both_of_its_options() {
    for option in ["-V", "--version"] {
        let finished = livebox(&[option], "");
        assert_eq!(finished.code, Some(0));
        assert_eq!(finished.stdout, format!("livebox {}\n", env!("CARGO_PKG_VERSION")));
    }
}

fn check(option: &str, config: &str) -> Finished {
    let file = tempfile::NamedTempFile::new().expect("there is room for a file");
    fs::write(file.path(), config).expect("the file is writable");
    livebox(&["check", option, &file.path().display().to_string()], "")
}

/// The 19th field of `/proc/PID/task/TID/stat`.
fn niceness(thread: &Path) -> String {
    let stat = fs::read_to_string(thread.join("stat")).unwrap_or_default();
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    after_name.split_whitespace().nth(16).unwrap_or_default().to_owned()
}
