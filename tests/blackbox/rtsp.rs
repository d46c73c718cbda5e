//! Streams over RTSP: real players over every transport, and what happens to
//! them when things break.

use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::common::hosts::{BOX, Hosts};
use crate::common::livebox::{API, CAMERA, Launch, Livebox};
use crate::common::process::{Process, run};
use crate::common::rtsp::{Client, Playing};
use crate::common::tls::Pair;
use crate::common::tools::{path_of, tool};
use crate::common::{probe, proc, wait};
use crate::https::secure;

const LIMIT: Duration = wait::TIMEOUT;

/// A cold camera is waited for no longer than this, with some room for a busy machine.
const TIMEOUT: Duration = Duration::from_secs(15);

/// A picture, with a camera that is not there beside it.
const WITH_DEAD: &str = "\
feeds:
  gone: {v4l2: /dev/video99, size: 640x360, fps: 25}
  camera: {test: clock, size: 640x360, fps: 25, audio: tone}
streams:
  gone: {feed: gone, bitrate: 500k}
  camera: {feed: camera, bitrate: 750k}
";

#[test]
fn ffmpeg_decodes_picture_and_sound_over_tcp_and_udp() {
    let livebox = Livebox::start(CAMERA);
    for transport in ["tcp", "udp"] {
        let frames = decoded_by_ffmpeg(tool("ffmpeg"), transport, &livebox.rtsp_url("/camera"));

        // Who comes between two key frames, a second apart, waits for the next one.
        assert!(frames.video >= 24, "{transport}: {frames:?}");
        assert!(frames.audio >= 60, "{transport}: {frames:?}");
    }
}

#[test]
fn a_description_names_the_real_encoding_of_both_tracks() {
    let livebox = Livebox::start(CAMERA);

    let streams = probe::streams(&livebox.rtsp_url("/camera"), None);

    assert_eq!(streams.first("video")["codec_name"], "h264");
    assert_eq!(streams.first("video")["width"], 640);
    assert_eq!(streams.first("audio")["codec_name"], "aac");
}

#[test]
fn gstreamer_plays_over_tcp_and_udp() {
    let livebox = Livebox::start(CAMERA);
    for transport in ["tcp", "udp"] {
        decoded_by_gstreamer(tool("gst-launch-1.0"), transport, &livebox.rtsp_url("/camera"));
    }
}

#[test]
fn multicast_reaches_another_host_where_it_is_switched_on() {
    let hosts = Hosts::new();
    let config = format!("{CAMERA}rtsp: {{multicast: true}}\n");
    let livebox = Launch::with(&config).bind("0.0.0.0").run_by(hosts.on_box()).start();
    let url = format!("rtsp://{BOX}:{}/camera", livebox.rtsp_port());
    let there = |program: &str| {
        let mut command = hosts.on_other();
        command.arg(path_of(program));
        command
    };

    let frames = decoded_by_ffmpeg(there("ffmpeg"), "udp_multicast", &url);
    assert!(frames.video >= 24, "{frames:?}");
    decoded_by_gstreamer(there("gst-launch-1.0"), "udp-mcast", &url);
}

#[test]
fn multicast_is_refused_unless_it_is_switched_on() {
    let livebox = Livebox::start(CAMERA);
    let mut ffmpeg = tool("ffmpeg");
    ffmpeg.args(["-v", "error", "-rtsp_transport", "udp_multicast"]);
    ffmpeg.args(["-i", &livebox.rtsp_url("/camera"), "-f", "null", "-"]);

    let finished = run(&mut ffmpeg, b"", LIMIT);

    assert_ne!(finished.code, Some(0));
    assert!(finished.stderr.contains("461"), "{}", finished.stderr);
}

#[test]
fn a_player_goes_on_over_the_same_connection_when_the_feed_is_restarted() {
    let livebox = Livebox::start(CAMERA);
    let playing = Client::connect(livebox.rtsp_port(), "/camera").play();
    goes_on(&playing, 100);

    let restarted = livebox.http().post(&format!("{API}/streams/camera/restart"), &json!({}));
    assert!(restarted.status() < 300, "{}", restarted.text());
    livebox.log().wait_for("is live run=2", LIMIT);

    goes_on(&playing, 100);
    assert!(!playing.is_over());
}

