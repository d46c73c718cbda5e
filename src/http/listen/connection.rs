//! The socket of a connection, for bodies that write to it themselves.
//!
//! The server copies the bytes of a body into a buffer of the connection, and
//! keeps the buffer. When hundreds of viewers get the same bytes, these copies
//! and buffers are most of a viewer's cost besides the system call (measured
//! with 500 viewers: 64 KiB each, a sixth of the processor time). Here the
//! shared bytes themselves are written to the socket.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use actix_web::HttpRequest;
use bytes::{Buf as _, Bytes};
use log::debug;
use rustix::io::{Errno, writev};
use rustix::net::{SendFlags, send};

/// Slices of one `writev`; a chunk and its padding are fewer.
const MAX_SLICES: usize = 32;

/// A second handle to the socket of a connection, besides the server's.
#[derive(Debug)]
pub(in crate::http) struct Connection {
    socket: OwnedFd,
    /// Whether HTTP is sent without TLS.
    is_plain: bool,
}

/// Marks a connection that came through the Unix socket.
#[derive(Clone, Copy, Debug)]
pub(in crate::http) struct OverUnixSocket {
    /// The user of the peer process, if the kernel gives it.
    pub(in crate::http) user: Option<u32>,
}

impl Connection {
    /// Duplicates the handle of `socket`; `is_plain` if HTTP is sent without TLS.
    ///
    /// # Errors
    /// The process may open no more files.
    pub(in crate::http) fn duplicate(socket: &impl AsFd, is_plain: bool) -> io::Result<Self> {
        let socket = socket.as_fd().try_clone_to_owned()?;
        Ok(Self { socket, is_plain })
    }

    /// The connection of `request`; `None` if its socket could not be duplicated.
    pub(in crate::http) fn from_request(request: &HttpRequest) -> Option<Rc<Self>> {
        request.conn_data::<Rc<Self>>().cloned()
    }

    /// Whether HTTP is sent without TLS, so that bytes can be written directly.
    pub(in crate::http) fn is_plain(&self) -> bool {
        self.is_plain
    }

    /// Writes what the socket accepts without blocking, and leaves the rest in
    /// `bytes`: everything if the connection is encrypted.
    ///
    /// May be called only while the server has nothing to send on this
    /// connection: see [`super::server::WRITE_BUFFER_BYTES`].
    pub(in crate::http) fn try_write(&self, bytes: &mut VecDeque<Bytes>) {
        while self.is_plain && !bytes.is_empty() {
            let offered: usize = bytes.iter().take(MAX_SLICES).map(Bytes::len).sum();
            match self.write(bytes) {
                Ok(written) => {
                    advance(bytes, written);
                    if written < offered {
                        return;
                    }
                }
                Err(Errno::INTR) => {}
                // Full or broken: the server waits for it or sees the error.
                Err(_) => return,
            }
        }
    }

    fn write(&self, bytes: &VecDeque<Bytes>) -> Result<usize, Errno> {
        if let (Some(single), 1) = (bytes.front(), bytes.len()) {
            return send(&self.socket, single, SendFlags::NOSIGNAL);
        }
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        let count = bytes.len().min(MAX_SLICES);
        for (slice, bytes) in slices.iter_mut().zip(bytes) {
            *slice = IoSlice::new(bytes);
        }
        writev(&self.socket, &slices[..count])
    }

    /// Resets the connection; unsent bytes are discarded.
    pub(in crate::http) fn reset(&self) {
        let socket = socket2::SockRef::from(&self.socket);
        let result =
            socket.set_linger(Some(Duration::ZERO)).and_then(|()| socket.shutdown(Shutdown::Both));
        if let Err(error) = result {
            debug!("cannot reset a connection: {error}");
        }
    }
}

fn advance(bytes: &mut VecDeque<Bytes>, mut count: usize) {
    while let Some(first) = bytes.front_mut() {
        if count < first.len() {
            first.advance(count);
            return;
        }
        count -= first.len();
        bytes.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn pair() -> (Connection, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        server.set_nonblocking(true).unwrap();
        (Connection { socket: server.into(), is_plain: true }, client)
    }

    #[test]
    fn bytes_that_the_socket_does_not_accept_are_kept() {
        let (connection, mut client) = pair();
        let all: Vec<u8> = (0..8u32 << 20).map(|n| (n / 7) as u8).collect();
        let all = Bytes::from(all);
        let mut rest: VecDeque<_> = all.chunks(70_000).map(|part| all.slice_ref(part)).collect();

        connection.try_write(&mut rest);
        let mut got = vec![0; all.len() - rest.iter().map(Bytes::len).sum::<usize>()];
        client.read_exact(&mut got).unwrap();

        assert!(!rest.is_empty() && !got.is_empty());
        assert_eq!([got, rest.make_contiguous().concat()].concat(), all);
    }

    #[test]
    fn a_reset_ends_the_connection_on_both_sides() {
        let (connection, mut client) = pair();
        connection.reset();
        let mut rest = VecDeque::from([Bytes::from_static(b"late")]);

        connection.try_write(&mut rest);

        assert_eq!(rest.len(), 1);
        assert!(matches!(client.read(&mut [0; 4]), Ok(0) | Err(_)));
    }
}
