//! Multicast groups on the local network: one for each stream, with packets sent
//! while a viewer plays.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::{Arc, Weak};

use log::warn;
use tokio::task::AbortHandle;

use super::datagrams::{BURST_INTERVAL, Datagrams, Ports, SharedMap};
use super::play::Play;
use crate::base::lock::Lock;
use crate::engine::registry::Stream;
use crate::hub;
use crate::model::ids::StreamName;
use crate::model::unit::TrackKind;

/// The addresses of the groups: IPv4 local scope (RFC 2365), not routed to the
/// internet; with a TTL of 1 they do not leave the local network.
const FIRST_GROUP: [u8; 4] = [239, 255, 85, 1];
const GROUP_COUNT: usize = 250;
const GROUP_PORTS: [(TrackKind, u16); 2] = [(TrackKind::Video, 5600), (TrackKind::Audio, 5602)];

/// The group of one stream, reserved until the last reference is dropped.
#[derive(Debug)]
pub(super) struct Group {
    stream: Arc<Stream>,
    address: Ipv4Addr,
    interface: Ipv4Addr,
    sending: Lock<Weak<Sending>>,
}

/// The task that sends a stream to its group; ends when the last reference is
/// dropped.
#[derive(Debug)]
pub(super) struct Sending(AbortHandle);

impl Group {
    pub(super) fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// The RTP and RTCP ports of a track.
    pub(super) fn ports(track: TrackKind) -> (u16, u16) {
        let port = GROUP_PORTS.iter().find(|(kind, _)| *kind == track).map_or(0, |(_, port)| *port);
        (port, port + 1)
    }

    /// Starts the sending task, or returns the running one.
    ///
    /// # Errors
    /// No sockets can be bound to send from.
    pub(super) fn send(&self) -> io::Result<Arc<Sending>> {
        let mut sending = self.sending.lock();
        if let Some(running) = sending.upgrade().filter(|running| !running.0.is_finished()) {
            return Ok(running);
        }
        let mut datagrams = Datagrams::new(Ports::bind(self.interface.into())?);
        for (track, port) in GROUP_PORTS {
            let at = |port| SocketAddr::V4(SocketAddrV4::new(self.address, port));
            datagrams.add(track, at(port), at(port + 1));
        }
        let task = tokio::spawn(send(Arc::clone(self.stream.hub()), datagrams));
        let started = Arc::new(Sending(task.abort_handle()));
        *sending = Arc::downgrade(&started);
        Ok(started)
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
        if next.is_burst {
            tokio::time::sleep(BURST_INTERVAL).await;
        }
    }
}

/// The groups in use, by stream and interface.
#[derive(Debug, Default)]
pub(super) struct Groups(SharedMap<(StreamName, Ipv4Addr), Group>);

impl Groups {
    /// The group of `stream` on the network of `interface`. `index` is the
    /// position of the stream in the configuration. `None` for IPv6, or if it
    /// cannot be made.
    pub(super) fn get(
        &self,
        stream: &Arc<Stream>,
        index: usize,
        interface: IpAddr,
    ) -> Option<Arc<Group>> {
        let IpAddr::V4(interface) = interface else { return None };
        let make = |others: &[Arc<Group>]| {
            let (stream, sending) = (Arc::clone(stream), Lock::default());
            let address = free_address(index, others);
            Ok(Arc::new(Group { stream, address, interface, sending }))
        };
        let key = (stream.hub().name().clone(), interface);
        let is_same = |group: &Group| Arc::ptr_eq(group.stream.hub(), stream.hub());
        let group = self.0.get(key, is_same, make);
        group.inspect_err(|error| warn!("RTSP: no multicast on {interface}: {error}")).ok()
    }
}

/// The address at `index`, or the next free one: after a reload, another
/// stream's group may still have it.
fn free_address(index: usize, groups: &[Arc<Group>]) -> Ipv4Addr {
    let [a, b, c, d] = FIRST_GROUP;
    let address = |number: usize| Ipv4Addr::new(a, b, c, d + (number % GROUP_COUNT) as u8);
    let is_free = |address: &Ipv4Addr| !groups.iter().any(|group| group.address == *address);
    (index..index + GROUP_COUNT).map(address).find(is_free).unwrap_or(address(index))
}
