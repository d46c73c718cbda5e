//! What a connection goes through before the server sees it: its socket's
//! options, TLS where a certificate is configured, and its first request.
//!
//! Whoever hesitates here is bounded in time and number: where too many do, the
//! one that has hesitated longest makes room, so that nobody is kept out. Those
//! who have asked for something are bounded in number as well.

use std::fmt;
use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
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
use super::exchange::{Exchange, HEAD_AT_MOST};
use super::head::{Heard, Refusal, with_length};
use super::plain;
use crate::base::heap;
use crate::base::incident;
use crate::base::queue::Queue;
use crate::base::slots::{Eviction, Limits, Priority, Slots};
use crate::base::sockets;
use crate::base::time::now;
use crate::base::tls::Tls;
use crate::engine::process::is_host;
use crate::http::listen::transport::Transport;
use crate::http::origin::Peer;

/// A handshake takes two round trips; this is enough for the worst of links.
const HANDSHAKE_AT_MOST: Duration = Duration::from_secs(10);

/// So many may be at it at once, on the whole box: more than the viewers that
/// come back together when it has started again.
const HESITANT: usize = 1024;

/// The first byte of every TLS connection: a record of the handshake (RFC 8446, 5.1).
const HANDSHAKE: u8 = 22;

/// What is still read from a plain client that has been told to go elsewhere:
/// unread bytes would make the kernel take the answer back.
const LAST_WORDS: u64 = 64 << 10;

/// So many may be connected that have asked for something. Measured: 11 KiB
/// each, and 40 for a viewer, so 160 MiB for all.
const PLACES: usize = 4096;

/// So many of them, or an eighth where there are few, are for the box itself
/// and its operators.
const RESERVED: usize = 64;

/// Files that the cameras, pushes and pages need, whoever is connected, and
/// those of connections that were evicted.
const OTHER_FILES: usize = 256;
const LEAVING: usize = 64;

/// A viewer's connection takes its socket twice.
const FILES_EACH: usize = 2;

/// Files that a process must be allowed to open for as many connections as
/// there may be.
pub const FILES_FOR_ALL: usize = OTHER_FILES + PLACES * FILES_EACH;

/// As many connections as fit where a process may open so many files.
pub fn places(files: usize) -> usize {
    (files.saturating_sub(OTHER_FILES) / FILES_EACH).clamp(1, PLACES)
}

/// Of a crowd that goes, the last ones have gone as well after this long: as
/// long as a client may take nothing, and some more.
const SETTLED_AFTER: Duration = Duration::from_secs(15);

/// Lets connections in. Cheap to clone.
#[derive(Clone)]
pub(in crate::http) struct Acceptor {
    acceptor: Option<TlsAcceptor>,
    hesitant: Arc<Queue>,
    places: Arc<Slots>,
    is_privileged: Arc<Privilege>,
    told: Arc<Told>,
    peak: Arc<Mutex<heap::PeakTracker>>,
}

/// Whether a connection is an operator's, by its other end and its first request.
type Privilege = dyn Fn(Peer, &[u8]) -> bool + Send + Sync;

/// What would fill the log if it was told each time.
#[derive(Debug, Default)]
struct Told {
    hosts: incident::Shared,
    malformed: incident::Shared,
    turned_away: incident::Shared,
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor").field("has_tls", &self.acceptor.is_some()).finish()
    }
}

/// A connection that has asked for something.
#[derive(Debug)]
pub(in crate::http) struct Accepted {
    line: Transport,
    /// What was read already.
    heard: Bytes,
    exchange: Rc<Exchange>,
    connection: Option<Rc<Connection>>,
    eviction: Option<Eviction>,
}

/// Why nobody comes in.
enum Rejected {
    /// It ended, or was answered.
    Over(io::Error),
    Refused(Transport, Refusal),
}

impl From<io::Error> for Rejected {
    fn from(error: io::Error) -> Self {
        Self::Over(error)
    }
}

impl Acceptor {
    /// With `tls` nobody gets past without a handshake. There may be as many as
    /// `files` that the process may open suffice for.
    pub(in crate::http) fn new(tls: Option<&Tls>, files: usize) -> Self {
        let acceptor = tls.map(|tls| {
            let mut config = (*tls.server_config()).clone();
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
            TlsAcceptor::from(Arc::new(config))
        });
        Self {
            acceptor,
            hesitant: Queue::new(HESITANT),
            places: Slots::new(limits(files)),
            is_privileged: Arc::new(|_, _| false),
            told: Arc::default(),
            peak: Arc::default(),
        }
    }

