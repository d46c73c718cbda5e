//! Going away: quickly, completely, and without a complaint.

use std::net::TcpStream;
use std::time::Duration;

use crate::common::livebox::{CAMERA, Launch, Livebox};
use crate::common::receiver::Receiver;
use crate::common::viewer::Viewer;
use crate::common::{proc, wait};

const LIMIT: Duration = wait::TIMEOUT;
/// The service promises two; what it waits for here never comes.
const LAST_SECONDS: Duration = Duration::from_secs(15);

#[test]
fn a_terminate_signal_ends_an_idle_service_with_success() {
    ends(Livebox::start(CAMERA), "TERM");
}

#[test]
fn an_interrupt_does_the_same() {
    ends(Livebox::start(CAMERA), "INT");
}

#[test]
fn a_service_that_is_only_starting_its_first_pipeline_ends_as_quickly() {
    let livebox = Livebox::start(CAMERA);
    let http = livebox.http();
    // Answered or not: the request alone makes the feed wanted.
    let asking = std::thread::spawn(move || http.request("GET", "/camera.mp4").send().is_ok());
    wait::until("the feed is wanted", LIMIT, || {
        livebox.log().contains("encoders that work").then_some(())
    });

    ends(livebox, "TERM");

    asking.join().expect("the viewer only asks");
}

#[test]
fn viewers_do_not_hold_the_service_up() {
    let livebox = Livebox::start(CAMERA);
    let viewers: Vec<_> = (0..5).map(|_| Viewer::connect(livebox.http(), "/camera.mp4")).collect();
    let raw = livebox.http().open("/camera.h264");
    for viewer in &viewers {
        viewer.wait("a picture", LIMIT, |seen| seen.fragments.len() > 20);
    }

    ends(livebox, "TERM");

    for viewer in &viewers {
        wait::until("the viewer is let go", LIMIT, || viewer.seen().ended);
    }
    drop(raw);
}

#[test]
fn a_viewer_that_does_not_read_does_not_hold_the_service_up() {
    let livebox = Livebox::start(CAMERA);
    let (_, _never_read) = livebox.http().open("/camera.mp4");
    let viewer = Viewer::connect(livebox.http(), "/camera.mp4");
    viewer.wait("a picture", LIMIT, |seen| seen.span(b"vide") > 2.0);

    ends(livebox, "TERM");
}

#[test]
fn a_push_in_progress_is_ended_with_the_service() {
    let receiver = Receiver::start();
    let livebox = Launch::on_default().start();
    livebox.push_to(&receiver.url(), "quiet-otter");
    receiver.wait_for_more(50_000, LIMIT);

    ends(livebox, "TERM");

    wait::until("the receiver is let go", LIMIT, || (!receiver.is_receiving()).then_some(()));
}

#[test]
fn neither_a_frozen_receiver_nor_viewers_hold_the_service_up() {
    let receiver = Receiver::start();
    let livebox = Launch::on_default().start();
    let viewer = Viewer::connect(livebox.http(), "/camera.mp4");
    livebox.push_to(&receiver.url(), "quiet-otter");
    receiver.wait_for_more(50_000, LIMIT);
    receiver.freeze();
    let before = viewer.seen().span(b"vide");
    viewer.wait("a second of the frozen receiver", LIMIT, |seen| seen.span(b"vide") > before + 1.0);

    ends(livebox, "TERM");
}

/// Sends `signal` and fails unless everything is gone in time, with success.
fn ends(mut livebox: Livebox, signal: &str) {
    let children = proc::descendants(livebox.pid());
    let port = livebox.port();
    let asked = wait::now();

    livebox.process().signal(signal);
    let status = livebox.process().wait(LIMIT);

    let took = asked.elapsed();
    assert!(took < LAST_SECONDS, "it took {took:?}");
    assert_eq!(status.code(), Some(0), "{status}");
    wait::until("the children are gone", LAST_SECONDS, || {
        (!children.iter().any(|child| proc::is_alive(*child))).then_some(())
    });
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "somebody still listens");
}
