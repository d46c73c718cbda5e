//! When each picture of the film was made: when livebox's packager got it, as
//! a stream under `?stamp=1` tells it.
//!
//! A film that passes through keeps a constant pace, so one look tells it for
//! all pictures of a run. An encoder on a busy machine leaves pictures out and
//! gives them late, so there the stream is read for as long as it counts.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::{Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::common::fmp4::{self, Piece};
use crate::common::http::Http;
use crate::common::process::run;
use crate::common::tools::tool;
use crate::film::{self, BARS, BARS_FILTER, FPS, PICTURES};

/// Live pictures that the look waits for.
const ENOUGH: usize = 30;
/// By how much a picture may seem to be shown before it was made, as the pace of an encoder varies.
const SLACK_MS: f64 = 5_000.0;
const LIMIT: Duration = Duration::from_secs(30);

/// The pace of one run of the film.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Made {
    /// When a picture with the number zero was made, in milliseconds since 1970.
    zero_ms: f64,
}

/// A picture of the film at its place in a run, with when it was made, in milliseconds since 1970.
pub(crate) type Pictures = BTreeMap<i64, Picture>;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Picture {
    pub(crate) made_ms: f64,
    /// How often the stream shows it: an encoder's pipeline fills holes.
    pub(crate) times: u32,
}

/// A connection that reads a stream until it is finished.
#[derive(Debug)]
pub(crate) struct Recording {
    socket: TcpStream,
    reader: JoinHandle<Stamped>,
    folder: PathBuf,
}

/// The bytes of a stream, and when each of its pictures was made, where that is told.
#[derive(Debug, Default)]
struct Stamped {
    bytes: Vec<u8>,
    stamps: Vec<Option<f64>>,
}

/// Keeps what is read.
struct Kept<'a, R> {
    from: R,
    bytes: &'a mut Vec<u8>,
}

impl Recording {
    /// Begins to read the stream at `path`. `folder` takes what is needed for it.
    pub(crate) fn start(http: Http, path: &str, folder: &Path) -> Self {
        let (socket, body) = open(http, path);
        let reader = std::thread::spawn(move || Stamped::read(body, usize::MAX));
        Self { socket, reader, folder: folder.to_owned() }
    }

    /// Ends, and tells what the stream has shown meanwhile.
    pub(crate) fn finish(self, made: Made) -> Pictures {
        // Fails only where livebox was quicker.
        self.socket.shutdown(Shutdown::Both).ok();
        let known = self.reader.join().expect("readers do not panic").known(&self.folder);
        let mut pictures = Pictures::new();
        for (made_ms, number) in known {
            let place = made.place(number, made_ms);
            pictures.entry(place).or_insert(Picture { made_ms, times: 0 }).times += 1;
        }
        pictures
    }
}

impl Stamped {
    /// Reads until `enough` pictures have told when they were made, or the connection ends.
    fn read(mut body: impl Read, enough: usize) -> Self {
        let Self { mut bytes, mut stamps } = Self::default();
        let mut body = Kept { from: &mut body, bytes: &mut bytes };
        let (mut stamp, mut count) = (None, 0);
        while count < enough {
            match fmp4::read_piece(&mut body) {
                Ok(Some(Piece::Stamp(ns))) => stamp = Some(ns as f64 / 1e6),
                Ok(Some(Piece::Fragments(_))) => {
                    count += usize::from(stamp.is_some());
                    stamps.push(stamp.take());
                }
                Ok(Some(Piece::Init(_) | Piece::Other)) => {}
                Ok(None) | Err(_) => break,
            }
        }
        Self { bytes, stamps }
    }

    /// When which picture was made.
    fn known(self, folder: &Path) -> Vec<(f64, u16)> {
        let both = self.stamps.iter().zip(numbers(&self.bytes, folder));
        both.filter_map(|(stamp, number)| Some(((*stamp)?, number?))).collect()
    }
}

impl Made {
    /// Watches the stream at `path` until the pace is known. `folder` takes what is needed for it.
    pub(crate) fn look(http: Http, path: &str, folder: &Path) -> Self {
        let (_socket, body) = open(http, path);
        Self::of(Stamped::read(body, ENOUGH).known(folder))
    }

    /// All pictures made between two times, by the pace.
    pub(crate) fn between(self, begin_ms: f64, end_ms: f64) -> Pictures {
        let place = |ms: f64| ((ms - self.zero_ms) / picture_ms()).ceil() as i64;
        let places = place(begin_ms)..place(end_ms);
        places.map(|at| (at, Picture { made_ms: self.at_ms(at), times: 1 })).collect()
    }

    /// The pace by when some pictures were made.
    fn of(known: Vec<(f64, u16)>) -> Self {
        let (first_ms, _) = *known.first().expect("some live pictures were read");
        let zeros = known.iter().map(|(ms, number)| {
            let zero = ms - f64::from(*number) * picture_ms();
            // Of another round of the film.
            zero - ((zero - first_ms) / round_ms()).round() * round_ms()
        });
        // A busy machine makes pictures late, and none makes them early.
        Self { zero_ms: zeros.fold(f64::INFINITY, f64::min) }
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

impl<R: Read> Read for Kept<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let count = self.from.read(into)?;
        self.bytes.extend_from_slice(&into[..count]);
        Ok(count)
    }
}

fn open(http: Http, path: &str) -> (TcpStream, impl Read + Send + use<>) {
    let (_, body) = http.open(&format!("{path}?stamp=1&audio=0"));
    (body.socket(), body)
}

fn picture_ms() -> f64 {
    1000.0 / f64::from(FPS)
}

fn round_ms() -> f64 {
    f64::from(PICTURES) * picture_ms()
}

/// The numbers of all pictures in an MP4, in its order.
fn numbers(mp4: &[u8], folder: &Path) -> Vec<Option<u16>> {
    let folder = tempfile::tempdir_in(folder).expect("the folder is writable");
    let (file, rows) = (folder.path().join("stream.mp4"), folder.path().join("rows"));
    std::fs::write(&file, mp4).expect("the folder is writable");
    let mut command = tool("ffmpeg");
    command.args(["-v", "fatal", "-y", "-i"]).arg(file);
    command.args(["-map", "0:v", "-vsync", "passthrough", "-vf", BARS_FILTER, "-f", "rawvideo"]);
    let finished = run(command.arg(&rows), b"", LIMIT);
    assert_eq!(finished.code, Some(0), "ffmpeg decodes the stream: {}", finished.stderr);
    let rows = std::fs::read(rows).expect("ffmpeg has written it");
    rows.chunks_exact(BARS).map(|row| film::number(film::middles(row))).collect()
}

#[test]
fn a_picture_is_taken_for_the_newest_with_its_number() {
    let made = Made::of(vec![(10_000.0, 1799), (10_033.4, 0), (10_066.7, 1)]);
    let place = made.place(1, 10_100.0);
    assert!((made.at_ms(place) - 10_066.7).abs() < 1.0, "{}", made.at_ms(place));
    let earlier = made.place(2, 10_100.0 - SLACK_MS - 1_000.0);
    assert!((made.at_ms(earlier) - (10_100.0 - 60_000.0)).abs() < 1.0);
}
