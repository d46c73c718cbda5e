//! Accepts connections: socket options, the TLS handshake where a certificate
//! is configured, and the head of the first request. The server gets a
//! connection only after that.
//!
//! Connections without a request are bounded in time and number: when the queue
//! is full, the oldest is closed. Connections with a request are bounded in
//! number as well.

use std::fmt;
use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_web::dev::Extensions;
use actix_web::rt::net::{TcpStream, UnixStream};
use actix_web::rt::spawn;
use actix_web::rt::task::spawn_blocking;
use bytes::{Buf as _, Bytes, BytesMut};
use log::{debug, info, warn};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio_rustls::TlsAcceptor;

use super::connection::Connection;
use super::exchange::{Exchange, HEAD_TIMEOUT};
use super::head::{HeadState, Refusal, with_length};
use super::plain;
use crate::base::heap;
use crate::base::incident;
use crate::base::lock::Lock;
use crate::base::queue::Queue;
use crate::base::slots::{Eviction, Limits, Priority, Slots};
use crate::base::sockets;
use crate::base::time::now;
use crate::base::tls::Tls;
use crate::engine::process::is_host;
use crate::http::listen::transport::Transport;
use crate::http::origin::Peer;

/// A TLS handshake takes two round trips; this is enough for the worst of links.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Connections without a request, of all workers: more than the viewers that
/// reconnect together after a restart of the service.
const MAX_PENDING: usize = 1024;

/// The first byte of every TLS connection: the record type "handshake" (RFC 8446, 5.1).
const TLS_HANDSHAKE_RECORD: u8 = 22;

/// Bytes that are read and dropped after the answer to a client without TLS:
/// closing a socket with unread bytes resets it, and the answer would be lost.
const MAX_DRAINED_BYTES: u64 = 64 << 10;

/// Connections with a request. Measured memory: 11 KiB each and 40 KiB for a
/// viewer, so 160 MiB for all.
const MAX_CONNECTIONS: usize = 4096;

/// Slots reserved for loopback and for operators; an eighth of all where the
/// total is small.
const RESERVED: usize = 64;

/// Open files that cameras, pushes and pages need, besides those of connections.
const OTHER_FILES: usize = 256;

/// Evicted connections that may be closing at the same time.
const MAX_EVICTING: usize = 64;

/// Open files of a viewer's connection: its socket is opened twice.
const FILES_PER_CONNECTION: usize = 2;

/// The limit of open files that suffices for the maximum of connections.
pub const MAX_FILES_NEEDED: usize = OTHER_FILES + MAX_CONNECTIONS * FILES_PER_CONNECTION;

/// The maximum of connections where the process may open `files` files; at least 1.
pub fn max_connections(files: usize) -> usize {
    (files.saturating_sub(OTHER_FILES) / FILES_PER_CONNECTION).clamp(1, MAX_CONNECTIONS)
}

/// When many connections end, the last of them have ended after this time: the
/// longest time that a client may take nothing, and some more.
const TRIM_DELAY: Duration = Duration::from_secs(15);

/// Accepts connections. Cheap to clone.
#[derive(Clone)]
pub(in crate::http) struct Acceptor {
    tls: Option<TlsAcceptor>,
    pending: Arc<Queue>,
    slots: Arc<Slots>,
    is_privileged: Arc<Privilege>,
    incidents: Arc<Incidents>,
    peak: Arc<Lock<heap::PeakTracker>>,
}

/// Whether a connection is an operator's, by its peer and the head of its first request.
type Privilege = dyn Fn(Peer, &[u8]) -> bool + Send + Sync;

/// Events that are logged in sums: one line each would fill the log.
#[derive(Debug, Default)]
struct Incidents {
    hosts: incident::Shared,
    malformed: incident::Shared,
    rejected: incident::Shared,
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor").field("has_tls", &self.tls.is_some()).finish()
    }
}

/// A connection with a request.
#[derive(Debug)]
pub(in crate::http) struct Accepted {
    transport: Transport,
    /// Bytes read from the client that the server has not read yet.
    unread: Bytes,
    exchange: Rc<Exchange>,
    connection: Option<Rc<Connection>>,
    eviction: Option<Eviction>,
}

/// Why a connection was not accepted.
enum Rejected {
    /// It has ended, or was answered already.
    Closed(io::Error),
    /// It still gets an answer.
    Refused(Transport, Refusal),
}

impl From<io::Error> for Rejected {
    fn from(error: io::Error) -> Self {
        Self::Closed(error)
    }
}

impl Acceptor {
    /// With `tls`, every TCP connection needs a TLS handshake. `files` is the
    /// number of files that the process may open; it limits the connections.
    pub(in crate::http) fn new(tls: Option<&Tls>, files: usize) -> Self {
        let tls = tls.map(|tls| {
            let mut config = (*tls.server_config()).clone();
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
            TlsAcceptor::from(Arc::new(config))
        });
        Self {
            tls,
            pending: Queue::new(MAX_PENDING),
            slots: Slots::new(limits(files)),
            is_privileged: Arc::new(|_, _| false),
            incidents: Arc::default(),
            peak: Arc::default(),
        }
    }