#[test]
fn players_are_ended_when_the_encoding_changes_and_the_next_see_the_new_one() {
    let livebox = Livebox::start(CAMERA);
    let playing = Client::connect(livebox.rtsp_port(), "/camera").play();
    goes_on(&playing, 50);

    // A push takes the new size into use; whether anybody takes the push does not matter.
    let set = livebox.set_control(&json!({"resolution": "240p", "url": "rtmp://127.0.0.1:1/x"}));
    assert_eq!(set.status(), 200, "{}", set.text());
    assert_eq!(livebox.start_push().status(), 200);

    wait::until("the player is ended", LIMIT, || playing.is_over().then_some(()));
    let streams = probe::streams(&livebox.rtsp_url("/camera"), None);
    assert_eq!(streams.first("video")["height"], 240);
}

#[test]
fn players_count_as_readers_and_what_they_get_as_bytes() {
    let livebox = Livebox::start(CAMERA);
    let playing: Vec<_> =
        (0..3).map(|_| Client::connect(livebox.rtsp_port(), "/camera").play()).collect();
    let sent = || livebox.status()["net"].as_u64().expect("net is a number");

    wait::until("bytes are counted", LIMIT, || (sent() > 300_000).then_some(()));
    drop(playing);

    livebox.log().wait_for("stream camera is idle", LIMIT);
}

#[test]
fn a_camera_that_never_comes_blocks_nobody() {
    let livebox = Livebox::start(WITH_DEAD);
    let port = livebox.rtsp_port();
    let waiting: Vec<_> = (0..8)
        .map(|_| std::thread::spawn(move || Client::connect(port, "/gone").ask("DESCRIBE").0))
        .collect();

    let begin = wait::now();
    goes_on(&Client::connect(port, "/camera").play(), 50);
    assert!(begin.elapsed() < TIMEOUT, "{:?}", begin.elapsed());

    for dead in waiting {
        assert_eq!(dead.join().expect("clients do not panic"), 503);
    }
    assert!(begin.elapsed() < TIMEOUT, "{:?}", begin.elapsed());
}

#[test]
fn who_knows_one_stream_cannot_block_others_with_a_dead_one() {
    let livebox = Livebox::start(WITH_DEAD);
    let port = livebox.rtsp_port();
    let mut known = Client::connect(port, "/camera");
    assert_eq!(known.ask("DESCRIBE").0, 200);

    // The same connection asks for another stream: it is past the door.
    let status = known.ask_of("DESCRIBE", "/gone").0;

    assert!((400..=503).contains(&status), "{status}");
    goes_on(&Client::connect(port, "/camera").play(), 50);
}

#[test]
fn what_is_not_there_is_not_found_and_what_is_no_request_is_refused() {
    let livebox = Livebox::start(CAMERA);
    let port = livebox.rtsp_port();
    let mut client = Client::connect(port, "/nothing");

    assert_eq!(client.ask("OPTIONS").0, 200);
    assert_eq!(client.ask("DESCRIBE").0, 404);
    assert_eq!(client.ask("ANNOUNCE").0, 405);
    let endless = vec![b'x'; 100_000];
    for bad in [&b"GET / HTTP/1.1\r\n\r\n"[..], &b"\0\0\0\0\r\n\r\n"[..], &endless] {
        let answer = Client::connect(port, "/camera").say(bad);
        assert!(answer.is_empty() || answer.starts_with("RTSP/1.0 400 "), "{answer}");
    }
    assert_eq!(Client::connect(port, "/camera").ask("DESCRIBE").0, 200);
}

#[test]
fn who_joins_between_two_key_frames_has_a_picture_at_once() {
    let livebox = Livebox::start(&continuous(CAMERA).replace("750k", "750k, gop: 10s"));
    goes_on(&Client::connect(livebox.rtsp_port(), "/camera").play(), 200);
    for transport in ["tcp", "udp"] {
        let mut ffmpeg = tool("ffmpeg");
        ffmpeg.args(["-v", "error", "-rtsp_transport", transport]);
        ffmpeg.args(["-i", &livebox.rtsp_url("/camera"), "-an", "-c", "copy", "-frames:v", "40"]);

        let finished = run(ffmpeg.args(["-f", "framecrc", "-"]), b"", LIMIT);

        assert_eq!(finished.code, Some(0), "{transport}: {}", finished.stderr);
        let lines = finished.stdout.lines().filter(|line| line.starts_with("0,"));
        let times: Vec<i64> =
            lines.map(|line| line.split(',').nth(2).unwrap().trim().parse().unwrap()).collect();
        // What was there already is shown in a blink: at 25 a second, 40 would last 1.6 s.
        assert_eq!(times.len(), 40);
        assert!(times[39] - times[0] < 90_000, "{transport}: {times:?}");
    }
}

