//! Streams that pass a feed's own H.264 through, watched again after the feed
//! has rested.

use std::io::Cursor;
use std::time::Duration;

use crate::common::clip::{Clips, SHORT};
use crate::common::fmp4::{Fragment, Piece, read_piece};
use crate::common::livebox::{CAMERA, Livebox};
use crate::common::viewer::{Seen, Viewer};
use crate::common::wait;

const LIMIT: Duration = wait::TIMEOUT;

/// An interruption of this many seconds is one that a viewer sees.
const VISIBLE: f64 = 1.0;

/// A stream that tells the time of the media while another one rests.
const CLOCK: &str = "clock: {test: clock, size: 160x96, fps: 10, mode: continuous}";

#[test]
fn a_shared_film_that_rested_begins_with_what_is_live() {
    let clips = Clips::new();
    let film = clips.make("clip.mp4", SHORT);
    watch_rest_and_watch_again(&Livebox::start(&format!(
        "feeds:\n  {CLOCK}\n  source: {{file: {}, size: 320x180, fps: 25}}\n\
         streams:\n  clock: {{}}\n  watched: {{feed: source}}\n  \
         small: {{feed: source, size: 160x90}}\n",
        film.display()
    )));
}

#[test]
fn a_camera_on_the_network_that_rested_begins_with_what_is_live() {
    let server = Livebox::start(CAMERA);
    watch_rest_and_watch_again(&Livebox::start(&format!(
        "feeds:\n  {CLOCK}\n  source: {{rtsp: \"{}\"}}\n\
         streams:\n  clock: {{}}\n  watched: {{feed: source}}\n",
        server.rtsp_url("/camera")
    )));
}

#[test]
fn a_command_that_rested_begins_with_what_is_live() {
    let command = "ffmpeg -v error -re -f lavfi -i testsrc=size=320x240:rate=25 \
                   -re -f lavfi -i sine=frequency=1000 -pix_fmt yuv420p -c:v libx264 \
                   -preset ultrafast -tune zerolatency -g 25 -bf 0 -c:a aac -f mpegts -";
    watch_rest_and_watch_again(&Livebox::start(&format!(
        "feeds:\n  {CLOCK}\n  bytes: {{command: {command:?}}}\n  source: {{feed: bytes}}\n\
         streams:\n  clock: {{}}\n  watched: {{feed: source}}\n"
    )));
}

/// A feed `source` and its stream `watched`, beside the [`CLOCK`].
fn watch_rest_and_watch_again(livebox: &Livebox) {
    let clock = Viewer::connect(livebox.http(), "/clock.mp4");
    let viewer = Viewer::connect(livebox.http(), "/watched.mp4");
    viewer.wait("two seconds", LIMIT, |seen| seen.span(b"soun") > 2.0);
    drop(viewer);
    livebox.log().wait_for("feed source is idle", LIMIT);
    let rested = clock.seen().end(b"vide");
    clock.wait("a rest", LIMIT, |seen| seen.end(b"vide") > rested + 3.0 * VISIBLE);

    let viewer = Viewer::connect(livebox.http(), "/watched.mp4");
    let seen = viewer.wait("two more seconds", LIMIT, |seen| seen.span(b"soun") > 2.0);
    let first_segment = first_segment(livebox);

    let picture = seconds_of_first(&seen, b"vide");
    assert!(picture > rested + VISIBLE, "begins at {picture}, rested at {rested}");
    let sound = seconds_of_first(&seen, b"soun");
    assert!((sound - picture).abs() < VISIBLE, "picture at {picture}, sound at {sound}");
    let jumps: Vec<_> = seen.breaks().into_iter().filter(|b| b.gap.abs() > VISIBLE).collect();
    assert!(jumps.is_empty(), "{jumps:?}");
    let segment = time_of(&seen, b"vide", &first_segment);
    assert!(segment > rested + VISIBLE, "HLS begins at {segment}, rested at {rested}");
}

fn seconds_of_first(seen: &Seen, handler: &[u8; 4]) -> f64 {
    let track = seen.tracks.iter().find(|track| &track.handler == handler).expect("a track");
    let first = seen.fragments.iter().find(|fragment| fragment.track == track.id);
    time_of(seen, handler, first.expect("a fragment"))
}

fn time_of(seen: &Seen, handler: &[u8; 4], fragment: &Fragment) -> f64 {
    let track = seen.tracks.iter().find(|track| &track.handler == handler).expect("a track");
    fragment.decode_time as f64 / f64::from(track.timescale)
}

/// The first picture of the oldest segment that the playlist lists.
fn first_segment(livebox: &Livebox) -> Fragment {
    const PICTURES: u32 = 1;
    let playlist = wait::until("a playlist with a segment", LIMIT, || {
        let answer = livebox.get("/watched/hls/live.m3u8");
        (answer.status() == 200 && answer.text().contains(".m4s")).then(|| answer.text())
    });
    let name = playlist.lines().find(|line| line.ends_with(".m4s")).expect("it lists a segment");
    let mut segment = Cursor::new(livebox.get(&format!("/watched/hls/{name}")).body);
    loop {
        let piece = read_piece(&mut segment).expect("a segment is fragmented MP4");
        let Piece::Fragments(fragments) = piece.expect("a segment has a picture") else { continue };
        if let Some(picture) = fragments.into_iter().find(|fragment| fragment.track == PICTURES) {
            return picture;
        }
    }
}
