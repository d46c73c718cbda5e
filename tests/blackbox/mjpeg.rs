//! Streams as Motion JPEG: for `<img>`, and for programs that know nothing else.

use std::time::Duration;

use crate::common::browser::{Browser, Scripts};
use crate::common::livebox::{API, CAMERA, LAVISH, Livebox};
use crate::common::mjpeg::Mjpeg;
use crate::common::{probe, proc, wait};

const LIMIT: Duration = wait::TIMEOUT;

#[test]
fn ffmpeg_reads_it_at_every_url_that_it_has() {
    let livebox = Livebox::start(&CAMERA.replace("bitrate:", "url: /cams/a, bitrate:"));
    for path in ["/cams/a.mjpeg", "/cams/a.mjpg", "/stream.mjpeg", "/stream.mjpg"] {
        let streams = probe::streams(&livebox.url(path), None);
        let video = streams.first("video");
        assert_eq!(video["codec_name"], "mjpeg", "{path}");
        assert_eq!((&video["width"], &video["height"]), (&640.into(), &360.into()));
        assert_eq!(video["color_range"], "pc", "a JPEG has the whole range");
    }
    probe::decode(&livebox.url("/cams/a.mjpeg"), 1);
}

#[test]
fn no_cache_keeps_it_and_no_client_has_to_know_chunks() {
    let livebox = Livebox::start(CAMERA);
    let (head, _) = livebox.http().open("/camera.mjpeg");
    assert_eq!(head.header("Cache-Control"), Some("no-cache, no-store, must-revalidate"));
    assert_eq!((head.header("Pragma"), head.header("Expires")), (Some("no-cache"), Some("0")));
    assert_eq!(head.header("Transfer-Encoding"), None);
    assert_eq!(head.header("Connection"), Some("close"));
    let head = livebox.http().request("HEAD", "/camera.mjpeg").answer();
    assert_eq!((head.status(), head.body.len()), (200, 0));
    assert_eq!(livebox.http().request("POST", "/camera.mjpeg").answer().status(), 405);
}

#[test]
fn pictures_come_in_the_time_in_which_they_were_taken() {
    let livebox = Livebox::start(CAMERA);
    let mut viewer = Mjpeg::open(livebox.http(), "/camera.mjpeg");
    viewer.next();
    let taken: Vec<f64> = (0..25).map(|_| viewer.next().taken()).collect();
    let steps: Vec<f64> = taken.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(steps.iter().all(|step| *step > 0.03), "{steps:?}");
    let age = wait::unix().as_secs_f64() - viewer.next().taken();
    assert!((0.0..LIMIT.as_secs_f64()).contains(&age), "a picture is {age} s old");
}

#[test]
fn a_viewer_may_have_fewer_smaller_and_worse_pictures() {
    let livebox = Livebox::start(CAMERA);
    let mut all = Mjpeg::open(livebox.http(), "/camera.mjpeg");
    let mut few = Mjpeg::open(livebox.http(), "/camera.mjpeg?fps=5");
    few.next();
    let (first, mut last) = (few.next().taken(), 0.0);
    for _ in 0..20 {
        last = few.next().taken();
    }
    // All pictures would span 0.8 s; on a busy machine there are fewer than asked for.
    assert!(last - first > 3.0, "twenty pictures span {}", last - first);
    let mut small = Mjpeg::open(livebox.http(), "/camera.mjpeg?width=320&quality=20");
    let small = small.next().jpeg.len();
    let usual = all.next().jpeg.len();
    assert!(small * 3 < usual, "{small} and {usual} bytes");
}

#[test]
fn what_cannot_be_had_is_refused_with_what_can() {
    let livebox = Livebox::start(CAMERA);
    for (query, field) in [("quality=0", "quality"), ("width=8", "width"), ("fps=0", "fps")] {
        let answer = livebox.get(&format!("/camera.mjpeg?{query}"));
        assert_eq!(answer.status(), 400, "{query}");
        assert_eq!(answer.json()["reason"], format!("Invalid value for '{field}'"));
    }
    let open = |query| Mjpeg::open(livebox.http(), &format!("/camera.mjpeg{query}"));
    let _watched = [open("?quality=10"), open("?quality=20"), open(""), open("?quality=20")];
    let answer = livebox.get("/camera.mjpeg?quality=30");
    assert_eq!(answer.status(), 503);
    assert!(answer.text().contains("3 variants already"), "{}", answer.text());
}

#[test]
fn a_sound_alone_is_no_picture() {
    let livebox = Livebox::start("feeds: {mic: {audio: tone}}\nstreams: {mic: {}}\n");
    let answer = livebox.get("/mic.mjpeg");
    assert_eq!(answer.status(), 415, "{}", answer.text());
}

