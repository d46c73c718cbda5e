//! Disks that hang or are full: who notices, who does not, and what is said.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use crate::common::hanging::Disk;
use crate::common::livebox::{API, CAMERA, Launch, Livebox};
use crate::common::tools::tool;
use crate::common::viewer::Viewer;
use crate::common::{hosts, wait};

const LIMIT: Duration = wait::TIMEOUT;

/// Says something on its standard error for ever, and gives bytes.
const NOISY: &str = "sh -c 'while :; do echo yes; echo no >&2; sleep 0.1; done'";

/// The folders of the configuration, and that of temporary files.
const FOLDERS: usize = 5;

#[test]
fn a_disk_that_hangs_holds_up_nobody_and_is_told() {
    let disk = Disk::new();
    let (config, page) = everything_on(&disk);
    fs::write(page, "hello").expect("the disk answers");
    let livebox = Livebox::start(&config);
    let _answering = disk.answering_at_the_end();
    let viewer = Viewer::connect(livebox.http(), "/camera.mp4");
    let (_, mut bytes) = livebox.http().open("/noisy");
    assert_eq!(livebox.http().put(&format!("{API}/streams/camera/record/start")).status(), 200);
    wait::until("it is recorded", LIMIT, || (first(&livebox)["bytes"].as_u64()? > 0).then_some(()));
    assert_eq!(livebox.get("/a.txt").text(), "hello");

    disk.hang();
    assert_eq!(livebox.get("/a.txt").status(), 503);
    let film = first(&livebox)["url"].as_str().expect("it has a URL").to_owned();
    assert_eq!(livebox.get(&film).status(), 503);
    // More than there are workers, or threads for what blocks.
    for _ in 0..3 {
        for path in ["/", "/stat", "/stat.json", "/metrics", "/dashboard", "/recordings"] {
            assert_eq!(livebox.get(path).status(), 200, "{path}");
        }
        assert_eq!(livebox.get("/nothing/at/all").status(), 503);
        assert_eq!(livebox.get("/a.txt").header("retry-after"), Some("5"));
    }
    let kept = livebox.set_control(&json!({"fps": 20})).json();
    assert!(kept["warning"].as_str().is_some_and(|text| text.contains("next start")), "{kept}");
    wait::until("all folders are told", LIMIT, || {
        let told = problems(&livebox);
        let keys = ["recordings.folder", "server.docroot", "server.state", "log.folder"];
        keys.iter().all(|key| told.iter().any(|one| one.starts_with(key))).then_some(())
    });
    assert!(livebox.get("/stat").text().contains("recordings.folder: the folder has not answered"));
    assert!(disk_threads(&livebox) <= FOLDERS, "{} threads", disk_threads(&livebox));
    viewer.wait_for_more(25, LIMIT).assert_nothing_is_missing();
    bytes.take_bytes(100).expect("a command does not wait for its log");
    assert_eq!(livebox.log().count("does not answer; what"), 4, "once for each folder");

    disk.answer();
    wait::until("nothing is wrong", LIMIT, || problems(&livebox).is_empty().then_some(()));
    assert_eq!(livebox.get("/a.txt").text(), "hello");
    let before = first(&livebox)["bytes"].as_u64();
    wait::until("the recording goes on", LIMIT, || {
        (first(&livebox)["bytes"].as_u64() > before).then_some(())
    });
    assert_eq!(livebox.http().put(&format!("{API}/streams/camera/record/stop")).status(), 200);
    wait::until("it is finished", LIMIT, || (first(&livebox)["state"] == "finished").then_some(()));
}

#[test]
fn the_service_starts_while_its_disk_hangs_and_uses_it_once_it_answers() {
    let disk = Disk::new();
    let (config, page) = everything_on(&disk);
    fs::write(page, "hello").expect("the disk answers");
    let film = "camera_2026-01-01_00-00-00.mp4";
    let folder = page_folder(&config, "recordings: {folder: ");
    fs::write(folder.join(film), "film").expect("the disk answers");
    disk.hang();

    let livebox = Livebox::start(&config);
    let _answering = disk.answering_at_the_end();
    Viewer::connect(livebox.http(), "/camera.mp4").wait_for_more(25, LIMIT);
    assert!(problems(&livebox).iter().any(|one| one.starts_with("server.state")));
    assert_eq!(livebox.get("/a.txt").status(), 503);

    disk.answer();
    wait::until("the page is served", LIMIT, || {
        (livebox.get("/a.txt").text() == "hello").then_some(())
    });
    wait::until("old recordings are found", LIMIT, || {
        (first(&livebox)["name"] == film).then_some(())
    });
    // What was kept could not be read, so that nothing replaces it before the next start.
    let kept = livebox.set_control(&json!({"fps": 20})).json();
    assert!(kept["warning"].as_str().is_some(), "{kept}");
}

