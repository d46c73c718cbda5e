//! What one viewer has set up, and how it is served.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::datagrams::Datagrams;
use super::groups::{GROUP_TTL, Group, Sending};
use super::play::{Next, Play};
use super::transport::Wanted;
use crate::engine::registry::Stream;
use crate::hub::Reader;
use crate::media::packager::Init;
use crate::media::rtp::{channel, framed, on_channels};
use crate::model::unit::TrackKind;

/// Without a sign of life a session ends, as its header says.
pub(super) const SESSION_LASTS: Duration = Duration::from_secs(60);

/// A paused session ends after this long however often the viewer says that it
/// is there: it keeps the camera running.
const PAUSED_AT_MOST: Duration = Duration::from_secs(600);

/// A session (RFC 2326, section 3.4): the tracks of one stream, controlled together.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: String,
    pub(super) stream: Arc<Stream>,
    pub(super) init: Arc<Init>,
    pub(super) flow: Flow,
    pub(super) delivery: Delivery,
}

/// Whether a session is being sent anything. Its reader keeps the feed going.
#[derive(Debug)]
pub(super) enum Flow {
    Paused { _reader: Reader, since: Instant },
    Playing(Box<Play>),
}

/// How the packets go to the viewer; one way for all tracks.
#[derive(Debug)]
pub(super) enum Delivery {
    Interleaved(Channels),
    Datagrams(Datagrams),
    Multicast(Multicast),
}

/// What a viewer of a multicast group has set up.
#[derive(Debug)]
pub(super) struct Multicast {
    group: Arc<Group>,
    tracks: Vec<TrackKind>,
    /// Keeps the group being sent to while this viewer plays.
    sending: Option<Arc<Sending>>,
}

/// The channels of each track's packets, for the tracks that were set up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Channels {
    video: Option<u8>,
    audio: Option<u8>,
}

impl Channels {
    fn slot(&mut self, track: TrackKind) -> &mut Option<u8> {
        match track {
            TrackKind::Video => &mut self.video,
            TrackKind::Audio => &mut self.audio,
        }
    }

    pub(super) fn of(mut self, track: TrackKind) -> Option<u8> {
        *self.slot(track)
    }

    /// Gives `track` the channels that were asked for, or the next ones that
    /// are free. Nothing if another track has those already.
    pub(super) fn add(&mut self, track: TrackKind, wanted: Option<(u8, u8)>) -> Option<(u8, u8)> {
        let others = [self.video, self.audio];
        let is_free = |first: u8, second: u8| {
            let taken = |c: &u8| [*c, *c + 1].iter().any(|c| *c == first || *c == second);
            !others.iter().flatten().any(taken)
        };
        let (rtp, rtcp) = match wanted {
            Some(pair) => pair,
            None => (0..=252).step_by(2).map(|c| (c, c + 1)).find(|(a, b)| is_free(*a, *b))?,
        };
        // Reports stand on the next channel, as every player asks for them.
        if rtcp != rtp.checked_add(1)? || !is_free(rtp, rtcp) {
            return None;
        }
        *self.slot(track) = Some(rtp);
        Some((rtp, rtcp))
    }

    /// What comes next, as it goes over the connection.
    pub(super) fn frame(self, next: &Next) -> impl Iterator<Item = Bytes> {
        let reports = next
            .reports
            .iter()
            .filter_map(move |(track, report)| Some(framed(self.of(*track)? + 1, report)));
        let usual = |track, chosen: Option<u8>| chosen.is_none_or(|c| c == channel(track));
        let is_usual = usual(TrackKind::Video, self.video) && usual(TrackKind::Audio, self.audio);
        let packets = match (self.video, self.audio) {
            (Some(_), Some(_)) => next.all(),
            (Some(_), None) => next.of_track(TrackKind::Video),
            (None, _) => next.of_track(TrackKind::Audio),
        };
        let packets = if is_usual { packets } else { self.moved(&packets) };
        reports.chain(Some(packets).filter(|packets| !packets.is_empty()))
    }

    fn moved(self, packets: &[u8]) -> Bytes {
        on_channels(packets, |usual| {
            let track = [TrackKind::Video, TrackKind::Audio];
            let track = track.into_iter().find(|track| channel(*track) == usual);
            track.and_then(|track| self.of(track)).unwrap_or(usual)
        })
    }
}

impl Session {
    /// Whether `track` was set up.
    pub(super) fn has(&self, track: TrackKind) -> bool {
        match &self.delivery {
            Delivery::Interleaved(channels) => channels.of(track).is_some(),
            Delivery::Datagrams(datagrams) => datagrams.has(track),
            Delivery::Multicast(multicast) => multicast.tracks.contains(&track),
        }
    }

    /// Waits for what comes next; for ever while nothing is played.
    pub(super) async fn next(&mut self) -> Option<Next> {
        match &mut self.flow {
            Flow::Playing(play) => play.next().await,
            Flow::Paused { .. } => std::future::pending().await,
        }
    }

    pub(super) fn is_playing(&self) -> bool {
        matches!(self.flow, Flow::Playing(_))
    }

