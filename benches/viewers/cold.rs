//! How soon the first viewer of a feed that rests has a picture.

use std::time::Duration;

use crate::common::fmp4::{self, Piece};
use crate::common::livebox::Livebox;
use crate::common::wait;
use crate::spread::Spread;

const STARTS: usize = 20;
const LIMIT: Duration = Duration::from_secs(20);
const CONFIG: &str = "feeds: {camera: {test: clock, size: 640x360, fps: 30}}\n\
                      streams: {camera: {bitrate: 750k}}\n";

/// The test feed is started again and again, each time for one viewer.
pub(crate) fn first_frames() -> Spread {
    let livebox = Livebox::start(CONFIG);
    Spread::of((0..STARTS).map(|_| {
        wait::until("the feed rests", LIMIT, || {
            let stat = livebox.get("/stat.json").json();
            (stat["feeds"][0]["state"] == "idle").then_some(())
        });
        let asked = wait::now();
        let (_, mut body) = livebox.http().open("/camera.mp4");
        loop {
            match fmp4::read_piece(&mut body).expect("livebox sends fragmented MP4") {
                Some(Piece::Fragments(_)) => break,
                Some(Piece::Init(_) | Piece::Stamp(_) | Piece::Other) => {}
                None => panic!("the stream ended before its first frame"),
            }
        }
        let took = asked.elapsed();
        body.close();
        took
    }))
}
