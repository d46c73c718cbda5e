//! What systemd is told: a socket of the test's stands in for systemd's.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use tempfile::TempDir;

use crate::common::livebox::{CAMERA, Launch, Livebox};
use crate::common::{proc, wait};

const LIMIT: Duration = wait::TIMEOUT;
const PERIOD: Duration = Duration::from_secs(1);

/// A feed that is always wanted and never there.
const AWAY: &str = "\
feeds:
  door: {v4l2: /dev/video-that-is-away, mode: continuous}
streams:
  door: {}
";

#[test]
fn the_watchdog_is_fed_until_the_service_hangs_and_again_when_it_goes_on() {
    let systemd = Systemd::new();
    let mut livebox = systemd.start(CAMERA);
    systemd.wait_for("READY=1");
    for _ in 0..5 {
        systemd.wait_for("WATCHDOG=1");
    }

    livebox.process().signal("STOP");
    wait::until("it stands still", LIMIT, || proc::is_stopped(livebox.pid()).then_some(()));
    systemd.forget();
    assert_eq!(systemd.next_within(PERIOD), None);

    livebox.process().signal("CONT");
    systemd.wait_for("WATCHDOG=1");
}

#[test]
fn a_camera_that_is_away_is_no_reason_to_restart_the_service() {
    let systemd = Systemd::new();
    let livebox = systemd.start(AWAY);
    livebox.log().wait_for("failures=4", LIMIT);
    systemd.forget();
    for _ in 0..5 {
        systemd.wait_for("WATCHDOG=1");
    }
    assert!(!livebox.log().contains("hangs"));
}

#[test]
fn a_reload_is_told_from_its_begin_to_its_end_with_what_came_of_it() {
    let systemd = Systemd::new();
    let mut livebox = systemd.start(CAMERA);
    systemd.wait_for("READY=1");

    livebox.process().signal("HUP");
    systemd.wait_for_lines(|lines| {
        lines[0] == "RELOADING=1" && lines[1].starts_with("MONOTONIC_USEC=")
    });
    systemd.wait_for_lines(|lines| lines == ["READY=1", "STATUS="]);
    livebox.rewrite("feeds: 7\n");
    livebox.process().signal("HUP");
    systemd.wait_for_lines(|lines| lines[0] == "RELOADING=1");
    systemd.wait_for_lines(|lines| {
        lines[0] == "READY=1" && lines[1].starts_with("STATUS=The configuration was rejected: ")
    });
    assert_eq!(livebox.get("/").status(), 200);
}

/// The end of the socket that systemd holds.
struct Systemd {
    folder: TempDir,
    socket: UnixDatagram,
}

impl Systemd {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        let socket = UnixDatagram::bind(folder.path().join("notify")).expect("the path is free");
        Self { folder, socket }
    }

    fn start(&self, config: &str) -> Livebox {
        Launch::with(config)
            .env("NOTIFY_SOCKET", self.folder.path().join("notify"))
            .env("WATCHDOG_USEC", PERIOD.as_micros().to_string())
            .start()
    }

    fn wait_for(&self, message: &str) {
        let what = format!("systemd is told {message}");
        wait::until(&what, LIMIT, || self.next_within(LIMIT).filter(|told| told == message));
    }

    fn wait_for_lines(&self, fit: impl Fn(&[&str]) -> bool) {
        wait::until("systemd is told", LIMIT, || {
            let told = self.next_within(LIMIT)?;
            let lines: Vec<_> = told.lines().collect();
            (lines.len() > 1 && fit(&lines)).then_some(())
        });
    }

    /// Drops what has come so far.
    fn forget(&self) {
        self.socket.set_nonblocking(true).expect("it is our socket");
        while self.socket.recv(&mut [0; 256]).is_ok() {}
        self.socket.set_nonblocking(false).expect("it is our socket");
    }

    fn next_within(&self, limit: Duration) -> Option<String> {
        self.socket.set_read_timeout(Some(limit)).expect("the limit is not zero");
        let mut bytes = [0; 256];
        let length = self.socket.recv(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes[..length]).trim().to_owned())
    }
}
