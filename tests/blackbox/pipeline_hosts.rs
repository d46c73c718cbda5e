//! Processes that pipelines run in: what happens in one stays in it.

use std::time::Duration;

use crate::common::clip::{Clips, Film, SHORT};
use crate::common::http::Answer;
use crate::common::livebox::{Launch, Livebox};
use crate::common::process::run;
use crate::common::tools::tool;
use crate::common::viewer::Viewer;
use crate::common::{proc, wait};

const LIMIT: Duration = wait::PATIENCE;

/// Bytes in which there is no picture as yet: who asks for one waits.
const QUIET: &str = "\
feeds: {quiet: {command: \"sh -c 'yes | head -c 100; sleep 600'\"}}
streams: {quiet: {feed: quiet, url: /quiet.ts}}
";

#[test]
fn a_host_that_crashes_is_told_and_takes_nobody_with_it() {
    let clips = Clips::new();
    let livebox = Livebox::start(&with_film(&clips, "sh -c 'yes | head -c 100; sleep 600'"));
    let viewer = Viewer::connect(livebox.http(), "/film.mp4");
    viewer.wait_for_more(10, LIMIT);
    for (signal, told) in [("SEGV", "SIGSEGV"), ("ABRT", "SIGABRT"), ("KILL", "SIGKILL")] {
        let http = livebox.http();
        let asked = std::thread::spawn(move || http.get("/bytes.ts/pic"));
        let host = host(&livebox);
        proc::signal(host, signal);
        let answer: Answer = asked.join().expect("it asks");
        assert_eq!(answer.status(), 503, "{}", answer.text());
        assert!(answer.text().contains(told), "{}", answer.text());
        wait::until("the host is gone", LIMIT, || (!proc::is_alive(host)).then_some(()));
    }
    viewer.wait_for_more(30, LIMIT);
    assert_eq!(livebox.get("/film/pic").status(), 200);
    viewer.wait("all that came", LIMIT, |_| true).assert_nothing_is_missing();
}

#[test]
fn no_host_is_left_when_the_service_is_killed() {
    let mut livebox = Livebox::start(QUIET);
    let http = livebox.http();
    let asked = std::thread::spawn(move || http.request("GET", "/quiet.ts/pic").try_answer());
    let host = host(&livebox);
    livebox.process().signal("KILL");
    wait::until("the host is gone", LIMIT, || (!proc::is_alive(host)).then_some(()));
    asked.join().expect("it asks").err();
}

#[test]
fn no_command_is_left_when_the_service_is_killed() {
    // One in a session of its own, and one that starts others all the time.
    let script = "setsid sleep 600 & while :; do sleep 0.01; echo; done";
    let mut livebox = Livebox::start(&format!(
        "feeds: {{a: {{command: {:?}, mode: continuous}}}}\nstreams: {{a: {{}}}}\n",
        format!("sh -c {script:?}")
    ));
    wait::until("both run", LIMIT, || {
        let all = proc::descendants(livebox.pid());
        let has = |line: &str| all.iter().any(|pid| proc::command_line(*pid).trim() == line);
        (has("sleep 600") && has("sleep 0.01") && has("livebox host commands")).then_some(())
    });
    let all = proc::descendants(livebox.pid());
    livebox.process().signal("KILL");
    wait::until("nothing is left", LIMIT, || {
        (!all.iter().any(|pid| proc::is_alive(*pid))).then_some(())
    });
}

#[test]
fn a_host_has_no_settings_and_no_files_of_the_service() {
    let livebox = Launch::with(QUIET).env("LIVEBOX__LOG__LEVEL", "debug").start();
    let http = livebox.http();
    let asked = std::thread::spawn(move || http.request("GET", "/quiet.ts/pic").try_answer());
    let host = host(&livebox);
    let read = |name: &str| {
        let read = std::fs::read(format!("/proc/{host}/{name}")).expect("it runs");
        String::from_utf8_lossy(&read).into_owned()
    };
    assert!(!read("environ").contains("LIVEBOX"), "{}", read("environ"));
    assert_eq!(read("cmdline"), "livebox\0host\0picture\0");
    assert!(read("limits").contains("Max core file size        0"));
    let listening = std::fs::read_dir(format!("/proc/{host}/fd")).expect("it runs");
    let files = listening.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
    let sockets = files.filter(|file| file.to_string_lossy().starts_with("socket:")).count();
    // Standard input, its two copies, and what the other side of GLib's wake-ups is not.
    assert!(sockets <= 3, "{sockets} sockets");
    drop(livebox);
    asked.join().expect("it asks").err();
}

#[test]
fn a_picture_that_needs_more_memory_than_there_may_be_harms_nobody() {
    let clips = Clips::new();
    let film = clips.folder().join("huge.mjpg");
    let mut command = tool("ffmpeg");
    command.args(["-v", "error", "-f", "lavfi", "-i", "color=red:size=320x240", "-frames:v", "1"]);
    command.args(["-c:v", "mjpeg", "-f", "mjpeg"]);
    assert_eq!(run(command.arg(&film), b"", LIMIT).code, Some(0));
    let mut huge = std::fs::read(&film).expect("it was written");
    // Its frame header says 20000 by 20000.
    let at = huge.windows(2).position(|two| two == [0xff, 0xc0]).expect("a baseline JPEG");
    huge[at + 5..at + 9].copy_from_slice(&[0x4e, 0x20, 0x4e, 0x20]);
    std::fs::write(&film, huge).expect("the folder is writable");
    let command = format!("sh -c 'cat {}; sleep 600'", film.display());
    let livebox = Livebox::start(&with_film(&clips, &command));
    let viewer = Viewer::connect(livebox.http(), "/film.mp4");
    viewer.wait_for_more(10, LIMIT);
    let before = proc::resident_kib(livebox.pid());
    let answer = livebox.get("/bytes.ts/pic?width=320");
    assert!(matches!(answer.status(), 415 | 503), "{}: {}", answer.status(), answer.text());
    assert!(proc::resident_kib(livebox.pid()) < before + (64 << 10));
    viewer.wait_for_more(10, LIMIT);
    viewer.wait("all that came", LIMIT, |_| true).assert_nothing_is_missing();
}

/// A film that others watch, and the bytes of a command.
fn with_film(clips: &Clips, command: &str) -> String {
    let film = clips.make("film.mp4", Film { sound: false, ..SHORT });
    format!(
        "feeds: {{film: {{file: {}}}, bytes: {{command: {command:?}}}}}\n\
         streams: {{film: {{}}, bytes: {{feed: bytes, url: /bytes.ts}}}}\n",
        film.display()
    )
}

/// The host that makes a picture, once there is one.
fn host(livebox: &Livebox) -> u32 {
    wait::until("a host", LIMIT, || {
        let mut children = proc::children(livebox.pid()).into_iter();
        children.find(|child| proc::command_line(*child) == "livebox host picture ")
    })
}
