//! The page of a stream recovers from what befalls the picture, and says so.

use std::time::Duration;

use super::browser::plays;
use super::bytes::wait_for_running;
use crate::common::browser::{Browser, Page, Scripts};
use crate::common::clip::{Clips, SHORT};
use crate::common::livebox::{CAMERA, Launch, Livebox};
use crate::common::process::run;
use crate::common::tools::tool;
use crate::common::wait;

const LIMIT: Duration = wait::TIMEOUT;

/// What stands on the picture.
const STATUS: &str = "return document.querySelector('[role=status]').innerText";
/// How far behind it says that it is, in seconds; a thousand where it does not say.
const BEHIND: &str = "
const text = document.querySelector('.delay').innerText;
return text.endsWith(' s behind') ? Number.parseFloat(text) : 1000";
/// Seconds of media that wait to be shown.
pub(super) const STORE: &str = "
const { buffered, currentTime } = document.querySelector('video');
return buffered.length ? buffered.end(buffered.length - 1) - currentTime : 1000";
/// The clock of the service, and the time of the picture, in seconds.
pub(super) const CLOCK: &str = "
return fetch('/camera/live.json').then(answer => answer.json()).then(live => live.clock_s)";
const SHOWN: &str = "return document.querySelector('video').currentTime";
pub(super) const WIDTH: &str = "return document.querySelector('video').videoWidth";
pub(super) const PLAY: &str = "document.querySelector('video').play()";
pub(super) const PAUSE: &str = "document.querySelector('video').pause()";
const PAUSED: &str = "return document.querySelector('video').paused";

#[test]
fn a_cold_stream_comes_to_the_live_edge_and_the_page_says_how_near_it_is() {
    let livebox = Livebox::start(CAMERA);
    let browser = Browser::start(Scripts::Allowed);

    browser.open(&livebox.url("/camera/"));

    is_live(&browser);
    // On a busy machine pictures come late; what has come is not kept in store.
    wait_for("nothing is kept in store", || browser.number(STORE) < 0.6);
    // What is shown is a quarter of a second old, and an answer takes a moment.
    wait_for("it says the truth", || {
        let (clock, shown) = (browser.number(CLOCK), browser.number(SHOWN));
        (clock - shown - browser.number(BEHIND)).abs() < 0.5
    });
}

#[test]
fn a_reload_that_changes_the_size_is_followed() {
    let livebox = Livebox::start(CAMERA);
    let browser = Browser::start(Scripts::Allowed);
    browser.open(&livebox.url("/"));
    is_live(&browser);
    assert_eq!(browser.number(WIDTH), 640.0);

    livebox.reload(&CAMERA.replace("640x360", "320x180"));

    wait_for("the new picture is there", || browser.number(WIDTH) == 320.0);
    is_live(&browser);
}

#[test]
fn a_stream_that_is_taken_away_is_told() {
    let livebox = Livebox::start(CAMERA);
    let browser = Browser::start(Scripts::Allowed);
    browser.open(&livebox.url("/camera/"));
    is_live(&browser);

    livebox.reload(&CAMERA.replace("streams:\n  camera:", "streams:\n  other:"));

    wait_for("the page says so", || told(&browser).contains("refuses the stream (404)"));
}

#[test]
fn a_crash_of_the_service_is_told_and_survived() {
    let mut livebox = Livebox::start(CAMERA);
    let browser = Browser::start(Scripts::Allowed);
    browser.open(&livebox.url("/"));
    is_live(&browser);

    livebox.process().kill();
    wait_for("the page says so", || told(&browser).contains("Connection lost"));
    let _again = Launch::with(CAMERA).on_port(livebox.port()).start();

    is_live(&browser);
}

#[test]
fn a_camera_that_stands_still_is_told_and_shown_again_at_the_live_edge() {
    let h264 = "-pix_fmt yuv420p -c:v libx264 -preset ultrafast -tune zerolatency -g 25 -bf 0";
    let source = "-f lavfi -i testsrc=size=320x240:rate=25";
    let livebox = Livebox::start(&format!(
        "feeds:\n  cam: {{command: \"ffmpeg -v error -re {source} {h264} -f mpegts -\"}}\n  \
         front: {{feed: cam}}\nstreams:\n  front: {{}}\n"
    ));
    let browser = Browser::start(Scripts::Allowed);
    browser.open(&livebox.url("/front/"));
    is_live(&browser);

    for pid in wait_for_running(&livebox, "ffmpeg", 1) {
        let mut stop = tool("kill");
        stop.args(["-STOP", &pid.to_string()]);
        assert_eq!(run(&mut stop, b"", LIMIT).code, Some(0));
    }

    wait_for("the page says so", || told(&browser).contains("camera"));
    is_live(&browser);
    wait_for("it is at the edge", || browser.number(BEHIND) < 1.5);
}

#[test]
fn what_was_paused_stays_so_and_goes_on_where_live_is() {
    let mut livebox = Livebox::start(CAMERA);
    let browser = Browser::start(Scripts::Allowed);
    browser.open(&livebox.url("/"));
    is_live(&browser);
    browser.evaluate(PAUSE);
    wait_for("the page says so", || told(&browser) == "Paused");

    livebox.process().kill();
    let again = Launch::with(CAMERA).on_port(livebox.port()).start();
    let mut client = again.http().open("/camera.mp4").1;
    client.take_bytes(200_000).expect("the stream goes on");
    assert_eq!(browser.evaluate(PAUSED), true);
    browser.evaluate(PLAY);

    is_live(&browser);
    wait_for("it is at the edge", || browser.number(BEHIND) < 1.5);
}

#[test]
fn a_page_without_a_picture_shows_it_once_there_is_one_and_does_not_load_anew_before() {
    let clips = Clips::new();
    let (film, aside) = (clips.make("aside.mp4", SHORT), clips.folder().join("clip.mp4"));
    let config = format!("feeds:\n  clip: {{file: {}}}\nstreams:\n  clip: {{}}\n", aside.display());
    let livebox = Livebox::start(&config);
    let browser = Browser::start(Scripts::Allowed);
    browser.open(&livebox.url("/clip/"));
    browser.evaluate("window.isTheSame = true");
    let asked = "return performance.getEntriesByType('resource')\
                 .filter(entry => entry.name.endsWith('/live.json')).length";
    wait_for("it has asked twice", || browser.number(asked) >= 2.0);
    assert_eq!(browser.evaluate("return window.isTheSame === true"), true);

    std::fs::rename(&film, &aside).expect("the folder is writable");

    wait_for("the page has a video", || {
        browser.evaluate("return document.querySelector('video') !== null") == true
    });
    is_live(&browser);
}

/// Returns when the page says that it is live, and fails unless it is.
pub(crate) fn is_live(browser: &dyn Page) {
    wait_for("the page says that it is live", || told(browser) == "Live");
    plays(browser);
    wait_for("the page still says so", || told(browser) == "Live");
}

pub(crate) fn told(browser: &dyn Page) -> String {
    browser.evaluate(STATUS).as_str().unwrap_or_default().to_owned()
}

pub(crate) fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    wait::until(what, LIMIT, || is_so().then_some(()));
}
