//! Pictures and sound out of the bytes of commands and pipes.

use super::bytes::{LIMIT, running, wait_for_running};
use crate::common::clip::{Clips, SHORT};
use crate::common::livebox::Livebox;
use crate::common::probe;
use crate::common::process::{Process, run};
use crate::common::tools::tool;
use crate::common::viewer::Viewer;

const H264: &str = "-pix_fmt yuv420p -c:v libx264 -preset ultrafast -tune zerolatency -g 25 -bf 0";

/// A picture of 25 frames a second with a tone of 1 kHz, by another program.
fn film(coding: &str) -> String {
    let source = "-f lavfi -i testsrc=size=320x240:rate=25 -re -f lavfi -i sine=frequency=1000";
    format!("ffmpeg -v error -re {source} {coding} -")
}

/// A feed of bytes `cam`, what is in it as `front`, and more streams.
fn unpacked(command: &str, feed: &str, streams: &str) -> Livebox {
    Livebox::start(&format!(
        "feeds:\n  cam: {{command: {command:?}}}\n  front: {{feed: cam{feed}}}\n\
         streams:\n  front: {{}}\n{streams}\nlog: {{level: debug}}\n"
    ))
}

fn done(command: &mut std::process::Command) {
    let finished = run(command, b"", LIMIT);
    assert_eq!(finished.code, Some(0), "{finished:?}");
}

#[test]
fn h264_and_aac_pass_through_whatever_they_come_in() {
    for container in [
        "-f mpegts",
        "-f flv",
        "-f matroska -live 1",
        "-f mp4 -movflags frag_every_frame+empty_moov+default_base_moof",
    ] {
        let livebox = unpacked(&film(&format!("{H264} -c:a aac {container}")), "", "");
        let viewer = Viewer::connect(livebox.http(), "/front.mp4");

        let seen = viewer.wait("two seconds", LIMIT, |seen| seen.span(b"vide") > 2.0);

        seen.assert_time_goes_forward();
        assert!(seen.span(b"soun") > 1.0, "{container}: there is sound as well");
        livebox.log().wait_for("front is encoded by command: it gives H.264 by itself", LIMIT);
        let found = probe::streams(&livebox.url("/front.mp4"), None);
        assert_eq!(found.first("video")["width"], 320, "{container}");
        let sound = probe::listen(&livebox.url("/front.mp4"), 2);
        assert!((sound.pitch - 1000.0).abs() < 20.0, "{container}: {sound:?}");
    }
}

#[test]
fn plain_h264_is_enough() {
    let livebox = unpacked(&film(&format!("-map 0:v {H264} -f h264")), "", "");
    let viewer = Viewer::connect(livebox.http(), "/front.mp4");
    let seen = viewer.wait("two seconds", LIMIT, |seen| seen.span(b"vide") > 2.0);
    seen.assert_time_goes_forward();
}

#[test]
fn other_codecs_are_encoded_anew() {
    let feed = ", size: 320x240, fps: 25";
    for coding in [
        "-map 0:v -c:v mjpeg -pix_fmt yuvj420p -f mpjpeg",
        "-c:v mpeg2video -pix_fmt yuv420p -g 25 -bf 0 -c:a mp2 -f mpegts",
        "-c:v libvpx -deadline realtime -cpu-used 8 -pix_fmt yuv420p -g 25 -c:a libopus -f webm -live 1",
    ] {
        let livebox = unpacked(&film(coding), feed, "");
        let viewer = Viewer::connect(livebox.http(), "/front.mp4");
        let seen = viewer.wait("two seconds", LIMIT, |seen| seen.span(b"vide") > 2.0);
        seen.assert_time_goes_forward();
        livebox.log().wait_for("front is encoded by ", LIMIT);
        let has_sound = !coding.contains("-map 0:v");
        let found = probe::streams(&livebox.url("/front.mp4"), None);
        assert_eq!(found.codecs().contains(&"aac"), has_sound, "{coding}");
    }
}

