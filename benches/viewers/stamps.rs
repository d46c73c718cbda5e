//! Stamps that livebox puts before each chunk under `?stamp=1`: when the
//! encoder gave it. Read here, on the same machine and so by the same clock.

use std::collections::BTreeMap;
use std::net::Shutdown;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::common::fmp4::{self, Piece};
use crate::common::http::Http;
use crate::spread::Spread;

/// A viewer that reads stamps until it is closed.
struct Reader {
    socket: std::net::TcpStream,
    thread: JoinHandle<Read>,
}

/// What one viewer has read.
#[derive(Default)]
struct Read {
    /// Nanoseconds from the encoder to here.
    delays: Vec<u64>,
    /// When the picture with that decode time left the encoder.
    came: BTreeMap<u64, u64>,
    timescale: u32,
}

/// When each picture left the encoder.
pub(crate) struct Pictures(Read);

/// How long chunks take from the encoder to each of `viewers`, while `span` passes.
pub(crate) fn delays(http: Http, path: &str, viewers: usize, span: Duration) -> Spread {
    let readers: Vec<_> = (0..viewers).map(|_| Reader::open(http, path)).collect();
    std::thread::sleep(span);
    let all = readers.into_iter().flat_map(|reader| reader.close().delays);
    Spread::of_ms(all.map(|ns| ns as f64 / 1e6))
}

/// The pictures of a stream while `during` runs.
pub(crate) fn pictures<T>(http: Http, path: &str, during: impl FnOnce() -> T) -> (Pictures, T) {
    let reader = Reader::open(http, path);
    let done = during();
    (Pictures(reader.close()), done)
}

impl Pictures {
    /// When the picture shown at `media_time` left the encoder, in milliseconds
    /// since 1970; nothing if no picture stands exactly there.
    pub(crate) fn came_ms(&self, media_time: f64) -> Option<f64> {
        let timescale = f64::from(self.0.timescale);
        let ticks = (media_time * timescale).round() as u64;
        // Browsers count in microseconds.
        let slack = (timescale * 1e-6).ceil() as u64;
        let near = self.0.came.range(ticks.saturating_sub(slack)..=ticks + slack).next();
        near.map(|(_, ns)| *ns as f64 / 1e6)
    }
}

impl Reader {
    fn open(http: Http, path: &str) -> Self {
        let (_, mut body) = http.open(path);
        let socket = body.socket();
        let thread = std::thread::spawn(move || {
            let mut read = Read::default();
            let mut stamp = 0;
            // Ends when the socket is shut down.
            while let Ok(Some(piece)) = fmp4::read_piece(&mut body) {
                match piece {
                    Piece::Init(tracks) => {
                        read.timescale = tracks.first().map_or(0, |track| track.timescale);
                    }
                    Piece::Stamp(ns) => {
                        stamp = ns;
                        read.delays.push(now_ns().saturating_sub(ns));
                    }
                    Piece::Fragments(fragments) if stamp > 0 => {
                        read.came.extend(fragments.iter().map(|one| (one.decode_time, stamp)));
                    }
                    Piece::Fragments(_) | Piece::Other => {}
                }
            }
            read
        });
        Self { socket, thread }
    }

    fn close(self) -> Read {
        // Fails only where livebox was quicker.
        self.socket.shutdown(Shutdown::Both).ok();
        self.thread.join().expect("readers do not panic")
    }
}

pub(crate) fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is right");
    u64::try_from(since.as_nanos()).expect("this century")
}
