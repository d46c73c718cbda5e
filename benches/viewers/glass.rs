//! How far a plain `<video>` tag in a browser is behind the encoder.
//!
//! Each picture that the browser shows tells its media time
//! (`requestVideoFrameCallback`), which is the decode time in the stream: the
//! stamps of a second connection tell when that very picture left the encoder.
//! Firefox counts from the beginning of what it was sent, which a relay notes.
//! A picture that stands nowhere in the stream makes the measurement void.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::common::browser::{Browser, Scripts};
use crate::common::firefox::Firefox;
use crate::common::livebox::Livebox;
use crate::relay::Relay;
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
video.autoplay = AUTOPLAY;
video.src = SOURCE;
document.body.replaceChildren(video);
if (!video.autoplay) video.play();";

/// A `<video>` tag on a path.
pub(crate) struct Tag {
    pub(crate) player: Player,
    path: &'static str,
    begin: Begin,
    pub(crate) title: &'static str,
    /// Milliseconds that it may be behind, where that is promised.
    pub(crate) limit: Option<f64>,
}

/// The browser that has it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Player {
    Chromium,
    Firefox,
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
            player: Player::Chromium,
            path: "/camera.mp4?audio=0",
            begin: Begin::Play,
            title: "`play()`, `?audio=0`",
            limit: Some(300.0),
        },
        Self {
            player: Player::Chromium,
            path: "/camera.mp4",
            begin: Begin::Play,
            title: "`play()`, with AAC",
            limit: Some(600.0),
        },
        Self {
            player: Player::Chromium,
            path: "/dark.mp4",
            begin: Begin::Play,
            title: "`play()`, near-black, 40 kbit/s, no sound",
            limit: None,
        },
        Self {
            player: Player::Chromium,
            path: "/camera.mp4?audio=0",
            begin: Begin::Autoplay,
            title: "`autoplay` without a script, `?audio=0`",
            limit: Some(300.0),
        },
        Self {
            player: Player::Chromium,
            path: "/camera.mp4",
            begin: Begin::Autoplay,
            title: "`autoplay` without a script, with AAC",
            limit: Some(600.0),
        },
        Self {
            player: Player::Chromium,
            path: "/dark.mp4",
            begin: Begin::Autoplay,
            title: "`autoplay` without a script, near-black, 40 kbit/s, no sound",
            limit: None,
        },
        Self {
            player: Player::Firefox,
            path: "/camera.mp4?audio=0",
            begin: Begin::Autoplay,
            title: "`autoplay` without a script, `?audio=0`",
            limit: None,
        },
        Self {
            player: Player::Firefox,
            path: "/camera.mp4",
            begin: Begin::Autoplay,
            title: "`autoplay` without a script, with AAC",
            limit: None,
        },
    ];

    /// Plays and measures for `span`.
    pub(crate) fn measure(&'static self, livebox: &Livebox, span: Duration) -> Glass {
        let stamped = self.path.split('?').next().unwrap_or(self.path);
        let stamped = format!("{stamped}?stamp=1&audio=0");
        let (pictures, played) = stamps::pictures(livebox.http(), &stamped, || {
            let page = livebox.url(&format!("/{PAGE}"));
            match self.player {
                Player::Chromium => {
                    let browser = Browser::start(Scripts::Allowed);
                    browser.open(&page);
                    let source = livebox.url(self.path);
                    Ok((self.play(&source, span, |script| browser.evaluate(script)), 0.0))
                }
                Player::Firefox => {
                    let relay = Relay::start(livebox.http().address);
                    let source = format!("http://{}{}", relay.address, self.path);
                    let browser = Firefox::start();
                    browser.open(&page);
                    let told = self.play(&source, span, |script| browser.evaluate(script));
                    drop(browser);
                    Ok((told, relay.earliest()?))
                }
            }
        });
        let seen = played.map_err(|error: std::io::Error| error.to_string());
        Glass { tag: self, seen: seen.and_then(|(told, zero)| judge(&pictures, &told, zero)) }
    }

    /// What the page tells after it has played for `span`.
    fn play(&self, source: &str, span: Duration, mut evaluate: impl FnMut(&str) -> Value) -> Value {
        // In one script: a tag that has enough before it learns of `autoplay` never begins.
        let autoplay = matches!(self.begin, Begin::Autoplay).to_string();
        let script = PLAY.replace("SOURCE", &format!("{source:?}")).replace("AUTOPLAY", &autoplay);
        evaluate(&script);
        std::thread::sleep(SETTLE);
        evaluate("window.shown = []");
        std::thread::sleep(span);
        evaluate("return {shown: window.shown, first: window.first}")
    }
}

impl Player {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Player::Chromium => "Chromium",
            Player::Firefox => "Firefox",
        }
    }
}

/// Judges what a browser told whose media time zero is at `zero` seconds of the stream.
fn judge(pictures: &Pictures, told: &Value, zero: f64) -> Result<Seen, String> {
    let shown: Vec<(f64, f64)> =
        told["shown"].as_array().into_iter().flatten().filter_map(pair).collect();
    let behind = shown.iter().filter_map(|(at, time)| Some(at - pictures.came_ms(zero + *time)?));
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