    /// Reports the end of a connection. When most of many connections have
    /// ended, their memory is given back to the system.
    pub(in crate::http) fn connection_ended(&self) {
        let count = self.slots.taken();
        let mut peak = self.peak.lock();
        if peak.has_fallen(count) {
            debug!("most of many connections have ended, {count} are left");
            spawn(async {
                tokio::time::sleep(TRIM_DELAY).await;
                // Nothing depends on when it ends.
                drop(spawn_blocking(heap::trim));
            });
        }
    }

    /// Connections for whose peer and first request `is_privileged` holds may
    /// take the reserved slots.
    pub(in crate::http) fn with_privilege(
        self,
        is_privileged: impl Fn(Peer, &[u8]) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self { is_privileged: Arc::new(is_privileged), ..self }
    }

    /// Logs that a client sent a request that does not parse, in sums.
    pub(in crate::http) fn log_malformed(&self, from: Option<IpAddr>) {
        if let Some(count) = self.incidents.malformed.add(now()) {
            info!("malformed requests: {count}, the last from {}", shown(from));
        }
    }

    fn log_rejected(&self, from: IpAddr) {
        if let Some(count) = self.incidents.rejected.add(now()) {
            warn!("too many connections: {count} rejected, the last from {}", shown(Some(from)));
        }
    }

    fn log_host(&self) {
        if let Some(times) = self.incidents.hosts.add(now()) {
            warn!(times; "a pipeline host has connected to the Unix socket and was rejected");
        }
    }

    /// Waits for the head of the first request. `None` if the connection is rejected.
    pub(in crate::http) async fn admit(&self, socket: TcpStream) -> Option<Accepted> {
        tune(&socket);
        let address = socket.peer_addr().map(|peer| peer.ip().to_canonical());
        let address = address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        self.admit_peer(Peer::Address(address), self.encrypt_if_configured(socket)).await
    }

    /// As [`Acceptor::admit`], for the Unix socket: without TLS, and counted as
    /// a connection from loopback. Pipeline hosts are rejected: they parse bytes
    /// from the network, and the socket asks for no password.
    pub(in crate::http) async fn admit_local(&self, socket: UnixStream) -> Option<Accepted> {
        if is_from_host(&socket) {
            self.log_host();
            return None;
        }
        let connected = std::future::ready(Ok(Transport::unix(socket)));
        self.admit_peer(Peer::UnixSocket, connected).await
    }

    async fn admit_peer(
        &self,
        peer: Peer,
        connected: impl Future<Output = io::Result<Transport>>,
    ) -> Option<Accepted> {
        let mut entry = self.pending.enter();
        let result = tokio::select! {
            result = self.accept(peer, connected) => result,
            () = entry.evicted() => return None,
        };
        match result {
            Ok(accepted) => Some(accepted),
            Err(Rejected::Closed(error)) => {
                debug!("connection not accepted: {error}");
                None
            }
            Err(Rejected::Refused(transport, refusal)) => {
                debug!("connection not accepted: {refusal:?}");
                transport.send_last(&refusal.answer()).await;
                None
            }
        }
    }

    async fn encrypt_if_configured(&self, socket: TcpStream) -> io::Result<Transport> {
        match &self.tls {
            None => Ok(Transport::plain(socket)),
            Some(acceptor) => {
                tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake(acceptor, socket)).await?
            }
        }
    }

    async fn accept(
        &self,
        peer: Peer,
        connected: impl Future<Output = io::Result<Transport>>,
    ) -> Result<Accepted, Rejected> {
        let address = match peer {
            Peer::Address(address) => address,
            Peer::UnixSocket | Peer::Unknown => IpAddr::V4(Ipv4Addr::LOCALHOST),
        };
        let mut transport = connected.await?;
        let mut head = BytesMut::new();
        let read = tokio::time::timeout(HEAD_TIMEOUT, transport.read_head(&mut head)).await;
        match read {
            Ok(Ok(HeadState::Complete)) => {}
            Ok(Ok(HeadState::TooLong)) => {
                self.log_malformed(Some(address));
                return Err(Rejected::Refused(transport, Refusal::TooLong));
            }
            Ok(Ok(HeadState::Incomplete)) => {
                return Err(Rejected::Closed(io::ErrorKind::UnexpectedEof.into()));
            }
            Ok(Err(error)) => return Err(Rejected::Closed(error)),
            Err(_) => return Err(Rejected::Refused(transport, Refusal::TooSlow)),
        }
        let priority = match (self.is_privileged)(peer, &head) {
            true => Priority::Privileged,
            false => Priority::Normal,
        };
        let Some((slot, eviction)) = self.slots.enter(address, priority, now()) else {
            self.log_rejected(address);
            return Err(Rejected::Refused(transport, Refusal::Full));
        };
        let connection = transport.duplicate();
        let (exchange, eviction) = (Exchange::new(slot), Some(eviction));
        Ok(Accepted { transport, unread: with_length(head), exchange, connection, eviction })
    }
}

