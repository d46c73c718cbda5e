//! What a connection runs over: TCP, TLS or the Unix socket.
//!
//! Its handles share it, so that a client can still be answered once the server
//! has dropped its own. No borrow outlives the poll that it is for.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::rt::net::{TcpStream, UnixStream};
use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio_rustls::server::TlsStream;

use super::connection::{Connection, OverUnixSocket};
use super::head::{Heard, heard};

/// What is read of a request at a time: few are longer.
const READ_AT_A_TIME: usize = 1 << 10;

/// So long a client may take to hear why it is refused.
const FAREWELL_AT_MOST: Duration = Duration::from_secs(1);

/// A connection's bytes, both ways. Cheap to clone.
#[derive(Clone, Debug)]
pub(in crate::http) struct Transport(Rc<RefCell<Socket>>);

#[derive(Debug)]
enum Socket {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Unix(UnixStream),
}

impl Transport {
    pub(in crate::http) fn plain(socket: TcpStream) -> Self {
        Self::over(Socket::Plain(socket))
    }

    pub(in crate::http) fn tls(encrypted: TlsStream<TcpStream>) -> Self {
        Self::over(Socket::Tls(Box::new(encrypted)))
    }

    pub(in crate::http) fn unix(socket: UnixStream) -> Self {
        Self::over(Socket::Unix(socket))
    }

    fn over(transport: Socket) -> Self {
        Self(Rc::new(RefCell::new(transport)))
    }

    /// Its socket, with a file of its own; nothing where there are too few files for that.
    pub(in crate::http) fn socket_of_its_own(&self) -> Option<Rc<Connection>> {
        let connection = match &*self.0.borrow() {
            Socket::Plain(socket) => Connection::beside(socket, true),
            Socket::Tls(encrypted) => Connection::beside(encrypted.get_ref().0, false),
            Socket::Unix(socket) => Connection::beside(socket, true),
        };
        connection.map(Rc::new).ok()
    }

    /// Who came, if it was through the Unix socket.
    pub(in crate::http) fn over_unix_socket(&self) -> Option<OverUnixSocket> {
        match &*self.0.borrow() {
            Socket::Unix(socket) => {
                Some(OverUnixSocket { user: socket.peer_cred().ok().map(|peer| peer.uid()) })
            }
            Socket::Plain(_) | Socket::Tls(_) => None,
        }
    }

    /// Reads until there is a request, or no more of one.
    ///
    /// # Errors
    /// The connection is broken.
    pub(in crate::http) async fn ask(&mut self, head: &mut BytesMut) -> io::Result<Heard> {
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

    /// Sends a last answer and closes this side. A client that does not take it
    /// within a second goes without.
    pub(in crate::http) async fn say(mut self, answer: &str) {
        let said = async {
            self.write_all(answer.as_bytes()).await?;
            self.shutdown().await
        };
        tokio::time::timeout(FAREWELL_AT_MOST, said).await.ok();
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self.0.borrow_mut() {
            Socket::Plain(socket) => Pin::new(socket).poll_read(context, buffer),
            Socket::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
            Socket::Unix(socket) => Pin::new(socket).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut *self.0.borrow_mut() {
            Socket::Plain(socket) => Pin::new(socket).poll_write(context, bytes),
            Socket::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
            Socket::Unix(socket) => Pin::new(socket).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut *self.0.borrow_mut() {
            Socket::Plain(socket) => Pin::new(socket).poll_write_vectored(context, pieces),
            Socket::Tls(stream) => Pin::new(stream).poll_write_vectored(context, pieces),
            Socket::Unix(socket) => Pin::new(socket).poll_write_vectored(context, pieces),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &*self.0.borrow() {
            Socket::Plain(socket) => socket.is_write_vectored(),
            Socket::Tls(stream) => stream.is_write_vectored(),
            Socket::Unix(socket) => socket.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self.0.borrow_mut() {
            Socket::Plain(socket) => Pin::new(socket).poll_flush(context),
            Socket::Tls(stream) => Pin::new(stream).poll_flush(context),
            Socket::Unix(socket) => Pin::new(socket).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self.0.borrow_mut() {
            Socket::Plain(socket) => Pin::new(socket).poll_shutdown(context),
            Socket::Tls(stream) => Pin::new(stream).poll_shutdown(context),
            Socket::Unix(socket) => Pin::new(socket).poll_shutdown(context),
        }
    }
}
