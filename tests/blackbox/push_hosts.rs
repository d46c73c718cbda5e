//! The processes that pushes run in: what a receiver does, and what happens to
//! one of them, stays in it.

use std::time::Duration;

use serde_json::Value;

use crate::common::hostile::{Hostile, Malice};
use crate::common::livebox::{API, CAMERA, Livebox};
use crate::common::receiver::Receiver;
use crate::common::relay::Relay;
use crate::common::tls::{Authority, TlsFront};
use crate::common::viewer::Viewer;
use crate::common::{proc, wait};
use crate::pipeline_hosts::{crash, host_of, hosts_of};

const LIMIT: Duration = wait::TIMEOUT;
const KEY: &str = "quiet-otter-4711-zz";

/// What the service may take more while receivers do their worst, in KiB.
const MORE_MEMORY: u64 = 16 << 10;

/// A receiver that sends nonsense makes GStreamer write some 50,000 lines a second.
const LINES: usize = 300;

#[test]
fn a_push_is_back_by_itself_when_its_host_dies_and_no_viewer_notices() {
    let receiver = Receiver::start();
    let livebox = Livebox::start(&with_push(&receiver.url()));
    let viewer = Viewer::connect(livebox.http(), "/camera.mp4");
    receiver.wait_for_more(50_000, LIMIT);
    let used = || (proc::open_files(livebox.pid()), proc::threads(livebox.pid()));
    let before = used();
    for signal in ["KILL", "SEGV", "ABRT"] {
        let host = host_of(&livebox, "push far");
        crash(host, signal);
        let died = format!("Its process has died (SIG{signal})");
        wait::until(&died, LIMIT, || {
            let push = push(&livebox, "far");
            push["last_error"].as_str().is_some_and(|error| error.contains(&died)).then_some(())
        });
        receiver.wait_for_more(50_000, LIMIT);
        assert_ne!(host_of(&livebox, "push far"), host);
    }
    wait::until("nothing more is in use than before", LIMIT, || {
        let now = used();
        (now.0 <= before.0 && now.1 <= before.1).then_some(())
    });
    viewer.wait_for_more(10, LIMIT).assert_time_goes_forward();
}

#[test]
fn a_push_whose_host_is_stopped_is_back_by_itself() {
    let receiver = Receiver::start();
    let livebox = Livebox::start(&with_push(&receiver.url()));
    let viewer = Viewer::connect(livebox.http(), "/camera.mp4");
    receiver.wait_for_more(50_000, LIMIT);
    livebox.wait_for_state("streaming", LIMIT);

    let host = host_of(&livebox, "push far");
    proc::signal(host, "STOP");

    livebox.log().wait_for("push far failed: its process has died (SIGKILL)", LIMIT);
    wait::until("it is not left to itself", LIMIT, || (!proc::is_alive(host)).then_some(()));
    livebox.wait_for_state("streaming", LIMIT);
    receiver.wait_for_more(50_000, LIMIT);
    assert_eq!(hosts_of(&livebox, "push far").len(), 1);
    viewer.wait_for_more(10, LIMIT).assert_time_goes_forward();
}

#[test]
fn receivers_that_do_their_worst_harm_nobody() {
    let worst = [
        ("silent", Malice::Silence),
        ("noisy", Malice::Noise),
        ("late", Malice::LateNoise),
        ("endless", Malice::Beginnings),
        ("chatty", Malice::Messages),
    ];
    let hostile: Vec<_> =
        worst.iter().map(|(name, malice)| (*name, Hostile::start(*malice))).collect();
    let receiver = Receiver::start();
    let mut config = with_push(&receiver.url());
    for (name, to) in &hostile {
        config += &format!("  {name}: {{stream: camera, url: \"{}\", key: {KEY}}}\n", to.url());
    }
    let livebox = Livebox::start(&format!("{config}log: {{level: debug}}\n"));
    let viewer = Viewer::connect(livebox.http(), "/camera.mp4");
    receiver.wait_for_more(100_000, LIMIT);
    let before = proc::resident_kib(livebox.pid());

    for (name, _) in &hostile {
        let answer = livebox.http().put(&format!("{API}/pushes/{name}/start"));
        assert_eq!(answer.status(), 200, "{}", answer.text());
    }
    for (name, to) in &hostile {
        let push = wait::until(&format!("{name} tries again"), LIMIT * 2, || {
            let push = push(&livebox, name);
            (to.taken() >= 3 && push["last_error"].is_string()).then_some(push)
        });
        assert_ne!(push["state"], "live", "{push}");
    }

    assert!(proc::most_resident_kib(livebox.pid()) < before + MORE_MEMORY);
    receiver.wait_for_more(50_000, LIMIT);
    assert_eq!(push(&livebox, "far")["restarts"], 0);
    viewer.wait_for_more(10, LIMIT).assert_time_goes_forward();
    let log = livebox.log().text();
    let lines = log.lines().filter(|line| !line.contains(" GET ")).count();
    assert!(lines < LINES, "{lines} lines: {log}");
    assert!(!livebox.log().contains(KEY), "the log has the key");
}

#[test]
fn a_receiver_is_told_when_its_push_is_stopped() {
    let receiver = Receiver::start();
    let relay = Relay::start(receiver.rtmp_port());
    let livebox = Livebox::start(&with_push(&url_of(&relay)));
    receiver.wait_for_more(50_000, LIMIT);
    assert!(!relay.has_passed_on(b"deleteStream"));

    livebox.stop_push();

    livebox.wait_for_state("idle", LIMIT);
    wait::until("goodbye", LIMIT, || relay.has_passed_on(b"deleteStream").then_some(()));
    wait::until("no host is left", LIMIT, || {
        hosts_of(&livebox, "push far").is_empty().then_some(())
    });
}

#[test]
fn an_authority_that_one_push_names_is_not_trusted_by_another() {
    let (receiver, authority) = (Receiver::start(), Authority::make());
    let front = TlsFront::with(authority.sign("IP:127.0.0.1"), receiver.rtmp_port());
    let (url, ca) = (front.url(), authority.certificate());
    let livebox = Livebox::start(&format!(
        "{CAMERA}pushes:\n  far: {{url: \"{url}\", key: {KEY}, ca: \"{}\", start: true}}\n  \
         other: {{url: \"{url}\", key: {KEY}-2}}\n",
        ca.display()
    ));
    receiver.wait_for_more(50_000, LIMIT);
    wait::until("it is live", LIMIT, || (push(&livebox, "far")["state"] == "live").then_some(()));

    let answer = livebox.http().put(&format!("{API}/pushes/other/start"));

    assert_eq!(answer.status(), 200, "{}", answer.text());
    let line = livebox.log().wait_for("push other failed", LIMIT);
    assert!(line.contains("is not signed by an authority this box knows"), "{line}");
    assert_eq!(push(&livebox, "far")["state"], "live");
}

/// The URL of the application behind `relay`.
fn url_of(relay: &Relay) -> String {
    format!("rtmp://127.0.0.1:{}/live2", relay.port())
}

/// A camera that is sent to `url`.
fn with_push(url: &str) -> String {
    format!("{CAMERA}pushes:\n  far: {{stream: camera, url: \"{url}\", key: {KEY}, start: true}}\n")
}

fn push(livebox: &Livebox, name: &str) -> Value {
    let pushes = livebox.get(&format!("{API}/pushes")).json();
    let found = pushes.as_array().and_then(|all| all.iter().find(|push| push["name"] == name));
    found.unwrap_or_else(|| panic!("no push {name} in {pushes}")).clone()
}
