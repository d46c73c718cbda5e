//! A plain RTSP client (RFC 2326) that plays over its own connection and
//! counts what comes.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long an answer may take.
const LIMIT: Duration = super::wait::TIMEOUT;

/// A connection to an RTSP server.
#[derive(Debug)]
pub struct Client {
    reader: BufReader<TcpStream>,
    port: u16,
    url: String,
    sequence: u32,
    session: Option<String>,
    transport: String,
}

/// A client that plays. Dropping it closes the connection.
#[derive(Debug)]
pub struct Playing {
    socket: TcpStream,
    counts: Arc<Counts>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Counts {
    packets: AtomicU64,
    /// On which channels anything came.
    channels: Mutex<BTreeSet<u8>>,
    over: AtomicBool,
}

impl Client {
    pub fn connect(port: u16, path: &str) -> Self {
        let socket = TcpStream::connect(("127.0.0.1", port)).expect("RTSP is listened to");
        Self::over(socket, port, path)
    }

    /// The same over a connection that is there already.
    pub fn over(socket: TcpStream, port: u16, path: &str) -> Self {
        socket.set_read_timeout(Some(LIMIT)).expect("a limit can be set");
        let url = format!("rtsp://127.0.0.1:{port}{path}");
        Self {
            reader: BufReader::new(socket),
            port,
            url,
            sequence: 0,
            session: None,
            transport: String::new(),
        }
    }

    /// The status of the answer to `method`; nothing where the connection has ended.
    pub fn try_ask(&mut self, method: &str) -> Option<u16> {
        self.send(method, &self.url.clone(), "").ok()?;
        self.reader.fill_buf().is_ok_and(|bytes| !bytes.is_empty()).then(|| self.answer().0)
    }

    /// How the track that was set up last is sent.
    pub fn transport(&self) -> &str {
        &self.transport
    }

    /// A handle to the connection.
    pub fn socket(&self) -> TcpStream {
        self.reader.get_ref().try_clone().expect("a file is left")
    }

    /// The status of the answer to `method`, and its body.
    pub fn ask(&mut self, method: &str) -> (u16, String) {
        self.ask_with(method, "")
    }

    /// The same with more header lines.
    pub fn ask_with(&mut self, method: &str, more: &str) -> (u16, String) {
        let url = self.url.clone();
        self.ask_at(method, &url, more)
    }

    /// The same for another path than the one that the client came for.
    pub fn ask_of(&mut self, method: &str, path: &str) -> (u16, String) {
        let url = format!("rtsp://127.0.0.1:{}{path}", self.port);
        self.ask_at(method, &url, "")
    }

    /// Sends bytes as they are and returns what comes back until the end.
    pub fn say(mut self, bytes: &[u8]) -> String {
        // The other side may have had enough before everything is said.
        self.reader.get_mut().write_all(bytes).ok();
        let mut answer = Vec::new();
        match self.reader.read_to_end(&mut answer) {
            Err(e) if e.kind() == ErrorKind::WouldBlock => panic!("the connection stays open"),
            Ok(_) | Err(_) => String::from_utf8_lossy(&answer).into_owned(),
        }
    }

    /// Describes the stream, sets up all its tracks on this connection and plays.
    pub fn play(mut self) -> Playing {
        let (status, description) = self.ask("DESCRIBE");
        assert_eq!(status, 200, "DESCRIBE");
        for track in 0..description.lines().filter(|line| line.starts_with("m=")).count() {
            let (rtp, rtcp) = (2 * track, 2 * track + 1);
            let transport = format!("RTP/AVP/TCP;unicast;interleaved={rtp}-{rtcp}");
            assert_eq!(self.set_up(track, &transport), 200, "SETUP of {track}");
        }
        self.begin()
    }

    /// Sets a track up; returns the status.
    pub fn set_up(&mut self, track: usize, transport: &str) -> u16 {
        let url = format!("{}/stream={track}", self.url);
        self.ask_at("SETUP", &url, &format!("Transport: {transport}\r\n")).0
    }

