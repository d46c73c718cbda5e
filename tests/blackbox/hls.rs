//! HLS: the playlists as their readers expect them, and players that play them.

use std::time::Duration;

use crate::common::livebox::{CAMERA, Livebox};
use crate::common::process::run;
use crate::common::tools::tool;
use crate::common::{probe, wait};

const LIMIT: Duration = wait::PATIENCE;

#[test]
fn the_first_request_starts_the_camera_and_gets_a_playlist_of_what_really_comes() {
    let livebox = Livebox::start(CAMERA);

    let answer = livebox.http().get("/camera.m3u8");

    assert_eq!(answer.head.status, 200);
    assert_eq!(answer.head.header("Content-Type"), Some("application/vnd.apple.mpegurl"));
    assert_eq!(answer.head.header("Access-Control-Allow-Origin"), Some("*"));
    let text = text(&answer.body);
    assert!(text.starts_with("#EXTM3U\n"), "{text}");
    assert!(text.contains("RESOLUTION=640x360,FRAME-RATE=25.000"), "{text}");
    assert!(text.ends_with("\ncamera/hls/live.m3u8\n"), "{text}");
}

#[test]
fn the_playlist_slides_by_a_segment_a_second() {
    let livebox = Livebox::start(CAMERA);
    let first = playlist(&livebox, "/camera/hls/live.m3u8");
    let number = sequence(&first);

    let later = wait::until("seven segments and a step", LIMIT, || {
        let text = playlist(&livebox, "/camera/hls/live.m3u8");
        (sequence(&text) > number && text.matches("#EXTINF").count() == 7).then_some(text)
    });

    assert!(later.contains("#EXT-X-TARGETDURATION:1\n"), "{later}");
    assert!(later.contains("#EXT-X-PROGRAM-DATE-TIME:20"), "{later}");
    assert!(!later.contains("ENDLIST") && !later.contains("DISCONTINUITY"), "{later}");
    let seconds: f64 = later
        .lines()
        .filter_map(|line| line.strip_prefix("#EXTINF:")?.trim_end_matches(',').parse::<f64>().ok())
        .sum();
    assert!((6.5..7.5).contains(&seconds), "{later}");
}

#[test]
fn segments_are_whole_cacheable_and_play_with_their_init_segment() {
    let livebox = Livebox::start(CAMERA);
    let text = playlist(&livebox, "/camera/hls/live.m3u8");
    let init = text.split("URI=\"").nth(1).and_then(|rest| rest.split('"').next());
    let init = livebox.http().get(&format!("/camera/hls/{}", init.expect("there is a map")));
    let name = text.lines().last().expect("there is a segment");
    let segment = livebox.http().get(&format!("/camera/hls/{name}"));

    assert_eq!(segment.head.header("Content-Length"), Some(&*segment.body.len().to_string()));
    assert!(segment.head.header("Cache-Control").is_some_and(|value| value.contains("immutable")));
    let file = tempfile::NamedTempFile::new().expect("there is room for a file");
    std::fs::write(file.path(), [init.body, segment.body].concat()).expect("it is writable");
    let path = file.path().display().to_string();
    assert_eq!(probe::streams(&path, None).codecs(), ["h264", "aac"]);
    assert_eq!(probe::packet_times(&path, "v").len(), 25);
}

#[test]
fn what_is_gone_or_was_never_there_is_404() {
    let livebox = Livebox::start(CAMERA);
    playlist(&livebox, "/camera/hls/live.m3u8");
    for name in ["0-0.m4s", "init-0-1.mp4", "nothing", "..%2f..%2fetc%2fpasswd"] {
        let answer = livebox.http().get(&format!("/camera/hls/{name}"));
        assert_eq!(answer.head.status, 404, "{name}");
    }
}

#[test]
fn ffmpeg_plays_the_playlist() {
    let livebox = Livebox::start(CAMERA);

    assert_eq!(probe::streams(&livebox.url("/stream.m3u8"), None).codecs(), ["h264", "aac"]);
    probe::decode(&livebox.url("/camera.m3u8"), 5);
}

#[test]
fn gstreamer_plays_the_playlist() {
    let livebox = Livebox::start(CAMERA);
    let file = tempfile::NamedTempFile::new().expect("there is room for a file");
    let source = format!("location={}", livebox.url("/streaminf.m3u8"));
    let sink = format!("location={}", file.path().display());

    // A live playlist has no end, so the player is told to leave after a while.
    let mut gst = tool("timeout");
    gst.args(["--signal=INT", "5", "gst-launch-1.0", "-q", "souphttpsrc", &source, "!"]);
    gst.args(["hlsdemux", "!", "qtdemux", "name=d", "d.video_0", "!", "h264parse", "!"]);
    gst.args(["video/x-h264,stream-format=byte-stream", "!", "filesink", &sink]);
    run(&mut gst, b"", LIMIT);

    let path = file.path().display().to_string();
    assert_eq!(probe::streams(&path, Some("h264")).codecs(), ["h264"]);
    let frames = probe::packet_count(&path, "h264");
    assert!(frames > 60, "{frames} frames in five seconds");
}

#[test]
fn a_restart_of_the_feed_does_not_end_the_playlist() {
    let livebox = Livebox::start(CAMERA);
    playlist(&livebox, "/camera/hls/live.m3u8");
    let restart = "/api/livebox/v1/streams/camera/restart";
    assert_eq!(livebox.http().request("POST", restart).answer().head.status, 200);

    let text = wait::until("segments of the second run", LIMIT, || {
        let text = playlist(&livebox, "/camera/hls/live.m3u8");
        (text.matches("#EXTINF").count() >= 4).then_some(text)
    });

    assert_eq!(text.matches("#EXT-X-MAP").count(), 1, "{text}");
    assert_eq!(probe::streams(&livebox.url("/camera.m3u8"), None).codecs(), ["h264", "aac"]);
}

fn playlist(livebox: &Livebox, path: &str) -> String {
    let answer = livebox.http().get(path);
    assert_eq!(answer.head.status, 200, "{path}: {}", text(&answer.body));
    text(&answer.body)
}

fn sequence(playlist: &str) -> u64 {
    let line = playlist.lines().find_map(|line| line.strip_prefix("#EXT-X-MEDIA-SEQUENCE:"));
    line.and_then(|number| number.parse().ok()).expect("a playlist has a media sequence")
}

fn text(body: &[u8]) -> String {
    String::from_utf8_lossy(body).into_owned()
}
