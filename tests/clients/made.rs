//! When each picture of the film was made: when livebox's packager got it.
//!
//! The film keeps a constant pace, so one look at a stream under `?stamp=1`
//! tells it for all pictures of the run, those before the look included.

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use crate::common::fmp4::{self, Piece};
use crate::common::http::Http;
use crate::common::process::run;
use crate::common::tools::tool;
use crate::film::{self, BARS, BARS_FILTER, FPS, PICTURES};

/// Live pictures that the look waits for.
const ENOUGH: usize = 30;
/// By how much a picture may seem to be shown before it was made.
const SLACK_MS: f64 = 500.0;
const LIMIT: Duration = Duration::from_secs(30);

/// The pace of one run of the film.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Made {
    /// When a picture with the number zero was made, in milliseconds since 1970.
    zero_ms: f64,
}

/// Keeps what is read.
struct Kept<R> {
    from: R,
    bytes: Vec<u8>,
}

impl Made {
    /// Watches the stream at `path` until the pace is known. `folder` takes what is needed for it.
    pub(crate) fn look(http: Http, path: &str, folder: &Path) -> Self {
        let (_, body) = http.open(&format!("{path}?stamp=1&audio=0"));
        let socket = body.socket();
        let mut body = Kept { from: body, bytes: Vec::new() };
        let mut stamps: Vec<Option<f64>> = Vec::new();
        let mut stamp = None;
        while stamps.iter().flatten().count() < ENOUGH {
            match fmp4::read_piece(&mut body).expect("the stream is MP4") {
                Some(Piece::Stamp(ns)) => stamp = Some(ns as f64 / 1e6),
                Some(Piece::Fragments(_)) => stamps.push(stamp.take()),
                Some(Piece::Init(_) | Piece::Other) => {}
                None => panic!("{path} ended"),
            }
        }
        socket.shutdown(std::net::Shutdown::Both).ok();
        let numbers = numbers(&body.bytes, folder);
        let both = stamps.iter().zip(numbers);
        let known = both.filter_map(|(stamp, number)| Some(((*stamp)?, number?)));
        Self::of(known.collect())
    }

    /// The pace by when some pictures were made.
    fn of(known: Vec<(f64, u16)>) -> Self {
        let (first_ms, _) = *known.first().expect("some live pictures were read");
        let mut zeros: Vec<f64> = known
            .iter()
            .map(|(ms, number)| {
                let zero = ms - f64::from(*number) * picture_ms();
                // Of another round of the film.
                zero - ((zero - first_ms) / round_ms()).round() * round_ms()
            })
            .collect();
        zeros.sort_by(f64::total_cmp);
        Self { zero_ms: zeros[zeros.len() / 2] }
    }

    /// The place in the run of the picture that was shown then: the newest with that number.
    pub(crate) fn place(self, number: u16, shown_ms: f64) -> i64 {
        let since = shown_ms + SLACK_MS - self.zero_ms - f64::from(number) * picture_ms();
        let rounds = (since / round_ms()).floor() as i64;
        rounds * i64::from(PICTURES) + i64::from(number)
    }

    /// When the picture at `place` was made, in milliseconds since 1970.
    pub(crate) fn at_ms(self, place: i64) -> f64 {
        self.zero_ms + place as f64 * picture_ms()
    }
}

impl<R: Read> Read for Kept<R> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let count = self.from.read(into)?;
        self.bytes.extend_from_slice(&into[..count]);
        Ok(count)
    }
}

fn picture_ms() -> f64 {
    1000.0 / f64::from(FPS)
}

fn round_ms() -> f64 {
    f64::from(PICTURES) * picture_ms()
}

/// The numbers of all pictures in an MP4, in its order.
fn numbers(mp4: &[u8], folder: &Path) -> Vec<Option<u16>> {
    let (file, rows) = (folder.join("look.mp4"), folder.join("look.gray"));
    std::fs::write(&file, mp4).expect("the folder is writable");
    let mut command = tool("ffmpeg");
    command.args(["-v", "fatal", "-y", "-i"]).arg(file);
    command.args(["-map", "0:v", "-vsync", "passthrough", "-vf", BARS_FILTER, "-f", "rawvideo"]);
    let finished = run(command.arg(&rows), b"", LIMIT);
    assert_eq!(finished.code, Some(0), "ffmpeg decodes the look: {}", finished.stderr);
    let rows = std::fs::read(rows).expect("ffmpeg has written it");
    rows.chunks_exact(BARS).map(|row| film::number(film::middles(row))).collect()
}

#[test]
fn a_picture_is_taken_for_the_newest_with_its_number() {
    let made = Made::of(vec![(10_000.0, 1799), (10_033.4, 0), (10_066.7, 1)]);
    let place = made.place(1, 10_100.0);
    assert!((made.at_ms(place) - 10_066.7).abs() < 1.0, "{}", made.at_ms(place));
    let earlier = made.place(2, 10_100.0 - 600.0);
    assert!((made.at_ms(earlier) - (10_100.0 - 60_000.0)).abs() < 1.0);
}
