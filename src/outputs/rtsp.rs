//! Who is let in to watch over RTSP.
//!
//! Every connection is met here. It is handed to the RTSP server once it asks
//! for a stream that exists and shows pictures; a cold camera is waited for
//! here, so that nobody else has to. Watching is public, as it is over HTTP.

mod request;

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use log::{debug, warn};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use self::request::{Answer, Bad, HEAD_AT_MOST, Request};
use crate::base::shutdown::Shutdown;
use crate::config::settings;
use crate::engine::gst::{Multicast, RtspServer};
use crate::engine::roster::{Roster, Stream};
use crate::hub::{Read, Reader};
use crate::media::packager::Init;

/// More connections than this are turned away.
const CONNECTIONS: usize = 1024;

/// Whoever connects has this long to say each request until it is let in.
const SILENCE: Duration = Duration::from_secs(10);

/// So many requests may be made before one that is let in.
const REQUESTS: usize = 32;

/// A cold feed has this long to show its first frame before the viewer is
/// told to come back; the feed goes on trying meanwhile.
const PATIENCE: Duration = Duration::from_secs(10);

/// A feed that has failed this often in a row is not waited for.
const HOPELESS: u32 = 2;

/// Who was let in has this long to begin to play before the feed rests again.
const BEGIN_WITHIN: Duration = Duration::from_secs(5);

/// How often sessions whose viewers are gone are looked for.
const TIDY: Duration = Duration::from_secs(5);

/// A peer that takes nothing for this long is gone, whatever it does not say.
const GONE_AFTER: Duration = Duration::from_secs(10);

/// The kernel may hold this much for a viewer, so that a slow one is noticed.
const UNSENT_AT_MOST: u32 = 128 << 10;

/// The kernel asks a silent peer after this long whether it is still there.
const ASK_AFTER: Duration = Duration::from_secs(30);

/// Why streams cannot be had over RTSP.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen on {address} for RTSP: {}",
    if source.kind() == ErrorKind::AddrInUse {
        "another program uses that port; stop it, or set rtsp.port to another one or to off".to_owned()
    } else {
        source.to_string()
    }
)]
pub struct BindError {
    address: SocketAddr,
    source: io::Error,
}

/// A listener that is bound, so that a busy port is known before anything starts.
#[derive(Debug)]
pub struct Door {
    listener: StdListener,
    multicast: bool,
}

impl Door {
    /// Takes the port.
    ///
    /// # Errors
    /// It is taken, or the address is not one of this machine.
    pub fn bind(bind: IpAddr, settings: settings::Rtsp) -> Result<Self, BindError> {
        let address = SocketAddr::new(bind, settings.port);
        let listener = listen(address).map_err(|source| BindError { address, source })?;
        Ok(Self { listener, multicast: settings.multicast })
    }

    /// Lets viewers in until `shutdown`; must be called on a runtime.
    ///
    /// # Errors
    /// The runtime does not take the listener.
    pub fn open(self, roster: &Arc<Roster>, shutdown: Shutdown) -> io::Result<JoinHandle<()>> {
        let listener = TcpListener::from_std(self.listener)?;
        let paths: Vec<String> =
            roster.streams().iter().map(|stream| stream.plan().stream.url).collect();
        let streams = paths.iter().map(String::as_str);
        let streams = streams.zip(roster.streams().iter().map(|stream| stream.hub()));
        let multicast = if self.multicast { Multicast::Offered } else { Multicast::Refused };
        let server = RtspServer::new(streams, multicast);
        let hall = Hall { server, paths, roster: Arc::clone(roster) };
        Ok(tokio::spawn(keep(listener, Arc::new(hall), shutdown)))
    }
}

/// What everybody who is met needs.
#[derive(Debug)]
struct Hall {
    server: RtspServer,
    /// Of the streams of the roster, in its order.
    paths: Vec<String>,
    roster: Arc<Roster>,
}

/// Accepts connections until the end.
async fn keep(listener: TcpListener, hall: Arc<Hall>, mut shutdown: Shutdown) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut met = tokio::task::JoinSet::new();
    let mut tidy = tokio::time::interval(TIDY);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((socket, peer)) => {
                    let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                        debug!("RTSP: {peer} is turned away, {CONNECTIONS} are connected");
                        continue;
                    };
                    met.spawn(meet(Arc::clone(&hall), socket, peer, place));
                }
                Err(error) => {
                    // Most often too few files: waiting is all that helps.
                    warn!("RTSP: {error}");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            },
            Some(_) = met.join_next() => {}
            _ = tidy.tick() => tidy_up(&hall).await,
            () = shutdown.requested() => break,
        }
    }
    met.shutdown().await;
    tokio::task::spawn_blocking(move || hall.server.close()).await.ok();
}

async fn tidy_up(hall: &Arc<Hall>) {
    let hall = Arc::clone(hall);
    tokio::task::spawn_blocking(move || hall.server.tidy()).await.ok();
}

