//! The bytes for one viewer of endless MP4. Pure.
//!
//! All bytes but the alignment at the join and the stamps are shared with the
//! other viewers.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;

use crate::base::sockets::GONE_AFTER;
use crate::base::time::MediaTime;
use crate::hub::{Piece, Read};
use crate::media::edge::{BLOCK, Burst, Pad, RATE_UNKNOWN, REST_EVERY, STARTING};
use crate::media::packager::Init;

/// The variant that a viewer requests in the query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) struct Shape {
    /// False with `?audio=0`: no audio track.
    pub audio: bool,
    /// False with `?pad=0`: no padding.
    pub pad: bool,
    /// True with `?stamp=1`: a `free` box before each chunk holds the time at
    /// which it left the encoder: nanoseconds since 1970, eight bytes, big-endian.
    pub stamp: bool,
    pub client: Client,
}

/// The kind of client, as far as the bytes depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Client {
    /// Its `autoplay` begins only when its loader pauses.
    Chromium,
    OtherBrowser,
    /// Takes the frame rate from the first frames.
    Program,
}

impl Shape {
    /// Parses a query. Unknown keys are ignored: players add some to bypass caches.
    ///
    /// # Errors
    /// The key whose value is neither 0 nor 1.
    pub(in crate::http) fn from_query(query: &[(String, String)]) -> Result<Self, String> {
        let mut shape = Self { audio: true, pad: true, stamp: false, client: Client::Program };
        for (key, value) in query {
            let switch = match key.as_str() {
                "audio" => &mut shape.audio,
                "pad" => &mut shape.pad,
                "stamp" => &mut shape.stamp,
                _ => continue,
            };
            *switch = match value.as_str() {
                "0" => false,
                "1" => true,
                _ => return Err(key.clone()),
            };
        }
        // Stamps are for measuring; they would shift the phase of the padding.
        shape.pad &= !shape.stamp;
        Ok(shape)
    }
}

/// Whether a response continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Continue {
    On,
    End,
}

/// How long a viewer has been too slow for the stream. It starts again when the
/// viewer reaches the live edge.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::http) struct Lag {
    since: Option<Instant>,
}

impl Lag {
    /// Reports that the viewer missed items. `End` if it has not been at the live
    /// edge for ten seconds since the first miss.
    pub(in crate::http) fn fell_behind(&mut self, now: Instant) -> Continue {
        let since = *self.since.get_or_insert(now);
        if now.duration_since(since) < GONE_AFTER { Continue::On } else { Continue::End }
    }
}

/// The state of one viewer.
#[derive(Debug)]
pub(in crate::http) struct Viewer {
    shape: Shape,
    /// Bytes sent, modulo the block size.
    offset: usize,
    /// Media time of the first piece after the burst.
    joined: Option<MediaTime>,
    /// Media time of the last pause for the loader of a starting player.
    rested: Option<MediaTime>,
    /// Bytes to send, and whether they count as media.
    outbox: VecDeque<(Bytes, bool)>,
}

impl Viewer {
    /// A viewer that is sent the init segment, and then the burst up to the live edge.
    pub(in crate::http) fn new(shape: Shape, init: &Init, burst: Option<&Burst>) -> Self {
        let mut viewer =
            Self { shape, offset: 0, joined: None, rested: None, outbox: VecDeque::new() };
        let init = if shape.audio { &init.bytes } else { &init.video_bytes };
        viewer.send(init.clone(), true);
        if shape.pad && shape.client == Client::Chromium {
            viewer.send(Bytes::from_static(RATE_UNKNOWN), false);
        }
        match (burst, shape.client) {
            (None, _) => {}
            (Some(burst), Client::Program) => {
                burst.with_real_rate().into_iter().for_each(|bytes| viewer.send(bytes, true));
            }
            (Some(burst), Client::Chromium | Client::OtherBrowser) => {
                viewer.send(burst.bytes.clone(), true);
            }
        }
        viewer
    }

    /// The next bytes to send, and whether they are media.
    pub(in crate::http) fn next(&mut self) -> Option<(Bytes, bool)> {
        self.outbox.pop_front()
    }

    pub(in crate::http) fn take(&mut self, read: Read) -> Continue {
        match read {
            Read::Chunk(piece) => self.take_piece(&piece),
            Read::Skipped(_) => {}
            // Players do not accept a second init segment: they reconnect.
            Read::Init(_) | Read::End => return Continue::End,
        }
        Continue::On
    }

