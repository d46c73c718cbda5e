//! A viewer that reads an endless fMP4 over one connection and remembers when
//! every fragment came and where it stands on the timeline.

use std::fmt;
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::fmp4::{self, Fragment, Piece, Track};
use super::http::{Body, Http};
use super::wait;

/// A connected viewer. Dropping it closes the connection.
#[derive(Debug)]
pub struct Viewer {
    socket: TcpStream,
    seen: Arc<Mutex<Seen>>,
    reader: Option<JoinHandle<()>>,
}

/// Everything a viewer has received so far.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub tracks: Vec<Track>,
    pub fragments: Vec<Fragment>,
    /// Why the connection ended, once it has.
    pub ended: Option<String>,
}

/// A place where a track does not go on where it stopped.
#[derive(Clone, Debug)]
pub struct Break {
    pub handler: [u8; 4],
    pub sequence: u32,
    /// Seconds missing; negative where time runs back.
    pub gap: f64,
    /// The same in fragments like the one before.
    pub fragments: f64,
}

impl Break {
    /// Whether it may be pictures that the encoder was too slow for: whole
    /// ones, as happens on a busy machine.
    pub fn may_be_dropped_pictures(&self) -> bool {
        let is_whole = (self.fragments - self.fragments.round()).abs() < 0.1;
        &self.handler == b"vide" && is_whole && self.gap > 0.0 && self.gap < 1.0
    }
}

impl fmt::Display for Break {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let track = String::from_utf8_lossy(&self.handler);
        write!(f, "{:.3} s of {track} before fragment {}", self.gap, self.sequence)
    }
}

impl Viewer {
    /// Connects to `path` as a browser does, and reads from there on. While a feed
    /// has not started in time, which takes a busy machine long, it is asked for again.
    pub fn connect(http: Http, path: &str) -> Self {
        let (head, body) = wait::until(path, wait::TIMEOUT, || {
            let request = http.request("GET", path).header("User-Agent", "Mozilla/5.0");
            let answer = request.send().unwrap_or_else(|e| panic!("{path} is not answered: {e}"));
            (answer.0.status != 503).then_some(answer)
        });
        assert_eq!(head.status, 200, "GET {path}");
        let socket = body.socket();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let reader = std::thread::spawn({
            let seen = Arc::clone(&seen);
            move || read(body, &seen)
        });
        Self { socket, seen, reader: Some(reader) }
    }

    /// A copy of what has arrived so far.
    pub fn seen(&self) -> Seen {
        self.seen.lock().expect("the reader does not panic").clone()
    }

    /// Waits until what has arrived satisfies `enough`.
    pub fn wait(&self, what: &str, limit: Duration, enough: impl Fn(&Seen) -> bool) -> Seen {
        wait::until(what, limit, || {
            let seen = self.seen.lock().expect("the reader does not panic");
            if let (Some(why), false) = (&seen.ended, enough(&seen)) {
                panic!("{what}: the connection ended: {why}");
            }
            enough(&seen).then(|| seen.clone())
        })
    }

    /// Waits for `count` more fragments.
    pub fn wait_for_more(&self, count: usize, limit: Duration) -> Seen {
        let before = self.seen().fragments.len();
        let what = format!("{count} more fragments");
        self.wait(&what, limit, |seen| seen.fragments.len() >= before + count)
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        // Fails only where the other side was quicker.
        self.socket.shutdown(Shutdown::Both).ok();
        if let Some(reader) = self.reader.take() {
            reader.join().ok();
        }
    }
}

impl Seen {
    /// Every place, of every track, where the timeline is off by half a fragment or more.
    pub fn breaks(&self) -> Vec<Break> {
        self.tracks.iter().flat_map(|track| self.breaks_of(track)).collect()
    }

    /// Seconds of a track's timeline, first to last fragment.
    pub fn span(&self, handler: &[u8; 4]) -> f64 {
        let Some(track) = self.tracks.iter().find(|t| &t.handler == handler) else { return 0.0 };
        let mut of_track = self.of(track);
        let Some(first) = of_track.next() else { return 0.0 };
        let last = of_track.next_back().unwrap_or(first);
        let units = last.decode_time + last.duration - first.decode_time;
        units as f64 / f64::from(track.timescale)
    }

    /// How many fragments of a track have come.
    pub fn count(&self, handler: &[u8; 4]) -> usize {
        let Some(track) = self.tracks.iter().find(|t| &t.handler == handler) else { return 0 };
        self.of(track).count()
    }

    /// Where a track ends so far, in seconds of its timeline.
    pub fn end(&self, handler: &[u8; 4]) -> f64 {
        let Some(track) = self.tracks.iter().find(|t| &t.handler == handler) else { return 0.0 };
        let Some(last) = self.of(track).next_back() else { return 0.0 };
        (last.decode_time + last.duration) as f64 / f64::from(track.timescale)
    }

    /// Fails unless both tracks play without a break and no fragment number is left out.
    /// Where the sound goes on, pictures may be missing that the encoder was too slow for.
    pub fn assert_nothing_is_missing(&self) {
        let mut breaks = self.breaks();
        if self.tracks.iter().any(|track| &track.handler == b"soun") {
            breaks.retain(|one| !one.may_be_dropped_pictures());
        }
        let told: Vec<String> = breaks.iter().map(Break::to_string).collect();
        assert!(breaks.is_empty(), "the timeline has breaks: {}", told.join(", "));
        let numbers: Vec<u32> = self.fragments.iter().map(|f| f.sequence).collect();
        let skipped = numbers.windows(2).find(|pair| pair[1] != pair[0] && pair[1] != pair[0] + 1);
        assert!(skipped.is_none(), "fragment numbers are left out: {skipped:?}");
        assert!(self.ended.is_none(), "the connection ended: {:?}", self.ended);
    }

    /// Fails unless each track's decode time grows with every fragment.
    pub fn assert_time_goes_forward(&self) {
        for track in &self.tracks {
            let times: Vec<u64> = self.of(track).map(|f| f.decode_time).collect();
            let back = times.windows(2).find(|pair| pair[1] <= pair[0]);
            assert!(back.is_none(), "time runs back in {track:?}: {back:?}");
        }
    }

    fn of(&self, track: &Track) -> impl DoubleEndedIterator<Item = &Fragment> {
        let id = track.id;
        self.fragments.iter().filter(move |f| f.track == id)
    }

    fn breaks_of(&self, track: &Track) -> Vec<Break> {
        let of_track: Vec<_> = self.of(track).collect();
        let found = of_track.windows(2).filter_map(|pair| {
            let units =
                pair[1].decode_time as i64 - (pair[0].decode_time + pair[0].duration) as i64;
            let is_break = units.unsigned_abs() * 2 >= pair[0].duration;
            is_break.then(|| Break {
                handler: track.handler,
                sequence: pair[1].sequence,
                gap: units as f64 / f64::from(track.timescale),
                fragments: units as f64 / pair[0].duration as f64,
            })
        });
        found.collect()
    }
}

fn read(mut body: Body, seen: &Mutex<Seen>) {
    let why = loop {
        let piece = fmp4::read_piece(&mut body);
        let mut seen = seen.lock().expect("nobody panics while holding this");
        match piece {
            Ok(Some(Piece::Init(tracks))) => seen.tracks = tracks,
            Ok(Some(Piece::Fragments(fragments))) => seen.fragments.extend(fragments),
            Ok(Some(Piece::Stamp(_) | Piece::Other)) => {}
            Ok(None) => break "the server finished the body".to_owned(),
            Err(e) => break e.to_string(),
        }
    };
    seen.lock().expect("nobody panics while holding this").ended = Some(why);
}