    /// Plays what is set up.
    pub fn begin(mut self) -> Playing {
        assert_eq!(self.ask("PLAY").0, 200, "PLAY");
        let socket = self.reader.get_ref().try_clone().expect("a file is left");
        let counts = Arc::new(Counts::default());
        let thread = std::thread::spawn({
            let counts = Arc::clone(&counts);
            move || count(self.reader, &counts)
        });
        Playing { socket, counts, thread: Some(thread) }
    }

    fn ask_at(&mut self, method: &str, url: &str, more: &str) -> (u16, String) {
        self.send(method, url, more).expect("the request is taken");
        self.answer()
    }

    fn send(&mut self, method: &str, url: &str, more: &str) -> std::io::Result<()> {
        self.sequence += 1;
        let session = self.session.iter().map(|id| format!("Session: {id}\r\n"));
        let session: String = session.collect();
        let sequence = self.sequence;
        let request = format!("{method} {url} RTSP/1.0\r\nCSeq: {sequence}\r\n{session}{more}\r\n");
        self.reader.get_mut().write_all(request.as_bytes())
    }

    fn answer(&mut self) -> (u16, String) {
        let sequence = self.sequence;
        self.skip_packets();
        let status = self.line();
        let status = status.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.expect("an answer has a status");
        let mut length = 0;
        loop {
            let line = self.line();
            match line.split_once(": ") {
                Some(("CSeq", number)) => assert_eq!(number, sequence.to_string()),
                Some(("Content-Length", number)) => length = number.parse().expect("a number"),
                Some(("Session", id)) => {
                    self.session = id.split(';').next().map(str::to_owned);
                }
                Some(("Transport", transport)) => transport.clone_into(&mut self.transport),
                _ if line.is_empty() => break,
                _ => {}
            }
        }
        let mut body = vec![0; length];
        self.reader.read_exact(&mut body).expect("the body is as long as it says");
        (status, String::from_utf8(body).expect("descriptions are text"))
    }

    /// Packets may come before the answer that lets them come.
    fn skip_packets(&mut self) {
        while self.reader.fill_buf().is_ok_and(|bytes| bytes.first() == Some(&b'$')) {
            let mut head = [0; 4];
            self.reader.read_exact(&mut head).expect("a packet has a head");
            let length = u64::from(u16::from_be_bytes([head[2], head[3]]));
            let packet = (&mut self.reader).take(length);
            std::io::copy(&mut { packet }, &mut std::io::sink()).expect("a packet is whole");
        }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.reader.read_line(&mut line).expect("an answer comes in time");
        line.trim_end().to_owned()
    }
}

impl Playing {
    /// RTP packets of all tracks so far.
    pub fn packets(&self) -> u64 {
        self.counts.packets.load(Ordering::Relaxed)
    }

    /// The channels on which anything came so far.
    pub fn channels(&self) -> Vec<u8> {
        self.counts.channels.lock().expect("nobody panics with it").iter().copied().collect()
    }

    /// Whether the server has ended the connection.
    pub fn is_over(&self) -> bool {
        self.counts.over.load(Ordering::Relaxed)
    }
}

impl Drop for Playing {
    fn drop(&mut self) {
        self.socket.shutdown(std::net::Shutdown::Both).ok();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// Counts interleaved packets (section 10.12) until the connection ends.
fn count(mut reader: BufReader<TcpStream>, counts: &Counts) {
    let mut packet = vec![0; 65_536];
    let mut head = [0; 4];
    while reader.read_exact(&mut head).is_ok() {
        assert_eq!(head[0], b'$', "every packet stands in a frame");
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        if reader.read_exact(&mut packet[..length]).is_err() {
            break;
        }
        counts.channels.lock().expect("nobody panics with it").insert(head[1]);
        if head[1].is_multiple_of(2) {
            counts.packets.fetch_add(1, Ordering::Relaxed);
        }
    }
    counts.over.store(true, Ordering::Relaxed);
}
