//! Pictures of a stream: the newest frame as a file, for whoever asks.

use std::time::Duration;

use crate::common::http::Answer;
use crate::common::livebox::{CAMERA, Livebox};
use crate::common::{probe, wait};

const LIMIT: Duration = wait::TIMEOUT;

#[test]
fn a_picture_is_the_newest_frame_as_a_whole_file() {
    let livebox = Livebox::start(&CAMERA.replace("bitrate:", "url: /cams/a, bitrate:"));

    for path in ["/cams/a/pic", "/stream/pic"] {
        let answer = livebox.get(path);

        assert_eq!(answer.status(), 200, "{path}: {}", answer.text());
        assert_eq!(answer.header("Content-Type"), Some("image/jpeg"));
        assert_eq!(answer.header("Content-Length"), Some(&*answer.body.len().to_string()));
        assert_eq!(answer.header("Cache-Control"), Some("no-store"));
        assert!(answer.body.starts_with(&[0xff, 0xd8, 0xff]));
        assert_eq!(size_of(&answer), (640, 360));
    }
}

#[test]
fn the_form_is_chosen_by_the_query_or_the_accept_header() {
    let livebox = Livebox::start(CAMERA);
    let is_png = |answer: &Answer| {
        assert_eq!(answer.status(), 200, "{}", answer.text());
        let is_png = answer.body.starts_with(b"\x89PNG\r\n\x1a\n");
        assert_eq!(answer.header("Content-Type") == Some("image/png"), is_png);
        is_png
    };

    assert!(is_png(&livebox.get("/camera/pic?format=png")));
    assert!(!is_png(&livebox.get("/camera/pic?format=jpg")));
    let accepting = |kind: &str, path: &str| {
        livebox.http().request("GET", path).header("Accept", kind).answer()
    };
    assert!(is_png(&accepting("image/png", "/camera/pic")));
    assert!(!is_png(&accepting("image/png", "/camera/pic?format=jpg")));
    assert!(!is_png(&accepting("image/*", "/camera/pic")));
}

#[test]
fn the_quality_is_85_percent_unless_another_is_asked() {
    let livebox = Livebox::start(CAMERA);
    let picture = |query: &str| {
        let answer = livebox.get(&format!("/camera/pic{query}"));
        assert_eq!(answer.status(), 200, "{}", answer.text());
        answer.body
    };

    let (low, usual, high) = (picture("?quality=20"), picture(""), picture("?quality=100"));

    assert!(low.len() < usual.len() && usual.len() < high.len());
    assert_eq!(tables(&usual), tables(&picture("?quality=85")));
    assert_ne!(tables(&usual), tables(&picture("?quality=84")));
}

#[test]
fn a_width_makes_it_smaller_and_keeps_its_shape() {
    let livebox = Livebox::start(CAMERA);
    let size = |width: u32| size_of(&livebox.get(&format!("/camera/pic?width={width}")));

    assert_eq!(size(320), (320, 180));
    assert_eq!(size(161), (160, 90));
    assert_eq!(size(1920), (640, 360), "it is never larger than the stream");
}

#[test]
fn what_cannot_be_had_is_refused_with_what_can() {
    let livebox = Livebox::start(CAMERA);
    for (query, field) in [
        ("format=gif", "format"),
        ("quality=0", "quality"),
        ("quality=101", "quality"),
        ("width=8", "width"),
    ] {
        let answer = livebox.get(&format!("/camera/pic?{query}"));

        assert_eq!(answer.status(), 400, "{query}");
        let told = answer.json();
        assert_eq!(told["reason"], format!("Invalid value for '{field}'"));
        assert!(told["valid"].is_string(), "{told}");
    }
    assert!(!livebox.log().contains("is live"), "nothing was started for that");
}

#[test]
fn a_feed_that_does_not_come_is_told_with_its_cause() {
    let livebox = Livebox::start("feeds: {gone: {v4l2: /dev/video99}}\nstreams: {gone: {}}\n");

    let answer = livebox.get("/gone/pic");

    assert_eq!(answer.status(), 503);
    assert!(answer.header("Retry-After").is_some());
    assert!(answer.text().contains("/dev/video99"), "{}", answer.text());
}

#[test]
fn a_picture_starts_the_feed_and_lets_it_rest_again() {
    let livebox = Livebox::start(CAMERA);

    assert_eq!(livebox.get("/camera/pic").status(), 200);

    livebox.log().wait_for("is idle", LIMIT);
    assert_eq!(livebox.get("/camera/pic").status(), 200);
}

#[test]
fn many_who_ask_at_once_all_get_the_newest_picture_soon() {
    let livebox = Livebox::start(&CAMERA.replace("fps: 25", "fps: 25, mode: continuous"));
    assert_eq!(livebox.get("/camera/pic").status(), 200);
    let begin = wait::now();

    std::thread::scope(|scope| {
        for _ in 0..40 {
            scope.spawn(|| {
                let answer = livebox.get("/camera/pic");
                assert_eq!(answer.status(), 200, "{}", answer.text());
                assert_eq!(size_of_jpg(&answer.body), Some((640, 360)));
            });
        }
    });

    let took = begin.elapsed();
    assert!(took < Duration::from_secs(30), "40 pictures took {took:?}");
}

fn size_of(answer: &Answer) -> (u64, u64) {
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let file = tempfile::NamedTempFile::new().expect("there is room for a file");
    std::fs::write(file.path(), &answer.body).expect("the file is writable");
    let streams = probe::streams(&file.path().display().to_string(), None);
    let video = streams.first("video");
    let side = |name: &str| video[name].as_u64().expect("a size is a number");
    (side("width"), side("height"))
}

/// The size in the frame header of a JPEG (ITU-T T.81, B.2.2).
fn size_of_jpg(jpg: &[u8]) -> Option<(u16, u16)> {
    let (_, header) = segments(jpg).into_iter().find(|(marker, _)| *marker == 0xc0)?;
    let number = |at: usize| Some(u16::from_be_bytes([*header.get(at)?, *header.get(at + 1)?]));
    Some((number(3)?, number(1)?))
}

/// The quantisation tables of a JPEG.
fn tables(jpg: &[u8]) -> Vec<&[u8]> {
    let tables = segments(jpg).into_iter().filter(|(marker, _)| *marker == 0xdb);
    let tables: Vec<_> = tables.map(|(_, table)| table).collect();
    assert!(!tables.is_empty(), "the JPEG has no tables");
    tables
}

/// The marker segments of a JPEG up to its scan.
fn segments(jpg: &[u8]) -> Vec<(u8, &[u8])> {
    let mut found = Vec::new();
    let mut rest = &jpg[2..];
    while let [0xff, marker, high, low, ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        found.push((*marker, &rest[4..2 + length]));
        if *marker == 0xda {
            break;
        }
        rest = &rest[2 + length..];
    }
    found
}