/// Serves one connection until it is let in or ends.
async fn meet(hall: Arc<Hall>, socket: TcpStream, peer: SocketAddr, place: OwnedSemaphorePermit) {
    let mut visitor = Visitor { socket, bytes: Vec::new() };
    let met = timeout(SILENCE * 6, visitor.ask(&hall)).await;
    let (index, reader, init) = match met {
        Ok(Ok(Some(wanted))) => wanted,
        Ok(Ok(None)) | Err(_) => return,
        Ok(Err(error)) => return debug!("RTSP: {peer}: {error}"),
    };
    let admission = hall.server.admit(index, &init);
    let Ok(socket) = visitor.socket.into_std() else { return };
    let handing = tokio::task::spawn_blocking(move || {
        let head = String::from_utf8_lossy(&visitor.bytes);
        hall.server.hand_in(socket, peer, &head, Box::new(place))
    });
    if let Ok(Err(error)) = handing.await {
        warn!("{error}");
    }
    // From the description to the media's own reader the feed must not rest.
    tokio::time::sleep(BEGIN_WITHIN).await;
    drop((reader, admission));
}

/// A connection that is not let in yet.
struct Visitor {
    socket: TcpStream,
    /// What it has said and nobody has answered.
    bytes: Vec<u8>,
}

/// A stream by its place, which is warm as long as the reader is held.
type Wanted = (usize, Reader, Arc<Init>);

impl Visitor {
    /// Answers until a stream that can be shown is asked for.
    async fn ask(&mut self, hall: &Hall) -> io::Result<Option<Wanted>> {
        set_options(&self.socket)?;
        for _ in 0..REQUESTS {
            let request = match timeout(SILENCE, self.next()).await {
                Err(_) | Ok(Ok(None)) => return Ok(None),
                Ok(Ok(Some(Ok(request)))) => request,
                Ok(Ok(Some(Err(Bad)))) => {
                    self.say(&request::written(Answer::BadRequest, None)).await?;
                    return Ok(None);
                }
                Ok(Err(error)) => return Err(error),
            };
            let answer = match hall.find(&request) {
                Ok(index) => match warm(&hall.roster.streams()[index]).await {
                    Some((reader, init)) => return Ok(Some((index, reader, init))),
                    None => Answer::Unavailable,
                },
                Err(answer) => answer,
            };
            self.bytes.drain(..request.length);
            self.say(&request.answered(answer)).await?;
        }
        Ok(None)
    }

    /// The next request; nothing at the end of the connection.
    async fn next(&mut self) -> io::Result<Option<Result<Request, Bad>>> {
        loop {
            if let Some(request) = Request::read(&self.bytes).transpose() {
                return Ok(Some(request));
            }
            self.socket.readable().await?;
            let mut room = [0; HEAD_AT_MOST / 4];
            match self.socket.try_read(&mut room) {
                Ok(0) => return Ok(None),
                Ok(read) => self.bytes.extend_from_slice(&room[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Answers are short: a socket that does not take one at once is not worth waiting for.
    async fn say(&self, text: &str) -> io::Result<()> {
        self.socket.writable().await?;
        match self.socket.try_write(text.as_bytes())? {
            all if all == text.len() => Ok(()),
            _ => Err(ErrorKind::WriteZero.into()),
        }
    }
}

impl Hall {
    /// The place of the stream that `request` wants to enter, or the answer.
    fn find(&self, request: &Request) -> Result<usize, Answer> {
        if !request::is_offered(&request.method) {
            return Err(Answer::NotAllowed);
        }
        if request.method == "OPTIONS" {
            return Err(Answer::Options);
        }
        let is_wanted = |path: &String| {
            let below = request.path.strip_prefix(path.as_str());
            below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let found = (0..self.paths.len()).filter(|index| is_wanted(&self.paths[*index]));
        found.max_by_key(|index| self.paths[*index].len()).ok_or(Answer::NotFound)
    }
}

/// Joins the stream, which starts the feed if need be, and waits until it shows a picture.
async fn warm(stream: &Arc<Stream>) -> Option<(Reader, Arc<Init>)> {
    let mut reader = stream.hub().join();
    tokio::select! {
        read = reader.next() => match read {
            Read::Init(init) => Some((reader, init)),
            Read::Chunk(_) | Read::Skipped(_) => None,
        },
        () = tokio::time::sleep(PATIENCE) => None,
        () = stream.fails(HOPELESS) => None,
    }
}

fn listen(address: SocketAddr) -> io::Result<StdListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(1024)?;
    Ok(socket.into())
}

fn set_options(socket: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(socket);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_user_timeout(Some(GONE_AFTER))?;
    socket.set_tcp_notsent_lowat(UNSENT_AT_MOST)?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(ASK_AFTER))
}
