//! Things break while people watch.

use std::time::Duration;

use crate::common::livebox::{API, CAMERA, LAVISH, Launch, Livebox};
use crate::common::receiver::Receiver;
use crate::common::viewer::Viewer;

const LIMIT: Duration = crate::common::wait::TIMEOUT;
const KEY: &str = "quiet-otter-4711-zz";

/// From a receiver that listens again to what it has got, for an outage of a second. After a
/// long one it may take 30 s.
const BACK_AFTER_SHORT_OUTAGE: Duration = Duration::from_secs(15);

/// A receiver that freezes is noticed after five seconds: viewers that waited for it would not
/// get anything for so long.
const SILENCE: Duration = Duration::from_secs(4);

#[test]
fn a_receiver_that_dies_for_a_second_gets_the_push_back_and_no_viewer_notices() {
    let mut receiver = Receiver::start();
    let livebox = Launch::on_default().start();
    let viewer = Viewer::connect(livebox.http(), "/camera.mp4");
    livebox.push_to(&receiver.url(), KEY);
    receiver.wait_for_more(100_000, LIMIT);

    receiver.crash();
    watch(&viewer, 1.0);
    receiver.come_back();

    receiver.wait_for_more(50_000, BACK_AFTER_SHORT_OUTAGE);
    livebox.wait_for_state("streaming", LIMIT);
    watch(&viewer, 1.0);
    viewer.seen().assert_nothing_is_missing();
    assert!(longest_silence(&viewer) < SILENCE);
}

#[test]
fn a_receiver_that_freezes_is_noticed_and_gets_the_push_back_when_it_thaws() {
    let receiver = Receiver::start();
    let livebox = Livebox::start(&format!(
        "{LAVISH}pushes: {{far: {{stream: camera, url: \"{}\", key: {KEY}, audio: feed, start: true}}}}\n",
        receiver.url()
    ));
    let viewer = Viewer::connect(livebox.http(), "/camera.mp4");
    receiver.wait_for_more(500_000, LIMIT);
    livebox.wait_for_state("streaming", LIMIT);

    receiver.freeze();
    livebox.wait_for_state("preparing", LIMIT);
    watch(&viewer, 1.0);
    receiver.thaw();

    livebox.wait_for_state("streaming", LIMIT);
    receiver.wait_for_more(500_000, LIMIT);
    viewer.seen().assert_nothing_is_missing();
    assert!(longest_silence(&viewer) < SILENCE);
}

#[test]
fn a_push_that_starts_before_its_receiver_waits_for_it() {
    let mut receiver = Receiver::start();
    receiver.crash();
    let livebox = Launch::on_default().start();
    livebox.push_to(&receiver.url(), KEY);
    livebox.wait_for_state("preparing", LIMIT);

    receiver.come_back();

    receiver.wait_for_more(50_000, LIMIT);
    livebox.wait_for_state("streaming", LIMIT);
}

#[test]
fn a_push_that_cannot_connect_can_be_stopped() {
    let mut receiver = Receiver::start();
    receiver.crash();
    let livebox = Launch::on_default().start();
    livebox.push_to(&receiver.url(), KEY);
    livebox.wait_for_state("preparing", LIMIT);

    let stopped = livebox.stop_push();

    assert_eq!(stopped.status(), 200, "{}", stopped.text());
    livebox.wait_for_state("idle", LIMIT);
}

#[test]
fn viewers_go_on_over_the_same_connection_when_the_feed_is_torn_down_and_built_again() {
    let livebox = Livebox::start(CAMERA);
    let viewer = Viewer::connect(livebox.http(), "/camera.mp4");
    let raw = livebox.http().open("/camera.h264");
    watch(&viewer, 2.0);

    for _ in 0..3 {
        let path = format!("{API}/streams/camera/restart");
        let answer = livebox.http().request("POST", &path).answer();
        assert_eq!(answer.status(), 200, "{}", answer.text());
        watch(&viewer, 2.0);
    }

    let seen = viewer.seen();
    seen.assert_time_goes_forward();
    assert_eq!(seen.ended, None);
    // The first run and three more: it was really torn down each time.
    livebox.log().wait_for("stream camera is live run=4", LIMIT);
    let lost: f64 = seen.breaks().iter().map(|one| one.gap).fold(0.0, f64::max);
    assert!(lost < 3.0, "a restart took {lost} s of the timeline");
    drop(raw);
}

#[test]
fn a_push_goes_on_when_the_feed_is_torn_down_and_built_again() {
    let receiver = Receiver::start();
    let livebox = Launch::on_default().start();
    livebox.push_to(&receiver.url(), KEY);
    receiver.wait_for_more(100_000, LIMIT);

    let path = format!("{API}/streams/camera/restart");
    assert_eq!(livebox.http().request("POST", &path).answer().status(), 200);

    receiver.wait_for_more(200_000, LIMIT);
    assert_eq!(livebox.state(), "streaming");
}

/// Waits until `viewer` has seen so many seconds more of the picture.
fn watch(viewer: &Viewer, seconds: f64) {
    let before = viewer.seen().span(b"vide");
    let what = format!("{seconds} s more of the picture");
    viewer.wait(&what, LIMIT, |seen| seen.span(b"vide") >= before + seconds);
}

/// The longest time in which nothing arrived.
fn longest_silence(viewer: &Viewer) -> Duration {
    let seen = viewer.seen();
    let gaps = seen.fragments.windows(2).map(|pair| pair[1].arrived - pair[0].arrived);
    gaps.max().expect("much has arrived")
}
