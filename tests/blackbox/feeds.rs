//! Feeds and their encoders: when they run, and what is said when they cannot.

use std::time::Duration;

use super::edge::boxes_of;
use crate::common::livebox::{CAMERA, Livebox};
use crate::common::viewer::Viewer;
use crate::common::{probe, wait};

const LIMIT: Duration = wait::TIMEOUT;

#[test]
fn a_feed_on_demand_rests_without_viewers_and_is_there_again_for_the_next() {
    let livebox = Livebox::start(CAMERA);
    assert!(!livebox.log().contains("is live"), "it runs, but nobody watches yet");
    let first = Viewer::connect(livebox.http(), "/camera.mp4");
    first.wait("a picture", LIMIT, |seen| seen.fragments.len() > 20);

    drop(first);
    livebox.log().wait_for("is idle", LIMIT);
    let second = Viewer::connect(livebox.http(), "/camera.mp4");

    let seen = second.wait("a picture again", LIMIT, |seen| seen.span(b"vide") > 1.0);
    seen.assert_nothing_is_missing();
}

#[test]
fn a_continuous_feed_runs_before_anybody_watches() {
    let livebox =
        Livebox::start(&CAMERA.replace("{test: clock,", "{test: clock, mode: continuous,"));

    livebox.log().wait_for("stream camera is live", LIMIT);
}

#[test]
fn the_choice_of_the_encoder_is_told_with_its_reason() {
    let livebox = Livebox::start(CAMERA);
    let viewer = Viewer::connect(livebox.http(), "/camera.mp4");
    viewer.wait("a picture", LIMIT, |seen| !seen.fragments.is_empty());

    let line = livebox.log().wait_for("camera is encoded by", LIMIT);

    assert!(line.contains("x264enc") && line.contains(": "), "{line}");
}

#[test]
fn an_encoder_that_the_file_names_is_used_and_the_real_profile_is_reported() {
    let livebox = Livebox::start(&CAMERA.replace("bitrate:", "encoder: openh264enc, bitrate:"));

    let (head, _body) = livebox.http().open("/camera.mp4");
    let streams = probe::streams(&livebox.url("/camera.mp4"), None);

    assert_eq!(streams.first("video")["profile"], "Constrained Baseline");
    let kind = head.header("Content-Type").expect("there is a content type").to_owned();
    assert!(kind.contains("avc1.42c0") || kind.contains("avc1.42e0"), "{kind}");
}

#[test]
fn bitrate_and_quality_decide_how_much_is_sent() {
    // Of four seconds of pictures: a busy machine leaves some out.
    let bytes = |encoding: &str| {
        let livebox = Livebox::start(&CAMERA.replace("bitrate: 750k", encoding));
        let boxes = boxes_of(&livebox, "/camera.mp4?audio=0&pad=0", 100);
        boxes.iter().map(|one| one.length).sum::<usize>()
    };

    let (slow, fast) = (bytes("bitrate: 300k"), bytes("bitrate: 1500k"));
    let (best, worst) = (bytes("bitrate: 750k, quality: 10"), bytes("bitrate: 750k, quality: 40"));

    assert!(fast > 2 * slow, "1500k gave {fast}, 300k gave {slow} bytes");
    assert!(best > 2 * worst, "quality 10 gave {best}, 40 gave {worst} bytes");
}

#[test]
fn a_camera_that_is_not_there_is_named_and_everything_else_works() {
    let livebox = Livebox::start(
        "feeds:\n  gone: {v4l2: /dev/video99, size: 640x360, fps: 25}\n\
         \x20 camera: {test: clock, size: 320x180, fps: 15}\n\
         streams:\n  gone: {feed: gone, bitrate: 500k}\n  camera: {feed: camera, bitrate: 300k}\n",
    );

    let answer = livebox.get("/gone.mp4");

    assert_eq!(answer.status(), 503, "{}", answer.text());
    assert!(answer.header("Retry-After").is_some());
    let line = livebox.log().wait_for("/dev/video99", LIMIT);
    assert!(line.contains("gone"), "{line}");
    let other = Viewer::connect(livebox.http(), "/camera.mp4");
    other.wait("a picture of the other", LIMIT, |seen| seen.fragments.len() > 10);
    assert_eq!(livebox.get("/gone/").status(), 200);
}
