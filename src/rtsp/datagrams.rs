//! RTP over UDP, and the RTCP reports of viewers, which keep their sessions alive.

use std::collections::HashMap;
use std::hash::Hash;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Weak};
use std::time::Duration;

use log::{debug, warn};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::play::Next;
use crate::base::lock::Lock;
use crate::media::rtp::packets;
use crate::model::unit::TrackKind;

/// Packets to multicast groups do not leave the local network.
pub(super) const GROUP_TTL: u8 = 1;

/// Attempts to find a free pair of ports.
const PORT_ATTEMPTS: usize = 64;

/// Pause between the pictures of a burst, so that it does not overflow the
/// receive buffers of viewers.
pub(super) const BURST_INTERVAL: Duration = Duration::from_millis(2);

/// Pause after an error of the RTCP socket.
const RECEIVE_RETRY: Duration = Duration::from_millis(100);

/// A pair of ports for RTP and RTCP. Reports of viewers arrive on the second one.
#[derive(Debug)]
pub(super) struct Ports {
    rtp: UdpSocket,
    rtcp: Arc<UdpSocket>,
    viewers: Arc<Viewers>,
    receiver: AbortHandle,
}

impl Ports {
    /// Binds an even port and the next higher one (RFC 3550, section 11).
    ///
    /// # Errors
    /// The address does not belong to this machine, or no pair is free.
    pub(super) fn bind(ip: IpAddr) -> io::Result<Arc<Self>> {
        for _ in 0..PORT_ATTEMPTS {
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

    /// The numbers of the RTP and the RTCP port.
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

/// Records which viewers send reports; the contents are ignored.
async fn receive(rtcp: Arc<UdpSocket>, viewers: Arc<Viewers>) {
    // The rest of a longer datagram is discarded.
    let mut start = [0; 8];
    loop {
        match rtcp.recv_from(&mut start).await {
            Ok((_, from)) => viewers.record_report(from),
            Err(error) => {
                debug!("RTSP: cannot receive reports: {error}");
                tokio::time::sleep(RECEIVE_RETRY).await;
            }
        }
    }
}

/// When the last report of a viewer arrived.
type LastReport = Lock<Instant>;

/// The last reports by the source address of the viewer's RTCP packets.
#[derive(Debug, Default)]
struct Viewers(Lock<HashMap<SocketAddr, Weak<LastReport>>>);

impl Viewers {
    fn add(&self, address: SocketAddr, last_report: &Arc<LastReport>) {
        let mut all = self.0.lock();
        all.retain(|_, last_report| last_report.strong_count() > 0);
        all.insert(address, Arc::downgrade(last_report));
    }

    fn record_report(&self, from: SocketAddr) {
        let from = SocketAddr::new(from.ip().to_canonical(), from.port());
        let last_report = self.0.lock().get(&from).and_then(Weak::upgrade);
        if let Some(last_report) = last_report {
            *last_report.lock() = Instant::now();
        }
    }
}

/// The destinations of one viewer or group, by track.
#[derive(Debug)]
pub(super) struct Datagrams {
    ports: Arc<Ports>,
    targets: HashMap<TrackKind, Target>,
    last_report: Arc<LastReport>,
}

#[derive(Clone, Copy, Debug)]
struct Target {
    rtp: SocketAddr,
    rtcp: SocketAddr,
}

impl Datagrams {
    pub(super) fn new(ports: Arc<Ports>) -> Self {
        let last_report = Arc::new(Lock::new(Instant::now()));
        Self { ports, targets: HashMap::new(), last_report }
    }

    pub(super) fn ports(&self) -> (u16, u16) {
        self.ports.numbers()
    }

    pub(super) fn add(&mut self, track: TrackKind, rtp: SocketAddr, rtcp: SocketAddr) {
        self.ports.viewers.add(rtcp, &self.last_report);
        self.targets.insert(track, Target { rtp, rtcp });
    }

    /// When the last report of the viewer arrived; before the first one, when it
    /// was set up.
    pub(super) fn last_report(&self) -> Instant {
        *self.last_report.lock()
    }

    pub(super) fn has(&self, track: TrackKind) -> bool {
        self.targets.contains_key(&track)
    }

    /// Sends framed packets of one track. After an error the rest is dropped.
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

    /// Sends the reports and packets of `next`.
    pub(super) async fn deliver(&self, next: &Next) {
        for (track, report) in &next.reports {
            self.send_report(*track, report).await;
        }
        for track in [TrackKind::Audio, TrackKind::Video] {
            self.send(track, &next.of_track(track)).await;
        }
    }
}

/// A map of shared values, each of which lives until its last user drops it.
#[derive(Debug)]
pub(super) struct SharedMap<K, V>(Lock<HashMap<K, Weak<V>>>);

impl<K: Eq + Hash, V> SharedMap<K, V> {
    /// The value of `key` if `is_valid`; otherwise a new one, made in view of the
    /// values in use.
    pub(super) fn get(
        &self,
        key: K,
        is_valid: impl Fn(&V) -> bool,
        make: impl FnOnce(&[Arc<V>]) -> io::Result<Arc<V>>,
    ) -> io::Result<Arc<V>> {
        let mut all = self.0.lock();
        all.retain(|_, value| value.strong_count() > 0);
        if let Some(value) = all.get(&key).and_then(Weak::upgrade).filter(|value| is_valid(value)) {
            return Ok(value);
        }
        let in_use: Vec<_> = all.values().filter_map(Weak::upgrade).collect();
        let value = make(&in_use)?;
        all.insert(key, Arc::downgrade(&value));
        Ok(value)
    }
}

impl<K, V> Default for SharedMap<K, V> {
    fn default() -> Self {
        Self(Lock::default())
    }
}

/// The ports in use, by local address.
#[derive(Debug, Default)]
pub(super) struct AllPorts(SharedMap<IpAddr, Ports>);

impl AllPorts {
    /// The ports for viewers that reached this machine at `ip`.
    pub(super) fn get(&self, ip: IpAddr) -> Option<Arc<Ports>> {
        let ports = self.0.get(ip, |_| true, |_| Ports::bind(ip));
        ports.inspect_err(|error| warn!("RTSP: no UDP ports on {ip}: {error}")).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[tokio::test]
    async fn ports_are_an_even_one_and_the_next() {
        let ports = Ports::bind(Ipv4Addr::LOCALHOST.into()).unwrap();
        let (rtp, rtcp) = ports.numbers();
        assert_eq!((rtp % 2, rtcp), (0, rtp + 1));
    }

    #[tokio::test]
    async fn viewers_of_one_address_share_the_ports_until_the_last_leaves() {
        let all = AllPorts::default();
        let ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let first = all.get(ip).unwrap();
        assert_eq!(all.get(ip).unwrap().numbers(), first.numbers());
        let released = Arc::downgrade(&first);
        drop(first);
        assert!(released.upgrade().is_none());
    }

    #[tokio::test]
    async fn a_report_counts_for_its_viewer_only() {
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
        let (before, others_before) = (watching.last_report(), others.last_report());

        while watching.last_report() == before {
            viewer.send_to(b"report", to).await.unwrap();
            tokio::task::yield_now().await;
        }

        assert_eq!(others.last_report(), others_before);
    }
}
