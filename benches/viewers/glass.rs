//! How far a plain `<video>` tag in Chromium is behind the encoder.
//!
//! Each picture that the browser shows tells its media time
//! (`requestVideoFrameCallback`), which is the decode time in the stream: the
//! stamps of a second connection tell when that very picture left the encoder.
//! A picture that stands nowhere in the stream makes the measurement void.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::common::browser::{Browser, Scripts};
use crate::common::livebox::Livebox;
use crate::spread::Spread;
use crate::stamps::{self, Pictures};

/// An empty page of the same origin.
pub(crate) const PAGE: &str = "glass.html";
/// For the distance to come to rest.
const SETTLE: Duration = Duration::from_secs(5);

const PLAY: &str = "\
const video = document.createElement('video');
video.muted = video.playsInline = true;
const asked = performance.now();
window.shown = [];
window.first = null;
const note = (now, picture) => {
  const seen = performance.now();
  window.first ??= seen - asked;
  window.shown.push([performance.timeOrigin + seen, picture.mediaTime]);
  video.requestVideoFrameCallback(note);
};
video.requestVideoFrameCallback(note);
video.src = PATH;
document.body.replaceChildren(video);";

/// A `<video>` tag on a path.
pub(crate) struct Tag {
    path: &'static str,
    begin: Begin,
    pub(crate) title: &'static str,
    /// Milliseconds that it may be behind, where that is promised.
    pub(crate) limit: Option<f64>,
}

/// What lets it begin. Chromium holds `autoplay` back until it believes that
/// it can play to the end: for a stream without one, until its loader rests.
#[derive(Clone, Copy, Debug)]
enum Begin {
    Play,
    Autoplay,
}

/// What one `<video>` tag did, or why there is no figure.
pub(crate) struct Glass {
    pub(crate) tag: &'static Tag,
    pub(crate) seen: Result<Seen, String>,
}

pub(crate) struct Seen {
    /// Milliseconds from the encoder's output to the script that sees the picture on the page.
    pub(crate) behind: Spread,
    /// Milliseconds from setting `src` to the first picture.
    pub(crate) first: f64,
}

/// Writes the page into livebox's docroot.
pub(crate) fn write_page(docroot: &Path) {
    std::fs::write(docroot.join(PAGE), "<!DOCTYPE html><title>glass</title><body>")
        .expect("the folder is writable");
}

impl Tag {
    pub(crate) const ALL: &'static [Self] = &[
        Self {
            path: "/camera.mp4?audio=0",
            begin: Begin::Play,
            title: "`play()`, `?audio=0`",
            limit: Some(300.0),
        },
        Self {
            path: "/camera.mp4",
            begin: Begin::Play,
            title: "`play()`, with AAC",
            limit: Some(600.0),
        },
        Self {
            path: "/dark.mp4",
            begin: Begin::Play,
            title: "`play()`, near-black, 40 kbit/s, no sound",
            limit: None,
        },
        Self {
            path: "/camera.mp4?audio=0",
            begin: Begin::Autoplay,
            title: "`autoplay` without a script, `?audio=0`",
            limit: Some(300.0),
        },
        Self {
            path: "/camera.mp4",
            begin: Begin::Autoplay,
            title: "`autoplay` without a script, with AAC",
            limit: Some(600.0),
        },
        Self {
            path: "/dark.mp4",
            begin: Begin::Autoplay,
            title: "`autoplay` without a script, near-black, 40 kbit/s, no sound",
            limit: None,
        },
    ];

    /// Plays and measures for `span`.
    pub(crate) fn measure(&'static self, livebox: &Livebox, span: Duration) -> Glass {
        let stamped = self.path.split('?').next().unwrap_or(self.path);
        let stamped = format!("{stamped}?stamp=1&audio=0");
        let (pictures, told) = stamps::pictures(livebox.http(), &stamped, || {
            let browser = Browser::start(Scripts::Allowed);
            browser.open(&livebox.url(&format!("/{PAGE}")));
            browser.evaluate(&PLAY.replace("PATH", &format!("{:?}", self.path)));
            browser.evaluate(match self.begin {
                Begin::Play => "document.querySelector('video').play()",
                Begin::Autoplay => "document.querySelector('video').autoplay = true",
            });
            std::thread::sleep(SETTLE);
            browser.evaluate("window.shown = []");
            std::thread::sleep(span);
            browser.evaluate("return {shown: window.shown, first: window.first}")
        });
        Glass { tag: self, seen: judge(&pictures, &told) }
    }
}

fn judge(pictures: &Pictures, told: &Value) -> Result<Seen, String> {
    let shown: Vec<(f64, f64)> =
        told["shown"].as_array().into_iter().flatten().filter_map(pair).collect();
    let behind = shown.iter().filter_map(|(at, time)| Some(at - pictures.came_ms(*time)?));
    let behind = Spread::of_ms(behind);
    let all_found = shown.len() > 10 && behind.len() * 100 >= shown.len() * 99;
    match told["first"].as_f64().filter(|_| all_found) {
        Some(first) => Ok(Seen { behind, first }),
        None => Err(format!(
            "{} pictures were shown, of which {} stand in the stream",
            shown.len(),
            behind.len()
        )),
    }
}

fn pair(value: &Value) -> Option<(f64, f64)> {
    Some((value[0].as_f64()?, value[1].as_f64()?))
}
