//! The transport of a connection: TCP, TLS or the Unix socket.
//!
//! Its handles share the socket, so that a client can still be answered after
//! the server has dropped its handle. No borrow outlives the poll that it is for.

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
use super::head::{HeadState, head_state};

/// Bytes that are read of a head at a time: few heads are longer.
const READ_BYTES: usize = 1 << 10;

/// Time to send the reason of a refusal.
const LAST_ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

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

    /// Duplicates its socket; `None` if the process may open no more files.
    pub(in crate::http) fn duplicate(&self) -> Option<Rc<Connection>> {
        let connection = match &*self.0.borrow() {
            Socket::Plain(socket) => Connection::duplicate(socket, true),
            Socket::Tls(encrypted) => Connection::duplicate(encrypted.get_ref().0, false),
            Socket::Unix(socket) => Connection::duplicate(socket, true),
        };
        connection.map(Rc::new).ok()
    }

    /// The peer's user, if this is the Unix socket.
    pub(in crate::http) fn over_unix_socket(&self) -> Option<OverUnixSocket> {
        match &*self.0.borrow() {
            Socket::Unix(socket) => {
                Some(OverUnixSocket { user: socket.peer_cred().ok().map(|peer| peer.uid()) })
            }
            Socket::Plain(_) | Socket::Tls(_) => None,
        }
    }

    /// Reads into `head` until the head of a request is complete or too long, or
    /// the client sends no more.
    ///
    /// # Errors
    /// The connection is broken.
    pub(in crate::http) async fn read_head(
        &mut self,
        head: &mut BytesMut,
    ) -> io::Result<HeadState> {
        loop {
            let checked = head.len();
            head.reserve(READ_BYTES);
            if self.read_buf(head).await? == 0 {
                return Ok(HeadState::Incomplete);
            }
            match head_state(head, checked) {
                HeadState::Incomplete => {}
                done @ (HeadState::Complete | HeadState::TooLong) => return Ok(done),
            }
        }
    }

    /// Sends a last response and closes the sending side; gives up after a second.
    pub(in crate::http) async fn send_last(mut self, answer: &str) {
        let sent = async {
            self.write_all(answer.as_bytes()).await?;
            self.shutdown().await
        };
        tokio::time::timeout(LAST_ANSWER_TIMEOUT, sent).await.ok();
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
