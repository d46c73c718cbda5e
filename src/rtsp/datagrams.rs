//! Packets as datagrams, and what comes back of them: reports of viewers, which
//! tell that they are still there.

use std::collections::HashMap;
use std::hash::Hash;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use log::{debug, warn};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::groups::GROUP_TTL;
use super::play::Next;
use crate::media::rtp::packets;
use crate::model::unit::TrackKind;

/// So many times a pair of neighbouring ports is looked for.
const TRIES: usize = 64;

/// Who is sent more than its socket holds loses it: the past is sent in steps.
pub(super) const PACE: Duration = Duration::from_millis(2);

/// How long to wait after an error of a socket that should give reports.
const AFTER_ERROR: Duration = Duration::from_millis(100);

/// A pair of ports that packets and their reports leave from. Reports of
/// viewers are received on the second one.
#[derive(Debug)]
pub(super) struct Ports {
    rtp: UdpSocket,
    rtcp: Arc<UdpSocket>,
    viewers: Arc<Viewers>,
    receiver: AbortHandle,
}

impl Ports {
    /// Takes an even port and the one above it (RFC 3550, section 11).
    ///
    /// # Errors
    /// The address is not one of this machine, or no pair is free.
    pub(super) fn bind(ip: IpAddr) -> io::Result<Arc<Self>> {
        for _ in 0..TRIES {
            let rtp = socket(ip, 0)?;
            let port = rtp.local_addr()?.port();
            if port % 2 == 0
                && let Ok(rtcp) = socket(ip, port + 1)
            {
                let (rtcp, viewers) = (Arc::new(rtcp), Arc::<Viewers>::default());
                let receiver = tokio::spawn(receive(Arc::clone(&rtcp), Arc::clone(&viewers)));
                let receiver = receiver.abort_handle();
                return Ok(Arc::new(Self { rtp, rtcp, viewers, receiver }));
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

impl Drop for Ports {
    fn drop(&mut self) {
        self.receiver.abort();
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

/// Notes which viewers send reports; what stands in them does not matter.
async fn receive(rtcp: Arc<UdpSocket>, viewers: Arc<Viewers>) {
    // The rest of a longer datagram is thrown away.
    let mut start = [0; 8];
    loop {
        match rtcp.recv_from(&mut start).await {
            Ok((_, from)) => viewers.heard(from),
            Err(error) => {
                debug!("RTSP: no reports: {error}");
                tokio::time::sleep(AFTER_ERROR).await;
            }
        }
    }
}

/// From where the reports of each viewer come.
#[derive(Debug, Default)]
struct Viewers(Mutex<HashMap<SocketAddr, Weak<Heard>>>);

/// When a viewer was heard of last.
#[derive(Debug)]
struct Heard(Mutex<Instant>);

impl Viewers {
    fn add(&self, address: SocketAddr, viewer: &Arc<Heard>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, viewer| viewer.strong_count() > 0);
        all.insert(address, Arc::downgrade(viewer));
    }

    fn heard(&self, from: SocketAddr) {
        let from = SocketAddr::new(from.ip().to_canonical(), from.port());
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(viewer) = all.get(&from).and_then(Weak::upgrade) {
            *viewer.lock() = Instant::now();
        }
    }
}

impl Heard {
    fn lock(&self) -> MutexGuard<'_, Instant> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the datagrams of each track go.
#[derive(Debug)]
pub(super) struct Datagrams {
    ports: Arc<Ports>,
    targets: HashMap<TrackKind, Target>,
    heard: Arc<Heard>,
}

#[derive(Clone, Copy, Debug)]
struct Target {
    rtp: SocketAddr,
    rtcp: SocketAddr,
}

impl Datagrams {
    pub(super) fn new(ports: Arc<Ports>) -> Self {
        let heard = Arc::new(Heard(Mutex::new(Instant::now())));
        Self { ports, targets: HashMap::new(), heard }
    }

    pub(super) fn ports(&self) -> (u16, u16) {
        self.ports.numbers()
    }

    pub(super) fn add(&mut self, track: TrackKind, rtp: SocketAddr, rtcp: SocketAddr) {
        self.ports.viewers.add(rtcp, &self.heard);
        self.targets.insert(track, Target { rtp, rtcp });
    }

    /// When the viewer has sent a report last; at first, when it set this up.
    pub(super) fn heard(&self) -> Instant {
        *self.heard.lock()
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

/// What is shared as long as somebody holds it.
#[derive(Debug)]
pub(super) struct Shared<K, V>(Mutex<HashMap<K, Weak<V>>>);

impl<K: Eq + Hash, V> Shared<K, V> {
    pub(super) fn get(
        &self,
        key: K,
        is_good: impl Fn(&V) -> bool,
        make: impl FnOnce(&[Arc<V>]) -> io::Result<Arc<V>>,
    ) -> io::Result<Arc<V>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, one| one.strong_count() > 0);
        if let Some(one) = all.get(&key).and_then(Weak::upgrade).filter(|one| is_good(one)) {
            return Ok(one);
        }
        let others: Vec<_> = all.values().filter_map(Weak::upgrade).collect();
        let one = make(&others)?;
        all.insert(key, Arc::downgrade(&one));
        Ok(one)
    }
}

impl<K, V> Default for Shared<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

/// The ports that are in use.
#[derive(Debug, Default)]
pub(super) struct AllPorts(Shared<IpAddr, Ports>);

impl AllPorts {
    /// The ports for viewers who reached this host as `ip`.
    pub(super) fn of(&self, ip: IpAddr) -> Option<Arc<Ports>> {
        let ports = self.0.get(ip, |_| true, |_| Ports::bind(ip));
        ports.inspect_err(|error| warn!("RTSP has no ports on {ip}: {error}")).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[tokio::test]
    async fn ports_are_an_even_one_and_its_neighbour() {
        let ports = Ports::bind(Ipv4Addr::LOCALHOST.into()).unwrap();
        let (rtp, rtcp) = ports.numbers();
        assert_eq!((rtp % 2, rtcp), (0, rtp + 1));
    }

    #[tokio::test]
    async fn viewers_of_one_address_share_the_ports_until_the_last_is_gone() {
        let all = AllPorts::default();
        let ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let first = all.of(ip).unwrap();
        assert_eq!(all.of(ip).unwrap().numbers(), first.numbers());
        let gone = Arc::downgrade(&first);
        drop(first);
        assert!(gone.upgrade().is_none());
    }

    #[tokio::test]
    async fn a_report_shows_that_its_viewer_is_there_and_nobody_else() {
        let ports = Ports::bind(Ipv4Addr::LOCALHOST.into()).unwrap();
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, ports.numbers().1));
        let viewer = socket(Ipv4Addr::LOCALHOST.into(), 0).unwrap();
        let other = socket(Ipv4Addr::LOCALHOST.into(), 0).unwrap();
        let watching = |socket: &UdpSocket| {
            let mut datagrams = Datagrams::new(Arc::clone(&ports));
            let at = socket.local_addr().unwrap();
            datagrams.add(TrackKind::Video, at, at);
            datagrams
        };
        let (watching, others) = (watching(&viewer), watching(&other));
        let (before, others_before) = (watching.heard(), others.heard());

        while watching.heard() == before {
            viewer.send_to(b"report", to).await.unwrap();
            tokio::task::yield_now().await;
        }

        assert_eq!(others.heard(), others_before);
    }
}
