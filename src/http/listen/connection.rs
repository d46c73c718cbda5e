//! The socket under a connection, known from the moment it was accepted.
//!
//! The server copies whatever a body gives into a buffer of that connection,
//! and keeps the buffer. Where hundreds are sent the same bytes, that copy and
//! those buffers are most of what a viewer costs besides the system call
//! (measured with 500 viewers: 64 KiB each, a sixth of the processor time).
//! Here the kernel is offered the shared bytes themselves.

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

/// What the kernel is offered with one call; a chunk and its padding are fewer.
const AT_ONCE: usize = 32;

/// The socket of a connection, beside the server's own handle.
#[derive(Debug)]
pub(in crate::http) struct Connection {
    socket: OwnedFd,
    /// Whether the bytes on it are those of HTTP.
    is_plain: bool,
}

/// Marks a connection that came through the Unix socket.
#[derive(Clone, Copy, Debug)]
pub(in crate::http) struct OverUnixSocket {
    /// Whose program it is, as far as the kernel says.
    pub(in crate::http) user: Option<u32>,
}

impl Connection {
    /// Another handle to a socket, on which the bytes are those of HTTP if it
    /// `is_plain`.
    ///
    /// # Errors
    /// The process may open no more files.
    pub(in crate::http) fn beside(socket: &impl AsFd, is_plain: bool) -> io::Result<Self> {
        let socket = socket.as_fd().try_clone_to_owned()?;
        Ok(Self { socket, is_plain })
    }

    /// The connection on which `request` came.
    pub(in crate::http) fn of(request: &HttpRequest) -> Option<Rc<Self>> {
        request.conn_data::<Rc<Self>>().cloned()
    }

    /// Gives the kernel what it takes at once, and leaves the rest in `bytes`:
    /// everything where the connection is encrypted.
    ///
    /// To be called only while the server has nothing to send on this
    /// connection: see [`super::server::WRITE_BUFFER`].
    pub(in crate::http) fn offer(&self, bytes: &mut VecDeque<Bytes>) {
        while self.is_plain && !bytes.is_empty() {
            let mut slices = [IoSlice::new(&[]); AT_ONCE];
            let mut offered = 0;
            let count = bytes.len().min(AT_ONCE);
            for (slice, bytes) in slices.iter_mut().zip(bytes.iter()) {
                *slice = IoSlice::new(bytes);
                offered += bytes.len();
            }
            match writev(&self.socket, &slices[..count]) {
                Ok(taken) => {
                    take_away(bytes, taken);
                    if taken < offered {
                        return;
                    }
                }
                Err(Errno::INTR) => {}
                // It is full, or broken: the server waits, or finds out.
                Err(_) => return,
            }
        }
    }

    /// Ends the connection at once; what is still unsent is thrown away.
    pub(in crate::http) fn cut(&self) {
        let socket = socket2::SockRef::from(&self.socket);
        let cut =
            socket.set_linger(Some(Duration::ZERO)).and_then(|()| socket.shutdown(Shutdown::Both));
        if let Err(error) = cut {
            debug!("a connection was over already: {error}");
        }
    }
}

fn take_away(bytes: &mut VecDeque<Bytes>, mut count: usize) {
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
        let there = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (here, _) = listener.accept().unwrap();
        here.set_nonblocking(true).unwrap();
        (Connection { socket: here.into(), is_plain: true }, there)
    }

    #[test]
    fn what_the_kernel_does_not_take_stays() {
        let (connection, mut there) = pair();
        let all: Vec<u8> = (0..8u32 << 20).map(|n| (n / 7) as u8).collect();
        let all = Bytes::from(all);
        let mut rest: VecDeque<_> = all.chunks(70_000).map(|part| all.slice_ref(part)).collect();

        connection.offer(&mut rest);
        let mut got = vec![0; all.len() - rest.iter().map(Bytes::len).sum::<usize>()];
        there.read_exact(&mut got).unwrap();

        assert!(!rest.is_empty() && !got.is_empty());
        assert_eq!([got, rest.make_contiguous().concat()].concat(), all);
    }

    #[test]
    fn a_connection_that_is_cut_is_over_for_both() {
        let (connection, mut there) = pair();
        connection.cut();
        let mut rest = VecDeque::from([Bytes::from_static(b"late")]);

        connection.offer(&mut rest);

        assert_eq!(rest.len(), 1);
        assert!(matches!(there.read(&mut [0; 4]), Ok(0) | Err(_)));
    }
}
