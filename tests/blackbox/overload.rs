//! More pictures than the machine can encode.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::common::clip::{Clips, SHORT};
use crate::common::livebox::{Launch, Livebox};
use crate::common::tools::tool;
use crate::common::viewer::{Seen, Viewer};
use crate::common::wait;

const LIMIT: Duration = wait::TIMEOUT;

/// More than any single core encodes.
const LARGE: &str = "size: 3840x2160, fps: 60";

/// How far a picture may be behind its own sound: the time of some pictures
/// that are encoded, however long one takes, and of what else is in the way.
const PICTURES: f64 = 4.0;
const SECONDS: f64 = 1.0;

#[test]
fn a_camera_that_is_too_fast_for_the_encoder_stays_live_and_says_what_it_leaves_out() {
    let livebox = on_one_core(&format!(
        "feeds: {{front: {{test: clock, {LARGE}, audio: tone}}}}\nstreams: {{front: {{}}}}\n"
    ));
    assert_stays_live(&livebox);
}

#[test]
fn a_film_that_is_too_fast_for_the_encoder_stays_live_and_says_what_it_leaves_out() {
    let clips = Clips::new();
    let film = clips.make("clip.mp4", SHORT);
    let livebox = on_one_core(&format!(
        "feeds: {{front: {{file: {}, {LARGE}}}}}\nstreams: {{front: {{encoder: x264enc}}}}\n",
        film.display()
    ));
    assert_stays_live(&livebox);
}

#[test]
fn a_shared_camera_that_is_too_fast_for_an_encoder_stays_live_and_says_what_it_leaves_out() {
    let livebox = on_one_core(&format!(
        "feeds: {{camera: {{test: clock, {LARGE}, audio: tone}}}}\n\
         streams: {{front: {{feed: camera}}, small: {{feed: camera, size: 320x180}}}}\n"
    ));
    assert_stays_live(&livebox);
}

fn on_one_core(config: &str) -> Livebox {
    let mut pinned: Command = tool("taskset");
    pinned.args(["--cpu-list", "0"]);
    Launch::with(config).run_by(pinned).start()
}

fn assert_stays_live(livebox: &Livebox) {
    let viewer = Viewer::connect(livebox.http(), "/front.mp4");

    let seen = viewer.wait("eight seconds", LIMIT, |seen| seen.span(b"soun") > 8.0);

    let behind = seen.end(b"soun") - seen.end(b"vide");
    let bound = SECONDS + PICTURES * seconds_for_a_picture(&seen);
    assert!(behind < bound, "the picture is {behind} s behind its sound, more than {bound}");
    seen.assert_time_goes_forward();
    let stat: Value = livebox.get("/stat.json").json();
    let stream = &stat["streams"][0];
    assert!(stream["dropped_before_encoder"].as_u64() > Some(0), "{stream}");
    let shown = stream["fps"].as_f64().expect("it is live");
    assert!(shown < 50.0, "{shown} pictures a second are shown, 60 are asked for");
    livebox.log().wait_for("the encoder is too slow; frames are dropped", LIMIT);
}

/// How long a picture takes, over the last half of what came.
fn seconds_for_a_picture(seen: &Seen) -> f64 {
    let track = seen.tracks.iter().find(|track| &track.handler == b"vide").expect("a picture");
    let pictures = seen.fragments.iter().filter(|fragment| fragment.track == track.id);
    let arrived: Vec<_> = pictures.map(|picture| picture.arrived).collect();
    let late = &arrived[arrived.len() / 2..];
    let span = late[late.len() - 1] - late[0];
    span.as_secs_f64() / (late.len() - 1).max(1) as f64
}