    fn take_piece(&mut self, piece: &Piece) {
        let (bytes, slot) = match self.shape.audio {
            true => (piece.bytes.clone(), piece.padding()),
            false => (piece.video_bytes(), piece.video_padding()),
        };
        if bytes.is_empty() {
            return;
        }
        if self.shape.stamp {
            let stamp = piece.arrived_ns().to_be_bytes();
            let stamp = [16u32.to_be_bytes().as_slice(), b"free", &stamp].concat();
            self.send(stamp.into(), false);
        }
        let Some(phase) = slot.phase.filter(|_| self.shape.pad) else {
            self.send(bytes, true);
            return;
        };
        self.pad(Pad::between(self.offset, phase).as_ref());
        self.send(bytes, true);
        let rests = self.must_rest(piece.start());
        if slot.pad.is_some() {
            self.pad(slot.pad.as_ref());
        } else if rests {
            self.pad(Pad::between(self.offset, 0).as_ref());
        }
        if rests {
            self.pad(Some(&Pad::block()));
        }
    }

    /// Whether the loader of a starting player must pause after the piece at `now`.
    fn must_rest(&mut self, now: MediaTime) -> bool {
        let joined = *self.joined.get_or_insert(now);
        let is_starting = self.shape.client == Client::Chromium && now.since(joined) < STARTING;
        let is_due = self.rested.is_none_or(|rested| now.since(rested) >= REST_EVERY);
        if is_starting && is_due {
            self.rested = Some(now);
        }
        is_starting && is_due
    }

    fn pad(&mut self, pad: Option<&Pad>) {
        for piece in pad.into_iter().flat_map(Pad::pieces) {
            self.send(piece, false);
        }
    }

    fn send(&mut self, bytes: Bytes, is_media: bool) {
        self.offset = (self.offset + bytes.len()) % BLOCK;
        if !bytes.is_empty() {
            self.outbox.push_back((bytes, is_media));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(query: &str) -> Result<Shape, String> {
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        Shape::from_query(&pairs.map(|(key, value)| (key.into(), value.into())).collect::<Vec<_>>())
    }

    #[test]
    fn a_query_switches_sound_padding_and_stamps() {
        let client = Client::Program;
        assert_eq!(shape(""), Ok(Shape { audio: true, pad: true, stamp: false, client }));
        assert_eq!(
            shape("audio=0&pad=0"),
            Ok(Shape { audio: false, pad: false, stamp: false, client })
        );
        assert_eq!(
            shape("stamp=1&1795240290"),
            Ok(Shape { audio: true, pad: false, stamp: true, client })
        );
        assert_eq!(shape("audio=no"), Err("audio".to_owned()));
    }

    #[test]
    fn a_viewer_begins_with_the_init_segment_and_the_burst() {
        let init = Init {
            generation: 1,
            tracks: crate::model::track::Tracks::default(),
            bytes: Bytes::from_static(b"both"),
            video_bytes: Bytes::from_static(b"video"),
        };
        let burst = Burst::new(vec![7; 100_000].into(), 0x0707_0707);
        let mut viewer = Viewer::new(shape("audio=0&pad=0").unwrap(), &init, Some(&burst));
        let pieces: Vec<_> = std::iter::from_fn(|| viewer.next()).map(|(bytes, _)| bytes).collect();
        assert_eq!(pieces.concat(), [b"video".as_slice(), &burst.bytes].concat());
        assert_eq!(viewer.offset, 100_005 % BLOCK);
    }

    #[tokio::test(start_paused = true)]
    async fn a_viewer_that_stays_behind_for_ten_seconds_is_closed() {
        let now = crate::base::time::now;
        let mut lag = Lag::default();
        for _ in 0..4 {
            assert_eq!(lag.fell_behind(now()), Continue::On);
            tokio::time::advance(GONE_AFTER / 4).await;
        }
        assert_eq!(lag.fell_behind(now()), Continue::End);

        // After the live edge, it has ten seconds again.
        lag = Lag::default();
        assert_eq!(lag.fell_behind(now()), Continue::On);
    }

    #[test]
    fn chromium_gets_an_unknown_bit_rate_before_the_burst_unless_padding_is_off() {
        let init = Init {
            generation: 1,
            tracks: crate::model::track::Tracks::default(),
            bytes: Bytes::from_static(b"both"),
            video_bytes: Bytes::from_static(b"video"),
        };
        let sent = |query| {
            let shape = Shape { client: Client::Chromium, ..shape(query).unwrap() };
            let burst = Burst::new(Bytes::from_static(b"burst"), 3000);
            let mut viewer = Viewer::new(shape, &init, Some(&burst));
            std::iter::from_fn(|| viewer.next()).map(|(bytes, _)| bytes).collect::<Vec<_>>()
        };
        assert_eq!(sent(""), [b"both".as_slice(), RATE_UNKNOWN, b"burst"]);
        assert_eq!(sent("pad=0"), [b"both".as_slice(), b"burst"]);
    }
}
