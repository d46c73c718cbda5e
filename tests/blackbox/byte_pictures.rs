//! Pictures of streams of bytes, and of the past.

use std::time::Duration;

use crate::common::http::Answer;
use crate::common::livebox::{CAMERA, Livebox};
use crate::common::process::run;
use crate::common::tools::tool;
use crate::common::wait;

const LIMIT: Duration = wait::TIMEOUT;

/// A film of red pictures, 320 by 240, with a tone, that never ends.
fn film(more: &str) -> String {
    format!(
        "ffmpeg -v error -re -f lavfi -i color=c=red:size=320x240:rate=25 -f lavfi -i sine {more} -"
    )
}

fn stream(film: &str, url: &str) -> Livebox {
    Livebox::start(&format!(
        "feeds: {{red: {{command: {film:?}}}}}\nstreams: {{red: {{feed: red, url: {url}}}}}\n"
    ))
}

const X264: &str = "-c:v libx264 -preset ultrafast -tune zerolatency -pix_fmt yuv420p -g 25";

#[test]
fn a_picture_comes_out_of_the_usual_containers_as_ffmpeg_makes_them() {
    for (name, more) in [
        ("a.ts", format!("{X264} -c:a aac -f mpegts")),
        (
            "b.mp4",
            format!("{X264} -c:a aac -movflags frag_keyframe+empty_moov+default_base_moof -f mp4"),
        ),
        ("c.flv", format!("{X264} -c:a aac -f flv")),
        (
            "d.webm",
            "-c:v libvpx -deadline realtime -cpu-used 8 -pix_fmt yuv420p -g 25 -c:a libopus \
             -f webm -live 1"
                .to_owned(),
        ),
        ("e.h264", format!("-map 0:v {X264} -f h264")),
        ("f.mjpg", "-map 0:v -c:v mjpeg -f mpjpeg".to_owned()),
    ] {
        let livebox = stream(&film(&more), &format!("/cams/{name}"));
        for path in [format!("/cams/{name}/pic"), "/stream/red/pic".to_owned()] {
            let answer = livebox.get(&path);
            assert_is_red(&answer, (320, 240), &path);
            assert_eq!(answer.header("Content-Type"), Some("image/jpeg"));
            assert_eq!(answer.header("Cache-Control"), Some("no-store"));
            let length = answer.body.len().to_string();
            assert_eq!(answer.header("Content-Length"), Some(length.as_str()));
        }
        // Joined in its midst, too.
        let (_, mut watched) = livebox.http().open(&format!("/cams/{name}"));
        let begin = wait::now();
        while begin.elapsed() < Duration::from_millis(1500) {
            watched.take_bytes(100).expect("the stream goes on");
        }
        let small = livebox.get(&format!("/cams/{name}/pic?format=png&width=160"));
        assert_is_red(&small, (160, 120), name);
        assert!(small.body.starts_with(b"\x89PNG"));
    }
}

#[test]
fn a_jpeg_of_the_stream_is_handed_out_as_it_came() {
    let livebox = stream(&film("-map 0:v -c:v mjpeg -q:v 31 -f mpjpeg"), "/red.mjpg");
    let plain = livebox.get("/red.mjpg/pic").body;
    let again = livebox.get("/red.mjpg/pic?quality=100").body;
    assert!(plain.windows(4).any(|four| four == b"Lavc"), "ffmpeg has written it");
    assert!(!again.windows(4).any(|four| four == b"Lavc"), "livebox has written it");
}

#[test]
fn what_is_no_picture_is_told_apart_from_what_does_not_come() {
    let sound = "-map 1:a -c:a aac -f mpegts";
    let wav = "-map 1:a -f wav";
    let noise = "dd if=/dev/urandom bs=4096";
    let config = format!(
        "feeds: {{s: {{command: {:?}}}, w: {{command: {:?}}}, n: {{command: {noise:?}}}, \
         g: {{command: /nothing/here}}}}\n\
         streams: {{s: {{feed: s, url: /s.ts}}, w: {{feed: w, url: /w.wav}}, n: {{feed: n}}, \
         g: {{feed: g, url: /g.ts}}}}\n",
        film(sound),
        film(wav)
    );
    let livebox = Livebox::start(&config);
    for (path, status) in [("/s.ts", 415), ("/w.wav", 415), ("/n", 415), ("/g.ts", 503)] {
        let answer = livebox.get(&format!("{path}/pic"));
        assert_eq!(answer.status(), status, "{path}: {}", answer.text());
    }
    assert!(livebox.get("/g.ts/pic").text().contains("/nothing/here"));
    assert_eq!(livebox.get("/s.ts/pic?ago=5").status(), 400);
    assert_eq!(livebox.get("/s.ts/pic?format=gif").status(), 400);
    assert_eq!(livebox.http().request("HEAD", "/s.ts/pic").answer().status(), 200);
}

