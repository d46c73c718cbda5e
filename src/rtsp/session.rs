//! The session of one viewer: its tracks, their transport, and its timeout.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::datagrams::Datagrams;
use super::datagrams::GROUP_TTL;
use super::groups::{Group, Sending};
use super::play::{Next, Play};
use super::transport::Transport;
use crate::engine::registry::Stream;
use crate::hub::Reader;
use crate::media::packager::Init;
use crate::media::rtp::{channel, framed, map_channels};
use crate::model::unit::TrackKind;

/// A session without requests or reports times out, as its header states.
pub(super) const SESSION_TIMEOUT: Duration = Duration::from_secs(60);

/// A paused session ends after this long in spite of keep-alives, because it
/// keeps the camera running.
const MAX_PAUSE: Duration = Duration::from_secs(600);

/// A session (RFC 2326, section 3.4): the tracks of one stream, controlled together.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: String,
    pub(super) stream: Arc<Stream>,
    pub(super) init: Arc<Init>,
    pub(super) flow: Flow,
    pub(super) delivery: Delivery,
}

/// Whether a session plays. Its reader keeps the feed running in both states.
#[derive(Debug)]
pub(super) enum Flow {
    Paused { _reader: Reader, since: Instant },
    Playing(Box<Play>),
}

/// The transport of the packets, the same for all tracks of a session.
#[derive(Debug)]
pub(super) enum Delivery {
    Interleaved(Channels),
    Datagrams(Datagrams),
    Multicast(Multicast),
}

/// The session of a viewer of a multicast group.
#[derive(Debug)]
pub(super) struct Multicast {
    group: Arc<Group>,
    tracks: Vec<TrackKind>,
    /// Keeps the sending task running while this viewer plays.
    sending: Option<Arc<Sending>>,
}

/// The interleaved channel of the RTP packets of each track that is set up.
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

    pub(super) fn get(mut self, track: TrackKind) -> Option<u8> {
        *self.slot(track)
    }

    /// Gives `track` the requested channels (RTP, RTCP), or the next free pair.
    /// `None` if another track has one of them, or they are not consecutive.
    pub(super) fn add(
        &mut self,
        track: TrackKind,
        requested: Option<(u8, u8)>,
    ) -> Option<(u8, u8)> {
        let others = [self.video, self.audio];
        let is_free = |first: u8, second: u8| {
            let taken = |c: &u8| [*c, *c + 1].iter().any(|c| *c == first || *c == second);
            !others.iter().flatten().any(taken)
        };
        let (rtp, rtcp) = match requested {
            Some(pair) => pair,
            None => (0..=252).step_by(2).map(|c| (c, c + 1)).find(|(a, b)| is_free(*a, *b))?,
        };
        // Reports have the next channel, as every player requests.
        if rtcp != rtp.checked_add(1)? || !is_free(rtp, rtcp) {
            return None;
        }
        *self.slot(track) = Some(rtp);
        Some((rtp, rtcp))
    }

    /// The reports and packets of `next`, framed for the connection.
    pub(super) fn frame(self, next: &Next) -> impl Iterator<Item = Bytes> {
        let reports = next
            .reports
            .iter()
            .filter_map(move |(track, report)| Some(framed(self.get(*track)? + 1, report)));
        let has_default = |track, chosen: Option<u8>| chosen.is_none_or(|c| c == channel(track));
        let is_default =
            has_default(TrackKind::Video, self.video) && has_default(TrackKind::Audio, self.audio);
        let packets = match (self.video, self.audio) {
            (Some(_), Some(_)) => next.all(),
            (Some(_), None) => next.of_track(TrackKind::Video),
            (None, _) => next.of_track(TrackKind::Audio),
        };
        let packets = if is_default { packets } else { self.on_own_channels(&packets) };
        reports.chain(Some(packets).filter(|packets| !packets.is_empty()))
    }

    fn on_own_channels(self, packets: &[u8]) -> Bytes {
        map_channels(packets, |default| {
            let track = [TrackKind::Video, TrackKind::Audio];
            let track = track.into_iter().find(|track| channel(*track) == default);
            track.and_then(|track| self.get(track)).unwrap_or(default)
        })
    }
}

impl Session {
    /// Whether `track` was set up.
    pub(super) fn has(&self, track: TrackKind) -> bool {
        match &self.delivery {
            Delivery::Interleaved(channels) => channels.get(track).is_some(),
            Delivery::Datagrams(datagrams) => datagrams.has(track),
            Delivery::Multicast(multicast) => multicast.tracks.contains(&track),
        }
    }

    /// Waits for the next packets; forever while paused.
    pub(super) async fn next(&mut self) -> Option<Next> {
        match &mut self.flow {
            Flow::Playing(play) => play.next().await,
            Flow::Paused { .. } => std::future::pending().await,
        }
    }

