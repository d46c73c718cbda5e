//! Packets as datagrams: to one viewer, or to a group on the local network.

use std::collections::HashMap;
use std::hash::Hash;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use log::{debug, warn};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::task::AbortHandle;

use super::play::{Next, Play};
use crate::engine::roster::Stream;
use crate::media::rtp::packets;
use crate::model::ids::StreamName;
use crate::model::unit::TrackKind;

/// The multicast groups, one a stream: site-local (RFC 2365), kept out of the
/// internet, and no further than the local network.
const FIRST_GROUP: [u8; 4] = [239, 255, 85, 1];
const GROUPS: usize = 250;
pub(super) const GROUP_TTL: u8 = 1;
const GROUP_PORTS: [(TrackKind, u16); 2] = [(TrackKind::Video, 5600), (TrackKind::Audio, 5602)];

/// So many times a pair of neighbouring ports is looked for.
const TRIES: usize = 64;

/// Who is sent more than its socket holds loses it: the past is sent in steps.
pub(super) const PACE: Duration = Duration::from_millis(2);

/// A pair of ports that packets and their reports leave from.
#[derive(Debug)]
pub(super) struct Ports {
    rtp: UdpSocket,
    rtcp: UdpSocket,
}

impl Ports {
    /// Takes an even port and the one above it (RFC 3550, section 11).
    ///
    /// # Errors
    /// The address is not one of this machine, or no pair is free.
    fn bind(ip: IpAddr) -> io::Result<Self> {
        for _ in 0..TRIES {
            let rtp = socket(ip, 0)?;
            let port = rtp.local_addr()?.port();
            if port % 2 == 0
                && let Ok(rtcp) = socket(ip, port + 1)
            {
                return Ok(Self { rtp, rtcp });
            }
        }
        Err(io::ErrorKind::AddrInUse.into())
    }

    /// The ports' numbers.
    pub(super) fn numbers(&self) -> (u16, u16) {
        let port = |socket: &UdpSocket| socket.local_addr().map_or(0, |address| address.port());
        (port(&self.rtp), port(&self.rtcp))
    }
}

fn socket(ip: IpAddr, port: u16) -> io::Result<UdpSocket> {
    let address = SocketAddr::new(ip, port);
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    if let IpAddr::V4(ip) = ip {
        socket.set_multicast_ttl_v4(u32::from(GROUP_TTL))?;
        socket.set_multicast_if_v4(&ip)?;
    }
    UdpSocket::from_std(socket.into())
}

/// Where the datagrams of each track go.
#[derive(Debug)]
pub(super) struct Datagrams {
    ports: Arc<Ports>,
    targets: HashMap<TrackKind, Target>,
}

#[derive(Clone, Copy, Debug)]
struct Target {
    rtp: SocketAddr,
    rtcp: SocketAddr,
}

impl Datagrams {
    pub(super) fn new(ports: Arc<Ports>) -> Self {
        Self { ports, targets: HashMap::new() }
    }

    pub(super) fn ports(&self) -> (u16, u16) {
        self.ports.numbers()
    }

    pub(super) fn add(&mut self, track: TrackKind, rtp: SocketAddr, rtcp: SocketAddr) {
        self.targets.insert(track, Target { rtp, rtcp });
    }

    pub(super) fn has(&self, track: TrackKind) -> bool {
        self.targets.contains_key(&track)
    }

    /// Sends framed packets of one track. What the network does not take is
    /// lost, as datagrams are.
    pub(super) async fn send(&self, track: TrackKind, framed: &[u8]) {
        let Some(target) = self.targets.get(&track) else { return };
        for (_, packet) in packets(framed) {
            let sent = self.ports.rtp.send_to(packet, target.rtp).await;
            if let Err(error) = sent {
                debug!("RTSP: {}: {error}", target.rtp);
                return;
            }
        }
    }

    pub(super) async fn send_report(&self, track: TrackKind, report: &[u8]) {
        if let Some(target) = self.targets.get(&track) {
            self.ports.rtcp.send_to(report, target.rtcp).await.ok();
        }
    }

