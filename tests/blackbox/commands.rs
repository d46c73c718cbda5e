//! The commands besides the service: stream, devices, check, completions.

use std::net::IpAddr;
use std::process::Command;
use std::time::Duration;

use mdns_sd::{ServiceDaemon, ServiceEvent};
use serde_json::{Value, json};

use crate::common::livebox::{CAMERA, Launch, binary, livebox};
use crate::common::process::{Finished, Process, run};
use crate::common::receiver::Receiver;
use crate::common::{ports, probe, proc};

const LIMIT: Duration = crate::common::wait::TIMEOUT;
const KEY: &str = "quiet-otter-4711-zz";
const SOMEWHERE: &str = "rtmp://127.0.0.1/live2/quiet-otter-4711-zz";

#[test]
fn stream_sends_what_its_flags_say_until_it_is_interrupted() {
    let receiver = Receiver::start();
    let mut command = Command::new(binary());
    command.args(["stream", "--resolution", "240p", "--framerate", "15", "--bitrate", "300kpbs"]);
    command.args(["--audio", "1khz", "--video", "test", &format!("{}/{KEY}", receiver.url())]);
    let mut process = Process::start("livebox stream", &mut command);

    receiver.wait_for_more(150_000, LIMIT);
    process.signal("INT");
    let status = process.wait(LIMIT);

    assert_eq!(status.code(), Some(0), "{}", process.output().text());
    assert!(!process.output().contains(KEY), "{}", process.output().text());
    let recording = receiver.recordings()[0].display().to_string();
    let streams = probe::streams(&recording, None);
    let video = streams.first("video");
    assert_eq!((&video["width"], &video["height"]), (&426.into(), &240.into()));
    assert_eq!(video["profile"], "Main");
    assert_eq!(streams.first("audio")["codec_name"], "aac");
    let sound = probe::listen(&recording, 1);
    assert!((990.0..=1010.0).contains(&sound.pitch), "{sound:?}");
}

#[test]
fn stream_takes_the_url_from_the_environment_so_that_the_key_is_in_no_process_list() {
    let receiver = Receiver::start();
    let mut command = Command::new(binary());
    command.args(["stream", "-"]).env("LIVEBOX_URL", format!("{}/{KEY}", receiver.url()));
    let mut process = Process::start("livebox stream", &mut command);

    receiver.wait_for_more(50_000, LIMIT);

    for pid in [vec![process.pid()], proc::descendants(process.pid())].concat() {
        assert!(!proc::command_line(pid).contains(KEY), "{}", proc::command_line(pid));
    }
    process.signal("TERM");
    assert_eq!(process.wait(LIMIT).code(), Some(0));
}

#[test]
fn stream_says_more_with_verbose() {
    let lines = |arguments: &[&str]| {
        let receiver = Receiver::start();
        let url = format!("{}/{KEY}", receiver.url());
        let mut command = Command::new(binary());
        let mut process = Process::start("stream", command.arg("stream").args(arguments).arg(&url));
        receiver.wait_for_more(50_000, LIMIT);
        process.signal("INT");
        process.wait(LIMIT);
        assert!(!process.output().contains(KEY), "{}", process.output().text());
        process.output().text().lines().count()
    };

    assert!(lines(&["--verbose"]) > lines(&[]));
}

#[test]
fn stream_fails_with_a_reason_where_nobody_listens_at_first() {
    let url = format!("rtmp://127.0.0.1:{}/live2/{KEY}", ports::free());

    let finished = livebox(&["stream", &url], "");

    assert_eq!(finished.code, Some(1), "{}", finished.stderr);
    let last = finished.stderr.lines().last().unwrap_or_default();
    assert!(last.contains("cannot send") && last.contains("refused"), "{last}");
    assert!(!finished.stderr.contains(KEY), "{}", finished.stderr);
}

#[test]
fn stream_tries_again_when_a_receiver_that_took_it_goes_away() {
    let mut receiver = Receiver::start();
    let mut command = Command::new(binary());
    command.args(["stream", &format!("{}/{KEY}", receiver.url())]);
    let mut process = Process::start("livebox stream", &mut command);
    process.output().wait_for("push stream is live", LIMIT);

    receiver.crash();
    process.output().wait_for("failed", LIMIT);
    receiver.come_back();
    receiver.wait_for_more(50_000, LIMIT);

    assert!(process.ended().is_none(), "{}", process.output().text());
    process.signal("INT");
    assert_eq!(process.wait(LIMIT).code(), Some(0));
}

