//! Joining at the live edge, and what a viewer may ask for behind the question mark.

use std::io::Read;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::common::clip::{Clips, Film, SHORT};
use crate::common::fmp4::{self, Piece};
use crate::common::livebox::{CAMERA, Livebox};
use crate::common::process::run;
use crate::common::tools::tool;
use crate::common::viewer::{Break, Viewer};
use crate::common::{probe, wait};

const LIMIT: Duration = wait::TIMEOUT;
const BLOCK: usize = 32 << 10;
/// So many pictures, and those that a joiner gets at once.
const TEN_SECONDS: usize = 10 * 25 + 50;

#[test]
fn a_joiner_gets_forty_pictures_at_once_that_end_where_live_goes_on() {
    let livebox = running();
    let asked = wait::now();
    let viewer = Viewer::connect(livebox.http(), "/camera.mp4?audio=0");

    let seen =
        viewer.wait("the edge and a second of live", LIMIT, |seen| seen.fragments.len() > 40 + 25);

    let breaks = seen.breaks();
    assert!(breaks.iter().all(Break::may_be_dropped_pictures), "{breaks:?}");
    let timescale = f64::from(seen.tracks[0].timescale);
    let squeezed =
        seen.fragments.iter().take_while(|one| one.duration as f64 / timescale < 0.005).count();
    // The newest one stands where it stood.
    assert!(squeezed >= 39, "{squeezed} pictures in the burst");
    let burst = &seen.fragments[..squeezed];
    assert!(burst[0].key);
    let span =
        burst[squeezed - 1].decode_time + burst[squeezed - 1].duration - burst[0].decode_time;
    assert!((span as f64 / timescale) < 0.3, "{span} ticks from the key frame to the edge");
    let waited = burst[squeezed - 1].arrived - asked;
    // In real time it would take longer than a second.
    assert!(waited < Duration::from_secs(1), "the burst took {waited:?}");
}

#[test]
fn the_sound_can_be_left_out() {
    let livebox = running();

    let (head, body) = livebox.http().open("/camera.mp4?audio=0");
    body.close();
    let streams = probe::streams(&livebox.url("/camera.mp4?audio=0"), None);

    let content_type = head.header("Content-Type").expect("there is a type");
    assert!(!content_type.contains("mp4a"), "{content_type}");
    assert_eq!(streams.codecs(), ["h264"]);
    probe::decode(&livebox.url("/camera.mp4?audio=0"), 3);
}

#[test]
fn padding_fills_the_blocks_in_which_browsers_read_and_costs_at_most_half_of_the_media() {
    let clips = Clips::new();
    // It has a fifth of the default bit rate.
    let film = clips.make("clip.mp4", SHORT);
    for config in [CAMERA, &passed_through(&film)] {
        let livebox = Livebox::start(config);
        let boxes = padded_boxes(&livebox);
        let [all, media] = lengths(&boxes);
        let times = all as f64 / media as f64;
        assert!(times < 1.55, "{times} times the media");
    }
}

#[test]
fn a_dark_picture_is_padded_as_one_of_300_kbit_s_is() {
    let clips = Clips::new();
    let dark = Film { picture: "color=c=0x101010", kbps: 40, ..SHORT };
    let livebox = Livebox::start(&passed_through(&clips.make("dark.mp4", dark)));
    let boxes = padded_boxes(&livebox);
    let [all, media] = lengths(&boxes);
    // Of pictures of ten seconds, and a block that brings the joiner into the phase.
    assert!(media < 100_000 && all < 562_500 + BLOCK, "{media} bytes became {all}");
    let filled = boxes.iter().filter(|one| &one.kind == b"free").count();
    assert!(filled >= 10, "{filled} blocks were filled in ten seconds");
}

#[test]
fn padding_can_be_left_out() {
    let livebox = running();
    let boxes = boxes_of(&livebox, "/camera.mp4?pad=0", 75);
    assert!(boxes.iter().all(|one| &one.kind != b"free"));
}

#[test]
fn stamps_tell_when_the_encoder_gave_each_chunk() {
    let livebox = running();
    let (_, mut body) = livebox.http().open("/camera.mp4?stamp=1");
    let mut delays = Vec::new();
    while delays.len() < 50 {
        let piece = fmp4::read_piece(&mut body).expect("the stream goes on");
        if let Some(Piece::Stamp(stamp)) = piece {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
            delays.push(now.saturating_sub(Duration::from_nanos(stamp)));
        }
    }
    body.close();
    delays.sort_unstable();
    // Far more than a busy machine takes: what it measures on a quiet one is in `docs/benchmarks.md`.
    assert!(delays[25] < Duration::from_secs(10), "half of them took {:?}", delays[25]);
}