    /// Sends what comes next in a stream.
    pub(super) async fn deliver(&self, next: &Next) {
        for (track, report) in &next.reports {
            self.send_report(*track, report).await;
        }
        for track in [TrackKind::Audio, TrackKind::Video] {
            self.send(track, &next.of_track(track)).await;
        }
    }
}

/// One stream on its way to a multicast group, as long as somebody holds it.
#[derive(Debug)]
pub(super) struct Group {
    address: Ipv4Addr,
    task: AbortHandle,
}

impl Group {
    fn start(stream: &Arc<Stream>, address: Ipv4Addr, interface: Ipv4Addr) -> io::Result<Self> {
        let mut datagrams = Datagrams::new(Arc::new(Ports::bind(interface.into())?));
        for (track, port) in GROUP_PORTS {
            let at = |port| SocketAddr::V4(SocketAddrV4::new(address, port));
            datagrams.add(track, at(port), at(port + 1));
        }
        let hub = Arc::clone(stream.hub());
        let task = tokio::spawn(async move {
            let mut play = Play::from_key(hub.join());
            while let Some(next) = play.next().await {
                datagrams.deliver(&next).await;
                hub.count_bytes_out(next.length());
            }
        });
        Ok(Self { address, task: task.abort_handle() })
    }

    pub(super) fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// The ports of a track's packets and reports.
    pub(super) fn ports(track: TrackKind) -> (u16, u16) {
        let port = GROUP_PORTS.iter().find(|(kind, _)| *kind == track).map_or(0, |(_, port)| *port);
        (port, port + 1)
    }

    fn is_over(&self) -> bool {
        self.task.is_finished()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What is shared as long as somebody holds it.
#[derive(Debug)]
struct Shared<K, V>(Mutex<HashMap<K, Weak<V>>>);

impl<K: Eq + Hash, V> Shared<K, V> {
    fn get(
        &self,
        key: K,
        is_good: impl Fn(&V) -> bool,
        make: impl FnOnce(&[Arc<V>]) -> io::Result<V>,
    ) -> io::Result<Arc<V>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, one| one.strong_count() > 0);
        if let Some(one) = all.get(&key).and_then(Weak::upgrade).filter(|one| is_good(one)) {
            return Ok(one);
        }
        let others: Vec<_> = all.values().filter_map(Weak::upgrade).collect();
        let one = Arc::new(make(&others)?);
        all.insert(key, Arc::downgrade(&one));
        Ok(one)
    }
}

impl<K, V> Default for Shared<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

/// The ports and groups that are in use.
#[derive(Debug, Default)]
pub(super) struct Network {
    ports: Shared<IpAddr, Ports>,
    groups: Shared<(StreamName, Ipv4Addr), Group>,
}

impl Network {
    /// The ports for viewers who reached this host as `ip`.
    pub(super) fn ports(&self, ip: IpAddr) -> Option<Arc<Ports>> {
        let ports = self.ports.get(ip, |_| true, |_| Ports::bind(ip));
        ports.inspect_err(|error| warn!("RTSP has no ports on {ip}: {error}")).ok()
    }

    /// The group of the stream in this place, towards the network of `interface`.
    pub(super) fn group(
        &self,
        stream: &Arc<Stream>,
        place: usize,
        interface: IpAddr,
    ) -> Option<Arc<Group>> {
        let IpAddr::V4(interface) = interface else { return None };
        let make =
            |others: &[Arc<Group>]| Group::start(stream, free_address(place, others), interface);
        let key = (stream.hub().name().clone(), interface);
        let group = self.groups.get(key, |group| !group.is_over(), make);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn ports_are_an_even_one_and_its_neighbour() {
        let ports = Ports::bind(Ipv4Addr::LOCALHOST.into()).unwrap();
        let (rtp, rtcp) = ports.numbers();
        assert_eq!((rtp % 2, rtcp), (0, rtp + 1));
    }

    #[tokio::test]
    async fn viewers_of_one_address_share_the_ports_until_the_last_is_gone() {
        let network = Network::default();
        let ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let first = network.ports(ip).unwrap();
        assert_eq!(network.ports(ip).unwrap().numbers(), first.numbers());
        let gone = Arc::downgrade(&first);
        drop(first);
        assert!(gone.upgrade().is_none());
    }
}
