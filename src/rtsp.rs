//! Streams over RTSP (RFC 2326): over the connection itself, as datagrams, or
//! to a multicast group.
//!
//! Each connection is a task of its own, so that a cold camera is waited for by
//! who asks for it and by nobody else. All viewers of a stream share its
//! packets, byte for byte; a connection is written once for each picture.

mod access;
mod answer;
mod conversation;
mod datagrams;
mod describe;
mod groups;
mod login;
mod play;
mod report;
mod requests;
mod session;
mod transport;

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use log::{debug, info, warn};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use self::conversation::converse;
use self::datagrams::AllPorts;
use self::groups::{Group, Groups};
use crate::accounts::Scope;
use crate::base::incident;
use crate::base::shutdown::Shutdown;
use crate::base::slots::{Limits, Priority, Slot, Slots};
use crate::base::sockets;
use crate::base::tls::Tls;
use crate::config::settings::{self, Login};
use crate::engine::registry::Stream;
use crate::service::topology::Topology;

/// So many players may be connected, half of them from one address. Those that
/// play nothing, as they have just come or are paused, are fewer; they make
/// room for others, the longest idle first.
const PLACES: Limits =
    Limits { total: 1024, per_address: 512, reserved: 0, idle: 256, evicting: 256 };

/// A TLS handshake takes two round trips; this is enough for the worst of links.
const HANDSHAKE_AT_MOST: Duration = Duration::from_secs(10);

/// Why streams cannot be had over RTSP.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen on {address} for RTSP ({key}): {}",
    if source.kind() == ErrorKind::AddrInUse {
        "another program uses that port; stop it, or set the key to another one or to off".to_owned()
    } else {
        source.to_string()
    }
)]
pub struct BindError {
    address: SocketAddr,
    key: &'static str,
    source: io::Error,
}

/// A listener that is bound, so that a busy port is known before anything starts.
#[derive(Debug)]
pub struct RtspListener {
    plain: StdListener,
    encrypted: Option<(StdListener, Arc<ServerConfig>)>,
}

impl RtspListener {
    /// Takes the port, and with a certificate the one for RTSPS.
    ///
    /// # Errors
    /// It is taken, or the address is not one of this machine.
    pub fn bind(
        bind: IpAddr,
        settings: &settings::Rtsp,
        tls: Option<&Tls>,
    ) -> Result<Self, BindError> {
        let at = |port, key| {
            let address = SocketAddr::new(bind, port);
            sockets::listen(address).map_err(|source| BindError { address, key, source })
        };
        let plain = at(settings.port, "rtsp.port")?;
        let encrypted = match (settings.tls_port, tls) {
            (Some(port), Some(tls)) => Some((at(port, "rtsp.tls_port")?, tls.server_config())),
            (Some(_) | None, _) => None,
        };
        Ok(Self { plain, encrypted })
    }

    /// Serves viewers until `shutdown`; must be called on a runtime.
    ///
    /// # Errors
    /// The runtime does not take the listener.
    pub fn open(
        self,
        topology: watch::Receiver<Arc<Topology>>,
        shutdown: Shutdown,
    ) -> io::Result<JoinHandle<()>> {
        let plain = TcpListener::from_std(self.plain)?;
        let encrypted = self.encrypted.map(|(listener, config)| {
            let acceptor = TlsAcceptor::from(config);
            TcpListener::from_std(listener).map(|listener| (listener, acceptor))
        });
        let encrypted = encrypted.transpose()?;
        let server = Arc::new(RtspServer {
            topology,
            ports: AllPorts::default(),
            groups: Groups::default(),
            places: Slots::new(PLACES),
            malformed: incident::Shared::default(),
            turned_away: incident::Shared::default(),
        });
        Ok(tokio::spawn(async move {
            let plain = keep(plain, None, Arc::clone(&server), shutdown.clone());
            match encrypted {
                Some((listener, acceptor)) => {
                    tokio::join!(plain, keep(listener, Some(acceptor), server, shutdown));
                }
                None => plain.await,
            }
        }))
    }
}

/// What all conversations share.
#[derive(Debug)]
struct RtspServer {
    topology: watch::Receiver<Arc<Topology>>,
    ports: AllPorts,
    groups: Groups,
    places: Arc<Slots>,
    malformed: incident::Shared,
    turned_away: incident::Shared,
}

