//! How soon a new viewer has a whole key frame.

use std::time::Duration;

use crate::common::fmp4::{self, Piece};
use crate::common::http::Http;
use crate::common::wait;
use crate::spread::Spread;

const JOINS: usize = 20;
/// No divisor of a second, so that the joins meet all places between key frames.
const PAUSE: Duration = Duration::from_millis(73);

/// One viewer after the other joins `path` and leaves when it has a key frame.
pub(crate) fn first_key_frames(http: Http, path: &str) -> Spread {
    Spread::of((0..JOINS).map(|_| {
        std::thread::sleep(PAUSE);
        first_key_frame(http, path).expect("livebox sends fragmented MP4")
    }))
}

fn first_key_frame(http: Http, path: &str) -> std::io::Result<Duration> {
    let asked = wait::now();
    let (_, mut body) = http.open(path);
    let mut has_key = false;
    while let Some(piece) = fmp4::read_piece(&mut body)? {
        match piece {
            Piece::Fragments(fragments) => has_key = fragments.iter().any(|one| one.key),
            Piece::Other if has_key => return Ok(asked.elapsed()),
            Piece::Init(_) | Piece::Stamp(_) | Piece::Other => {}
        }
    }
    Err(std::io::ErrorKind::UnexpectedEof.into())
}
