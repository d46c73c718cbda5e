//! What a connection goes through before it may ask: its socket's options and,
//! where a certificate is configured, TLS.
//!
//! Whoever hesitates here is bounded in time and number: where too many do, the
//! one that has hesitated longest makes room, so that nobody is kept out.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::rt::net::TcpStream;
use log::debug;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::plain;
use crate::base::sockets;
use crate::base::tls::Tls;

/// A handshake takes two round trips; this is enough for the worst of links.
const HANDSHAKE_AT_MOST: Duration = Duration::from_secs(10);

/// So many may be at it at once, on the whole box: more than the viewers that
/// come back together when it has started again.
const HANDSHAKES_AT_ONCE: usize = 1024;

/// The first byte of every TLS connection: a record of the handshake (RFC 8446, 5.1).
const HANDSHAKE: u8 = 22;

/// What is still read from a plain client that has been told to go elsewhere:
/// unread bytes would make the kernel take the answer back.
const LAST_WORDS: u64 = 64 << 10;

/// Lets connections in. Cheap to clone.
#[derive(Clone)]
pub(super) struct Porch {
    acceptor: Option<TlsAcceptor>,
    hesitant: Arc<Queue>,
}

impl fmt::Debug for Porch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Porch").field("has_tls", &self.acceptor.is_some()).finish()
    }
}

/// A connection that may ask.
#[derive(Debug)]
pub(super) enum Wire {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Porch {
    /// With `tls` nobody gets past without a handshake.
    pub(super) fn new(tls: Option<&Tls>) -> Self {
        let acceptor = tls.map(|tls| {
            let mut config = (*tls.server_config()).clone();
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
            TlsAcceptor::from(Arc::new(config))
        });
        Self { acceptor, hesitant: Arc::new(Queue::new(HANDSHAKES_AT_ONCE)) }
    }

    /// The connection once it may ask; nothing if it may not.
    pub(super) async fn admit(&self, socket: TcpStream) -> Option<Wire> {
        tune(&socket);
        let Some(acceptor) = &self.acceptor else { return Some(Wire::Plain(socket)) };
        let mut place = self.hesitant.enter();
        tokio::select! {
            wire = greet(acceptor, socket) => wire.inspect_err(|e| debug!("no handshake: {e}")).ok(),
            () = place.is_needed() => None,
            () = tokio::time::sleep(HANDSHAKE_AT_MOST) => None,
        }
    }
}

async fn greet(acceptor: &TlsAcceptor, mut socket: TcpStream) -> io::Result<Wire> {
    let mut first = [0];
    if socket.peek(&mut first).await? == 1 && first != [HANDSHAKE] {
        send_elsewhere(&mut socket).await?;
        return Err(io::Error::other("it spoke plain HTTP and was answered"));
    }
    let encrypted = acceptor.accept(socket).await?;
    Ok(Wire::Tls(Box::new(encrypted)))
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

/// Those who wait, the oldest first, each with what asks it to make room.
struct Queue {
    most: usize,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    next: u64,
    all: VecDeque<(u64, oneshot::Sender<()>)>,
}

/// A place in the queue; dropping it leaves.
struct Place {
    queue: Arc<Queue>,
    number: u64,
    needed: oneshot::Receiver<()>,
}

impl Queue {
    fn new(most: usize) -> Self {
        Self { most, waiting: Mutex::default() }
    }

    /// Where all places are taken, the oldest is asked for.
    fn enter(self: &Arc<Self>) -> Place {
        let (ask, needed) = oneshot::channel();
        let mut waiting = self.lock();
        let number = waiting.next;
        waiting.next += 1;
        waiting.all.push_back((number, ask));
        if waiting.all.len() > self.most {
            // Dropping the sender asks.
            waiting.all.pop_front();
        }
        Place { queue: Arc::clone(self), number, needed }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Returns once somebody else needs the place.
    async fn is_needed(&mut self) {
        (&mut self.needed).await.ok();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut waiting = self.queue.lock();
        // Numbers grow along the queue.
        if let Ok(index) = waiting.all.binary_search_by_key(&self.number, |(number, _)| *number) {
            waiting.all.remove(index);
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Wire::Plain(socket) => Pin::new(socket).poll_read(context, buffer),
            Wire::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Wire::Plain(socket) => Pin::new(socket).poll_write(context, bytes),
            Wire::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Wire::Plain(socket) => Pin::new(socket).poll_write_vectored(context, pieces),
            Wire::Tls(stream) => Pin::new(stream).poll_write_vectored(context, pieces),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Wire::Plain(socket) => socket.is_write_vectored(),
            Wire::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Wire::Plain(socket) => Pin::new(socket).poll_flush(context),
            Wire::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Wire::Plain(socket) => Pin::new(socket).poll_shutdown(context),
            Wire::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn the_oldest_makes_room_and_who_has_left_counts_no_more() {
        let queue = Arc::new(Queue::new(2));
        let is_asked = |place: &mut Place| place.is_needed().now_or_never().is_some();
        let (mut first, second, mut third) = (queue.enter(), queue.enter(), queue.enter());
        assert!(is_asked(&mut first));
        assert!(!is_asked(&mut third));

        drop((first, second));
        let mut fourth = queue.enter();
        assert!(!is_asked(&mut third));
        let mut fifth = queue.enter();
        assert!(is_asked(&mut third));
        assert!(!is_asked(&mut fourth) && !is_asked(&mut fifth));
        assert_eq!(queue.lock().all.len(), 2);
    }
}