    pub(super) fn is_playing(&self) -> bool {
        matches!(self.flow, Flow::Playing(_))
    }

    /// When the session times out if no request arrives after `last_request`.
    pub(super) fn ends_at(&self, last_request: Instant) -> Option<Instant> {
        let liveness = match (&self.flow, &self.delivery) {
            (Flow::Paused { since, .. }, _) => Liveness::Paused(*since),
            (Flow::Playing(_), Delivery::Datagrams(datagrams)) => {
                Liveness::Report(datagrams.last_report())
            }
            (Flow::Playing(_), Delivery::Interleaved(_) | Delivery::Multicast(_)) => {
                Liveness::Connection
            }
        };
        liveness.ends_at(last_request)
    }

    /// Starts to send the packets of `play`.
    ///
    /// # Errors
    /// No sockets can be bound for its multicast group.
    pub(super) fn play(&mut self, play: Play) -> std::io::Result<()> {
        if let Delivery::Multicast(multicast) = &mut self.delivery {
            multicast.sending = Some(multicast.group.send()?);
        }
        self.flow = Flow::Playing(Box::new(play));
        Ok(())
    }

    /// The session in the paused state.
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

/// What keeps a session alive besides requests.
enum Liveness {
    /// Nothing: it is paused since then.
    Paused(Instant),
    /// RTCP reports, the last one at this time.
    Report(Instant),
    /// The connection: the viewer reads from it, or, for multicast, keeps it open.
    Connection,
}

impl Liveness {
    /// When the session times out if no request arrives after `last_request`.
    fn ends_at(self, last_request: Instant) -> Option<Instant> {
        match self {
            Self::Paused(since) => Some((last_request + SESSION_TIMEOUT).min(since + MAX_PAUSE)),
            Self::Report(last) => Some(last_request.max(last) + SESSION_TIMEOUT),
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
    /// Sets `track` up. Returns the `Transport` header of the response, or
    /// `None` if it conflicts with the tracks that are set up.
    pub(super) fn add(
        &mut self,
        track: TrackKind,
        requested: Transport,
        peer: SocketAddr,
    ) -> Option<String> {
        match (self, requested) {
            (Self::Interleaved(channels), Transport::Interleaved(pair)) => {
                let (rtp, rtcp) = channels.add(track, pair)?;
                Some(format!("RTP/AVP/TCP;unicast;interleaved={rtp}-{rtcp}"))
            }
            (Self::Datagrams(datagrams), Transport::Datagrams(rtp, rtcp)) => {
                // Only to the address of the connection, never to a third party.
                let at = |port| SocketAddr::new(peer.ip(), port);
                datagrams.add(track, at(rtp), at(rtcp));
                let (from, reports_from) = datagrams.ports();
                Some(format!(
                    "RTP/AVP;unicast;client_port={rtp}-{rtcp};server_port={from}-{reports_from}"
                ))
            }
            (Self::Multicast(multicast), Transport::Multicast) => {
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
    fn tracks_get_the_requested_channels_or_the_next_free_ones() {
        let mut channels = Channels::default();
        assert_eq!(channels.add(TrackKind::Audio, Some((0, 1))), Some((0, 1)));
        assert_eq!(channels.add(TrackKind::Video, Some((1, 2))), None, "taken");
        assert_eq!(channels.add(TrackKind::Video, Some((4, 6))), None, "not consecutive");
        assert_eq!(channels.add(TrackKind::Video, None), Some((2, 3)));
        assert_eq!(channels.get(TrackKind::Audio), Some(0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_ends_after_its_timeout_without_requests_or_reports() {
        let begin = Instant::now();
        let after = |seconds| begin + Duration::from_secs(seconds);
        assert_eq!(Liveness::Report(begin).ends_at(after(10)), Some(after(70)));
        assert_eq!(Liveness::Report(after(30)).ends_at(begin), Some(after(90)));
        assert_eq!(Liveness::Connection.ends_at(begin), None);
        // Keep-alives extend a paused session up to its limit.
        assert_eq!(Liveness::Paused(begin).ends_at(after(30)), Some(after(90)));
        assert_eq!(Liveness::Paused(begin).ends_at(after(590)), Some(after(600)));
    }

    #[test]
    fn packets_are_moved_to_the_channels_of_their_track() {
        let mut channels = Channels::default();
        channels.add(TrackKind::Video, Some((6, 7)));
        channels.add(TrackKind::Audio, Some((0, 1)));
        let both = [framed(2, b"sound"), framed(0, b"picture")].concat();
        let moved = channels.on_own_channels(&both);
        assert_eq!(moved, [framed(0, b"sound"), framed(6, b"picture")].concat());
    }
}
