//! What one viewer has set up, and how it is served.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;

use super::datagrams::{Datagrams, GROUP_TTL, Group};
use super::play::{Next, Play};
use super::transport::Wanted;
use crate::engine::roster::Stream;
use crate::hub::Reader;
use crate::media::packager::Init;
use crate::media::rtp::{channel, framed, on_channels};
use crate::model::unit::TrackKind;

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
    Paused { _reader: Reader },
    Playing(Box<Play>),
}

/// How the packets go to the viewer; one way for all tracks.
#[derive(Debug)]
pub(super) enum Delivery {
    Interleaved(Channels),
    Datagrams(Datagrams),
    Multicast(Arc<Group>, Vec<TrackKind>),
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
            Delivery::Multicast(_, tracks) => tracks.contains(&track),
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
            (Self::Multicast(group, tracks), Wanted::Multicast) => {
                tracks.push(track);
                let (rtp, rtcp) = Group::ports(track);
                let address = group.address();
                Some(format!(
                    "RTP/AVP;multicast;destination={address};port={rtp}-{rtcp};ttl={GROUP_TTL}"
                ))
            }
            (Self::Interleaved(_) | Self::Datagrams(_) | Self::Multicast(..), _) => None,
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