#[test]
fn a_feed_runs_for_a_picture_and_rests_again() {
    let livebox = stream(&film(&format!("{X264} -c:a aac -f mpegts")), "/red.ts");
    assert_eq!(livebox.get("/red.ts/pic").status(), 200);
    livebox.log().wait_for("feed red is idle", LIMIT);
}

#[test]
fn a_picture_of_the_past_shows_what_was_seen_then() {
    // Its brightness tells the time: a step each frame, round and round.
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let clip = folder.path().join("clock.mp4");
    let mut command = tool("ffmpeg");
    command.args(["-v", "error", "-f", "lavfi", "-i"]);
    command.arg("color=c=gray:size=160x120:rate=25:duration=8,geq=lum='20+N':cb=128:cr=128");
    command.args(["-c:v", "libx264", "-qp", "10", "-bf", "0", "-g", "25", "-pix_fmt", "yuv420p"]);
    assert_eq!(run(command.arg(&clip), b"", LIMIT).code, Some(0));
    let livebox = Livebox::start(&format!(
        "feeds: {{clock: {{file: {}, mode: continuous}}}}\nstreams: {{clock: {{}}}}\n",
        clip.display()
    ));
    let back = wait::until("five seconds of the past are there", LIMIT, || {
        let answer = livebox.get("/clock/pic?ago=5");
        (answer.status() == 200).then_some(answer)
    });
    drop(back);

    for (query, frames) in [("ago=2", 50), ("ago=4.4s", 110)] {
        // The two are asked for one after the other; between them passes time.
        let begin = wait::now();
        let present = brightness(&livebox.get("/clock/pic?format=png"));
        let past = brightness(&livebox.get(&format!("/clock/pic?format=png&{query}")));
        let passed = begin.elapsed().as_secs_f64() * 25.0;
        let steps = (present - past).rem_euclid(200.0);
        let away = f64::from(frames) - steps;
        assert!((-3.0..passed + 3.0).contains(&away), "{query}: {steps} frames, {passed} passed");
    }
}

#[test]
fn how_far_back_one_can_see_is_told() {
    let livebox = Livebox::start(CAMERA);
    let cold = livebox.get("/camera/pic?ago=5");
    assert_eq!(cold.status(), 404);
    assert!(cold.text().contains("is empty"), "{}", cold.text());
    assert!(!livebox.log().contains("is live"), "nothing was started for that");

    let _watched = livebox.http().open("/camera.mp4");
    let answer = livebox.get("/camera/pic?ago=600");
    assert_eq!(answer.status(), 404);
    let told = answer.json()["reason"].as_str().expect("a reason is text").to_owned();
    assert!(told.contains("reaches back"), "{told}");
    let bad = livebox.get("/camera/pic?ago=yesterday");
    assert_eq!(bad.status(), 400);
    assert!(bad.json()["valid"].as_str().expect("it is told").contains("seconds"));
}

/// The mean of the picture's channels, decoded by ffmpeg.
fn mean(answer: &Answer) -> ((u32, u32), [f64; 3]) {
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let file = tempfile::NamedTempFile::new().expect("there is room for a file");
    std::fs::write(file.path(), &answer.body).expect("the file is writable");
    let raw = tempfile::NamedTempFile::new().expect("there is room for a file");
    let mut command = tool("ffmpeg");
    command.args(["-v", "info", "-y", "-i"]).arg(file.path());
    command.args(["-vf", "showinfo", "-f", "rawvideo", "-pix_fmt", "rgb24"]).arg(raw.path());
    let finished = run(&mut command, b"", LIMIT);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    let size = finished.stderr.split(" s:").nth(1).and_then(|rest| rest.split(' ').next());
    let (width, height) = size.and_then(|size| size.split_once('x')).expect("it tells a size");
    let size = (width.parse().expect("a number"), height.parse().expect("a number"));
    let pixels = std::fs::read(raw.path()).expect("ffmpeg has written it");
    let mean = [0, 1, 2].map(|channel| {
        let of = pixels.iter().skip(channel).step_by(3);
        of.map(|value| f64::from(*value)).sum::<f64>() * 3.0 / pixels.len() as f64
    });
    (size, mean)
}

fn assert_is_red(answer: &Answer, size: (u32, u32), what: &str) {
    let (found, [red, green, blue]) = mean(answer);
    assert_eq!(found, size, "{what}");
    assert!(red > 200.0 && green < 60.0 && blue < 60.0, "{what}: {red} {green} {blue}");
}

/// The luma that the clip was made with.
fn brightness(answer: &Answer) -> f64 {
    let (_, [red, ..]) = mean(answer);
    16.0 + red * 219.0 / 255.0
}