    /// A connection has ended. With the last of many, their memory is given back.
    pub(in crate::http) fn look_after(&self) {
        let count = self.places.taken();
        let mut peak = self.peak.lock().unwrap_or_else(PoisonError::into_inner);
        if peak.has_fallen(count) {
            debug!("most of many connections have ended, {count} are left");
            spawn(async {
                tokio::time::sleep(SETTLED_AFTER).await;
                // Nothing depends on when it ends.
                drop(spawn_blocking(heap::trim));
            });
        }
    }

    /// Connections for whose other end and first request this holds may take
    /// the reserved places.
    pub(in crate::http) fn reserving(
        self,
        is: impl Fn(Peer, &[u8]) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self { is_privileged: Arc::new(is), ..self }
    }

    /// Somebody has sent what is no request.
    pub(in crate::http) fn log_malformed(&self, from: Option<IpAddr>) {
        if let Some(count) = self.told.malformed.add(now()) {
            info!("malformed requests: {count}, the last from {}", shown(from));
        }
    }

    fn log_turned_away(&self, from: IpAddr) {
        if let Some(count) = self.told.turned_away.add(now()) {
            warn!("too many connections: {count} turned away, the last from {}", shown(Some(from)));
        }
    }

    fn log_host(&self) {
        if let Some(times) = self.told.hosts.add(now()) {
            warn!(times; "a pipeline host has connected to the Unix socket and is refused");
        }
    }

    /// The connection once it has asked for something; nothing if it may not.
    pub(in crate::http) async fn admit(&self, socket: TcpStream) -> Option<Accepted> {
        tune(&socket);
        let address = socket.peer_addr().map(|peer| peer.ip().to_canonical());
        let address = address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        self.admit_line(Peer::Address(address), self.encrypted_if_configured(socket)).await
    }

    /// As [`Acceptor::admit`], of the Unix socket: without TLS, and counted as
    /// what comes from loopback. Pipeline hosts are refused: they parse what
    /// strangers send, and the socket asks for no password.
    pub(in crate::http) async fn admit_local(&self, socket: UnixStream) -> Option<Accepted> {
        if is_of_host(&socket) {
            self.log_host();
            return None;
        }
        let line = std::future::ready(Ok(Transport::unix(socket)));
        self.admit_line(Peer::UnixSocket, line).await
    }

    async fn admit_line(
        &self,
        peer: Peer,
        line: impl Future<Output = io::Result<Transport>>,
    ) -> Option<Accepted> {
        let mut place = self.hesitant.enter();
        let came = tokio::select! {
            came = self.come(peer, line) => came,
            () = place.evicted() => return None,
        };
        match came {
            Ok(accepted) => Some(accepted),
            Err(Rejected::Over(error)) => {
                debug!("nobody came in: {error}");
                None
            }
            Err(Rejected::Refused(line, refusal)) => {
                debug!("nobody came in: {refusal:?}");
                line.say(&refusal.answer()).await;
                None
            }
        }
    }

    async fn encrypted_if_configured(&self, socket: TcpStream) -> io::Result<Transport> {
        match &self.acceptor {
            None => Ok(Transport::plain(socket)),
            Some(acceptor) => {
                tokio::time::timeout(HANDSHAKE_AT_MOST, greet(acceptor, socket)).await?
            }
        }
    }

    async fn come(
        &self,
        peer: Peer,
        line: impl Future<Output = io::Result<Transport>>,
    ) -> Result<Accepted, Rejected> {
        let address = match peer {
            Peer::Address(address) => address,
            Peer::UnixSocket | Peer::Unknown => IpAddr::V4(Ipv4Addr::LOCALHOST),
        };
        let mut line = line.await?;
        let mut head = BytesMut::new();
        let asked = tokio::time::timeout(HEAD_AT_MOST, line.ask(&mut head)).await;
        match asked {
            Ok(Ok(Heard::Whole)) => {}
            Ok(Ok(Heard::TooLong)) => {
                self.log_malformed(Some(address));
                return Err(Rejected::Refused(line, Refusal::TooLong));
            }
            Ok(Ok(Heard::Part)) => return Err(Rejected::Over(io::ErrorKind::UnexpectedEof.into())),
            Ok(Err(error)) => return Err(Rejected::Over(error)),
            Err(_) => return Err(Rejected::Refused(line, Refusal::TooSlow)),
        }
        let priority = match (self.is_privileged)(peer, &head) {
            true => Priority::Privileged,
            false => Priority::Normal,
        };
        let Some((slot, eviction)) = self.places.enter(address, priority, now()) else {
            self.log_turned_away(address);
            return Err(Rejected::Refused(line, Refusal::Full));
        };
        let connection = line.socket_of_its_own();
        let (exchange, eviction) = (Exchange::new(slot), Some(eviction));
        Ok(Accepted { line, heard: with_length(head), exchange, connection, eviction })
    }
}