#[test]
fn what_cannot_be_kept_or_logged_is_told_with_the_answer_once_in_the_log_and_in_the_status() {
    let home = tempfile::tempdir().expect("there is room for a folder");
    let disk = home.path().join("disk");
    fs::create_dir(&disk).expect("the folder is writable");
    // A disk of its own that nobody else sees; this test looks through the process.
    let mut runner = tool("unshare");
    if !hosts::is_root() {
        runner.args(["--user", "--map-root-user"]);
    }
    let script = "mount -t tmpfs -o size=64k none \"$0\" && mkdir \"$0/state\" \"$0/logs\" && \
        { head -c 1m /dev/zero > \"$0/filler\" 2>/dev/null; exec \"$@\"; }";
    runner.args(["--mount", "sh", "-c", script]).arg(&disk);
    // The folders are there for this process, too, as the check of the configuration wants.
    let shown = disk.display();
    let config = format!(
        "{}server: {{state: {shown}/state}}\nlog: {{folder: {shown}/logs}}\n",
        with_noise("continuous")
    );
    let livebox = Launch::with(&config).run_by(runner).start();
    let inside = PathBuf::from(format!("/proc/{}/root{shown}", livebox.pid()));

    let kept = livebox.set_control(&json!({"fps": 20}));
    assert_eq!(kept.status(), 200, "it is in force");
    let warning = kept.json()["warning"].to_string();
    assert!(warning.contains("No space left"), "{warning}");
    let page = livebox.get("/dashboard").text();
    assert!(page.contains("server.state: the folder cannot be written"), "{page}");
    let told = wait::until("both are told", LIMIT, || {
        Some(problems(&livebox)).filter(|told| told.len() == 2)
    });
    assert!(told.iter().all(|one| one.contains("No space left")), "{told:?}");
    livebox.set_control(&json!({"fps": 21}));
    for folder in ["state", "logs"] {
        let line = format!("{shown}/{folder} cannot be written");
        assert_eq!(livebox.log().count(&line), 1, "{line}");
    }

    fs::remove_file(inside.join("filler")).expect("it is there");
    wait::until("nothing is wrong", LIMIT, || problems(&livebox).is_empty().then_some(()));
    let state = fs::read_to_string(inside.join("state/state.json")).expect("it was written");
    assert!(state.contains("\"fps\": \"21\""), "{state}");
    assert!(livebox.set_control(&json!({"fps": 22})).json()["warning"].is_null());
}

#[test]
fn few_files_are_told_at_the_start_and_too_few_end_it() {
    let limited = |files: &str| {
        let mut shell = tool("sh");
        shell.args(["-c", "ulimit -n \"$0\" && exec \"$@\"", files]);
        Launch::with(CAMERA).run_by(shell)
    };
    let livebox = limited("64").start();
    assert_eq!(livebox.log().count("may open 64 files"), 1, "{}", livebox.log().text());
    assert_eq!(livebox.get("/stat").status(), 200);

    let ended = limited("24").finish();
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("needs at least"), "{}", ended.stderr);
}

/// A configuration all of whose folders lie on the disk, and where a file of its docroot is.
fn everything_on(disk: &Disk) -> (String, PathBuf) {
    let [www, state, films, logs] = ["www", "state", "films", "logs"].map(|name| disk.folder(name));
    let config = format!(
        "{}server: {{docroot: {}, state: {}}}\nrecordings: {{folder: {}, keep: {{free: 0}}}}\n\
         log: {{folder: {}}}\n",
        with_noise("on-demand"),
        www.display(),
        state.display(),
        films.display(),
        logs.display()
    );
    (config, www.join("a.txt"))
}

/// The folder that stands in `config` behind `key`.
fn page_folder(config: &str, key: &str) -> PathBuf {
    let (_, rest) = config.split_once(key).expect("the key is there");
    PathBuf::from(rest.split([',', '}']).next().expect("a split has a first piece"))
}

/// The camera, and a command that complains.
fn with_noise(mode: &str) -> String {
    let feed = "streams:\n  noisy: {type: text/plain, feed: noisy}\n";
    CAMERA.replace("streams:\n", &format!("  noisy: {{command: {NOISY:?}, mode: {mode}}}\n{feed}"))
}

pub(super) fn problems(livebox: &Livebox) -> Vec<String> {
    let all = livebox.status()["problems"].clone();
    serde_json::from_value(all).expect("it is a list of texts")
}

/// The newest recording.
fn first(livebox: &Livebox) -> Value {
    livebox.get(&format!("{API}/recordings")).json()["recordings"][0].clone()
}

/// Threads that make calls into folders.
fn disk_threads(livebox: &Livebox) -> usize {
    let tasks = fs::read_dir(format!("/proc/{}/task", livebox.pid())).expect("it runs");
    let names = tasks.flatten().map(|task| fs::read_to_string(task.path().join("comm")));
    names.filter(|name| name.as_ref().is_ok_and(|name| name.trim() == "disk")).count()
}
