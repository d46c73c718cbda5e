//! HLS: the playlists as their readers expect them, and players that play them.

use std::time::Duration;

use super::browser::FRAMES;
use crate::common::browser::{Browser, Scripts};
use crate::common::livebox::{CAMERA, Livebox};
use crate::common::process::run;
use crate::common::tools::tool;
use crate::common::vlc::Vlc;
use crate::common::{probe, wait};

const LIMIT: Duration = wait::TIMEOUT;

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
    assert!(later.contains("#EXT-X-SERVER-CONTROL:HOLD-BACK=3\n"), "{later}");
    assert!(later.contains("#EXT-X-PROGRAM-DATE-TIME:20"), "{later}");
    assert!(!later.contains("ENDLIST") && !later.contains("DISCONTINUITY"), "{later}");
    let seconds: f64 = later
        .lines()
        .filter_map(|line| line.strip_prefix("#EXTINF:")?.trim_end_matches(',').parse::<f64>().ok())
        .sum();
    assert!((6.5..7.5).contains(&seconds), "{later}");
}

#[test]
fn dates_follow_the_media_and_not_its_arrival() {
    let livebox = Livebox::start(CAMERA);
    let text = wait::until("four segments", LIMIT, || {
        let text = playlist(&livebox, "/camera/hls/live.m3u8");
        (text.matches("#EXTINF").count() >= 4).then_some(text)
    });

    let dates: Vec<i64> = values(&text, "#EXT-X-PROGRAM-DATE-TIME:")
        .map(|date| date.parse::<jiff::Timestamp>().expect("a date").as_millisecond())
        .collect();
    let lengths = lengths(&text);
    for (pair, seconds) in dates.windows(2).zip(&lengths) {
        let apart = (pair[1] - pair[0]) as f64 / 1000.0;
        assert!((apart - seconds).abs() < 0.002, "{apart} s after {seconds} s: {text}");
    }
    let now = i64::try_from(wait::unix().as_millis()).expect("it is far from overflow");
    let end = dates[dates.len() - 1] + (lengths[lengths.len() - 1] * 1000.0) as i64;
    assert!((0..60_000).contains(&(now - end)), "{end} is not shortly before {now}");
}

#[test]
fn gstreamer_1_22_which_needs_two_segments_gets_them_from_a_cold_stream() {
    let livebox = Livebox::start(CAMERA);
    let asked = livebox.http().request("GET", "/camera/hls/live.m3u8");
    let agent = "GStreamer souphttpsrc 1.22.0 libsoup/3.2.3";
    let answer = asked.header("User-Agent", agent).answer();
    let text = text(&answer.body);
    assert!(lengths(&text).len() >= 2, "{text}");
}

#[test]
fn what_has_left_the_playlist_is_there_for_as_long_as_players_may_want_it() {
    let livebox = Livebox::start(CAMERA);
    let first = playlist(&livebox, "/camera/hls/live.m3u8");
    let number = sequence(&first);
    let segment = first.lines().find(|line| line.ends_with(".m4s")).expect("there is a segment");

    // A second each: seven in the playlist, and then eight seconds more.
    wait::until("it has left the playlist for seven seconds", LIMIT, || {
        let text = playlist(&livebox, "/camera/hls/live.m3u8");
        (sequence(&text) >= number + 7).then_some(())
    });

    assert_eq!(livebox.http().get(&format!("/camera/hls/{segment}")).head.status, 200);
}

#[test]
fn no_segment_exceeds_the_bandwidth_that_the_first_playlist_says() {
    let livebox = Livebox::start(CAMERA);
    let text = text(&livebox.http().get("/camera.m3u8").body);
    let (_, rest) = text.split_once(":BANDWIDTH=").expect("there is a bandwidth");
    let bandwidth: f64 = rest.split(',').next().and_then(|value| value.parse().ok()).expect("one");

    let text = wait::until("seven segments", LIMIT, || {
        let text = playlist(&livebox, "/camera/hls/live.m3u8");
        (text.matches("#EXTINF").count() == 7).then_some(text)
    });

    let names = text.lines().filter(|line| line.ends_with(".m4s"));
    for (name, seconds) in names.zip(lengths(&text)) {
        let bytes = livebox.http().get(&format!("/camera/hls/{name}")).body.len();
        let rate = bytes as f64 * 8.0 / seconds;
        assert!(rate <= bandwidth, "{rate} is above {bandwidth}");
    }
}

#[test]
fn groups_of_a_film_that_are_longer_than_the_first_do_not_change_the_target() {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let film = folder.path().join("film.mp4");
    let mut ffmpeg = tool("ffmpeg");
    ffmpeg.args(["-v", "error", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25:duration=12"]);
    ffmpeg.args(["-c:v", "libx264", "-bf", "0", "-g", "999", "-x264-params", "scenecut=0"]);
    ffmpeg.args(["-pix_fmt", "yuv420p", "-force_key_frames", "0,1,2,3"]).arg(&film);
    assert_eq!(run(&mut ffmpeg, b"", LIMIT).code, Some(0));
    let config = format!("feeds:\n  clip: {{file: {}}}\nstreams:\n  clip: {{}}\n", film.display());
    let livebox = Livebox::start(&config);

    let first = playlist(&livebox, "/clip/hls/live.m3u8");
    let later = wait::until("the long group", LIMIT, || {
        let text = playlist(&livebox, "/clip/hls/live.m3u8");
        (!text.contains("INDEPENDENT")).then_some(text)
    });

    let target = |text: &str| values(text, "#EXT-X-TARGETDURATION:").next().map(str::to_owned);
    assert_eq!(target(&first), Some("1".to_owned()));
    assert_eq!(target(&later), target(&first), "{later}");
    assert!(lengths(&later).iter().all(|seconds| seconds.round() <= 1.0), "{later}");
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
fn vlc_plays_picture_and_sound_of_the_playlist() {
    let livebox = Livebox::start(CAMERA);

    Vlc::play(&livebox.url("/camera.m3u8")).wait(50, 640 * 360, 2);
}

#[test]
fn chromium_plays_the_playlist_by_itself_where_the_camera_was_off() {
    let docroot = tempfile::tempdir().expect("there is room for a folder");
    let video = "<video muted autoplay src=/camera.m3u8></video>";
    std::fs::write(docroot.path().join("hls.html"), video).expect("the folder is writable");
    let config = format!("server: {{docroot: {}}}\n{CAMERA}", docroot.path().display());
    let livebox = Livebox::start(&config);
    let browser = Browser::start(Scripts::Allowed);
    browser.open(&livebox.url("/hls.html"));

    // On a busy machine it may run out of pictures and fail by that; it fails at the first otherwise.
    let failed = "return document.querySelector('video').error !== null";
    wait::until("a hundred pictures without an error", LIMIT, || {
        if browser.evaluate(failed) == true {
            browser.open(&livebox.url("/hls.html"));
        }
        (browser.number(FRAMES) > 100.0).then_some(())
    });
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

/// What each line that begins with `tag` says.
fn values<'a>(playlist: &'a str, tag: &'a str) -> impl Iterator<Item = &'a str> {
    playlist.lines().filter_map(move |line| line.strip_prefix(tag))
}

/// The length of each segment in seconds.
fn lengths(playlist: &str) -> Vec<f64> {
    let texts = values(playlist, "#EXTINF:").map(|text| text.trim_end_matches(','));
    texts.map(|text| text.parse().expect("a length")).collect()
}

fn text(body: &[u8]) -> String {
    String::from_utf8_lossy(body).into_owned()
}