#[test]
fn a_player_may_take_one_track_on_channels_of_its_own() {
    let livebox = Livebox::start(CAMERA);
    let mut client = Client::connect(livebox.rtsp_port(), "/camera");
    assert_eq!(client.ask("DESCRIBE").0, 200);
    assert_eq!(client.set_up(1, "RTP/AVP/TCP;unicast;interleaved=6-7"), 200);
    assert_eq!(client.set_up(0, "RTP/AVP;unicast;client_port=5000-5001"), 461, "one way for all");

    let playing = client.begin();

    goes_on(&playing, 50);
    assert_eq!(playing.channels(), [6, 7]);
}

#[test]
fn a_player_pauses_goes_on_and_ends_its_session() {
    let livebox = Livebox::start(CAMERA);
    let mut client = Client::connect(livebox.rtsp_port(), "/camera");
    assert_eq!(client.ask("PLAY").0, 454, "there is no session");
    assert_eq!(client.ask("DESCRIBE").0, 200);
    assert_eq!(client.set_up(0, "RTP/AVP/TCP;unicast"), 200);
    for method in ["PLAY", "PAUSE", "PLAY", "GET_PARAMETER", "TEARDOWN"] {
        assert_eq!(client.ask(method).0, 200, "{method}");
    }
    assert_eq!(client.ask("PLAY").0, 454, "the session is over");

    livebox.log().wait_for("stream camera is idle", LIMIT);
}

#[test]
fn who_must_log_in_is_told_how_and_let_in_by_basic_and_digest() {
    let config = format!("{CAMERA}rtsp: {{user: anna, password: wood pecker}}\n");
    let livebox = Livebox::start(&config);
    let url = livebox.rtsp_url("/camera");
    let asked =
        |with: &str| Client::connect(livebox.rtsp_port(), "/camera").ask_with("DESCRIBE", with).0;

    assert_eq!(asked(""), 401);
    assert_eq!(asked("Authorization: Basic YW5uYTpibHVlIGpheQ==\r\n"), 401);
    assert_eq!(asked("Authorization: Basic YW5uYTp3b29kIHBlY2tlcg==\r\n"), 200);
    let with_password = url.replace("rtsp://", "rtsp://anna:wood%20pecker@");
    for transport in ["tcp", "udp"] {
        let frames = decoded_by_ffmpeg(tool("ffmpeg"), transport, &with_password);
        assert!(frames.video >= 24, "{transport}: {frames:?}");
        decoded_by_gstreamer(tool("gst-launch-1.0"), transport, &with_password);
    }
    assert!(!livebox.log().text().contains("pecker"));
}

#[test]
fn with_a_certificate_players_may_watch_encrypted() {
    let pair = Pair::make();
    let livebox = secure(&pair);
    livebox.log().wait_for(&livebox.rtsps_url("/camera"), LIMIT);

    let frames = decoded_by_ffmpeg(tool("ffmpeg"), "tcp", &livebox.rtsps_url("/camera"));
    assert!(frames.video >= 24 && frames.audio >= 60, "{frames:?}");
    // Nobody knows the test's certificate: 0 checks nothing.
    let url = livebox.rtsps_url("/camera");
    decoded_by_gstreamer(tool("gst-launch-1.0"), "tcp tls-validation-flags=0", &url);

    // Who only connects keeps nobody out.
    let port = livebox.rtsps_url("").rsplit_once(':').unwrap().1.parse().unwrap();
    let _silent: Vec<_> =
        (0..200).map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
    let frames = decoded_by_ffmpeg(tool("ffmpeg"), "tcp", &url);
    assert!(frames.video >= 24, "{frames:?}");
}

