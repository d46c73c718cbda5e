//! Multicast groups on the local network: one a stream, to which packets are
//! sent while somebody plays.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use log::warn;
use tokio::task::AbortHandle;

use super::datagrams::{Datagrams, PACE, Ports, Shared};
use super::play::Play;
use crate::engine::registry::Stream;
use crate::hub;
use crate::model::ids::StreamName;
use crate::model::unit::TrackKind;

/// The multicast groups, one a stream: site-local (RFC 2365), kept out of the
/// internet, and no further than the local network.
const FIRST_GROUP: [u8; 4] = [239, 255, 85, 1];
const GROUPS: usize = 250;
pub(super) const GROUP_TTL: u8 = 1;
const GROUP_PORTS: [(TrackKind, u16); 2] = [(TrackKind::Video, 5600), (TrackKind::Audio, 5602)];

/// The group of one stream, reserved as long as somebody holds it.
#[derive(Debug)]
pub(super) struct Group {
    stream: Arc<Stream>,
    address: Ipv4Addr,
    interface: Ipv4Addr,
    sending: Mutex<Weak<Sending>>,
}

/// A stream on its way to its group, as long as somebody holds this.
#[derive(Debug)]
pub(super) struct Sending(AbortHandle);

impl Group {
    pub(super) fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// The ports of a track's packets and reports.
    pub(super) fn ports(track: TrackKind) -> (u16, u16) {
        let port = GROUP_PORTS.iter().find(|(kind, _)| *kind == track).map_or(0, |(_, port)| *port);
        (port, port + 1)
    }

    /// Begins to send, unless that goes on already.
    ///
    /// # Errors
    /// There are no sockets to send from.
    pub(super) fn send(&self) -> io::Result<Arc<Sending>> {
        let mut sending = self.sending.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(one) = sending.upgrade().filter(|one| !one.0.is_finished()) {
            return Ok(one);
        }
        let mut datagrams = Datagrams::new(Ports::bind(self.interface.into())?);
        for (track, port) in GROUP_PORTS {
            let at = |port| SocketAddr::V4(SocketAddrV4::new(self.address, port));
            datagrams.add(track, at(port), at(port + 1));
        }
        let task = tokio::spawn(send(Arc::clone(self.stream.hub()), datagrams));
        let one = Arc::new(Sending(task.abort_handle()));
        *sending = Arc::downgrade(&one);
        Ok(one)
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn send(hub: Arc<hub::Stream>, datagrams: Datagrams) {
    let mut play = match hub.join_with_past() {
        Some((reader, init, past)) => Play::from_edge(reader, init, past),
        None => Play::from_key(hub.join()),
    };
    while let Some(next) = play.next().await {
        datagrams.deliver(&next).await;
        hub.count_bytes_out(next.length());
        if next.is_past {
            tokio::time::sleep(PACE).await;
        }
    }
}

/// The groups that are in use.
#[derive(Debug, Default)]
pub(super) struct Groups(Shared<(StreamName, Ipv4Addr), Group>);

impl Groups {
    /// The group of the stream in this place, towards the network of `interface`.
    pub(super) fn of(
        &self,
        stream: &Arc<Stream>,
        place: usize,
        interface: IpAddr,
    ) -> Option<Arc<Group>> {
        let IpAddr::V4(interface) = interface else { return None };
        let make = |others: &[Arc<Group>]| {
            let (stream, sending) = (Arc::clone(stream), Mutex::default());
            let address = free_address(place, others);
            Ok(Arc::new(Group { stream, address, interface, sending }))
        };
        let key = (stream.hub().name().clone(), interface);
        let is_same = |group: &Group| Arc::ptr_eq(group.stream.hub(), stream.hub());
        let group = self.0.get(key, is_same, make);
        group.inspect_err(|error| warn!("RTSP has no multicast on {interface}: {error}")).ok()
    }
}

/// The address of this place, or the next one that no group has: a stream may
/// have come into the place of another.
fn free_address(place: usize, groups: &[Arc<Group>]) -> Ipv4Addr {
    let [a, b, c, d] = FIRST_GROUP;
    let address = |number: usize| Ipv4Addr::new(a, b, c, d + (number % GROUPS) as u8);
    let is_free = |one: &Ipv4Addr| !groups.iter().any(|group| group.address == *one);
    (place..place + GROUPS).map(address).find(is_free).unwrap_or(address(place))
}