#[test]
fn stream_without_a_camera_that_answers_fails_with_the_camera_s_reason() {
    let finished = livebox(&["stream", "--video", "/dev/nowhere", SOMEWHERE], "");

    assert_eq!(finished.code, Some(1), "{}", finished.stderr);
    assert!(finished.stderr.contains("/dev/nowhere is not there"), "{}", finished.stderr);
}

#[test]
fn a_dry_run_prints_the_control_data_for_every_spelling() {
    for (text, bps) in [
        ("800kpbs", 800_000),
        ("800kbps", 800_000),
        ("800k", 800_000),
        ("1M", 1_000_000),
        ("1Mbps", 1_000_000),
        ("100000", 100_000),
    ] {
        assert_eq!(dry_run(&["--bitrate", text])["bitrate"], bps, "{text}");
    }
    for (text, size, bps) in [("240p", "240p", 400_000), ("1920x1080", "1080p", 4_500_000)] {
        let control = dry_run(&["--resolution", text]);
        assert_eq!((&control["resolution"], &control["bitrate"]), (&json!(size), &json!(bps)));
    }
    let control = dry_run(&["--fps", "30", "--audio", "silence", "--quality", "20"]);
    assert_eq!(control["fps"], 30);
    assert_eq!(control["audio"], "silence");
    assert_eq!(control["quality"], 20);
    let default = dry_run(&[]);
    assert_eq!((&default["resolution"], &default["fps"]), (&json!("360p"), &json!(25)));
    assert_eq!((&default["audio"], &default["bitrate"]), (&json!("feed"), &json!(750_000)));
    assert_eq!(default["url"], "rtmp://127.0.0.1/live2/••••••");
}

#[test]
fn the_url_is_read_from_standard_input() {
    let finished = livebox(&["stream", "--dry-run", "-"], &format!("{SOMEWHERE}\n"));

    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    assert!(finished.stdout.contains("127.0.0.1"), "{}", finished.stdout);
    assert!(!finished.stdout.contains(KEY), "{}", finished.stdout);
}

#[test]
fn a_command_line_that_makes_no_sense_says_what_would_and_ends_with_2() {
    for (arguments, part) in [
        (&["stream"][..], "missing URL"),
        (&["stream", "http://127.0.0.1/quiet-otter-4711-zz"], "rtmps://"),
        (&["stream", "--resolution", "999p", SOMEWHERE], "720p"),
        (&["stream", "--bitrate", "fast", SOMEWHERE], "800k"),
        (&["stream", "--fps", "0", SOMEWHERE], "1 to 120"),
        (&["stream", "--audio", "loud", SOMEWHERE], "silence"),
        (&["stream", "--quality", "9", SOMEWHERE], "10..=40"),
        (&["stream", "--video", "clip.mp4", SOMEWHERE], "/dev/"),
        (&["completions", "csh"], "bash"),
    ] {
        let finished = livebox(arguments, "");
        assert_eq!(finished.code, Some(2), "{arguments:?}: {}", finished.stderr);
        assert!(finished.stderr.contains(part), "{arguments:?}: {}", finished.stderr);
        assert!(!finished.stderr.contains(KEY), "{arguments:?}: {}", finished.stderr);
    }
}

#[test]
fn check_prints_the_whole_configuration_without_its_secrets_and_it_reads_back() {
    let push = "pushes: {far: {url: \"rtmp://a.example/live2\", key: quiet-otter-4711-zz}}\n";
    let first = check(&format!("{CAMERA}{push}"));

    assert_eq!(first.code, Some(0), "{}", first.stderr);
    assert!(!first.stdout.contains(KEY), "{}", first.stdout);
    for part in ["port: 8000", "encoder: auto", "size: 640x360", "gop: 1"] {
        assert!(first.stdout.contains(part), "{part} is missing in {}", first.stdout);
    }
    let again = check(&first.stdout);
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    assert!(again.stdout.contains("size: 640x360"), "{}", again.stdout);
}

#[test]
fn check_names_all_problems_and_ends_with_1() {
    let finished = check("feeds: {camera: {test: clock, fps: 999}}\nstreams: {camera: {gpo: 1}}\n");

    assert_eq!(finished.code, Some(1), "{}", finished.stdout);
    assert!(finished.stderr.contains("fps") && finished.stderr.contains("gop"));
    assert!(finished.stderr.trim_end().ends_with("not valid: 2 problems"), "{}", finished.stderr);
    assert_eq!(finished.stdout, "");
}

