//! The host of a feed family: the capture of a feed, the encoders of the streams
//! that show it, the feeds that are made from it.

use std::path::Path;
use std::time::Duration;

use super::pipeline_hosts::{crash, host_of, hosts, hosts_of};
use crate::common::clip::{Clips, Film, SHORT};
use crate::common::livebox::{CAMERA, Launch, Livebox};
use crate::common::viewer::Viewer;
use crate::common::{proc, wait};

const LIMIT: Duration = wait::TIMEOUT;

/// A feed that two streams show.
const SHARED: &str = "\
feeds:
  camera: {test: clock, size: 320x180, fps: 25, audio: tone}
streams:
  large: {feed: camera, bitrate: 500k}
  small: {feed: camera, size: 160x90, bitrate: 100k}
";

#[test]
fn what_plugins_there_are_is_known_before_the_first_viewer_can_come() {
    let cache = tempfile::tempdir().expect("there is room for a folder");
    let livebox = Launch::with(CAMERA).env("XDG_CACHE_HOME", cache.path()).start();
    let found = std::fs::read_dir(cache.path().join("gstreamer-1.0")).expect("it was made");
    let names: Vec<_> =
        found.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    assert!(names.iter().any(|name| name.starts_with("registry.")), "{names:?}");
    drop(livebox);
}

#[test]
fn the_viewers_of_all_streams_of_a_feed_stay_when_its_host_crashes() {
    let livebox = Livebox::start(SHARED);
    let viewers = ["/large.mp4", "/small.mp4"].map(|path| Viewer::connect(livebox.http(), path));
    viewers.iter().for_each(|viewer| drop(viewer.wait_for_more(25, LIMIT)));
    let host = host_of(&livebox, "feed camera");
    assert_eq!(hosts(&livebox), [host], "one for the feed and both encoders");

    crash(host, "SEGV");

    for viewer in &viewers {
        let before = viewer.seen().end(b"vide");
        let seen =
            viewer.wait("the picture is back", LIMIT, |seen| seen.end(b"vide") > before + 2.0);
        seen.assert_time_goes_forward();
    }
    for what in ["feed camera", "stream large", "stream small"] {
        let told = format!("{what} failed: its process has died (SIGSEGV)");
        assert_eq!(livebox.log().count(&told), 1, "{what}");
        assert_eq!(livebox.log().count(&format!("{what} failed")), 1, "{what}");
    }
    assert_eq!(hosts_of(&livebox, "feed camera").len(), 1);
}

#[test]
fn no_host_is_there_while_nobody_watches() {
    let livebox = Livebox::start(SHARED);
    let is_idle = || hosts(&livebox).is_empty().then_some(());
    wait::until("the encoders have been tried", LIMIT, || {
        livebox.log().contains("encoders that work here").then_some(())
    });
    wait::until("no host at first", LIMIT, is_idle);
    for path in ["/large.mp4", "/small.mp4"] {
        Viewer::connect(livebox.http(), path).wait_for_more(10, LIMIT);
        wait::until("no host is left", LIMIT, is_idle);
    }
    assert_eq!(livebox.get("/large/pic").status(), 200);
    wait::until("no host is left", LIMIT, is_idle);
    wait::until("all are waited for", LIMIT, || {
        proc::zombies(livebox.pid()).is_empty().then_some(())
    });
}

#[test]
fn a_host_that_hangs_at_its_end_keeps_nobody_from_a_picture() {
    let livebox = Livebox::start(SHARED);
    for path in ["/large.mp4", "/small.mp4"] {
        let viewer = Viewer::connect(livebox.http(), path);
        viewer.wait_for_more(10, LIMIT);
        let host = host_of(&livebox, "feed camera");
        proc::signal(host, "STOP");
        drop(viewer);
        Viewer::connect(livebox.http(), path).wait_for_more(25, LIMIT);
        assert!(!proc::is_alive(host), "one that hangs is not left to itself");
    }
}

#[test]
fn hosts_that_parse_foreign_bytes_have_nothing_of_the_service() {
    let clips = Clips::new();
    let film = clips.make("film.mp4", Film { sound: false, ..SHORT });
    let far = Livebox::start(CAMERA);
    let livebox = Livebox::start(&format!(
        "feeds:\n  film: {{file: {}}}\n  far: {{rtsp: \"{}\", user: me, password: otter}}\n\
         streams:\n  film: {{}}\n  near: {{feed: far}}\n",
        film.display(),
        far.rtsp_url("/camera")
    ));
    for (path, job) in [("/film.mp4", "feed film"), ("/near.mp4", "feed far")] {
        let viewer = Viewer::connect(livebox.http(), path);
        viewer.wait_for_more(10, LIMIT);
        let host = host_of(&livebox, job);
        let read = |name: &str| {
            let read = std::fs::read(format!("/proc/{host}/{name}")).expect("it runs");
            String::from_utf8_lossy(&read).into_owned()
        };
        assert!(read("status").contains("NoNewPrivs:\t1"), "{job}");
        for name in ["environ", "cmdline"] {
            assert!(!read(name).contains("LIVEBOX") && !read(name).contains("otter"), "{job}");
        }
        let mut files = std::fs::read_dir(format!("/proc/{host}/fd")).expect("it runs");
        let is_ours = |name: &Path| name.ends_with("livebox.yaml") || name.ends_with("state");
        assert!(!files.any(|file| {
            let name = file.ok().and_then(|file| std::fs::read_link(file.path()).ok());
            name.is_some_and(|name| is_ours(&name))
        }));
    }
}
