//! Streams that are fetched over RTSP, from another livebox.

use std::time::Duration;

use crate::common::livebox::{CAMERA, Launch, Livebox, livebox};
use crate::common::viewer::Viewer;
use crate::common::{ports, probe};

const LIMIT: Duration = crate::common::wait::TIMEOUT;

const PASSWORD: &str = "quiet otter:4711@zz";

/// A feed that fetches `url`, with more keys of the feed and of its stream.
fn pull(url: &str, feed: &str, stream: &str) -> String {
    format!(
        "feeds:\n  far: {{rtsp: \"{url}\"{feed}}}\nstreams:\n  near: {{feed: far{stream}}}\n\
         log: {{level: debug}}\n"
    )
}

/// The same picture as everywhere, at an RTSP port that can be had again.
pub(super) fn server(port: u16, more: &str) -> Livebox {
    Launch::with(&format!("{CAMERA}{more}")).env("LIVEBOX__RTSP__PORT", port.to_string()).start()
}

fn url(port: u16) -> String {
    format!("rtsp://127.0.0.1:{port}/camera")
}

#[test]
fn picture_and_sound_pass_through_over_tcp_and_udp() {
    let port = ports::free();
    let _server = server(port, "");
    for transport in ["tcp", "udp"] {
        let livebox = Livebox::start(&pull(&url(port), &format!(", transport: {transport}"), ""));
        let viewer = Viewer::connect(livebox.http(), "/near.mp4");

        let seen = viewer.wait("two seconds", LIMIT, |seen| seen.span(b"vide") > 2.0);

        seen.assert_time_goes_forward();
        assert!(seen.span(b"soun") > 1.0, "{transport}: there is sound as well");
        livebox.log().wait_for("near is encoded by camera: it gives H.264 by itself", LIMIT);
        let found = probe::streams(&livebox.url("/near.mp4"), None);
        assert_eq!(
            (&found.first("video")["width"], &found.first("video")["height"]),
            (&640.into(), &360.into())
        );
        assert_eq!(found.first("audio")["codec_name"], "aac");
        let sound = probe::listen(&livebox.url("/near.mp4"), 2);
        assert!((sound.pitch - 1000.0).abs() < 20.0, "{transport}: {sound:?}");
    }
}

#[test]
fn viewers_stay_connected_when_the_server_dies_and_comes_back() {
    let port = ports::free();
    let mut far = server(port, "");
    let livebox = Livebox::start(&pull(&url(port), "", ""));
    let viewer = Viewer::connect(livebox.http(), "/near.mp4");
    viewer.wait("a picture", LIMIT, |seen| seen.span(b"vide") > 0.5);

    far.process().kill();
    livebox.log().wait_for("feed far failed", LIMIT);
    let _again = server(port, "");

    viewer.wait_for_more(50, LIMIT).assert_time_goes_forward();
}

#[test]
fn a_server_that_falls_silent_is_asked_anew() {
    let port = ports::free();
    let mut far = server(port, "");
    let livebox = Livebox::start(&pull(&url(port), "", ""));
    let viewer = Viewer::connect(livebox.http(), "/near.mp4");
    viewer.wait("a picture", LIMIT, |seen| seen.span(b"vide") > 0.5);

    far.process().signal("STOP");
    livebox.log().wait_for("feed far failed: nothing came out for 5 s", LIMIT);
    far.process().signal("CONT");

    viewer.wait_for_more(50, LIMIT).assert_time_goes_forward();
}

#[test]
fn a_login_is_shown_to_the_server_and_to_nobody_else() {
    let port = ports::free();
    let with_login = format!("rtsp: {{user: anna, password: \"{PASSWORD}\"}}\n");
    let _server = server(port, &with_login);
    let right = format!(", user: anna, password: \"{PASSWORD}\"");

    let livebox = Livebox::start(&pull(&url(port), &right, ""));
    let viewer = Viewer::connect(livebox.http(), "/near.mp4");
    viewer.wait("a picture", LIMIT, |seen| seen.span(b"vide") > 0.5);
    assert!(!livebox.log().contains("otter"), "{}", livebox.log().text());

    let in_url = format!("rtsp://anna:wrong-otter@127.0.0.1:{port}/camera?wild=otter");
    let wrong = right.replace("quiet", "loud");
    for (config, say) in [
        (pull(&url(port), "", ""), "The camera wants a password"),
        // After some wrong ones, a livebox closes the connection.
        (pull(&in_url, "", ""), "password"),
        (pull(&url(port), &wrong, ""), "password"),
    ] {
        let livebox = Livebox::start(&config);
        let answer = livebox.get("/near.mp4");
        assert_eq!(answer.status(), 503);
        assert!(answer.text().contains(say), "{}", answer.text());
        assert!(answer.text().contains("\"details\":\"rtspsrc: "), "{}", answer.text());
        let told = livebox.log().text() + &answer.text() + &livebox.get("/near/").text();
        assert!(!told.contains("otter"), "{told}");
    }
}

#[test]
fn a_camera_that_cannot_be_reached_is_named_with_the_cause() {
    let closed = ports::free();
    for (url, say) in [
        (url(closed), format!("The camera at 127.0.0.1 refuses connections on port {closed}.")),
        ("rtsp://camera.invalid/door".to_owned(), "is unknown".to_owned()),
    ] {
        let livebox = Livebox::start(&pull(&url, "", ""));
        let answer = livebox.get("/near.mp4");
        assert_eq!(answer.status(), 503);
        assert!(answer.text().contains(&say), "{}", answer.text());
        let page = livebox.get("/near/").text();
        assert!(page.contains(&say) && page.contains("<details"), "{page}");
    }
}

#[test]
fn a_fetched_stream_is_encoded_where_another_size_is_asked() {
    let port = ports::free();
    let _server = server(port, "");
    let config = pull(&url(port), ", size: 640x360, fps: 25", "").replace(
        "log:",
        "  small: {feed: far, size: 320x180, fps: 5, bitrate: 100k, audio: none}\nlog:",
    );
    let livebox = Livebox::start(&config);
    let near = Viewer::connect(livebox.http(), "/near.mp4");
    let small = Viewer::connect(livebox.http(), "/small.mp4");

    for viewer in [&near, &small] {
        viewer
            .wait("two seconds", LIMIT, |seen| seen.span(b"vide") > 2.0)
            .assert_time_goes_forward();
    }
    assert_eq!(probe::streams(&livebox.url("/small.mp4"), None).first("video")["width"], 320);
    assert_eq!(livebox.log().count("feed far is live"), 1);
}

#[test]
fn a_server_that_is_not_there_is_named_without_its_password() {
    let port = ports::free();
    let livebox = Livebox::start(&pull(&format!("rtsp://me:otter@127.0.0.1:{port}/x"), "", ""));

    let answer = livebox.get("/near.mp4");

    assert_eq!(answer.status(), 503);
    let line = livebox.log().wait_for("feed far failed", LIMIT);
    assert!(line.contains("onnect") && !line.contains("otter"), "{line}");
    assert!(answer.text().contains("onnect"), "{}", answer.text());
}

#[test]
fn the_pipeline_of_a_fetched_stream_shows_no_address() {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let file = folder.path().join("livebox.yaml");
    std::fs::write(&file, pull("rtsp://me:otter@cam.local/1", "", ""))
        .expect("the folder is writable");
    let file = file.display().to_string();

    let line = livebox(&["pipeline", "far", "-f", &file], "");

    assert!(line.stdout.starts_with("rtspsrc name=source protocols=tcp"), "{line:?}");
    assert!(!line.stdout.contains("otter"), "{line:?}");
}
