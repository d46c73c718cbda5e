//! Processes that pipelines run in: what happens in one stays in it.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use crate::common::clip::{Clips, Film, SHORT};
use crate::common::http::Answer;
use crate::common::livebox::{CAMERA, Launch, Livebox};
use crate::common::mjpeg::Mjpeg;
use crate::common::process::run;
use crate::common::tools::tool;
use crate::common::viewer::Viewer;
use crate::common::{proc, wait};

const LIMIT: Duration = wait::TIMEOUT;

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
        crash(host, signal);
        let answer: Answer = asked.join().expect("it asks");
        assert_eq!(answer.status(), 503, "{}", answer.text());
        assert!(answer.text().contains(told), "{}", answer.text());
    }
    viewer.wait_for_more(30, LIMIT);
    assert_eq!(livebox.get("/film/pic").status(), 200);
    viewer.wait("all that came", LIMIT, |_| true).assert_nothing_is_missing();
}

#[test]
fn viewers_of_motion_jpeg_stay_while_its_host_dies_again_and_again() {
    let livebox = Livebox::start(CAMERA);
    let viewer = Viewer::connect(livebox.http(), "/camera.mp4");
    let mut shown: Vec<_> = (0..3).map(|_| Mjpeg::open(livebox.http(), "/camera.mjpeg")).collect();
    shown.iter_mut().for_each(|one| drop(one.next()));
    let used = || (proc::open_files(livebox.pid()), proc::threads(livebox.pid()));
    let before = used();
    for signal in ["KILL", "SEGV", "ABRT"] {
        let host = host_of(&livebox, "mjpeg");
        crash(host, signal);
        let killed = wait::unix().as_secs_f64();
        for one in &mut shown {
            while one.next().taken() < killed {}
        }
    }
    livebox.log().wait_for("MJPEG of camera failed: its process has died (SIGKILL)", LIMIT);
    viewer.wait_for_more(10, LIMIT);
    wait::until("nothing more is in use than before", LIMIT, || {
        let now = used();
        (now.0 <= before.0 && now.1 <= before.1).then_some(())
    });
    drop(shown);
    wait::until("no host is left", LIMIT, || hosts_of(&livebox, "mjpeg").is_empty().then_some(()));
}

#[test]
fn a_host_of_motion_jpeg_that_hangs_is_killed_and_another_goes_on() {
    let livebox = Livebox::start(CAMERA);
    let mut shown = Mjpeg::open(livebox.http(), "/camera.mjpeg");
    shown.next();
    let host = host_of(&livebox, "mjpeg");
    proc::signal(host, "STOP");
    let stopped = wait::unix().as_secs_f64();
    while shown.next().taken() < stopped {}
    assert!(!proc::is_alive(host), "one that hangs is not left to itself");
    assert_eq!(hosts_of(&livebox, "mjpeg").len(), 1);
}