#[test]
fn a_client_that_guesses_passwords_is_cut_off() {
    let config = format!("{CAMERA}rtsp: {{user: anna, password: woodpecker}}\n");
    let livebox = Livebox::start(&config);
    let url = livebox.rtsp_url("/camera");
    let guess = format!(
        "DESCRIBE {url} RTSP/1.0\r\nCSeq: 1\r\nAuthorization: Basic YW5uYTpibHVlIGpheQ==\r\n\r\n"
    );

    let answers = Client::connect(livebox.rtsp_port(), "/camera").say(guess.repeat(9).as_bytes());

    assert!(answers.contains("WWW-Authenticate: Digest realm=\"livebox\", nonce=\""), "{answers}");
    assert!(answers.matches("401 Unauthorized").count() <= 3, "{answers}");
}

#[test]
fn five_hundred_players_coming_and_going_leave_nothing_behind() {
    let livebox = Livebox::start(&continuous(CAMERA));
    let port = livebox.rtsp_port();
    let come_and_go = |times: usize| {
        for _ in 0..times {
            goes_on(&Client::connect(port, "/camera").play(), 1);
        }
    };
    come_and_go(250);
    let files = proc::open_files(livebox.pid());
    let memory = proc::resident_kib(livebox.pid());

    come_and_go(250);

    wait::until("files are closed", LIMIT, || {
        (proc::open_files(livebox.pid()) <= files).then_some(())
    });
    let grown = proc::resident_kib(livebox.pid()).saturating_sub(memory);
    assert!(grown <= 2 << 10, "{grown} KiB more");
}

#[test]
fn rtsp_can_be_switched_off_and_a_busy_port_is_told() {
    let livebox = Launch::with(CAMERA).env("LIVEBOX__RTSP__PORT", "off").start();
    assert!(!livebox.log().contains("rtsp://"), "{}", livebox.log().text());

    let taken = livebox.port().to_string();
    let finished = Launch::with(CAMERA).env("LIVEBOX__RTSP__PORT", &taken).finish();

    assert_eq!(finished.code, Some(1));
    assert!(finished.stderr.contains("rtsp.port"), "{}", finished.stderr);
}

/// The same with a camera that is always on.
fn continuous(config: &str) -> String {
    config.replace("{test: clock,", "{test: clock, mode: continuous,")
}

#[derive(Debug)]
struct Frames {
    video: usize,
    audio: usize,
}

/// Two seconds of both tracks, decoded.
fn decoded_by_ffmpeg(mut ffmpeg: Command, transport: &str, url: &str) -> Frames {
    ffmpeg.args(["-v", "error", "-rtsp_transport", transport, "-i", url]);
    let finished = run(ffmpeg.args(["-t", "2", "-f", "framecrc", "-"]), b"", LIMIT);
    assert_eq!(finished.code, Some(0), "{transport}: {}", finished.stderr);
    let lines_of = |track: &str| finished.stdout.lines().filter(|l| l.starts_with(track)).count();
    Frames { video: lines_of("0,"), audio: lines_of("1,") }
}

/// Waits until fifty pictures and as many sounds are decoded. How a player
/// ends is its own affair: rtspsrc complains now and then while it closes.
fn decoded_by_gstreamer(mut launch: Command, transport: &str, url: &str) {
    const PICTURES: u64 = 50 * 640 * 360 * 3 / 2;
    const SOUNDS: u64 = 50 * 1024 * 2;
    let folder = tempfile::tempdir().expect("there is room for a folder");
    launch.args(["-q", "rtspsrc", "name=s", "latency=200"]);
    launch.arg(format!("location={url}"));
    launch.args(format!("protocols={transport}").split(' '));
    for track in ["video", "audio"] {
        let file = folder.path().join(track).display().to_string();
        launch.args(["s.", "!", &format!("application/x-rtp,media={track}"), "!", "decodebin"]);
        launch.args(["!", "filesink", "sync=false", &format!("location={file}")]);
    }
    let player = Process::start("gst-launch-1.0", &mut launch);
    let decoded = |track: &str, bytes: u64| {
        std::fs::metadata(folder.path().join(track)).is_ok_and(|file| file.len() >= bytes)
    };
    let both = || (decoded("video", PICTURES) && decoded("audio", SOUNDS)).then_some(());
    if wait::within(LIMIT, both).is_none() {
        panic!("{transport}: too little was decoded: {}", player.output().text());
    }
}

/// Waits for so many packets more.
fn goes_on(playing: &Playing, packets: u64) {
    let from = playing.packets();
    let more = || (playing.packets() >= from + packets).then_some(());
    if wait::within(LIMIT, more).is_none() {
        panic!("{} packets, then none (ended: {})", playing.packets(), playing.is_over());
    }
}
