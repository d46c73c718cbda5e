//! Sound alone, pictures alone, and both from two feeds.

use std::time::Duration;

use crate::common::livebox::{Launch, Livebox};
use crate::common::probe;
use crate::common::viewer::Viewer;

const LIMIT: Duration = crate::common::wait::TIMEOUT;

/// A picture without sound and a sound without a picture, apart and together.
const APART: &str = "\
feeds:
  camera: {test: clock, size: 320x180, fps: 25}
  mic: {audio: tone}
streams:
  both: {feeds: {video: camera, audio: mic}, bitrate: 300k}
  mic: {}
";

#[test]
fn a_sound_alone_is_played_by_everything_that_plays_streams() {
    let livebox = Livebox::start(APART);
    let urls = ["/mic.mp4", "/mic.m3u8"].map(|path| livebox.url(path));
    for url in urls.iter().chain([&livebox.rtsp_url("/mic")]) {
        assert_eq!(probe::streams(url, None).codecs(), ["aac"], "{url}");
    }
    let sound = probe::listen(&livebox.url("/mic.mp4"), 3);
    assert!((sound.pitch - 1000.0).abs() < 20.0, "{sound:?}");
    let (head, _) = livebox.http().open("/mic.mp4");
    assert_eq!(head.header("Content-Type"), Some("audio/mp4; codecs=\"mp4a.40.2\""));
}

#[test]
fn a_sound_alone_has_no_picture() {
    let livebox = Livebox::start(APART);
    for path in ["/mic/pic", "/mic.h264"] {
        let answer = livebox.get(path);
        assert_eq!(answer.status(), 415, "{path}: {}", answer.text());
        assert!(answer.text().contains("only sound"), "{}", answer.text());
    }
    assert_eq!(livebox.get("/mic/").status(), 200);
}

#[test]
fn picture_and_sound_of_two_feeds_are_one_stream_in_step() {
    let livebox = Livebox::start(APART);
    let viewer = Viewer::connect(livebox.http(), "/both.mp4");

    let seen = viewer
        .wait("three seconds", LIMIT, |seen| seen.span(b"vide") > 3.0 && seen.span(b"soun") > 3.0);

    seen.assert_time_goes_forward();
    let last = |handler: &[u8; 4]| seen.end(handler);
    assert!((last(b"vide") - last(b"soun")).abs() < 0.3, "they are at one time");
    let sound = probe::listen(&livebox.url("/both.mp4"), 2);
    assert!((sound.pitch - 1000.0).abs() < 20.0, "{sound:?}");
    assert!(livebox.log().contains("feed camera is live"));
    assert!(livebox.log().contains("feed mic is live"));
}

#[test]
fn a_microphone_that_is_not_there_is_named_and_other_streams_go_on() {
    let config = APART.replace("audio: tone", "audio: {alsa: \"hw:CARD=Nowhere\"}");
    let livebox =
        Livebox::start(&config.replace("  mic: {}\n", "  still: {feed: camera, bitrate: 300k}\n"));
    let still = Viewer::connect(livebox.http(), "/still.mp4");
    still.wait("a picture", LIMIT, |seen| seen.span(b"vide") > 0.5);

    let answer = livebox.get("/both.mp4");

    assert_eq!(answer.status(), 503);
    assert!(answer.text().contains("alsasrc: "), "{}", answer.text());
    still.wait_for_more(25, LIMIT).assert_time_goes_forward();
}

#[test]
fn a_push_of_a_sound_alone_is_refused_with_the_configuration() {
    let config = format!("{APART}pushes: {{far: {{stream: mic, url: \"rtmp://127.0.0.1/x\"}}}}\n");
    let finished = Launch::with(&config).finish();
    assert_ne!(finished.code, Some(0));
    assert!(finished.stderr.contains("the stream mic has no picture"), "{}", finished.stderr);
}
