//! What a connection goes through before the server sees it: its socket's
//! options, TLS where a certificate is configured, and its first request.
//!
//! Whoever hesitates here is bounded in time and number: where too many do, the
//! one that has hesitated longest makes room, so that nobody is kept out. Those
//! who have asked for something are bounded in number as well (`crowd`).

use std::fmt;
use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::rt::net::TcpStream;
use bytes::{Buf as _, Bytes, BytesMut};
use log::debug;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::crowd::{Crowd, Seat};
use super::head::{Heard, Refusal, heard};
use super::plain;
use crate::base::queue::Queue;
use crate::base::sockets;
use crate::base::tls::Tls;

/// A handshake takes two round trips; this is enough for the worst of links.
const HANDSHAKE_AT_MOST: Duration = Duration::from_secs(10);

/// A request takes no longer to arrive.
const REQUEST_AT_MOST: Duration = Duration::from_secs(5);

/// So many may be at it at once, on the whole box: more than the viewers that
/// come back together when it has started again.
const HESITANT: usize = 1024;

/// What is read of a request at a time: few are longer.
const READ_AT_A_TIME: usize = 1 << 10;

/// The first byte of every TLS connection: a record of the handshake (RFC 8446, 5.1).
const HANDSHAKE: u8 = 22;

/// So long a client may take to hear why it is refused.
const FAREWELL_AT_MOST: Duration = Duration::from_secs(1);

/// What is still read from a plain client that has been told to go elsewhere:
/// unread bytes would make the kernel take the answer back.
const LAST_WORDS: u64 = 64 << 10;

/// Lets connections in. Cheap to clone.
#[derive(Clone)]
pub(super) struct Porch {
    acceptor: Option<TlsAcceptor>,
    hesitant: Arc<Queue>,
    crowd: Arc<Crowd>,
}

impl fmt::Debug for Porch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Porch").field("has_tls", &self.acceptor.is_some()).finish()
    }
}

/// A connection that has asked for something.
#[derive(Debug)]
pub(super) struct Wire {
    line: Line,
    /// What was read already.
    heard: Bytes,
    seat: Rc<Seat>,
}

/// What a connection runs over.
#[derive(Debug)]
enum Line {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Why nobody comes in.
enum Gone {
    /// It ended, or was answered.
    Over(io::Error),
    Refused(Line, Refusal),
}

impl From<io::Error> for Gone {
    fn from(error: io::Error) -> Self {
        Self::Over(error)
    }
}

impl Porch {
    /// With `tls` nobody gets past without a handshake. There may be as many as
    /// `files` that the process may open suffice for.
    pub(super) fn new(tls: Option<&Tls>, files: usize) -> Self {
        let acceptor = tls.map(|tls| {
            let mut config = (*tls.server_config()).clone();
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
            TlsAcceptor::from(Arc::new(config))
        });
        Self { acceptor, hesitant: Queue::new(HESITANT), crowd: Crowd::with_files(files) }
    }

    /// The connection once it has asked for something; nothing if it may not.
    pub(super) async fn admit(&self, socket: TcpStream) -> Option<Wire> {
        tune(&socket);
        let mut place = self.hesitant.enter();
        let came = tokio::select! {
            came = self.come(socket) => came,
            () = place.is_needed() => return None,
        };
        match came {
            Ok(wire) => Some(wire),
            Err(Gone::Over(error)) => {
                debug!("nobody came in: {error}");
                None
            }
            Err(Gone::Refused(line, refusal)) => {
                debug!("nobody came in: {refusal:?}");
                say(line, &refusal.answer()).await;
                None
            }
        }
    }

    async fn come(&self, socket: TcpStream) -> Result<Wire, Gone> {
        let address = socket.peer_addr().map(|peer| peer.ip().to_canonical());
        let address = address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let mut line = match &self.acceptor {
            None => Line::Plain(socket),
            Some(acceptor) => {
                let greeted = tokio::time::timeout(HANDSHAKE_AT_MOST, greet(acceptor, socket));
                greeted.await.map_err(io::Error::from)??
            }
        };
        let mut head = BytesMut::new();
        let asked = tokio::time::timeout(REQUEST_AT_MOST, line.ask(&mut head)).await;
        match asked {
            Ok(Ok(Heard::Whole)) => {}
            Ok(Ok(Heard::TooLong)) => return Err(Gone::Refused(line, Refusal::TooLong)),
            Ok(Ok(Heard::Part)) => return Err(Gone::Over(io::ErrorKind::UnexpectedEof.into())),
            Ok(Err(error)) => return Err(Gone::Over(error)),
            Err(_) => return Err(Gone::Refused(line, Refusal::TooSlow)),
        }
        match self.crowd.enter(address) {
            Some(seat) => Ok(Wire { line, heard: head.freeze(), seat: Rc::new(seat) }),
            None => Err(Gone::Refused(line, Refusal::Full)),
        }
    }
}

impl Wire {
    /// The socket, and whether what is on it is HTTP.
    pub(super) fn socket(&self) -> (&TcpStream, bool) {
        match &self.line {
            Line::Plain(socket) => (socket, true),
            Line::Tls(encrypted) => (encrypted.get_ref().0, false),
        }
    }

    pub(super) fn seat(&self) -> Rc<Seat> {
        Rc::clone(&self.seat)
    }
}

impl Line {
    /// Reads until there is a request, or no more of one.
    async fn ask(&mut self, head: &mut BytesMut) -> io::Result<Heard> {
        loop {
            let seen = head.len();
            head.reserve(READ_AT_A_TIME);
            if self.read_buf(head).await? == 0 {
                return Ok(Heard::Part);
            }
            match heard(head, seen) {
                Heard::Part => {}
                enough @ (Heard::Whole | Heard::TooLong) => return Ok(enough),
            }
        }
    }
}

/// The last words to a client; who does not take them goes without.
async fn say(mut line: Line, answer: &str) {
    let said = async {
        line.write_all(answer.as_bytes()).await?;
        line.shutdown().await
    };
    tokio::time::timeout(FAREWELL_AT_MOST, said).await.ok();
}

async fn greet(acceptor: &TlsAcceptor, mut socket: TcpStream) -> io::Result<Line> {
    let mut first = [0];
    if socket.peek(&mut first).await? == 1 && first != [HANDSHAKE] {
        send_elsewhere(&mut socket).await?;
        return Err(io::Error::other("it spoke plain HTTP and was answered"));
    }
    let encrypted = acceptor.accept(socket).await?;
    Ok(Line::Tls(Box::new(encrypted)))
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

impl AsyncRead for Line {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Line::Plain(socket) => Pin::new(socket).poll_read(context, buffer),
            Line::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Line {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Line::Plain(socket) => Pin::new(socket).poll_write(context, bytes),
            Line::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Line::Plain(socket) => Pin::new(socket).poll_write_vectored(context, pieces),
            Line::Tls(stream) => Pin::new(stream).poll_write_vectored(context, pieces),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Line::Plain(socket) => socket.is_write_vectored(),
            Line::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Line::Plain(socket) => Pin::new(socket).poll_flush(context),
            Line::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Line::Plain(socket) => Pin::new(socket).poll_shutdown(context),
            Line::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.heard.is_empty() {
            return Pin::new(&mut self.line).poll_read(context, buffer);
        }
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

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.line).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.line).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.line.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.line).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.line).poll_shutdown(context)
    }
}
