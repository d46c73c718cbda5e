//! Several streams of one feed, each with its own encoding.

use std::time::Duration;

use serde_json::json;

use crate::common::clip::{Clips, SHORT};
use crate::common::livebox::{API, Livebox};
use crate::common::probe;
use crate::common::viewer::Viewer;

const LIMIT: Duration = crate::common::wait::TIMEOUT;

/// A large stream and a small one without sound.
const TWO: &str = "\
feeds:
  camera: {test: clock, size: 640x360, fps: 25, audio: tone}
streams:
  large: {feed: camera, bitrate: 750k}
  small: {feed: camera, bitrate: 200k, size: 320x180, fps: 10, encoder: openh264enc, audio: none}
log: {level: debug}
";

#[test]
fn each_stream_of_a_feed_has_its_own_encoding_and_the_feed_is_opened_once() {
    let livebox = Livebox::start(TWO);
    let large = Viewer::connect(livebox.http(), "/large.mp4");
    let small = Viewer::connect(livebox.http(), "/small.mp4");

    let (of_large, of_small) = (
        large.wait("two seconds", LIMIT, shows_two_seconds),
        small.wait("two seconds", LIMIT, shows_two_seconds),
    );

    for seen in [&of_large, &of_small] {
        seen.assert_time_goes_forward();
    }
    let found = probe::streams(&livebox.url("/large.mp4"), None);
    assert_eq!(found.codecs(), ["h264", "aac"]);
    assert_eq!(found.first("video")["width"], 640);
    let found = probe::streams(&livebox.url("/small.mp4"), None);
    assert_eq!(found.codecs(), ["h264"]);
    assert_eq!(
        (&found.first("video")["width"], &found.first("video")["height"]),
        (&320.into(), &180.into())
    );
    let rate = of_small.fragments.len() as f64 / of_small.span(b"vide");
    assert!(rate < 11.0, "{rate} pictures a second");
    assert_eq!(livebox.log().count("feed camera is live"), 1);
    assert!(livebox.log().contains("small is encoded by openh264enc"));
    assert!(livebox.get("/large/").text().contains("<th>Feed</th>"));
}

#[test]
fn a_stream_that_nobody_watches_is_not_encoded_while_the_feed_runs() {
    let livebox = Livebox::start(TWO);
    let large = Viewer::connect(livebox.http(), "/large.mp4");
    large.wait("a picture", LIMIT, |seen| seen.span(b"vide") > 0.5);
    assert!(!livebox.log().contains("stream small runs"), "nobody watches it");

    let small = Viewer::connect(livebox.http(), "/small.mp4");
    small.wait("a picture", LIMIT, |seen| seen.span(b"vide") > 0.5);
    drop(small);
    livebox.log().wait_for("stream small is idle", LIMIT);

    large.wait_for_more(25, LIMIT).assert_time_goes_forward();
    assert!(!livebox.log().contains("feed camera is idle"));
    drop(large);
    livebox.log().wait_for("feed camera is idle", LIMIT);
}

#[test]
fn a_feed_that_starts_again_keeps_the_viewers_of_all_its_streams() {
    let livebox = Livebox::start(TWO);
    let large = Viewer::connect(livebox.http(), "/large.mp4");
    let small = Viewer::connect(livebox.http(), "/small.mp4");
    for viewer in [&large, &small] {
        viewer.wait("a picture", LIMIT, |seen| seen.span(b"vide") > 0.5);
    }

    let answer = livebox.http().post(&format!("{API}/streams/large/restart"), &json!({}));

    assert!(answer.status() < 300, "{}", answer.text());
    livebox.log().wait_for("feed camera is live run=2", LIMIT);
    for viewer in [&large, &small] {
        viewer.wait_for_more(25, LIMIT).assert_time_goes_forward();
    }
}

#[test]
fn an_encoder_that_fails_does_not_disturb_the_other_streams_of_the_feed() {
    let livebox = Livebox::start(&TWO.replace("openh264enc", "mpph264enc"));
    let large = Viewer::connect(livebox.http(), "/large.mp4");
    large.wait("a picture", LIMIT, |seen| seen.span(b"vide") > 0.5);

    let answer = livebox.get("/small.mp4");

    assert_eq!(answer.status(), 503);
    assert!(answer.text().contains("mpph264enc"), "{}", answer.text());
    large.wait_for_more(25, LIMIT).assert_time_goes_forward();
    assert_eq!(livebox.log().count("feed camera is live"), 1);
}

#[test]
fn a_camera_that_is_not_there_is_told_to_the_viewers_of_all_its_streams() {
    let livebox = Livebox::start(&TWO.replace("test: clock", "v4l2: /dev/video99"));
    for path in ["/large.mp4", "/small.m3u8"] {
        let answer = livebox.get(path);
        assert_eq!(answer.status(), 503);
        assert!(answer.text().contains("/dev/video99 is not there"), "{}", answer.text());
    }
}