#[test]
fn a_value_that_is_neither_0_nor_1_is_refused_and_other_keys_are_let_pass() {
    let livebox = running();
    let answer = livebox.http().get("/camera.mp4?pad=maybe");
    assert_eq!(answer.head.status, 400);
    assert!(String::from_utf8_lossy(&answer.body).contains("'pad'"));

    let (head, body) = livebox.http().open("/camera.mp4?1795240290");
    body.close();
    assert_eq!(head.status, 200);
}

#[test]
fn safaris_probe_is_sent_to_the_playlist() {
    let livebox = Livebox::start(CAMERA);
    let probe = livebox.http().request("GET", "/camera.mp4").header("Range", "bytes=0-1");
    let answer = probe.answer();
    assert_eq!(answer.head.status, 302);
    assert_eq!(answer.head.header("Location"), Some("/camera.m3u8"));
}

#[test]
fn ffmpeg_writes_as_many_pictures_as_the_camera_gives() {
    let livebox = running();
    let mut ffmpeg = tool("ffmpeg");
    ffmpeg.args(["-v", "error", "-i", &livebox.url("/camera.mp4"), "-t", "2", "-s", "32x18"]);
    let file = tempfile::NamedTempFile::new().expect("there is room for a file");
    ffmpeg.args(["-pix_fmt", "gray", "-f", "rawvideo", "-y"]).arg(file.path());

    let finished = run(&mut ffmpeg, b"", LIMIT);

    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    let pictures = file.as_file().metadata().expect("it is there").len() / (32 * 18);
    assert!((48..=52).contains(&pictures), "{pictures} pictures in two seconds of 25 each");
}

#[test]
fn vlc_gets_at_the_same_address_what_it_plays() {
    let livebox = Livebox::start(CAMERA);
    let vlc = livebox.http().request("GET", "/camera.mp4");
    let vlc = vlc.header("User-Agent", "VLC/3.0.24 LibVLC/3.0.24");
    let (head, body) = vlc.send().expect("it is answered");
    body.close();
    assert_eq!(head.status, 200);
    assert_eq!(head.header("Content-Type"), Some("video/mp2t"));
}

/// A service whose ring has three times 25 pictures, with a key frame each.
fn running() -> Livebox {
    let livebox =
        Livebox::start(&CAMERA.replace("feeds: {camera: {", "feeds: {camera: {mode: 60, "));
    let first = Viewer::connect(livebox.http(), "/camera.mp4");
    first.wait("pictures for a burst", LIMIT, |seen| seen.count(b"vide") > 75);
    livebox
}

fn passed_through(film: &Path) -> String {
    format!(
        "feeds: {{camera: {{file: {}, size: 320x180, fps: 25}}}}\nstreams: {{camera: {{}}}}\n",
        film.display()
    )
}

/// Ten seconds of boxes, of which the padding ends where blocks do.
fn padded_boxes(livebox: &Livebox) -> Vec<Box> {
    // Without sound each picture is a fragment.
    let boxes = boxes_of(livebox, "/camera.mp4?audio=0", TEN_SECONDS);
    let pads = boxes.iter().filter(|one| &one.kind == b"free");
    let ends: Vec<_> = pads.map(|one| (one.begin + one.length) % BLOCK).collect();
    // The first one may bring the joiner into the phase of all others.
    assert!(ends.len() > 5 && ends.iter().skip(1).all(|end| *end == 0), "{ends:?}");
    boxes
}

/// Of everything, and without the padding.
fn lengths(boxes: &[Box]) -> [usize; 2] {
    let media = boxes.iter().filter(|one| &one.kind != b"free").map(|one| one.length);
    [boxes.iter().map(|one| one.length).sum(), media.sum()]
}

pub(super) struct Box {
    kind: [u8; 4],
    begin: usize,
    pub(super) length: usize,
}

/// The boxes of an endless body up to this fragment.
pub(super) fn boxes_of(livebox: &Livebox, path: &str, mut fragments: usize) -> Vec<Box> {
    let (_, mut body) = livebox.http().open(path);
    let (mut boxes, mut begin) = (Vec::new(), 0);
    while fragments > 0 {
        let (kind, payload) = next_box(&mut body);
        let length = payload.len() + 8;
        boxes.push(Box { kind, begin, length });
        begin += length;
        fragments -= usize::from(&kind == b"moof");
    }
    body.close();
    boxes
}

fn next_box(body: &mut impl Read) -> ([u8; 4], Vec<u8>) {
    let mut header = [0; 8];
    body.read_exact(&mut header).expect("the stream goes on");
    let (length, kind) = header.split_at(4);
    let length = u32::from_be_bytes(length.try_into().expect("four bytes")) as usize;
    let mut payload = vec![0; length - 8];
    body.read_exact(&mut payload).expect("the stream goes on");
    (kind.try_into().expect("four bytes"), payload)
}
