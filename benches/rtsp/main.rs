//! What an RTSP viewer costs: interleaved readers beside HTTP viewers of the
//! same stream, in one run.
//!
//! The encoder runs all the time and must not count: the cost is the CPU time
//! with N viewers less the CPU time with none. `LIVEBOX_BENCH_VIEWERS` and
//! `LIVEBOX_BENCH_SECONDS` change the size.

#[expect(dead_code, unreachable_pub, reason = "the harness is a part of several programs")]
#[path = "../../tests/common/mod.rs"]
mod common;

use std::io::{Error, ErrorKind, Result, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use common::livebox::Livebox;
use common::{proc, wait};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A small picture at a high bit rate: a viewer costs as much as of a large
/// one, but the encoder's ups and downs stay below what is measured.
const CONFIG: &str = "\
feeds:
  camera: {test: clock, size: 320x180, fps: 30, audio: tone, mode: continuous}
streams:
  camera: {feed: camera, bitrate: 2M}
";
/// For viewers to connect, and for buffers to come to rest.
const SETTLE: Duration = Duration::from_secs(4);

#[derive(Clone, Copy)]
enum Protocol {
    Http,
    Rtsp,
}

fn main() {
    let viewers = setting("LIVEBOX_BENCH_VIEWERS", 200);
    let span = Duration::from_secs(setting("LIVEBOX_BENCH_SECONDS", 20) as u64);
    let livebox = Livebox::start(CONFIG);
    livebox.log().wait_for("is live", Duration::from_secs(30));
    std::thread::sleep(SETTLE);
    let at = |port| SocketAddr::from(([127, 0, 0, 1], port));

    let idle = cores_used(livebox.pid(), span / 2);
    let http =
        with(viewers, at(livebox.port()), Protocol::Http, || cores_used(livebox.pid(), span));
    std::thread::sleep(SETTLE);
    let rtsp =
        with(viewers, at(livebox.rtsp_port()), Protocol::Rtsp, || cores_used(livebox.pid(), span));
    let resident = proc::resident_kib(livebox.pid()) / 1024;
    let cost = |cores: f64| (cores - idle) * 60.0 / viewers as f64;
    let text = format!(
        "| viewers | RTSP over TCP, CPU-s per viewer-minute | HTTP fMP4 | ratio | kbit/s each | RSS MiB |\n\
         |---|---|---|---|---|---|\n\
         | {viewers} | {:.4} | {:.4} | {:.2} | {:.0} / {:.0} | {resident} |\n",
        cost(rtsp.0),
        cost(http.0),
        cost(rtsp.0) / cost(http.0),
        rtsp.1,
        http.1,
    );
    std::io::stdout().write_all(text.as_bytes()).expect("somebody reads the result");
}

/// What `measure` finds while so many watch, and what each of them gets, in kbit/s.
fn with(
    viewers: usize,
    address: SocketAddr,
    protocol: Protocol,
    measure: impl FnOnce() -> f64,
) -> (f64, f64) {
    let (taken, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let thread = std::thread::spawn({
        let (taken, over) = (Arc::clone(&taken), Arc::clone(&over));
        move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("a runtime needs a few files only");
            runtime.block_on(watch_all(viewers, address, protocol, taken, over))
        }
    });
    std::thread::sleep(SETTLE);
    let (before, begin) = (taken.load(Ordering::Relaxed), wait::now());
    let found = measure();
    let bytes = taken.load(Ordering::Relaxed) - before;
    let seconds = begin.elapsed().as_secs_f64();
    over.store(true, Ordering::Relaxed);
    let lost = thread.join().expect("viewers do not panic");
    assert_eq!(lost, 0, "viewers were lost");
    (found, bytes as f64 * 8.0 / 1000.0 / seconds / viewers as f64)
}

/// Returns how many viewers were lost.
async fn watch_all(
    viewers: usize,
    address: SocketAddr,
    protocol: Protocol,
    taken: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
) -> usize {
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..viewers {
        let (taken, over) = (Arc::clone(&taken), Arc::clone(&over));
        tasks.spawn(async move { watch(address, protocol, &taken, &over).await.is_err() });
    }
    tasks.join_all().await.into_iter().filter(|lost| *lost).count()
}

async fn watch(
    address: SocketAddr,
    protocol: Protocol,
    taken: &AtomicU64,
    over: &AtomicBool,
) -> Result<()> {
    let mut socket = TcpStream::connect(address).await?;
    match protocol {
        Protocol::Http => {
            let request = format!("GET /camera.mp4?pad=0 HTTP/1.1\r\nHost: {address}\r\n\r\n");
            socket.write_all(request.as_bytes()).await?;
        }
        Protocol::Rtsp => play(&mut socket, address).await?,
    }
    let mut buffer = vec![0; 64 * 1024];
    while !over.load(Ordering::Relaxed) {
        match socket.read(&mut buffer).await? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            read => taken.fetch_add(read as u64, Ordering::Relaxed),
        };
    }
    Ok(())
}

/// Describes, sets up both tracks interleaved and plays (RFC 2326, section 10).
async fn play(socket: &mut TcpStream, address: SocketAddr) -> Result<()> {
    let url = format!("rtsp://{address}/camera");
    ask(socket, &format!("DESCRIBE {url} RTSP/1.0\r\nCSeq: 1\r\n\r\n")).await?;
    let mut session = String::new();
    for track in 0..2 {
        let (rtp, rtcp) = (2 * track, 2 * track + 1);
        let request = format!(
            "SETUP {url}/stream={track} RTSP/1.0\r\nCSeq: {}\r\n{session}\
             Transport: RTP/AVP/TCP;unicast;interleaved={rtp}-{rtcp}\r\n\r\n",
            track + 2
        );
        let answer = ask(socket, &request).await?;
        let line = answer.lines().find(|line| line.starts_with("Session:"));
        let line = line.ok_or(ErrorKind::InvalidData)?;
        session = format!("{}\r\n", line.split(';').next().unwrap_or(line).trim_end());
    }
    ask(socket, &format!("PLAY {url} RTSP/1.0\r\nCSeq: 4\r\n{session}\r\n")).await?;
    Ok(())
}

/// The head of the answer; media may follow it at once.
async fn ask(socket: &mut TcpStream, request: &str) -> Result<String> {
    socket.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    let length: usize = length.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    socket.read_exact(&mut vec![0; length]).await?;
    let is_ok = head.starts_with("RTSP/1.0 200");
    if is_ok { Ok(head) } else { Err(Error::other(head)) }
}

/// Processor cores that `pid` keeps busy while `span` runs.
fn cores_used(pid: u32, span: Duration) -> f64 {
    let (before, begin) = (proc::cpu_seconds(pid), wait::now());
    std::thread::sleep(span);
    (proc::cpu_seconds(pid) - before) / begin.elapsed().as_secs_f64()
}

fn setting(name: &str, default: usize) -> usize {
    let Ok(text) = std::env::var(name) else { return default };
    text.parse().unwrap_or_else(|_| panic!("{name}={text:?} is not a whole number"))
}
