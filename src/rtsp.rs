//! Streams over RTSP (RFC 2326): interleaved on the connection, over UDP, or to
//! a multicast group.
//!
//! Each connection is a task of its own, so that only the viewers of a camera
//! that starts wait for it. All viewers of a stream share its packets, byte for
//! byte; a connection is written once for each picture.

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
mod server;
mod session;
mod transport;

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use log::{debug, warn};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use self::conversation::Endpoints;
use self::datagrams::AllPorts;
use self::groups::Groups;
use self::server::RtspServer;
use crate::base::incident;
use crate::base::shutdown::Shutdown;
use crate::base::slots::{Limits, Priority, Slot, Slots};
use crate::base::sockets;
use crate::base::time;
use crate::base::tls::Tls;
use crate::config::settings::{self};
use crate::service::topology::Topology;

/// Bounds of the connections, with at most half from one address. Connections
/// that play nothing (new or paused) have a lower bound; when it is reached, the
/// longest idle one is closed.
const CONNECTIONS: Limits =
    Limits { total: 1024, per_address: 512, reserved: 0, idle: 256, evicting: 256 };

/// A TLS handshake takes two round trips; this suffices on slow links.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Why RTSP cannot be served.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen on {address} for RTSP ({key}): {}",
    sockets::listen_error(*address, error, "stop it, or set the key to another port or to off")
)]
pub struct BindError {
    address: SocketAddr,
    key: &'static str,
    error: io::Error,
}

/// The bound listeners, so that a busy port is detected before anything starts.
#[derive(Debug)]
pub struct RtspListener {
    plain: StdListener,
    encrypted: Option<(StdListener, Arc<ServerConfig>)>,
}

impl RtspListener {
    /// Binds the RTSP port and, if there is a certificate, the RTSPS port.
    ///
    /// # Errors
    /// A port is in use, or the address does not belong to this machine.
    pub fn bind(
        bind: IpAddr,
        settings: &settings::Rtsp,
        tls: Option<&Tls>,
    ) -> Result<Self, BindError> {
        let listen = |port, key| {
            let address = SocketAddr::new(bind, port);
            sockets::listen(address).map_err(|error| BindError { address, key, error })
        };
        let plain = listen(settings.port, "rtsp.port")?;
        let encrypted = match (settings.tls_port, tls) {
            (Some(port), Some(tls)) => Some((listen(port, "rtsp.tls_port")?, tls.server_config())),
            (Some(_) | None, _) => None,
        };
        Ok(Self { plain, encrypted })
    }

    /// Serves viewers until `shutdown`; must be called on a runtime.
    ///
    /// # Errors
    /// A listener cannot be registered with the runtime.
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
            slots: Slots::new(CONNECTIONS),
            malformed: incident::Shared::default(),
            refused: incident::Shared::default(),
        });
        Ok(tokio::spawn(async move {
            let plain = accept(plain, None, Arc::clone(&server), shutdown.clone());
            match encrypted {
                Some((listener, acceptor)) => {
                    tokio::join!(plain, accept(listener, Some(acceptor), server, shutdown));
                }
                None => plain.await,
            }
        }))
    }
}

/// Accepts connections until `shutdown`.
async fn accept(
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
                    let now = time::now();
                    let entered = server.slots.enter(peer.ip(), Priority::Normal, now);
                    let Some((slot, eviction)) = entered else {
                        server.log_refused(peer.ip());
                        continue;
                    };
                    slot.mark_idle(now, now);
                    let (server, acceptor) = (Arc::clone(&server), acceptor.clone());
                    conversations.spawn(async move {
                        tokio::select! {
                            () = serve(socket, peer, acceptor, server, slot) => {}
                            () = eviction => debug!("RTSP: {peer}: closed, too many idle connections"),
                        }
                    });
                    // Evicted connections end before more are accepted.
                    tokio::task::yield_now().await;
                }
                Err(error) => {
                    // Mostly the limit of open files: only waiting helps.
                    warn!("RTSP: cannot accept a connection: {error}");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            },
            Some(_) = conversations.join_next() => {}
            () = shutdown.requested() => break,
        }
    }
    conversations.shutdown().await;
}

async fn serve(
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
    let endpoints = Endpoints { peer, local };
    let Some(acceptor) = acceptor else {
        return conversation::serve(socket, endpoints, server, slot).await;
    };
    match timeout(HANDSHAKE_TIMEOUT, acceptor.accept(socket)).await {
        Ok(Ok(socket)) => conversation::serve(socket, endpoints, server, slot).await,
        Ok(Err(error)) => debug!("RTSP: {peer}: TLS handshake failed: {error}"),
        Err(_) => debug!("RTSP: {peer}: TLS handshake timed out"),
    }
}