#[test]
fn all_viewers_share_one_decoder_which_ends_with_the_last_of_them() {
    let livebox = Livebox::start(CAMERA);
    let mut viewers = vec![Mjpeg::open(livebox.http(), "/camera.mjpeg")];
    viewers[0].next();
    let with_one = threads(&livebox);
    viewers.extend((0..19).map(|_| Mjpeg::open(livebox.http(), "/camera.mjpeg")));
    for viewer in &mut viewers {
        viewer.next();
    }
    assert_eq!(livebox.log().count("MJPEG of camera is live"), 1);
    assert!(threads(&livebox) <= with_one + 2, "{} threads, {with_one}", threads(&livebox));
    assert_eq!(livebox.get("/stat.json").json()["feeds"][0]["viewers"], 20);

    drop(viewers);

    livebox.log().wait_for("camera is idle", LIMIT);
}

#[test]
fn who_does_not_read_skips_pictures_and_then_sees_the_newest_and_nobody_else_feels_it() {
    let livebox = Livebox::start(LAVISH);
    let mut slow = Mjpeg::open(livebox.http(), "/camera.mjpeg");
    let mut fast = Mjpeg::open(livebox.http(), "/camera.mjpeg");
    slow.next();
    let mut taken = vec![fast.next().taken()];
    while taken[taken.len() - 1] - taken[0] < 5.0 {
        taken.push(fast.next().taken());
    }
    let longest = taken.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max);
    assert!(longest < 0.5, "{longest} s without a picture");

    // What the kernel has taken on the way is old; after that comes the newest.
    let newest = taken[taken.len() - 1];
    let (mut seen, mut last) = (0, slow.next().taken());
    while last < newest {
        (seen, last) = (seen + 1, slow.next().taken());
    }
    assert!(seen < taken.len() / 2, "{seen} pictures of {}", taken.len());
}

#[test]
fn who_never_reads_is_let_go() {
    let livebox = Livebox::start(LAVISH);
    let _open = livebox.http().open("/camera.mjpeg");
    // Nobody else keeps the camera running.
    livebox.log().wait_for("camera is idle", LIMIT);
}

#[test]
fn a_camera_that_starts_again_keeps_its_viewers() {
    let livebox = Livebox::start(CAMERA);
    let mut viewer = Mjpeg::open(livebox.http(), "/camera.mjpeg");
    let before = viewer.next().taken();
    let restarted = livebox.http().request("POST", &format!("{API}/streams/camera/restart"));
    assert_eq!(restarted.answer().status(), 200);
    livebox.log().wait_for("stream camera is live run=2", LIMIT);
    let live = wait::unix().as_secs_f64();
    while viewer.next().taken() < live {}
    assert!(before < live);
}

#[test]
fn other_headers_of_the_stream_keep_its_viewers() {
    let livebox = Livebox::start(CAMERA);
    let mut viewer = Mjpeg::open(livebox.http(), "/camera.mjpeg");
    viewer.next();
    let edit = serde_json::json!({"resolution": "240p"});
    livebox.set_control(&edit);
    livebox.push_to("rtmp://127.0.0.1:9/live2", "key");
    let size = || jpeg_height(&viewer.next().jpeg);
    let mut size = size;
    wait::until("the pictures are smaller", LIMIT, || (size() == 240).then_some(()));
}

#[test]
fn chromium_shows_it_in_an_img_and_the_picture_moves() {
    let livebox = Livebox::start(CAMERA);
    let browser = Browser::start(Scripts::Allowed);
    // A page whose policy lets pictures in.
    browser.open(&livebox.url("/nothing/here"));
    browser.evaluate(
        "document.body.innerHTML = '<img style=\"position:fixed;left:0;top:0\" \
         src=\"/camera.mjpeg\">'",
    );
    let width = "return document.querySelector('img').naturalWidth";
    wait::until("the img has a size", LIMIT, || (browser.number(width) == 640.0).then_some(()));
    let mut seen = Vec::new();
    wait::until("three pictures were different", LIMIT, || {
        let shot = browser.screenshot();
        if !seen.contains(&shot) {
            seen.push(shot);
        }
        (seen.len() >= 3).then_some(())
    });
}

#[test]
fn chromium_shows_a_picture_before_the_next_one_comes() {
    let livebox = Livebox::start(CAMERA);
    let agent = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
                 Chrome/120.0.0.0 Safari/537.36";
    let asked = livebox.http().request("GET", "/camera.mjpeg").header("User-Agent", agent);
    let (_, mut body) = asked.send().expect("it is answered");
    let head = b"--livebox\r\nContent-Type: image/jpeg\r\n\r\n";
    let mut read = Vec::new();
    while !read.ends_with(head) || read.len() == head.len() {
        read.extend(body.take_bytes(1).expect("the pictures go on"));
    }
    // No length can be told before the picture is there.
    assert!(read.starts_with(head) && read[head.len()..].starts_with(&[0xff, 0xd8]));
    assert!(read[..read.len() - head.len()].ends_with(b"\xff\xd9\r\n"));
}

fn threads(livebox: &Livebox) -> u64 {
    proc::threads(livebox.pid())
}

/// Of the frame header (ITU-T T.81, B.2.2).
fn jpeg_height(jpeg: &[u8]) -> u16 {
    let at = jpeg.windows(2).position(|two| two == [0xff, 0xc0]).expect("it has a frame header");
    u16::from_be_bytes([jpeg[at + 5], jpeg[at + 6]])
}
