//! The picture in a real browser.

use std::time::Duration;

use crate::common::browser::{Browser, Page, Scripts};
use crate::common::clip::{Clips, SHORT};
use crate::common::livebox::{CAMERA, Livebox};
use crate::common::wait;

const LIMIT: Duration = wait::TIMEOUT;
const TIME: &str = "return document.querySelector('video').currentTime";
pub(crate) const FRAMES: &str =
    "return document.querySelector('video').getVideoPlaybackQuality().totalVideoFrames";

#[test]
fn chromium_plays_the_front_page_and_its_time_and_frames_advance() {
    let livebox = Livebox::start(CAMERA);
    let browser = Browser::start(Scripts::Allowed);

    browser.open(&livebox.url("/"));

    plays(&browser);
    save_screenshot(&browser);
}

#[test]
fn the_page_of_a_stream_plays_with_scripts_blocked() {
    let livebox = Livebox::start(CAMERA);
    let browser = Browser::start(Scripts::Blocked);

    browser.open(&livebox.url("/camera/"));

    plays(&browser);
}

#[test]
fn a_page_that_says_why_there_is_no_picture_shows_it_once_there_is_one() {
    let clips = Clips::new();
    let (film, aside) = (clips.make("aside.mp4", SHORT), clips.folder().join("clip.mp4"));
    let config = format!("feeds:\n  clip: {{file: {}}}\nstreams:\n  clip: {{}}\n", aside.display());
    let livebox = Livebox::start(&config);
    let browser = Browser::start(Scripts::Blocked);
    browser.open(&livebox.url("/"));
    let told = browser.evaluate("return document.querySelector('main').innerText").to_string();
    assert!(told.contains("There is no file"), "{told}");

    std::fs::rename(&film, &aside).expect("the folder is writable");

    // The page may be in the midst of looking again.
    wait::until("the page has a video", LIMIT, || {
        (browser.evaluate("return document.querySelector('video') !== null") == true).then_some(())
    });
    plays(&browser);
}

#[test]
fn every_page_fits_a_phone_and_no_number_is_parted_from_its_unit() {
    let away =
        "pushes: {away: {stream: camera, url: \"rtmp://127.0.0.1:9/live2\", key: k, start: true}}";
    let livebox = Livebox::start(&format!("{CAMERA}{away}\n"));
    livebox.log().wait_for("push away failed", LIMIT);
    let browser = Browser::start(Scripts::Allowed);
    browser.become_phone(390, 844);

    for path in ["/", "/stat", "/dashboard"] {
        browser.open(&livebox.url(path));
        let wide = browser.number("return document.documentElement.scrollWidth");
        assert_eq!(wide, 390.0, "{path} is wider than the phone");
        assert_eq!(browser.evaluate(PARTED), serde_json::json!([]), "{path} parts numbers");
    }
    browser.open(&livebox.url("/stat"));
    assert_eq!(browser.evaluate(SECOND_PAIR_BELOW), true, "the first table has four columns");
}

#[test]
fn every_page_has_one_landmark_and_nothing_that_a_finger_misses() {
    let away =
        "pushes: {away: {stream: camera, url: \"rtmp://127.0.0.1:9/live2\", key: k, start: true}}";
    let livebox = Livebox::start(&format!("{CAMERA}{away}\n"));
    let browser = Browser::start(Scripts::Allowed);
    browser.become_phone(390, 844);

    for path in ["/", "/camera/", "/stat", "/recordings", "/dashboard", "/dashboard/recordings"] {
        browser.open(&livebox.url(path));
        assert_eq!(browser.number(LANDMARKS), 1.0, "{path}");
        assert_eq!(browser.evaluate(OUTSIDE), serde_json::json!([]), "{path}: outside of main");
        assert_eq!(browser.evaluate(SMALL), serde_json::json!([]), "{path}: too small");
    }
}

#[test]
fn pages_are_as_light_or_dark_as_the_browser_is() {
    let livebox = Livebox::start(CAMERA);
    let browser = Browser::start(Scripts::Allowed);

    for path in ["/", "/stat", "/dashboard", "/recordings", "/nothing"] {
        browser.prefer_colours("light");
        browser.open(&livebox.url(path));
        let light = [browser.number(&lightness("background")), browser.number(&lightness("text"))];
        browser.prefer_colours("dark");
        let dark = [browser.number(&lightness("background")), browser.number(&lightness("text"))];
        assert!(light[0] > 200.0 && light[1] < 60.0, "{path}: {light:?}");
        assert!(dark[0] < 60.0 && dark[1] > 200.0, "{path}: {dark:?}");
    }
}

/// How light a colour of the page is, from 0 to 255.
fn lightness(of: &str) -> String {
    let property = if of == "text" { "color" } else { "backgroundColor" };
    format!(
        "const colour = getComputedStyle(document.body).{property};\
         return Math.max(...colour.match(/\\d+/g).map(Number))"
    )
}

const LANDMARKS: &str = "return document.querySelectorAll('main').length";
const OUTSIDE: &str = "
const content = [...document.querySelectorAll('h1, h2, table, video, form, p')];
return content.filter(one => !one.closest('main')).map(one => one.innerText)";
/// What is to be hit and is not 24 pixels wide and high.
const SMALL: &str = "
const targets = [...document.querySelectorAll('a, button, input:not([type=hidden]), select')]
    .filter(target => !target.closest('video'));
if (targets.length < 2) return 'there is nothing to hit';
const box = target => target.getBoundingClientRect();
const small = targets.filter(target => box(target).width < 24 || box(target).height < 24);
return small.map(target => target.outerHTML)";

/// The sizes and rates in tables that take more than a line.
const PARTED: &str = "
const cells = [...document.querySelectorAll('td')];
const sizes = cells.filter(cell => /^[\\d.]+\\s(B|kB|KB|MB|kbit\\/s)$/.test(cell.innerText.trim()));
if (sizes.length < 1) return 'there are no sizes';
const lines = cell => {
    const text = document.createRange();
    text.selectNodeContents(cell);
    return new Set([...text.getClientRects()].map(line => line.top)).size;
};
return sizes.filter(cell => lines(cell) > 1).map(cell => cell.innerText)";
const SECOND_PAIR_BELOW: &str = "
const [first, second] = document.querySelectorAll('table th');
return first.offsetLeft === second.offsetLeft && first.offsetTop < second.offsetTop";

/// Waits for two seconds in which the picture moves: half of its frames at
/// least, as a busy machine leaves some out.
pub(crate) fn plays(browser: &dyn Page) {
    let sample = || (browser.number(TIME), browser.number(FRAMES));
    let mut from = sample();
    wait::until("the picture moves for two seconds", LIMIT, || {
        let (time, frames) = sample();
        if time > 0.0 && time > from.0 + 2.0 && frames >= from.1 + 25.0 {
            return Some(());
        }
        // A new connection counts from the beginning.
        let is_another = time < from.0 || frames < from.1;
        if is_another || time > from.0 + 2.0 {
            from = (time, frames);
        }
        None
    });
}

/// Saves what is seen where `LIVEBOX_SCREENSHOT` names a file.
fn save_screenshot(browser: &Browser) {
    let picture = browser.screenshot();
    assert!(picture.starts_with(b"\x89PNG"), "not a picture");
    if let Some(file) = std::env::var_os("LIVEBOX_SCREENSHOT") {
        std::fs::write(file, picture).expect("the screenshot's folder is writable");
    }
}
