//! Starting: what is logged, what is refused, and what the other commands print.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::common::http::Http;
use crate::common::livebox::{CAMERA, Launch, Livebox, binary, livebox};
use crate::common::process::{Process, run};
use crate::common::{ports, tools, wait};

const LIMIT: Duration = wait::TIMEOUT;

#[test]
fn the_log_begins_with_name_and_version_and_every_line_has_time_and_level() {
    let livebox = Livebox::start(CAMERA);

    let log = livebox.log().text();

    let first = log.lines().next().expect("something is logged");
    assert!(first.contains(&format!("livebox {}", env!("CARGO_PKG_VERSION"))), "{first}");
    for line in log.lines() {
        assert!(is_log_line(line), "{line:?}");
    }
}

#[test]
fn the_log_says_where_it_listens() {
    let livebox = Livebox::start(CAMERA);

    let line = livebox.log().wait_for("listening", LIMIT);

    assert!(line.contains(&livebox.url("")), "{line}");
}

#[test]
fn without_the_program_of_its_hosts_it_does_not_start_and_says_so() {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let alone = folder.path().join("livebox");
    fs::copy(binary(), &alone).expect("there is room for it");

    let finished = Launch::with(CAMERA).copy(&alone).finish();

    assert_eq!(finished.code, Some(1));
    let why = format!("livebox: cannot open {:?}", folder.path().join("livebox-host"));
    assert!(finished.stderr.contains(&why), "{}", finished.stderr);
}

#[test]
fn without_a_file_it_serves_a_test_picture() {
    let livebox = Launch::on_default().start();

    let page = livebox.get("/");

    assert_eq!(page.status(), 200);
    assert!(page.text().contains("/camera.mp4"), "{}", page.text());
}

#[test]
fn serve_is_also_called_server() {
    let port = ports::free();
    let mut command = Command::new(binary());
    command.args(["server", "--bind", "127.0.0.1", "--port", &port.to_string()]);
    command.env("LIVEBOX__RTSP__PORT", "off");
    let process = Process::start("livebox server", &mut command);

    process.output().wait_for("listening", LIMIT);

    assert_eq!(Http::local(port).get("/api/livebox/v1/status").status(), 200);
}

#[test]
fn without_a_command_it_serves_on_what_the_environment_says() {
    let port = ports::free();
    let mut command = Command::new(binary());
    command
        .env("LIVEBOX__SERVER__BIND", "127.0.0.1")
        .env("LIVEBOX__SERVER__PORT", port.to_string())
        .env("LIVEBOX__RTSP__PORT", "off");
    let process = Process::start("livebox", &mut command);

    process.output().wait_for("listening", LIMIT);

    assert_eq!(Http::local(port).get("/").status(), 200);
}

#[test]
fn it_listens_where_it_is_told_and_nowhere_else() {
    let livebox = Launch::with(CAMERA).bind("127.0.0.2").start();

    let told = Http { address: ([127, 0, 0, 2], livebox.port()).into() };

    assert_eq!(told.get("/").status(), 200);
    assert!(livebox.http().request("GET", "/").try_answer().is_err());
}

#[test]
fn every_problem_of_the_file_is_named_with_key_line_value_and_what_is_allowed() {
    let finished = Launch::with(
        "server: {docroot: /nowhere}\n\
         feeds:\n\
         \x20 camera: {test: clock, size: 640x360, fps: 999}\n\
         streams:\n\
         \x20 camera: {feed: camera, bitrate: 3}\n\
         \x20 second: {feed: camrea, bitrate: 1M}\n\
         \x20 third: {feed: camera, bitrate: 1M, quality: 99, gpo: 2s}\n",
    )
    .finish();

    assert_eq!(finished.code, Some(1), "{}", finished.stderr);
    let text = &finished.stderr;
    for (key, line, value) in [
        ("server.docroot", 1, "/nowhere"),
        ("feeds.camera.fps", 3, "999"),
        ("streams.camera.bitrate", 5, "3"),
        ("streams.second.feed", 6, "camrea"),
        ("streams.third.quality", 7, "99"),
        ("streams.third.gpo", 7, "gop"),
    ] {
        let problem = text.lines().find(|l| l.contains(key) && l.contains(value));
        let problem = problem.unwrap_or_else(|| panic!("nothing about {key} {value} in:\n{text}"));
        assert!(problem.contains(&line.to_string()), "line {line} is not named: {problem}");
    }
    assert!(!text.contains("panicked"), "{text}");
}