fn limits(files: usize) -> Limits {
    let total = places(files);
    let reserved = RESERVED.min(total / 8);
    Limits { total, per_address: total.div_ceil(2), reserved, idle: total, evicting: LEAVING }
}

fn shown(from: Option<IpAddr>) -> String {
    from.map_or_else(|| "a client".to_owned(), |ip| ip.to_canonical().to_string())
}

impl Accepted {
    pub(in crate::http) fn exchange(&self) -> Rc<Exchange> {
        Rc::clone(&self.exchange)
    }

    /// Its socket; nothing where there are too few files for that.
    pub(in crate::http) fn connection(&self) -> Option<Rc<Connection>> {
        self.connection.clone()
    }

    /// Keeps what the connection's requests need: its socket, and what goes on on it.
    pub(in crate::http) fn keep_in(&self, known: &mut Extensions) {
        known.insert(self.exchange());
        if let Some(local) = self.line.over_unix_socket() {
            known.insert(local);
        }
        // Without it everything goes through the server, which works as well.
        if let Some(connection) = self.connection() {
            known.insert(connection);
        }
    }

    /// What it runs over, for when the server is done with it.
    pub(in crate::http) fn line(&self) -> Transport {
        self.line.clone()
    }

    /// What tells that the connection must end. To be taken once.
    pub(in crate::http) fn eviction(&mut self) -> Option<Eviction> {
        self.eviction.take()
    }
}

/// Whether one of the service's own hosts is at the other end.
fn is_of_host(socket: &UnixStream) -> bool {
    let pid = socket.peer_cred().ok().and_then(|peer| u32::try_from(peer.pid()?).ok());
    pid.is_some_and(is_host)
}

async fn greet(acceptor: &TlsAcceptor, mut socket: TcpStream) -> io::Result<Transport> {
    let mut first = [0];
    if socket.peek(&mut first).await? == 1 && first != [HANDSHAKE] {
        send_elsewhere(&mut socket).await?;
        return Err(io::Error::other("it spoke plain HTTP and was answered"));
    }
    let encrypted = acceptor.accept(socket).await?;
    Ok(Transport::tls(encrypted))
}

/// Tells a client without TLS where to go.
async fn send_elsewhere(socket: &mut TcpStream) -> io::Result<()> {
    let mut head = Vec::new();
    while !plain::is_whole(&head) && head.len() < plain::HEAD_AT_MOST {
        if socket.read_buf(&mut head).await? == 0 {
            break;
        }
    }
    socket.write_all(plain::answer(&head).as_bytes()).await?;
    socket.shutdown().await?;
    tokio::io::copy(&mut socket.take(LAST_WORDS), &mut tokio::io::sink()).await?;
    Ok(())
}

fn tune(socket: &TcpStream) {
    if let Err(error) = sockets::set_for_viewer(socket) {
        debug!("a socket keeps its defaults: {error}");
    }
}

impl AsyncRead for Accepted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.heard.is_empty() {
            let before = buffer.filled().len();
            ready!(Pin::new(&mut self.line).poll_read(context, buffer))?;
            if buffer.filled().len() > before {
                self.exchange.heard();
            }
            return Poll::Ready(Ok(()));
        }
        self.exchange.heard();
        let count = self.heard.len().min(buffer.remaining());
        buffer.put_slice(&self.heard[..count]);
        self.heard.advance(count);
        if self.heard.is_empty() {
            // An empty part of it would still hold all of it.
            self.heard = Bytes::new();
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
        let written = Pin::new(&mut self.line).poll_write(context, bytes);
        self.exchange.wrote(written.is_ready());
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.line).poll_write_vectored(context, pieces);
        self.exchange.wrote(written.is_ready());
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.line.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.line).poll_flush(context);
        // Of an encrypted connection, this is where bytes wait for the client.
        self.exchange.wrote(flushed.is_ready());
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.line).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_place_however_few_files_there_are() {
        let of = |files| {
            let Limits { total, per_address, reserved, .. } = limits(files);
            (total, per_address, reserved)
        };
        assert_eq!(of(0), (1, 1, 0));
        assert_eq!(of(OTHER_FILES + 2 * 20), (20, 10, 2));
        assert_eq!(of(1 << 20), (PLACES, PLACES / 2, RESERVED));
    }
}