#[test]
fn one_stream_of_a_film_passes_through_and_the_other_is_encoded() {
    let clips = Clips::new();
    let film = clips.make("clip.mp4", SHORT);
    let livebox = Livebox::start(&format!(
        "feeds: {{clip: {{file: {}, size: 320x180, fps: 25}}}}\n\
         streams:\n  clip: {{}}\n  small: {{feed: clip, size: 160x90, bitrate: 100k}}\n",
        film.display()
    ));
    let whole = Viewer::connect(livebox.http(), "/clip.mp4");
    let small = Viewer::connect(livebox.http(), "/small.mp4");

    for viewer in [&whole, &small] {
        let seen = viewer.wait("two rounds", LIMIT, |seen| seen.span(b"vide") > 4.5);
        seen.assert_time_goes_forward();
        seen.assert_time_goes_forward();
        assert_eq!(seen.tracks.len(), 2);
    }
    livebox.log().wait_for("stream clip is encoded by file", LIMIT);
    assert_eq!(probe::streams(&livebox.url("/small.mp4"), None).first("video")["width"], 160);
    assert_eq!(probe::streams(&livebox.url("/clip.mp4"), None).first("video")["width"], 320);
}

#[test]
fn who_edits_the_first_stream_leaves_the_size_of_the_second() {
    let livebox = Livebox::start(TWO);
    let small = Viewer::connect(livebox.http(), "/small.mp4");
    small.wait("a picture", LIMIT, |seen| seen.span(b"vide") > 0.5);

    let set = livebox.set_control(&json!({"resolution": "480p", "url": "rtmp://127.0.0.1:1/x"}));
    assert_eq!(set.status(), 200, "{}", set.text());
    assert_eq!(livebox.start_push().status(), 200);

    livebox.log().wait_for("feed camera is live run=2", LIMIT);
    small.wait_for_more(25, LIMIT).assert_time_goes_forward();
    let found = probe::streams(&livebox.url("/large.mp4"), None);
    assert_eq!(found.first("video")["height"], 480);
    assert_eq!(probe::streams(&livebox.url("/small.mp4"), None).first("video")["height"], 180);
}

#[test]
fn a_feed_made_from_another_is_captured_with_it_and_rests_with_it() {
    let livebox = Livebox::start(
        "feeds:\n  front: {test: clock, size: 640x360, fps: 25, audio: tone}\n\
         \x20 turned: {feed: front, rotation: 90, overlay: {text: side}}\n\
         \x20 small: {feed: turned, size: 180x320, fps: 10, audio: none}\n\
         streams:\n  small: {bitrate: 200k}\n  turned: {bitrate: 500k}\nlog: {level: debug}\n",
    );
    let small = Viewer::connect(livebox.http(), "/small.mp4");
    let turned = Viewer::connect(livebox.http(), "/turned.mp4");

    for viewer in [&small, &turned] {
        viewer.wait("two seconds", LIMIT, shows_two_seconds).assert_time_goes_forward();
    }
    let found = probe::streams(&livebox.url("/small.mp4"), None);
    assert_eq!(found.codecs(), ["h264"]);
    assert_eq!(
        (&found.first("video")["width"], &found.first("video")["height"]),
        (&180.into(), &320.into())
    );
    let found = probe::streams(&livebox.url("/turned.mp4"), None);
    assert_eq!(found.codecs(), ["h264", "aac"]);
    assert_eq!(
        (&found.first("video")["width"], &found.first("video")["height"]),
        (&360.into(), &640.into())
    );
    assert_eq!(livebox.log().count("feed front is live"), 1);

    let answer = livebox.http().post(&format!("{API}/streams/small/restart"), &json!({}));
    assert!(answer.status() < 300, "{}", answer.text());
    livebox.log().wait_for("feed front is live run=2", LIMIT);
    for viewer in [&small, &turned] {
        viewer.wait_for_more(25, LIMIT).assert_time_goes_forward();
    }
    drop((small, turned));
    livebox.log().wait_for("feed front is idle", LIMIT);
}

#[test]
fn a_feed_made_from_a_camera_that_is_not_there_tells_of_the_camera() {
    let livebox = Livebox::start(
        "feeds: {front: {v4l2: /dev/video99}, turned: {feed: front, hflip: true}}\n\
         streams: {turned: {}}\n",
    );
    let answer = livebox.get("/turned.mp4");
    assert_eq!(answer.status(), 503);
    assert!(answer.text().contains("/dev/video99 is not there"), "{}", answer.text());
}

fn shows_two_seconds(seen: &crate::common::viewer::Seen) -> bool {
    seen.span(b"vide") > 2.0
}