#[test]
fn a_file_that_is_no_yaml_or_not_there_is_a_problem_not_a_panic() {
    for (config, part) in [("feeds: [", "line"), ("a: b: c", "line"), ("- x", "livebox.yaml")] {
        let finished = Launch::with(config).finish();
        assert_eq!(finished.code, Some(1), "{config:?}: {}", finished.stderr);
        assert!(finished.stderr.contains(part), "{config:?}: {}", finished.stderr);
        assert!(!finished.stderr.contains("panicked"), "{}", finished.stderr);
    }
    let finished = livebox(&["serve", "-f", "/nowhere/livebox.yaml"], "");
    assert_eq!(finished.code, Some(1), "{}", finished.stderr);
    assert!(finished.stderr.contains("/nowhere/livebox.yaml"), "{}", finished.stderr);
}

#[test]
fn a_busy_port_is_named() {
    let first = Livebox::start(CAMERA);
    let port = first.port().to_string();

    let finished = livebox(&["serve", "--bind", "127.0.0.1", "--port", &port], "");

    assert!(!matches!(finished.code, Some(0) | None), "{finished:?}");
    assert!(finished.stderr.contains(&port), "{}", finished.stderr);
    assert_eq!(first.get("/").status(), 200);
}

#[test]
fn an_address_of_another_machine_is_named_once_with_the_remedy() {
    // A network for documentation (RFC 5737): no machine has such an address.
    let finished = livebox(&["serve", "--bind", "192.0.2.1", "--port", "18000"], "");

    assert!(!matches!(finished.code, Some(0) | None), "{finished:?}");
    let says = "this machine has no address 192.0.2.1; `ip address` lists those that it has";
    assert!(finished.stderr.contains(says), "{}", finished.stderr);
    assert!(!finished.stderr.contains("os error"), "{}", finished.stderr);
}

#[test]
fn wrong_arguments_are_a_usage_error() {
    for arguments in [&["--nonsense"][..], &["dance"], &["serve", "--port"], &["pipeline"]] {
        let finished = livebox(arguments, "");
        assert_eq!(finished.code, Some(2), "{arguments:?}: {}", finished.stderr);
        assert!(finished.stderr.contains("--help"), "{arguments:?}: {}", finished.stderr);
    }
    assert_eq!(livebox(&["serve", "--help"], "").code, Some(0));
}

#[test]
fn a_port_that_is_none_is_named_with_what_is_allowed() {
    for port in ["0", "65536", "many"] {
        let finished = livebox(&["serve", "--port", port], "");
        assert!(matches!(finished.code, Some(1 | 2)), "{port}: {finished:?}");
        assert!(finished.stderr.contains("--port"), "{port}: {}", finished.stderr);
        assert!(finished.stderr.contains("65535"), "{port}: {}", finished.stderr);
    }
}

#[test]
fn a_missing_element_is_named_with_its_debian_package() {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    plugins_without(&["libgstx264.so"], folder.path());
    let config = CAMERA.replace("bitrate: 750k", "encoder: x264enc, bitrate: 750k");
    let livebox = Launch::with(&config)
        .env("GST_PLUGIN_SYSTEM_PATH_1_0", folder.path())
        .env("GST_PLUGIN_SYSTEM_PATH", folder.path())
        .env("GST_REGISTRY", folder.path().join("registry.bin"))
        .start_without_waiting();

    let line = wait::until("the missing element is named", LIMIT, || {
        // Whoever asks for the picture makes sure that its pipeline is wanted.
        livebox.http().request("GET", "/camera.mp4").send().ok();
        let log = livebox.log().text();
        log.lines().find(|line| line.contains("x264enc")).map(str::to_owned)
    });

    assert!(line.contains("gstreamer1.0-plugins-ugly"), "{line}");
}