#[test]
fn a_host_that_takes_too_much_memory_is_ended_with_that_reason_and_is_back() {
    let config = |memory: &str| {
        format!(
            "feeds: {{camera: {{test: clock, size: 4096x2304, fps: 2}}}}\nstreams: {{camera: {{}}}}\n\
             limits: {{memory: {memory}}}\n"
        )
    };
    let livebox = Livebox::start(&config("1G"));
    let mut shown = Mjpeg::open(livebox.http(), "/camera.mjpeg");
    shown.next();
    livebox.reload(&config("64M"));
    crash(host_of(&livebox, "mjpeg"), "KILL");
    let why = "its process has died (SIGKILL): it takes more than 64 MiB of memory (limits.memory)";
    livebox.log().wait_for(&format!("MJPEG of camera failed: {why}"), LIMIT);
    let words = "host mjpeg camera died (SIGKILL), its last output: it takes more than 64 MiB";
    livebox.log().wait_for(words, LIMIT);
    livebox.reload(&config("1G"));
    let host = wait::until("a host with more", LIMIT, || {
        let mut hosts = hosts_of(&livebox, "mjpeg").into_iter();
        hosts.find(|host| limit(*host, "Max data size") > 1 << 30)
    });
    let begin = wait::unix().as_secs_f64();
    while shown.next().taken() < begin {}
    assert!(proc::is_alive(host));
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
fn gstreamer_is_in_the_memory_of_hosts_and_not_of_the_service() {
    let livebox = Livebox::start(CAMERA);
    let mut shown = Mjpeg::open(livebox.http(), "/camera.mjpeg");
    shown.next();
    let read = |pid: u32, name: &str| {
        std::fs::read_to_string(format!("/proc/{pid}/{name}")).expect("it runs")
    };
    let host = host_of(&livebox, "feed camera");
    assert!(read(host, "maps").contains("libgstreamer"));
    assert_eq!(read(host, "comm"), "livebox-host\n");
    // Elsewhere the linker of a debug build may keep libraries that only unused code names.
    if cfg!(target_arch = "x86_64") {
        let maps = read(livebox.pid(), "maps");
        assert!(!maps.contains("libgst") && !maps.contains("libglib"), "{maps}");
    }
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
    wait::until("it is confined", LIMIT, || read("status").contains("Seccomp:\t2").then_some(()));
    let status = read("status");
    let capabilities = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let capabilities = capabilities.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    assert_eq!(capabilities.expect("a number") & !0b110, 0, "more than files: {status}");
    let (ours, its) = (sockets(livebox.pid()), sockets(host));
    assert!(its.iter().all(|socket| !ours.contains(socket)), "{its:?} and {ours:?}");
    assert!(!its.is_empty(), "its standard input is one");
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
    let config = with_film(&clips, &command);
    let config = config.replace("/bytes.ts", "/bytes.jpg, type: image/jpeg");
    let livebox = Livebox::start(&format!("{config}limits: {{memory: 64M}}\n"));
    let viewer = Viewer::connect(livebox.http(), "/film.mp4");
    viewer.wait_for_more(10, LIMIT);
    let before = proc::resident_kib(livebox.pid());
    let answer = livebox.get("/bytes.jpg/pic?width=320");
    assert_eq!(answer.status(), 503, "{}", answer.text());
    assert!(answer.text().contains("failed to allocate"), "{}", answer.text());
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
    host_of(livebox, "picture")
}

/// The sockets that a process has open, as the kernel names them.
fn sockets(pid: u32) -> Vec<PathBuf> {
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs");
    let names = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
    names.filter(|name| name.to_string_lossy().starts_with("socket:")).collect()
}

/// What a process may have at most, by the kernel's name for it.
fn limit(pid: u32, name: &str) -> u64 {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Ends a host by a signal. It is sent until the host is gone: Rust's runtime
/// takes the first SIGSEGV that no fault has caused.
pub(crate) fn crash(host: u32, signal: &str) {
    let mut kill = tool("kill");
    kill.args([format!("-{signal}"), host.to_string()]).stderr(Stdio::null());
    wait::until("the host is gone", LIMIT, || {
        // There may be no such process any more.
        kill.status().ok();
        (!proc::is_alive(host)).then_some(())
    });
}

/// A host that does such a job, once there is one.
pub(crate) fn host_of(livebox: &Livebox, job: &str) -> u32 {
    wait::until("a host", LIMIT, || hosts_of(livebox, job).into_iter().next())
}

pub(crate) fn hosts_of(livebox: &Livebox, job: &str) -> Vec<u32> {
    let line = format!("livebox host {job} ");
    let mut children = proc::children(livebox.pid());
    let is_one = |child: &u32| proc::command_line(*child).starts_with(&line);
    children.retain(|child| proc::is_alive(*child) && is_one(child));
    children
}

/// All hosts that there are.
pub(crate) fn hosts(livebox: &Livebox) -> Vec<u32> {
    let mut children = proc::children(livebox.pid());
    let is_one = |child: &u32| proc::command_line(*child).starts_with("livebox host ");
    children.retain(|child| proc::is_alive(*child) && is_one(child));
    children
}