impl RtspServer {
    /// What there is now.
    fn topology(&self) -> Arc<Topology> {
        Arc::clone(&self.topology.borrow())
    }

    /// The stream whose path begins `path`, and what is left.
    fn find<'a>(&self, path: &'a str) -> Option<(Arc<Stream>, &'a str)> {
        let topology = self.topology();
        let below = |stream: &Arc<Stream>| {
            let rest = path.strip_prefix(stream.url())?;
            (rest.is_empty() || rest.starts_with('/')).then(|| (Arc::clone(stream), rest))
        };
        let found = topology.registry.streams().iter().filter_map(below);
        found.min_by_key(|(_, rest)| rest.len())
    }

    /// The stream that `path` begins with, if it has a password of its own.
    fn protected(&self, path: &str) -> Option<Scope> {
        let (stream, _) = self.find(path)?;
        self.place(&stream)
    }

    /// The stream, if it has a password of its own.
    fn place(&self, stream: &Stream) -> Option<Scope> {
        let place = Scope::Stream(stream.hub().name().clone());
        self.topology().authenticator.asks_at(&place).then_some(place)
    }

    /// What a viewer must show, if anything.
    fn login(&self) -> Option<Login> {
        self.topology().settings.rtsp.as_ref()?.login.clone()
    }

    fn log_turned_away(&self, from: IpAddr) {
        let (count, from) = (self.turned_away.add(Instant::now().into_std()), from.to_canonical());
        if let Some(count) = count {
            warn!("RTSP: too many players: {count} turned away, the last from {from}");
        }
    }

    fn log_malformed(&self, from: IpAddr) {
        if let Some(count) = self.malformed.add(Instant::now().into_std()) {
            info!("RTSP: malformed requests: {count}, the last from {from}");
        }
    }

    fn allows_multicast(&self) -> bool {
        self.topology().settings.rtsp.as_ref().is_some_and(|rtsp| rtsp.multicast)
    }

    /// The group of a stream, towards the network of `interface`.
    fn group(&self, stream: &Arc<Stream>, interface: IpAddr) -> Option<Arc<Group>> {
        let is_it = |other: &Arc<Stream>| other.hub().name() == stream.hub().name();
        let place = self.topology().registry.streams().iter().position(is_it)?;
        self.groups.of(stream, place, interface)
    }
}

/// Accepts connections until the end.
async fn keep(
    listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
    server: Arc<RtspServer>,
    mut shutdown: Shutdown,
) {
    let mut conversations = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((socket, peer)) => {
                    let now = Instant::now().into_std();
                    let place = server.places.enter(peer.ip(), Priority::Normal, now);
                    let Some((slot, eviction)) = place else {
                        server.log_turned_away(peer.ip());
                        continue;
                    };
                    slot.mark_idle(now, now);
                    let (server, acceptor) = (Arc::clone(&server), acceptor.clone());
                    conversations.spawn(async move {
                        tokio::select! {
                            () = meet(socket, peer, acceptor, server, slot) => {}
                            () = eviction => debug!("RTSP: {peer}: makes room"),
                        }
                    });
                    // So that evicted ones end before there are more.
                    tokio::task::yield_now().await;
                }
                Err(error) => {
                    // Most often too few files: waiting is all that helps.
                    warn!("RTSP: {error}");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            },
            Some(_) = conversations.join_next() => {}
            () = shutdown.requested() => break,
        }
    }
    conversations.shutdown().await;
}

async fn meet(
    socket: TcpStream,
    peer: SocketAddr,
    acceptor: Option<TlsAcceptor>,
    server: Arc<RtspServer>,
    slot: Slot,
) {
    let local = match sockets::set_for_viewer(&socket).and_then(|()| socket.local_addr()) {
        Ok(local) => local,
        Err(error) => return debug!("RTSP: {peer}: {error}"),
    };
    let Some(acceptor) = acceptor else {
        return converse(socket, (peer, local), server, slot).await;
    };
    match timeout(HANDSHAKE_AT_MOST, acceptor.accept(socket)).await {
        Ok(Ok(socket)) => converse(socket, (peer, local), server, slot).await,
        Ok(Err(error)) => debug!("RTSP: {peer}: no handshake: {error}"),
        Err(_) => debug!("RTSP: {peer}: no handshake in time"),
    }
}