#[test]
fn one_process_serves_the_bytes_and_what_is_in_them() {
    let command = film(&format!("{H264} -c:a aac -f mpegts"));
    let livebox = unpacked(&command, "", "  raw: {feed: cam, url: /raw.ts}\n");
    let (_, mut raw) = livebox.http().open("/raw.ts");
    assert_eq!(raw.take_bytes(188 * 500).unwrap()[0], 0x47);

    // Who comes later begins at the newest key frame and is live from there on.
    let viewer = Viewer::connect(livebox.http(), "/front.mp4");
    let seen = viewer.wait("two seconds", LIMIT, |seen| seen.span(b"vide") > 2.0);

    seen.assert_time_goes_forward();
    assert_eq!(running(&livebox, "ffmpeg").len(), 1);
    raw.close();
    viewer.wait_for_more(30, LIMIT);
    drop(viewer);
    wait_for_running(&livebox, "ffmpeg", 0);
}

#[test]
fn viewers_stay_when_the_command_dies_and_is_started_again() {
    let livebox = unpacked(&film(&format!("{H264} -c:a aac -f mpegts")), "", "");
    let viewer = Viewer::connect(livebox.http(), "/front.mp4");
    viewer.wait("a picture", LIMIT, |seen| seen.span(b"vide") > 0.5);
    for _ in 0..3 {
        let pid = wait_for_running(&livebox, "ffmpeg", 1)[0];
        done(tool("kill").args(["-KILL", &pid.to_string()]));
        viewer.wait_for_more(50, LIMIT).assert_time_goes_forward();
    }
}

#[test]
fn a_pipe_that_a_program_writes_to_is_unpacked_round_after_round() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("camera");
    done(tool("mkfifo").arg(&pipe));
    let livebox = Livebox::start(&format!(
        "feeds:\n  cam: {{pipe: {pipe:?}}}\n  front: {{feed: cam}}\nstreams: {{front: {{}}}}\n"
    ));
    let command = film(&format!("{H264} -c:a aac -t 3 -f mpegts"));
    let rounds = format!("while :; do {command} > \"$0\"; done");
    let _writer = Process::start("the writer", tool("sh").args(["-c", &rounds]).arg(&pipe));
    let viewer = Viewer::connect(livebox.http(), "/front.mp4");
    // A round has 75 pictures.
    let seen = viewer.wait("four rounds", LIMIT, |seen| seen.count(b"vide") > 4 * 75);
    seen.assert_time_goes_forward();
}

#[test]
fn a_command_that_is_not_there_is_told_at_once() {
    let livebox = unpacked("no-such-program --at all", "", "");
    let answer = livebox.get("/front.mp4");
    assert_eq!(answer.status(), 503);
    assert!(answer.text().contains("no-such-program"), "{}", answer.text());
}

#[test]
fn a_file_in_place_of_a_pipe_is_told() {
    let clips = Clips::new();
    let film = clips.make("a.ts", SHORT);
    let livebox = Livebox::start(&format!(
        "feeds:\n  cam: {{pipe: {film:?}}}\n  front: {{feed: cam}}\nstreams: {{front: {{}}}}\n"
    ));
    let answer = livebox.get("/front.mp4");
    assert_eq!(answer.status(), 503);
    assert!(answer.text().contains("`file` plays one in real time"), "{}", answer.text());
}

#[test]
fn what_nobody_can_make_sense_of_fails_and_says_so() {
    let livebox = unpacked("cat /dev/urandom", "", "  raw: {feed: cam}\n");
    let answer = livebox.get("/front.mp4");
    assert_eq!(answer.status(), 503, "{}", answer.text());
    livebox.log().wait_for("feed front failed", LIMIT);
    // The bytes themselves are as good as ever.
    let (_, mut raw) = livebox.http().open("/raw");
    raw.take_bytes(100_000).unwrap();
}