    /// When the session ends, if the last request came at `heard` and nothing
    /// more comes.
    pub(super) fn ends_at(&self, heard: Instant) -> Option<Instant> {
        let signs = match (&self.flow, &self.delivery) {
            (Flow::Paused { since, .. }, _) => Signs::Paused(*since),
            (Flow::Playing(_), Delivery::Datagrams(datagrams)) => Signs::Report(datagrams.heard()),
            (Flow::Playing(_), Delivery::Interleaved(_) | Delivery::Multicast(_)) => {
                Signs::Connection
            }
        };
        signs.end(heard)
    }

    /// Sends the viewer what `play` gives.
    ///
    /// # Errors
    /// Its multicast group has no sockets.
    pub(super) fn play(&mut self, play: Play) -> std::io::Result<()> {
        if let Delivery::Multicast(multicast) = &mut self.delivery {
            multicast.sending = Some(multicast.group.send()?);
        }
        self.flow = Flow::Playing(Box::new(play));
        Ok(())
    }

    /// The session, sending nothing.
    pub(super) fn paused(mut self, now: Instant) -> Self {
        if let Delivery::Multicast(multicast) = &mut self.delivery {
            multicast.sending = None;
        }
        let flow = match self.flow {
            Flow::Playing(play) => Flow::Paused { _reader: play.into_reader(), since: now },
            paused @ Flow::Paused { .. } => paused,
        };
        Self { flow, ..self }
    }
}

/// What else than its requests tells that a viewer is there.
enum Signs {
    /// Nothing: it is paused since then.
    Paused(Instant),
    /// It has sent its last report then.
    Report(Instant),
    /// It takes what is sent over its connection, or, of a multicast viewer,
    /// the connection is open.
    Connection,
}

impl Signs {
    /// When the session ends, if nothing is heard after `heard`.
    fn end(self, heard: Instant) -> Option<Instant> {
        match self {
            Self::Paused(since) => Some((heard + SESSION_LASTS).min(since + PAUSED_AT_MOST)),
            Self::Report(last) => Some(heard.max(last) + SESSION_LASTS),
            Self::Connection => None,
        }
    }
}

impl Multicast {
    pub(super) fn new(group: Arc<Group>) -> Self {
        Self { group, tracks: Vec::new(), sending: None }
    }
}

impl Delivery {
    /// Sets `track` up. The answer's `Transport` header; nothing if that
    /// cannot be had beside what is set up already.
    pub(super) fn add(
        &mut self,
        track: TrackKind,
        wanted: Wanted,
        peer: SocketAddr,
    ) -> Option<String> {
        match (self, wanted) {
            (Self::Interleaved(channels), Wanted::Interleaved(pair)) => {
                let (rtp, rtcp) = channels.add(track, pair)?;
                Some(format!("RTP/AVP/TCP;unicast;interleaved={rtp}-{rtcp}"))
            }
            (Self::Datagrams(datagrams), Wanted::Datagrams(rtp, rtcp)) => {
                // Nowhere but to who asks: others did not.
                let at = |port| SocketAddr::new(peer.ip(), port);
                datagrams.add(track, at(rtp), at(rtcp));
                let (from, reports_from) = datagrams.ports();
                Some(format!(
                    "RTP/AVP;unicast;client_port={rtp}-{rtcp};server_port={from}-{reports_from}"
                ))
            }
            (Self::Multicast(multicast), Wanted::Multicast) => {
                multicast.tracks.push(track);
                let (rtp, rtcp) = Group::ports(track);
                let address = multicast.group.address();
                Some(format!(
                    "RTP/AVP;multicast;destination={address};port={rtp}-{rtcp};ttl={GROUP_TTL}"
                ))
            }
            (Self::Interleaved(_) | Self::Datagrams(_) | Self::Multicast(_), _) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_those_that_are_asked_for_or_the_next_free_ones() {
        let mut channels = Channels::default();
        assert_eq!(channels.add(TrackKind::Audio, Some((0, 1))), Some((0, 1)));
        assert_eq!(channels.add(TrackKind::Video, Some((1, 2))), None, "taken");
        assert_eq!(channels.add(TrackKind::Video, Some((4, 6))), None, "no neighbours");
        assert_eq!(channels.add(TrackKind::Video, None), Some((2, 3)));
        assert_eq!(channels.of(TrackKind::Audio), Some(0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_lasts_as_long_as_its_viewer_shows_that_it_is_there() {
        let begin = Instant::now();
        let after = |seconds| begin + Duration::from_secs(seconds);
        assert_eq!(Signs::Report(begin).end(after(10)), Some(after(70)));
        assert_eq!(Signs::Report(after(30)).end(begin), Some(after(90)));
        assert_eq!(Signs::Connection.end(begin), None);
        // Asking for nothing keeps a paused session, but not for ever.
        assert_eq!(Signs::Paused(begin).end(after(30)), Some(after(90)));
        assert_eq!(Signs::Paused(begin).end(after(590)), Some(after(600)));
    }

    #[test]
    fn packets_move_to_the_channels_of_their_track() {
        let mut channels = Channels::default();
        channels.add(TrackKind::Video, Some((6, 7)));
        channels.add(TrackKind::Audio, Some((0, 1)));
        let both = [framed(2, b"sound"), framed(0, b"picture")].concat();
        let moved = channels.moved(&both);
        assert_eq!(moved, [framed(0, b"sound"), framed(6, b"picture")].concat());
    }
}
