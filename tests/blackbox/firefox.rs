//! The page of a stream in Firefox, which tells no delay: it counts from the
//! first picture that it got.

use super::recovery::{CLOCK, PAUSE, PLAY, STORE, WIDTH, is_live, told, wait_for};
use crate::common::browser::Page;
use crate::common::firefox::Firefox;
use crate::common::livebox::{CAMERA, Launch, Livebox};

/// Pictures so far, and how many of them were not shown.
const PICTURES: &str = "
const { totalVideoFrames, droppedVideoFrames } =
  document.querySelector('video').getVideoPlaybackQuality();
return [totalVideoFrames, droppedVideoFrames]";
/// So many pictures are judged at once: three seconds.
const ENOUGH: f64 = 75.0;
/// The page keeps less in store, and a pause is longer.
const NEAR_S: f64 = 4.0;
const PAUSE_S: f64 = 6.0;

#[test]
fn firefox_shows_nearly_every_picture_of_a_stream() {
    let livebox = Livebox::start(CAMERA);
    let firefox = Firefox::start();

    firefox.open(&livebox.url("/camera/"));

    is_live(&firefox);
    shows_nearly_every_picture(&firefox);
    wait_for("it is near the live edge", || firefox.number(STORE) < NEAR_S);
}

#[test]
fn firefox_survives_a_crash_of_the_service_and_follows_a_change_of_the_size() {
    let mut livebox = Livebox::start(CAMERA);
    let firefox = Firefox::start();
    firefox.open(&livebox.url("/"));
    is_live(&firefox);

    livebox.process().kill();
    wait_for("the page says so", || told(&firefox).contains("Connection lost"));
    let again = Launch::with(CAMERA).on_port(livebox.port()).start();
    is_live(&firefox);

    again.reload(&CAMERA.replace("640x360", "320x180"));
    wait_for("the new picture is there", || firefox.number(WIDTH) == 320.0);
    is_live(&firefox);
}

#[test]
fn firefox_goes_on_where_live_is_after_a_pause() {
    let livebox = Livebox::start(CAMERA);
    let firefox = Firefox::start();
    firefox.open(&livebox.url("/"));
    is_live(&firefox);

    firefox.evaluate(PAUSE);
    let begin = firefox.number(CLOCK);
    wait_for("the pause is over", || firefox.number(CLOCK) > begin + PAUSE_S);
    firefox.evaluate(PLAY);

    wait_for("it is near the live edge", || firefox.number(STORE) < NEAR_S);
    is_live(&firefox);
}

/// Waits for three seconds of which four pictures in five are shown.
fn shows_nearly_every_picture(firefox: &Firefox) {
    let sample = || {
        let pair = firefox.evaluate(PICTURES);
        (pair[0].as_f64().unwrap_or(0.0), pair[1].as_f64().unwrap_or(0.0))
    };
    let mut from = sample();
    wait_for("nearly every picture is shown", || {
        let (total, dropped) = sample();
        if (0.0..ENOUGH).contains(&(total - from.0)) {
            return false;
        }
        let share = (dropped - from.1) / (total - from.0);
        from = (total, dropped);
        (0.0..0.2).contains(&share)
    });
}