#[test]
fn check_ends_with_a_verdict_and_warns_of_what_this_machine_lacks() {
    let whole = check(CAMERA);
    assert_eq!(
        whole.stderr.trim_end(),
        "livebox: the configuration is valid: 1 feed, 1 stream, 0 pushes"
    );

    let lacking = check(
        "feeds: {cam: {v4l2: /dev/no-camera}, film: {file: /no/film.mp4}, raw: {command: no-such-program}}\n\
         streams: {cam: {}, film: {}, raw: {}}\n",
    );

    assert_eq!(lacking.code, Some(0), "{}", lacking.stderr);
    for part in ["/dev/no-camera", "/no/film.mp4", "no-such-program"] {
        let told = lacking
            .stderr
            .lines()
            .any(|line| line.contains("warning: feeds.") && line.contains(part));
        assert!(told, "{part}: {}", lacking.stderr);
    }
    let verdict = lacking.stderr.lines().last().unwrap_or_default();
    assert!(verdict.ends_with("valid: 3 feeds, 3 streams, 0 pushes, 3 warnings"), "{verdict}");
}

#[test]
fn check_refuses_what_can_only_be_a_mistake() {
    let finished = check(
        "feeds: {camera: {test: clock}}\nstreams: {camera: {bitrate: 2MB}}\n\
         pushes: {tube: {url: 'rtmp://a.example/live2', key: '…'}}\n",
    );

    assert_eq!(finished.code, Some(1), "{}", finished.stdout);
    assert!(finished.stderr.contains("streams.camera.bitrate (line 2)"), "{}", finished.stderr);
    assert!(finished.stderr.contains("write 2M for bits a second"), "{}", finished.stderr);
    assert!(finished.stderr.contains("the key is a placeholder"), "{}", finished.stderr);
}

#[test]
fn devices_tells_of_cameras_or_that_there_is_none() {
    let finished = livebox(&["devices"], "");

    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    let has_cameras = finished.stdout.contains("/dev/");
    assert_ne!(has_cameras, finished.stdout.contains("no camera"), "{}", finished.stdout);
}

#[test]
fn completions_are_a_script_that_the_shell_accepts() {
    let finished = livebox(&["completions", "bash"], "");
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);

    let checked = run(Command::new("bash").arg("-n"), finished.stdout.as_bytes(), LIMIT);

    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    assert!(finished.stdout.contains("--resolution"), "it does not know the options");
}

#[test]
fn the_service_is_announced_with_mdns_and_not_without() {
    let address = network_address();
    let quiet = Launch::with(CAMERA).bind(&address.to_string()).start();
    let told = Launch::with(CAMERA).bind(&address.to_string()).argument("--mdns").start();
    told.log().wait_for("announced", LIMIT);

    let searcher = ServiceDaemon::new().expect("multicast works here");
    let found = searcher.browse("_livebox._tcp.local.").expect("the name is proper");
    let port = loop {
        let event = found.recv_timeout(LIMIT).expect("the service is announced");
        let ServiceEvent::ServiceResolved(info) = event else { continue };
        assert_ne!(info.port, quiet.port(), "announced without being asked to");
        if info.port == told.port() {
            let path = info.txt_properties.get_property_val_str("path");
            assert_eq!(path, Some("/api/livebox/v1"));
            break info.port;
        }
    };
    assert_eq!(port, told.port());
    searcher.shutdown().ok();
}

/// An address of this machine that others see.
fn network_address() -> IpAddr {
    let mut command = Command::new("hostname");
    let finished = run(command.arg("-I"), b"", LIMIT);
    let first = finished.stdout.split_whitespace().next();
    first.expect("this machine has a network").parse().expect("an address")
}

fn dry_run(arguments: &[&str]) -> Value {
    let finished = livebox(&[&["stream", "--dry-run"], arguments, &[SOMEWHERE]].concat(), "");
    assert_eq!(finished.code, Some(0), "{arguments:?}: {}", finished.stderr);
    assert!(!finished.stdout.contains(KEY), "{}", finished.stdout);
    serde_json::from_str(&finished.stdout).expect("it prints JSON")
}

fn check(config: &str) -> Finished {
    let file = tempfile::NamedTempFile::new().expect("there is room for a file");
    std::fs::write(file.path(), config).expect("the file is writable");
    livebox(&["check", "-f", &file.path().display().to_string()], "")
}