fn limits(files: usize) -> Limits {
    let total = max_connections(files);
    let reserved = RESERVED.min(total / 8);
    Limits { total, per_address: total.div_ceil(2), reserved, idle: total, evicting: MAX_EVICTING }
}

fn shown(from: Option<IpAddr>) -> String {
    from.map_or_else(|| "a client".to_owned(), |ip| ip.to_canonical().to_string())
}

impl Accepted {
    pub(in crate::http) fn exchange(&self) -> Rc<Exchange> {
        Rc::clone(&self.exchange)
    }

    /// A second handle to its socket; `None` if the process may open no more files.
    pub(in crate::http) fn connection(&self) -> Option<Rc<Connection>> {
        self.connection.clone()
    }

    /// Adds what handlers need of the connection: its socket and its exchange.
    pub(in crate::http) fn insert_into(&self, extensions: &mut Extensions) {
        extensions.insert(self.exchange());
        if let Some(local) = self.transport.over_unix_socket() {
            extensions.insert(local);
        }
        // Without it, bodies are written by the server, which works as well.
        if let Some(connection) = self.connection() {
            extensions.insert(connection);
        }
    }

    /// A handle to its transport, for an answer after the server has ended.
    pub(in crate::http) fn transport(&self) -> Transport {
        self.transport.clone()
    }

    /// Resolves when the connection must end. `None` after the first call.
    pub(in crate::http) fn take_eviction(&mut self) -> Option<Eviction> {
        self.eviction.take()
    }
}

/// Whether the peer is a pipeline host of this service.
fn is_from_host(socket: &UnixStream) -> bool {
    let pid = socket.peer_cred().ok().and_then(|peer| u32::try_from(peer.pid()?).ok());
    pid.is_some_and(is_host)
}

async fn handshake(acceptor: &TlsAcceptor, mut socket: TcpStream) -> io::Result<Transport> {
    let mut first = [0];
    if socket.peek(&mut first).await? == 1 && first != [TLS_HANDSHAKE_RECORD] {
        answer_plain(&mut socket).await?;
        return Err(io::Error::other("plain HTTP on an HTTPS port"));
    }
    let encrypted = acceptor.accept(socket).await?;
    Ok(Transport::tls(encrypted))
}

/// Answers a client without TLS with the HTTPS address.
async fn answer_plain(socket: &mut TcpStream) -> io::Result<()> {
    let mut head = Vec::new();
    while !plain::is_complete(&head) && head.len() < plain::MAX_HEAD_BYTES {
        if socket.read_buf(&mut head).await? == 0 {
            break;
        }
    }
    socket.write_all(plain::answer(&head).as_bytes()).await?;
    socket.shutdown().await?;
    tokio::io::copy(&mut socket.take(MAX_DRAINED_BYTES), &mut tokio::io::sink()).await?;
    Ok(())
}

fn tune(socket: &TcpStream) {
    if let Err(error) = sockets::set_for_viewer(socket) {
        debug!("cannot set the options of a socket: {error}");
    }
}

impl AsyncRead for Accepted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.unread.is_empty() {
            let before = buffer.filled().len();
            ready!(Pin::new(&mut self.transport).poll_read(context, buffer))?;
            if buffer.filled().len() > before {
                self.exchange.bytes_received();
            }
            return Poll::Ready(Ok(()));
        }
        self.exchange.bytes_received();
        let count = self.unread.len().min(buffer.remaining());
        buffer.put_slice(&self.unread[..count]);
        self.unread.advance(count);
        if self.unread.is_empty() {
            // An empty slice would still keep the whole allocation.
            self.unread = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.transport).poll_write(context, bytes);
        self.exchange.record_write(written.is_ready());
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.transport).poll_write_vectored(context, slices);
        self.exchange.record_write(written.is_ready());
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.transport.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.transport).poll_flush(context);
        // With TLS, bytes wait for the client here.
        self.exchange.record_write(flushed.is_ready());
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_least_one_connection_fits_however_few_files_may_be_opened() {
        let limits_for = |files| {
            let Limits { total, per_address, reserved, .. } = limits(files);
            (total, per_address, reserved)
        };
        assert_eq!(limits_for(0), (1, 1, 0));
        assert_eq!(limits_for(OTHER_FILES + 2 * 20), (20, 10, 2));
        assert_eq!(limits_for(1 << 20), (MAX_CONNECTIONS, MAX_CONNECTIONS / 2, RESERVED));
    }
}
