//! Many viewers on one thread: each says its opening words and then takes what
//! comes, without looking at it.
//!
//! The thread is a program of its own to the servers, and costs CPU time that
//! is not counted; what it delays is, so the gaps are an upper bound.

use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::client::TlsStream;

use crate::common::wait;
use crate::spread::Spread;
use crate::{hls, https, rtmp, rtsp};

pub(crate) const MEASURING: u8 = 1;
pub(crate) const OVER: u8 = 3;
const CONNECTING: u8 = 0;
const MEASURED: u8 = 2;

/// Silence after which a viewer counts as lost.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Viewers that are connected or about to be.
pub(crate) struct Load {
    phase: Arc<AtomicU8>,
    thread: JoinHandle<Vec<Taken>>,
}

/// What the viewers together noticed while it was measured.
pub(crate) struct Heard {
    /// Of the middle viewer.
    pub(crate) kbps: f64,
    /// Viewers whose connection ended, fell silent, or brought less than half
    /// of what the middle viewer got.
    pub(crate) lost: usize,
    /// Times between two arrivals at one viewer.
    pub(crate) gaps: Spread,
}

/// What one viewer took while it was measured.
#[derive(Default)]
pub(crate) struct Taken {
    pub(crate) bytes: u64,
    gaps: Vec<Duration>,
    is_lost: bool,
}

/// How a viewer asks for the stream.
#[derive(Clone)]
enum Opening {
    Http { request: String },
    Https { request: String, client: https::Client },
    Rtsp { address: SocketAddr },
    Rtmp { address: SocketAddr, key: String },
    Hls { host: String, playlist: String },
}

impl Load {
    /// Viewers of an endless body at `path`.
    pub(crate) fn http(viewers: usize, address: SocketAddr, path: &str) -> Self {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n");
        Self::begin(viewers, address, Opening::Http { request })
    }

    /// The same over TLS.
    pub(crate) fn https(
        viewers: usize,
        address: SocketAddr,
        path: &str,
        client: https::Client,
    ) -> Self {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n");
        Self::begin(viewers, address, Opening::Https { request, client })
    }

    /// Players over RTSP, each over its own connection.
    pub(crate) fn rtsp(viewers: usize, address: SocketAddr) -> Self {
        Self::begin(viewers, address, Opening::Rtsp { address })
    }

    /// Players of the stream `key` of the application `live2`.
    pub(crate) fn rtmp(viewers: usize, address: SocketAddr, key: &str) -> Self {
        Self::begin(viewers, address, Opening::Rtmp { address, key: key.to_owned() })
    }

    /// Players of the media playlist at `path`.
    pub(crate) fn hls(viewers: usize, address: SocketAddr, path: &str) -> Self {
        let (host, playlist) = (address.to_string(), path.to_owned());
        Self::begin(viewers, address, Opening::Hls { host, playlist })
    }

    /// Counts what arrives while `window` runs; `also` runs after it, still
    /// under the load. Then ends all connections.
    pub(crate) fn measure<T, U>(
        self,
        window: impl FnOnce() -> T,
        also: impl FnOnce() -> U,
    ) -> (Heard, T, U) {
        let begin = wait::now();
        self.phase.store(MEASURING, Ordering::Relaxed);
        let found = window();
        self.phase.store(MEASURED, Ordering::Relaxed);
        let seconds = begin.elapsed().as_secs_f64();
        let also = also();
        self.phase.store(OVER, Ordering::Relaxed);
        let taken = self.thread.join().expect("viewers do not panic");
        (Heard::from(taken, seconds), found, also)
    }

    fn begin(viewers: usize, address: SocketAddr, opening: Opening) -> Self {
        let phase = Arc::new(AtomicU8::new(CONNECTING));
        let thread = std::thread::spawn({
            let phase = Arc::clone(&phase);
            move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                let all = watch_all(viewers, address, opening, phase);
                runtime.expect("a runtime needs a few files only").block_on(all)
            }
        });
        Self { phase, thread }
    }
}

impl Heard {
    fn from(taken: Vec<Taken>, seconds: f64) -> Self {
        let mut bytes: Vec<u64> = taken.iter().map(|one| one.bytes).collect();
        bytes.sort_unstable();
        let middle = bytes[bytes.len() / 2];
        let kbps = middle as f64 * 8.0 / 1000.0 / seconds;
        let lost = taken.iter().filter(|one| one.is_lost || one.bytes * 2 < middle).count();
        let gaps = Spread::of(taken.into_iter().flat_map(|one| one.gaps));
        Self { kbps, lost, gaps }
    }
}

async fn watch_all(
    viewers: usize,
    address: SocketAddr,
    opening: Opening,
    phase: Arc<AtomicU8>,
) -> Vec<Taken> {
    let mut tasks = JoinSet::new();
    for number in 0..viewers {
        let (opening, phase) = (opening.clone(), Arc::clone(&phase));
        // Over one second, so that players who ask every second do not ask in chorus.
        let begin = Duration::from_secs(1) * number as u32 / viewers as u32;
        tasks.spawn(async move {
            tokio::time::sleep(begin).await;
            let mut taken = Taken::default();
            taken.is_lost = watch(address, opening, &phase, &mut taken).await.is_err();
            taken
        });
    }
    tasks.join_all().await
}

/// Reads until it is over; an error is a lost viewer.
async fn watch(
    address: SocketAddr,
    opening: Opening,
    phase: &AtomicU8,
    taken: &mut Taken,
) -> Result<()> {
    let socket = TcpStream::connect(address).await?;
    match opening {
        Opening::Http { request } => write_all(&socket, request.as_bytes()).await?,
        Opening::Rtsp { address } => rtsp::play(&socket, address).await?,
        Opening::Rtmp { address, key } => rtmp::play(&socket, address, &key).await?,
        Opening::Hls { host, playlist } => {
            return hls::play(&socket, &host, &playlist, phase, taken).await;
        }
        Opening::Https { request, client } => {
            let stream = client.ask(socket, address, &request).await?;
            return take(Source::Tls(Box::new(stream)), phase, taken).await;
        }
    }
    take(Source::Plain(socket), phase, taken).await
}

/// Where an endless body comes from.
enum Source {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Source {
    /// Reads what is there, at least one byte.
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        match self {
            Source::Plain(socket) => read(socket, buffer).await,
            Source::Tls(stream) => {
                match tokio::time::timeout(TIMEOUT, stream.read(buffer)).await?? {
                    0 => Err(ErrorKind::UnexpectedEof.into()),
                    read => Ok(read),
                }
            }
        }
    }
}

/// Takes what comes until it is over.
async fn take(mut from: Source, phase: &AtomicU8, taken: &mut Taken) -> Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    let mut last: Option<Instant> = None;
    loop {
        let read = from.read(&mut buffer).await?;
        let now = wait::now();
        match phase.load(Ordering::Relaxed) {
            OVER => return Ok(()),
            MEASURING => {
                taken.bytes += read as u64;
                taken.gaps.extend(last.map(|last| now - last));
                last = Some(now);
            }
            _ => {}
        }
    }
}

/// Reads what is there, at least one byte.
pub(crate) async fn read(socket: &TcpStream, buffer: &mut [u8]) -> Result<usize> {
    loop {
        tokio::time::timeout(TIMEOUT, socket.readable()).await??;
        match socket.try_read(buffer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            read => return read,
        }
    }
}

pub(crate) async fn write_all(socket: &TcpStream, mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        socket.writable().await?;
        match socket.try_write(bytes) {
            Ok(0) => return Err(Error::from(ErrorKind::WriteZero)),
            Ok(written) => bytes = &bytes[written..],
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