#[test]
fn the_printed_launch_line_of_a_stream_runs_in_gst_launch() {
    let config = tempfile::NamedTempFile::new().expect("there is room for a file");
    fs::write(config.path(), CAMERA).expect("the file is writable");
    let file = config.path().to_str().expect("temporary files have plain names");
    let printed = livebox(&["pipeline", "camera", "-f", file], "");
    assert_eq!(printed.code, Some(0), "{}", printed.stderr);
    let line = printed.stdout.trim();
    assert!(!line.is_empty() && !line.contains('\n'), "{line:?}");

    // As a person does it: pasted behind the command, into a shell.
    let launch = tools::path_of("gst-launch-1.0");
    let mut command = tools::tool("sh");
    command.args(["-c", &format!("exec {} -v {line}", launch.display())]);
    let mut pipeline = Process::start("gst-launch-1.0", &mut command);

    pipeline.output().wait_for("caps = video/x-h264", LIMIT);
    pipeline.output().wait_for("New clock", LIMIT);
    pipeline.signal("INT");
    assert_eq!(pipeline.wait(LIMIT).code(), Some(0));
}

#[test]
fn the_launch_line_of_a_push_is_printed_without_its_key() {
    let config = tempfile::NamedTempFile::new().expect("there is room for a file");
    let push =
        "pushes: {far: {stream: camera, url: \"rtmp://127.0.0.1/live2\", key: otter-4711}}\n";
    fs::write(config.path(), format!("{CAMERA}{push}")).expect("the file is writable");
    let file = config.path().to_str().expect("temporary files have plain names");

    let printed = livebox(&["pipeline", "far", "-f", file], "");

    assert_eq!(printed.code, Some(0), "{}", printed.stderr);
    assert!(printed.stdout.contains("rtmp2sink"), "{}", printed.stdout);
    assert!(!printed.stdout.contains("otter-4711"), "{}", printed.stdout);
}

#[test]
fn a_pipeline_that_is_not_configured_is_a_problem_that_names_those_that_are() {
    let finished = livebox(&["pipeline", "nonsense"], "");

    assert_eq!(finished.code, Some(1), "{}", finished.stderr);
    assert!(finished.stderr.contains("nonsense"), "{}", finished.stderr);
    assert!(finished.stderr.contains("camera"), "{}", finished.stderr);
}

#[test]
fn a_password_becomes_a_hash_that_does_not_contain_it() {
    let finished = livebox(&["password"], "correct horse\n");

    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    assert!(finished.stdout.starts_with("$argon2id$"), "{}", finished.stdout);
    assert_eq!(finished.stdout.lines().count(), 1, "{}", finished.stdout);
    assert!(!finished.stdout.contains("horse"));
}

/// `YYYY-mm-dd hh:mm:ss.sss LEVEL text`.
fn is_log_line(line: &str) -> bool {
    let pattern = b"dddd-dd-dd dd:dd:dd.ddd ";
    let bytes = line.as_bytes();
    let begins = bytes.len() > pattern.len()
        && pattern.iter().zip(bytes).all(|(expected, found)| match expected {
            b'd' => found.is_ascii_digit(),
            other => other == found,
        });
    let levels = ["ERROR", "WARN", "INFO", "DEBUG", "TRACE"];
    begins && levels.iter().any(|level| line[pattern.len()..].starts_with(level))
}

/// Fills `folder` with links to every installed plugin but those named.
fn plugins_without(left_out: &[&str], folder: &Path) {
    let mut command = tools::tool("pkg-config");
    let asked = run(command.args(["--variable=pluginsdir", "gstreamer-1.0"]), b"", LIMIT);
    assert_eq!(asked.code, Some(0), "{}", asked.stderr);
    for plugin in fs::read_dir(asked.stdout.trim()).expect("plugins are installed").flatten() {
        let name = plugin.file_name();
        if name.to_string_lossy().ends_with(".so") && !left_out.iter().any(|out| name == *out) {
            let link = folder.join(name);
            std::os::unix::fs::symlink(plugin.path(), link).expect("the folder is writable");
        }
    }
}

#[test]
fn a_folder_for_logs_that_takes_no_files_is_a_problem_at_the_start() {
    let finished = Launch::with(&format!("{CAMERA}log: {{folder: /proc}}\n")).finish();

    assert_eq!(finished.code, Some(1));
    assert!(
        finished.stderr.contains("log.folder: cannot write into \"/proc\""),
        "{}",
        finished.stderr
    );
}
