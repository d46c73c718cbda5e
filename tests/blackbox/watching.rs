//! Watching a stream over HTTP.

use std::io::{Error, ErrorKind, Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::common::fmp4::{self, Piece};
use crate::common::http::read_answer;
use crate::common::livebox::{CAMERA, LAVISH, Livebox};
use crate::common::process::run;
use crate::common::tools::tool;
use crate::common::viewer::Viewer;
use crate::common::{probe, proc, wait};

const LIMIT: Duration = wait::TIMEOUT;

#[test]
fn ffprobe_finds_h264_and_aac_of_the_configured_size_in_the_endless_mp4() {
    let livebox = Livebox::start(
        "feeds: {camera: {test: clock, size: 480x270, fps: 30, audio: tone}}\n\
         streams: {camera: {feed: camera, bitrate: 500k, profile: main}}\n",
    );

    let streams = probe::streams(&livebox.url("/camera.mp4"), None);

    let video = streams.first("video");
    assert_eq!(video["codec_name"], "h264");
    assert_eq!((&video["width"], &video["height"]), (&480.into(), &270.into()));
    assert_eq!(video["has_b_frames"], 0);
    let audio = streams.first("audio");
    assert_eq!(audio["codec_name"], "aac");
    assert_eq!(audio["profile"], "LC");
}

#[test]
fn the_content_type_names_the_codecs_that_are_really_in_the_stream() {
    let livebox = Livebox::start(CAMERA);
    let (head, body) = livebox.http().open("/camera.mp4");
    body.close();
    let content_type = head.header("Content-Type").expect("there is a content type").to_owned();

    let video = probe::streams(&livebox.url("/camera.mp4"), None);

    let (kind, codecs) = content_type.split_once(';').expect("the type has codecs");
    assert_eq!(kind.trim(), "video/mp4");
    let codecs = codecs.trim().trim_start_matches("codecs=").trim_matches('"');
    let (avc, aac) = codecs.split_once(',').expect("there are two codecs");
    assert_eq!(aac.trim(), "mp4a.40.2");
    let profile_idc = match video.first("video")["profile"].as_str() {
        Some("Constrained Baseline" | "Baseline") => "42",
        Some("Main") => "4d",
        Some("High") => "64",
        other => panic!("an unexpected profile: {other:?}"),
    };
    let expected = format!("avc1.{profile_idc}");
    assert!(avc.to_ascii_lowercase().starts_with(&expected), "{avc} is not {expected}…");
}

#[test]
fn five_seconds_of_the_endless_mp4_decode_without_a_complaint() {
    let livebox = Livebox::start(CAMERA);

    probe::decode(&livebox.url("/camera.mp4"), 5);
}

#[test]
fn the_sound_of_the_tone_is_a_sine_of_1000_hertz() {
    let livebox = Livebox::start(CAMERA);

    let sound = probe::listen(&livebox.url("/camera.mp4"), 2);

    assert!((990.0..=1010.0).contains(&sound.pitch), "{sound:?}");
    assert!(sound.loudness > 0.02, "{sound:?}");
}

#[test]
fn a_transport_stream_plays_in_ffmpeg_and_gstreamer_whenever_one_joins() {
    let livebox = Livebox::start(CAMERA);
    let url = livebox.url("/camera.ts");
    let (head, body) = livebox.http().open("/camera.ts");
    assert_eq!(head.header("Content-Type"), Some("video/mp2t"));

    assert_eq!(probe::streams(&url, None).codecs(), ["h264", "aac"]);
    probe::decode(&url, 3);
    let mut launch = tool("gst-launch-1.0");
    launch.args(["-q", "souphttpsrc", &format!("location={url}"), "!", "decodebin", "name=d"]);
    for kind in ["video", "audio"] {
        launch.args(["d.", "!", &format!("{kind}/x-raw"), "!", "queue", "!"]);
        launch.args(["identity", "eos-after=50", "!", "fakesink", "sync=false"]);
    }
    let finished = run(&mut launch, b"", LIMIT);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    body.close();
}

#[test]
fn the_sound_alone_can_be_had() {
    let livebox = Livebox::start(CAMERA);
    let sound = probe::listen(&livebox.url("/camera.aac"), 2);
    assert!((990.0..=1010.0).contains(&sound.pitch), "{sound:?}");

    let silent = Livebox::start(&CAMERA.replace("tone", "none"));
    assert_eq!(silent.get("/camera.aac").status(), 415);
}

#[test]
fn the_raw_stream_is_h264_that_ffprobe_and_a_decoder_accept() {
    let livebox = Livebox::start(CAMERA);
    let (head, mut body) = livebox.http().open("/camera.h264");
    assert!(head.header("Content-Type").is_some_and(|kind| kind.starts_with("video/h264")));
    let start = body.take_bytes(4).expect("the stream begins");
    let file = tempfile::NamedTempFile::new().expect("there is room for a file");
    let mut bytes = start.clone();
    bytes.extend(body.take_bytes(150_000).expect("the stream goes on"));
    body.close();
    std::fs::write(file.path(), &bytes).expect("the file is writable");

    let streams = probe::streams(&file.path().display().to_string(), Some("h264"));

    assert!(start == [0, 0, 0, 1] || start[..3] == [0, 0, 1], "no start code: {start:?}");
    assert_eq!(streams.codecs(), ["h264"]);
    assert_eq!(streams.first("video")["width"], 640);
}

#[test]
fn the_first_stream_is_also_found_under_the_name_stream() {
    let livebox = Livebox::start(
        "feeds: {camera: {test: clock, size: 320x180, fps: 15}}\n\
         streams:\n  zebra: {feed: camera, bitrate: 300k}\n",
    );

    let mp4 = livebox.http().open("/stream.mp4").0;
    let raw = livebox.http().open("/stream.h264").0;

    assert!(mp4.header("Content-Type").is_some_and(|kind| kind.starts_with("video/mp4")));
    assert!(raw.header("Content-Type").is_some_and(|kind| kind.starts_with("video/h264")));
}

#[test]
fn a_second_viewer_gets_a_key_frame_at_once() {
    let livebox = Livebox::start(&format!("{CAMERA}\n").replace("750k", "750k, gop: 10s"));
    let first = Viewer::connect(livebox.http(), "/camera.mp4");
    first.wait("a picture for the first viewer", LIMIT, |seen| seen.fragments.len() > 60);

    let asked = wait::now();
    let second = Viewer::connect(livebox.http(), "/camera.mp4");
    let seen = second.wait("a picture for the second", LIMIT, |seen| !seen.fragments.is_empty());

    let waited = seen.fragments[0].arrived - asked;
    let video = seen.tracks.iter().find(|track| &track.handler == b"vide").expect("a picture");
    let seen = second.wait_for_more(20, LIMIT);
    let first_picture = seen.fragments.iter().find(|f| f.track == video.id).expect("a picture");
    assert!(first_picture.key, "the first picture cannot be decoded by itself");
    // The next key frame is seven seconds away at least.
    assert!(waited < Duration::from_secs(4), "the first fragment took {waited:?}");
}

#[test]
fn ten_seconds_of_both_tracks_play_without_a_break_and_at_the_pace_of_the_clock() {
    let livebox = Livebox::start(CAMERA);
    let viewer = Viewer::connect(livebox.http(), "/camera.mp4");

    let seen = viewer.wait("ten seconds", LIMIT, |seen| seen.span(b"vide") > 10.0);

    seen.assert_nothing_is_missing();
    seen.assert_time_goes_forward();
    let (picture, sound) = (seen.span(b"vide"), seen.span(b"soun"));
    assert!((picture - sound).abs() < 0.5, "picture {picture} s beside sound {sound} s");
}

#[test]
fn every_fragment_is_sent_as_soon_as_it_is_made() {
    let livebox = Livebox::start(CAMERA);
    let viewer = Viewer::connect(livebox.http(), "/camera.mp4");
    viewer.wait("the live edge", LIMIT, |seen| seen.span(b"vide") > 3.0);

    let seen = viewer.wait_for_more(150, LIMIT);

    let live = &seen.fragments[seen.fragments.len() - 150..];
    let gaps = live.windows(2).map(|pair| (pair[1].arrived - pair[0].arrived).as_secs_f64());
    let silent: f64 = gaps.filter(|gap| *gap > 0.15).sum();
    let whole = (live[149].arrived - live[0].arrived).as_secs_f64();
    // Whoever waits for the rest of a second or of a key frame's group is silent nearly always.
    assert!(silent < 0.2 * whole, "nothing came in {silent} of {whole} s");
}

#[test]
fn five_hundred_viewers_who_come_and_go_leave_nothing_behind() {
    let livebox = Livebox::start(CAMERA);
    let staying = Viewer::connect(livebox.http(), "/camera.mp4");
    staying.wait("a picture", LIMIT, |seen| seen.fragments.len() > 25);
    let come_and_go = |count: usize| {
        for _ in 0..count {
            let (_, mut body) = livebox.http().open("/camera.mp4");
            first_fragment(&mut body);
            body.close();
        }
    };
    come_and_go(20);
    let files_before = settled_files(livebox.pid());

    come_and_go(230);
    let first_half = proc::resident_kib(livebox.pid());
    come_and_go(250);
    let second_half = proc::resident_kib(livebox.pid());

    assert_eq!(settled_files(livebox.pid()), files_before, "open files");
    assert!(second_half <= first_half + 2048, "{first_half} KiB, then {second_half} KiB");
    staying.seen().assert_nothing_is_missing();
}

#[test]
fn a_viewer_that_stops_reading_is_let_go_and_nobody_else_notices() {
    let livebox = Livebox::start(LAVISH);
    let staying = Viewer::connect(livebox.http(), "/camera.mp4");
    staying.wait("a picture", LIMIT, |seen| seen.fragments.len() > 25);
    let files_before = settled_files(livebox.pid());

    let (_, stuck) = livebox.http().open("/camera.mp4");
    wait::until("the stuck viewer is connected", LIMIT, || {
        (proc::open_files(livebox.pid()) > files_before).then_some(())
    });

    wait::until("the stuck viewer is let go", LIMIT, || {
        (proc::open_files(livebox.pid()) <= files_before).then_some(())
    });
    staying.seen().assert_nothing_is_missing();
    drop(stuck);
}

#[test]
fn a_viewer_that_takes_a_little_now_and_then_is_let_go_and_nobody_else_notices() {
    let livebox = Livebox::start(LAVISH);
    let staying = Viewer::connect(livebox.http(), "/camera.mp4");
    staying.wait("a picture", LIMIT, |seen| seen.fragments.len() > 25);
    let files_before = settled_files(livebox.pid());

    let mut trickle = small_socket(livebox.port(), 4 << 10);
    trickle.write_all(b"GET /camera.mp4 HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    // A kilobyte with each look: a fifteenth of the stream, and often enough
    // that the kernel never sees it stand still.
    let ended =
        wait::until("the trickle is let go", LIMIT, || trickle.read_exact(&mut [0; 1024]).err());

    assert_eq!(ended.kind(), ErrorKind::ConnectionReset);
    assert_eq!(settled_files(livebox.pid()), files_before);
    staying.seen().assert_nothing_is_missing();
}

#[test]
fn requests_that_are_sent_at_once_are_answered_whole_and_in_order() {
    let livebox = Livebox::start(LAVISH);
    let playlist = livebox.get("/camera/hls/live.m3u8").text();
    let name = playlist.lines().rfind(|line| !line.starts_with('#')).expect("there is a segment");
    let path = format!("/camera/hls/{name}");
    let segment = livebox.get(&path).body;
    let ask = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");

    // More than the kernel holds: much has to wait when the stream is asked for.
    let mut socket = small_socket(livebox.port(), 64 << 10);
    socket.write_all(format!("{}{}", ask(&path).repeat(3), ask("/camera.mp4")).as_bytes()).unwrap();
    let (_, mut body) = read_answer(socket).unwrap();
    for _ in 0..3 {
        assert!(body.take_bytes(segment.len()).unwrap() == segment);
        (_, body) = body.next().unwrap();
    }

    for _ in 0..50 {
        first_fragment(&mut body);
    }
}

#[test]
fn a_client_of_the_old_kind_gets_the_bytes_as_they_are() {
    let livebox = Livebox::start(CAMERA);
    let mut socket = small_socket(livebox.port(), 64 << 10);
    socket.write_all(b"GET /camera.mp4 HTTP/1.0\r\n\r\n").unwrap();

    let (head, mut body) = read_answer(socket).unwrap();

    assert_eq!((head.header("Transfer-Encoding"), head.header("Content-Length")), (None, None));
    first_fragment(&mut body);
}

/// A connection on which no more than `bytes` are under way.
fn small_socket(port: u16, bytes: usize) -> TcpStream {
    let connected = || {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_recv_buffer_size(bytes)?;
        // As on a real network: on loopback the window stays shut until all is read.
        socket.set_tcp_mss(536)?;
        socket.connect(&SocketAddr::from(([127, 0, 0, 1], port)).into())?;
        socket.set_read_timeout(Some(LIMIT))?;
        Ok::<_, Error>(socket.into())
    };
    connected().expect("livebox listens")
}

fn first_fragment(body: &mut impl Read) {
    loop {
        match fmp4::read_piece(body).expect("the stream is readable") {
            Some(Piece::Fragments(_)) => return,
            Some(Piece::Init(_) | Piece::Stamp(_) | Piece::Other) => {}
            None => panic!("the stream ended before its first fragment"),
        }
    }
}

/// The open files once their number has stood still for half a second.
fn settled_files(pid: u32) -> usize {
    let (mut count, mut since) = (proc::open_files(pid), wait::now());
    wait::until("the number of open files settles", LIMIT, || {
        let found = proc::open_files(pid);
        if found != count {
            (count, since) = (found, wait::now());
        }
        (since.elapsed() > Duration::from_millis(500)).then_some(count)
    })
}
