//! The least that a fan-out over HTTP can cost: one thread, one `write` for each
//! viewer and chunk, and nothing else. It serves livebox's MP4 with livebox's chunks.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use crate::common::process::Process;
use crate::common::{ports, wait};

pub(crate) const PATH: &str = "/camera.mp4?pad=0";

/// With this variable the program is the floor: the address of livebox and the
/// own port.
const ROLE: &str = "LIVEBOX_BENCH_FLOOR";
const START_LIMIT: Duration = Duration::from_secs(15);
const HEAD_LIMIT: Duration = Duration::from_millis(20);
const WRITE_LIMIT: Duration = Duration::from_millis(200);

/// A floor that serves. Dropping it ends it.
pub(crate) struct Floor {
    process: Process,
    pub(crate) port: u16,
}

impl Floor {
    pub(crate) fn start(livebox: SocketAddr) -> Self {
        let port = ports::free();
        let program = std::env::current_exe().expect("this program has a path");
        let mut command = Command::new(program);
        command.env(ROLE, format!("{livebox} {port}"));
        let process = Process::start("floor", &mut command);
        wait::until("the floor serves", START_LIMIT, || {
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
        Self { process, port }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }
}

/// Serves for ever if this process is the floor.
pub(crate) fn serve_if_floor() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let (livebox, port) = role.split_once(' ').expect("an address and a port");
    let port: u16 = port.parse().expect("a port");
    serve(livebox, port).expect("livebox serves as long as the floor");
}

fn serve(livebox: &str, port: u16) -> std::io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    listener.set_nonblocking(true)?;
    let mut upstream = TcpStream::connect(livebox)?;
    write!(upstream, "GET {PATH} HTTP/1.0\r\nHost: {livebox}\r\n\r\n")?;
    let (mut received, mut buffer) = (Vec::new(), vec![0; 1 << 16]);
    let mut more = |received: &mut Vec<u8>| {
        let read = upstream.read(&mut buffer)?;
        received.extend_from_slice(&buffer[..read]);
        Ok::<_, std::io::Error>(read)
    };
    while position(&received, b"\r\n\r\n").is_none() && more(&mut received)? > 0 {}
    received.drain(..position(&received, b"\r\n\r\n").map_or(0, |head| head + 4));
    let (mut init, mut viewers) = (Vec::new(), Vec::<TcpStream>::new());
    loop {
        let chunk: Vec<u8> = received.drain(..whole_chunks(&received)).collect();
        if init.is_empty() {
            init.extend_from_slice(&chunk[..position(&chunk, b"moof").map_or(0, |at| at - 4)]);
        }
        viewers.retain_mut(|viewer| viewer.write_all(&chunk).is_ok());
        while let Ok((viewer, _)) = listener.accept() {
            viewers.extend(admit(viewer, &init));
        }
        if more(&mut received)? == 0 {
            return Ok(());
        }
    }
}

/// A viewer that has been sent the head of its response and the init segment.
fn admit(mut viewer: TcpStream, init: &[u8]) -> std::io::Result<TcpStream> {
    viewer.set_nonblocking(false)?;
    viewer.set_nodelay(true)?;
    viewer.set_read_timeout(Some(HEAD_LIMIT))?;
    viewer.set_write_timeout(Some(WRITE_LIMIT))?;
    // A request that is late is answered all the same.
    let _length = viewer.read(&mut [0; 2048]).unwrap_or_default();
    viewer.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\nConnection: close\r\n\r\n")?;
    viewer.write_all(init)?;
    Ok(viewer)
}

/// The length of the whole boxes at the front, up to the end of the last `mdat`.
fn whole_chunks(bytes: &[u8]) -> usize {
    let (mut at, mut end) = (0, 0);
    while let Some((head, _)) = bytes[at..].split_first_chunk::<8>() {
        let [a, b, c, d, kind @ ..] = *head;
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if length < 8 || at + length > bytes.len() {
            break;
        }
        at += length;
        if &kind == b"mdat" {
            end = at;
        }
    }
    end
}

fn position(bytes: &[u8], word: &[u8; 4]) -> Option<usize> {
    bytes.windows(4).position(|window| window == word)
}
