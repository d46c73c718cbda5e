//! The packets of a viewer from PLAY on: the squeezed burst, then live packets.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::describe::kinds;
use super::report::report;
use crate::hub::{Piece, Read, Reader};
use crate::media::packager::Init;
use crate::media::rtp::{self, Load, Numbers, Packets, VIDEO_CLOCK, timestamp};
use crate::model::unit::TrackKind;

/// Interval of the RTCP sender reports.
const REPORT_INTERVAL: Duration = Duration::from_secs(5);

/// The packets of a stream for one viewer or multicast group.
#[derive(Debug)]
pub(super) struct Play {
    reader: Reader,
    init: Option<Arc<Init>>,
    past: VecDeque<Arc<Piece>>,
    sent: [Load; 2],
    report_at: Option<Instant>,
}

/// The packets and reports that are sent together.
#[derive(Debug)]
pub(super) struct Next {
    /// The due sender reports by track.
    pub(super) reports: Vec<(TrackKind, Vec<u8>)>,
    packets: Kind,
    /// Whether it belongs to the squeezed burst.
    pub(super) is_burst: bool,
}

#[derive(Debug)]
enum Kind {
    Live(Packets),
    /// A squeezed picture; the burst has no sound.
    Burst(Bytes),
}

/// The first packet of a track, for the `RTP-Info` header (RFC 2326, section 12.33).
#[derive(Clone, Copy, Debug)]
pub(super) struct Begin {
    pub(super) sequence: u16,
    pub(super) time: u32,
}

impl Play {
    /// Starts at the next key frame.
    pub(super) fn from_key(reader: Reader) -> Self {
        Self {
            reader,
            init: None,
            past: VecDeque::new(),
            sent: Default::default(),
            report_at: None,
        }
    }

    /// Starts at the live edge, with the pieces of `past` before it as a burst.
    pub(super) fn from_edge(reader: Reader, init: Arc<Init>, past: Vec<Arc<Piece>>) -> Self {
        let past = past.into_iter().filter(|piece| piece.has_video()).collect();
        Self { init: Some(init), past, ..Self::from_key(reader) }
    }

    pub(super) fn into_reader(self) -> Reader {
        self.reader
    }

    /// The first packet of `track`; `None` if it is not known yet.
    pub(super) fn begin(&self, track: TrackKind) -> Option<Begin> {
        let (first, last) = (self.past.front()?, self.past.back()?);
        let squeezed = rtp::squeezed_span(self.past.len() as u32 - 1);
        let time = last.start().before(squeezed);
        Some(match track {
            TrackKind::Video => {
                let sequence = first.rtp_numbers().sequence(track);
                Begin { sequence, time: timestamp(time, VIDEO_CLOCK) }
            }
            TrackKind::Audio => {
                let next: Numbers = last.rtp_numbers().after(last.chunk());
                let clock = self.init.as_ref()?.tracks.audio.as_ref()?.rate;
                Begin { sequence: next.sequence(track), time: timestamp(time, clock) }
            }
        })
    }

    /// Waits for the next packets; `None` when the encoding of the stream changes
    /// or the stream ends. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<Next> {
        if let (Some(piece), Some(init)) = (self.past.pop_front(), self.init.clone()) {
            return Some(self.squeezed(&piece, &init));
        }
        loop {
            match (self.reader.next().await, &self.init) {
                (Read::Chunk(piece), Some(init)) => {
                    let init = Arc::clone(init);
                    return Some(self.live(&piece, &init));
                }
                (Read::Init(new), Some(init)) if new.generation != init.generation => return None,
                (Read::End, _) => return None,
                (Read::Init(new), _) => self.init = Some(new),
                (Read::Chunk(_) | Read::Skipped(_), _) => {}
            }
        }
    }

    fn squeezed(&mut self, piece: &Piece, init: &Init) -> Next {
        let packets = piece.rtp_packets(&init.tracks);
        let load = packets.load(TrackKind::Video);
        let packets = packets.of_track(TrackKind::Video);
        let last = self.past.back().map_or(piece, AsRef::as_ref);
        let end = timestamp(last.start(), VIDEO_CLOCK);
        let squeezed = rtp::squeezed(&packets, end, self.past.len() as u32);
        let reports = if self.report_at.is_none() {
            let last = self.past.back().cloned();
            self.reports(last.as_deref().unwrap_or(piece), init)
        } else {
            Vec::new()
        };
        self.sent[0] = self.sent[0].plus(load);
        Next { reports, packets: Kind::Burst(squeezed), is_burst: true }
    }

    fn live(&mut self, piece: &Piece, init: &Init) -> Next {
        let packets = piece.rtp_packets(&init.tracks);
        let is_due = self.report_at.is_none_or(|at| at <= Instant::now());
        let reports = if is_due { self.reports(piece, init) } else { Vec::new() };
        for (sent, track) in self.sent.iter_mut().zip([TrackKind::Video, TrackKind::Audio]) {
            *sent = sent.plus(packets.load(track));
        }
        Next { reports, packets: Kind::Live(packets), is_burst: false }
    }

    fn reports(&mut self, piece: &Piece, init: &Init) -> Vec<(TrackKind, Vec<u8>)> {
        self.report_at = Some(Instant::now() + REPORT_INTERVAL);
        let of = |track: TrackKind| {
            let sent = self.sent[usize::from(track == TrackKind::Audio)];
            (track, report(track, piece, &init.tracks, sent))
        };
        kinds(&init.tracks).map(of).collect()
    }
}

impl Next {
    /// The framed packets of both tracks, on the default channels.
    pub(super) fn all(&self) -> Bytes {
        match &self.packets {
            Kind::Live(packets) => packets.all(),
            Kind::Burst(pictures) => pictures.clone(),
        }
    }

    pub(super) fn of_track(&self, track: TrackKind) -> Bytes {
        match (&self.packets, track) {
            (Kind::Live(packets), track) => packets.of_track(track),
            (Kind::Burst(pictures), TrackKind::Video) => pictures.clone(),
            (Kind::Burst(_), TrackKind::Audio) => Bytes::new(),
        }
    }

    pub(super) fn length(&self) -> usize {
        self.all().len()
    }
}
