//! Streams over RTSP (RFC 2326), by gst-rtsp-server.
//!
//! Connections are handed in with the request that waits on them. Nothing is
//! listened to and no cold feed is waited for here: a description takes its
//! media's first frame, and everybody on the same thread waits for it.

mod mount;

use std::any::Any;
use std::fmt;
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gstreamer_rtsp_server as gst_rtsp_server;
use gstreamer_rtsp_server::gio;
use gstreamer_rtsp_server::prelude::*;

pub use self::mount::Admission;
use self::mount::Mount;
use crate::hub;
use crate::media::packager::Init;

/// Threads that speak RTSP. One would do: frames leave from threads of their own.
const TALKING_THREADS: i32 = 2;

/// The longest body of a request, in bytes: parameters, which are refused anyway.
const BODY_AT_MOST: u32 = 4096;

/// Something that a connection holds until it ends.
pub type Ticket = Box<dyn Any + Send>;

/// The multicast groups, one pair of ports a track: site-local (RFC 2365),
/// kept out of the internet, and no further than the local network.
const GROUPS: (&str, &str) = ("239.255.85.1", "239.255.85.250");
const GROUP_PORTS: (u16, u16) = (5600, 5663);
const GROUP_TTL: u8 = 1;

/// Whether viewers may ask for multicast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Multicast {
    Offered,
    Refused,
}

/// A server without a port.
pub struct RtspServer {
    server: gst_rtsp_server::RTSPServer,
    mounts: Vec<Arc<Mount>>,
    /// Ticket of the connection that is being handed in.
    arriving: Arc<Mutex<Option<Ticket>>>,
    /// One connection is handed in at a time, so that each gets its own ticket.
    turn: Mutex<()>,
}

/// Why a connection could not be handed in; it is closed.
#[derive(Debug, thiserror::Error)]
#[error("cannot take over an RTSP connection: {0}")]
pub struct HandIn(String);

impl RtspServer {
    /// Serves each stream at its path. Must be called on a runtime.
    pub fn new<'a>(
        streams: impl IntoIterator<Item = (&'a str, &'a Arc<hub::Stream>)>,
        multicast: Multicast,
    ) -> Self {
        let server = gst_rtsp_server::RTSPServer::new();
        server.set_content_length_limit(BODY_AT_MOST);
        let threads = gst_rtsp_server::RTSPThreadPool::new();
        threads.set_max_threads(TALKING_THREADS);
        server.set_thread_pool(Some(&threads));
        let pool = (multicast == Multicast::Offered).then(groups);
        let mounts = streams.into_iter().map(|(path, stream)| {
            Arc::new(Mount::new(&server, path, Arc::clone(stream), pool.clone()))
        });
        let mounts = mounts.collect();
        let arriving: Arc<Mutex<Option<Ticket>>> = Arc::default();
        let waiting = Arc::clone(&arriving);
        server.connect_client_connected(move |_, client| {
            let ticket = Mutex::new(lock(&waiting).take());
            client.connect_closed(move |_| drop(lock(&ticket).take()));
        });
        Self { server, mounts, arriving, turn: Mutex::new(()) }
    }

    /// Makes the stream at `index` ready to be described as `init` says. What
    /// is returned keeps it so.
    pub fn admit(&self, index: usize, init: &Arc<Init>) -> Admission {
        Mount::admit(&self.mounts[index], init)
    }

    /// Goes on with a connection of which `head` was read already. Blocks for
    /// a moment. `ticket` is dropped when the connection is.
    ///
    /// # Errors
    /// No file or thread is left for it.
    pub fn hand_in(
        &self,
        socket: TcpStream,
        peer: SocketAddr,
        head: &str,
        ticket: Ticket,
    ) -> Result<(), HandIn> {
        let socket = gio::Socket::from_fd(socket.into()).map_err(|e| HandIn(e.to_string()))?;
        let _turn = lock(&self.turn);
        *lock(&self.arriving) = Some(ticket);
        let (ip, port) = (peer.ip().to_canonical().to_string(), i32::from(peer.port()));
        let taken = self.server.transfer_connection(socket, &ip, port, Some(head));
        lock(&self.arriving).take();
        taken.map_err(|e| HandIn(e.to_string()))
    }

    /// Ends the sessions whose viewers are gone; blocks for a moment. Call it
    /// every few seconds.
    pub fn tidy(&self) {
        if let Some(pool) = self.server.session_pool() {
            pool.cleanup();
        }
    }

    /// Ends all connections; blocks for a moment.
    pub fn close(&self) {
        for client in self.server.client_filter(None) {
            client.close();
        }
    }
}

impl fmt::Debug for RtspServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RtspServer").field("mounts", &self.mounts).finish_non_exhaustive()
    }
}

fn groups() -> gst_rtsp_server::RTSPAddressPool {
    let pool = gst_rtsp_server::RTSPAddressPool::new();
    let ((first, last), (low, high)) = (GROUPS, GROUP_PORTS);
    pool.add_range(first, last, low, high, GROUP_TTL).expect("the range is a range of addresses");
    pool
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is kept here is whole at every moment.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
