//! What viewers cost and notice: livebox beside other servers that show the
//! same encoded stream, in one run on one machine, as tables for `docs/benchmarks.md`.
//!
//! livebox shows a film that passes through, so that no encoder counts. The
//! cost of a viewer is the CPU time with N viewers less the CPU time with none.
//!
//! VLC, motion and, through npm, node-media-server are measured where they are installed.
//!
//! `LIVEBOX_BENCH_VIEWERS` (1,50,200,500) are the numbers of viewers, of which
//! the last is also that of the other ways out; `LIVEBOX_BENCH_SECONDS` (12) is
//! how long each is measured; `LIVEBOX_BENCH_BROWSER=0` leaves the browser out.
//!
//! Words behind the command choose rows: those in whose first column one of
//! them stands, as in `make bench ARGS="MPEG-TS cat first"`.

#[expect(dead_code, unreachable_pub, reason = "the harness is a part of several programs")]
#[path = "../../tests/common/mod.rs"]
mod common;

mod bytes;
mod cold;
mod cost;
mod floor;
mod glass;
mod hls;
mod https;
mod joins;
mod load;
mod motion;
mod node;
mod relay;
mod rtmp;
mod rtsp;
mod spread;
mod stage;
mod stamps;
mod table;
mod vlc;

use std::io::Write;
use std::time::Duration;

use bytes::Delays;
use common::livebox::Livebox;
use common::proc;
use glass::Tag;
use stage::{Films, SETTLE, Stage, Way};
use table::{Asleep, Result, Row, Staged};

const DELAY_VIEWERS: usize = 50;

/// Each takes thirty megabits a second.
const MJPEG_VIEWERS: [usize; 2] = [1, 50];

/// How much is measured.
struct Size {
    viewers: Vec<usize>,
    span: Duration,
    with_browser: bool,
    /// Words of the rows that are wanted; none stands for all.
    words: Vec<String>,
}

fn main() {
    floor::serve_if_floor();
    let size = Size::from_environment();
    let films = Films::make();
    let asleep = size.wants(table::ASLEEP).then(|| asleep(&films, size.span));
    let cold = size.wants(table::COLD).then(cold::first_frames);
    let cat = size.wants(table::CAT).then(|| Delays::measure(size.span));
    let staged = on_stage(&films, &size);
    let result = Result { staged, delay_viewers: DELAY_VIEWERS, asleep, cold, cat };
    std::io::stdout().write_all(result.markdown().as_bytes()).expect("somebody reads the result");
}

/// What needs all servers at once.
fn on_stage(films: &Films, size: &Size) -> Staged {
    let stage = Stage::start(films);
    std::thread::sleep(SETTLE);
    let before = stage.cores(size.span);
    let rows = rows(&stage, size);
    let delay = size.wants(table::DELAY).then(|| {
        stamps::delays(stage.livebox.http(), "/camera.mp4?stamp=1", DELAY_VIEWERS, size.span)
    });
    let tags = match size.with_browser && size.wants(table::BROWSER) {
        true => Tag::ALL.iter().map(|tag| tag.measure(&stage.livebox, size.span)).collect(),
        false => Vec::new(),
    };
    std::thread::sleep(SETTLE);
    let after = stage.cores(size.span);
    let both = || before.iter().zip(&after);
    let idle = both().map(|(before, after)| f64::midpoint(*before, *after)).collect();
    let noise = both().map(|(before, after)| (before - after).abs()).collect();
    Staged { rows, idle, noise, delay, tags }
}

/// livebox alone, before anybody has watched.
fn asleep(films: &Films, span: Duration) -> Asleep {
    let livebox = Livebox::start(&films.config);
    std::thread::sleep(SETTLE);
    let cpu_percent = 100.0 * cost::cores(&[livebox.pid()], span)[0];
    Asleep { cpu_percent, resident_kib: proc::resident_kib(livebox.pid()) }
}

fn rows(stage: &Stage, size: &Size) -> Vec<Row> {
    let mut rows = Vec::new();
    for viewers in size.viewers.iter().filter(|_| size.wants(Way::Mp4.title())) {
        let join = || joins::first_key_frames(stage.livebox.http(), "/camera.mp4?pad=0");
        let (run, joins) = stage.run(Way::Mp4, *viewers, size.span, join);
        rows.push(Row { way: Way::Mp4, viewers: *viewers, run, joins: Some(joins) });
    }
    for viewers in size.viewers.iter().filter(|_| size.wants(Way::Https.title())) {
        let (run, ()) = stage.run(Way::Https, *viewers, size.span, || ());
        rows.push(Row { way: Way::Https, viewers: *viewers, run, joins: None });
    }
    for viewers in size.viewers.iter().filter(|viewers| **viewers > 1) {
        if stage.has(Way::NodeFlv.server()) && size.wants(Way::NodeFlv.title()) {
            let (run, ()) = stage.run(Way::NodeFlv, *viewers, size.span, || ());
            rows.push(Row { way: Way::NodeFlv, viewers: *viewers, run, joins: None });
        }
    }
    let most = *size.viewers.last().expect("there is a number");
    for way in [
        Way::Floor,
        Way::VideoOnly,
        Way::Rtsp,
        Way::NginxRtmp,
        Way::Ts,
        Way::VlcTs,
        Way::Hls,
        Way::NginxHls,
    ] {
        if stage.has(way.server()) && size.wants(way.title()) {
            let (run, ()) = stage.run(way, most, size.span, || ());
            rows.push(Row { way, viewers: most, run, joins: None });
        }
    }
    // With one viewer it is the decoder and the encoder that count: motion has
    // them running always, livebox while somebody watches.
    for viewers in MJPEG_VIEWERS {
        for way in [Way::Mjpeg, Way::MotionMjpeg] {
            if stage.has(way.server()) && size.wants(way.title()) {
                let (run, ()) = stage.run(way, viewers, size.span, || ());
                rows.push(Row { way, viewers, run, joins: None });
            }
        }
    }
    rows
}

impl Size {
    fn from_environment() -> Self {
        let viewers = setting("LIVEBOX_BENCH_VIEWERS", "1,50,200,500");
        let viewers = viewers.split(',').map(|number| whole(number.trim())).collect();
        let seconds = whole(&setting("LIVEBOX_BENCH_SECONDS", "12"));
        let with_browser = setting("LIVEBOX_BENCH_BROWSER", "1") != "0";
        // cargo adds options of its own.
        let words = std::env::args().skip(1).filter(|word| !word.starts_with('-'));
        let words = words.map(|word| word.to_lowercase()).collect();
        Self { viewers, span: Duration::from_secs(seconds as u64), with_browser, words }
    }

    /// Whether the row that begins so is measured.
    fn wants(&self, title: &str) -> bool {
        let title = title.to_lowercase();
        self.words.is_empty() || self.words.iter().any(|word| title.contains(word))
    }
}

fn setting(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
}

fn whole(text: &str) -> usize {
    text.parse().unwrap_or_else(|_| panic!("{text:?} is not a whole number"))
}
