//! A camera on the network that means harm: an RTSP server (RFC 2326) which
//! answers properly up to a point, and then does what no server should.

use std::io::{BufRead, BufReader, Result, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

/// What it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attack {
    /// The description says that it is as long as this, and never ends.
    EndlessBody(u64),
    /// The description has header lines without an end.
    EndlessHeaders,
    /// The description ends in the midst of a line; then silence.
    Silence,
    /// One NAL unit in fragments of which none is the last (FU-A, RFC 6184).
    EndlessFragments,
    /// Packets of thousands of NAL units each (STAP-A), all of one picture.
    ManyUnits,
}

/// The server. Dropping it frees its port.
#[derive(Debug)]
pub struct Camera {
    port: u16,
    is_over: Arc<AtomicBool>,
    connections: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Camera {
    pub fn start(attack: Attack) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("there is a port");
        let port = listener.local_addr().expect("it is bound").port();
        let (is_over, connections) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let thread = std::thread::spawn({
            let (is_over, connections) = (Arc::clone(&is_over), Arc::clone(&connections));
            move || {
                let mut serving = Vec::new();
                for socket in listener.incoming().map_while(Result::ok) {
                    if is_over.load(Ordering::Relaxed) {
                        break;
                    }
                    connections.fetch_add(1, Ordering::Relaxed);
                    let is_over = Arc::clone(&is_over);
                    // The other side ends it as it likes.
                    serving.push(std::thread::spawn(move || {
                        serve(&socket, attack, &is_over).ok();
                    }));
                }
                serving.into_iter().for_each(|one| one.join().expect("it does not panic"));
            }
        });
        Self { port, is_over, connections, thread: Some(thread) }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// How often it was connected to.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Camera {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts.
        TcpStream::connect(("127.0.0.1", self.port)).ok();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// Answers until the attack begins, and attacks until the connection ends.
fn serve(socket: &TcpStream, attack: Attack, is_over: &AtomicBool) -> Result<()> {
    socket.set_read_timeout(Some(super::wait::TIMEOUT))?;
    let mut reader = BufReader::new(socket);
    let mut to = socket;
    let goes_on = || !is_over.load(Ordering::Relaxed);
    while let Some((method, sequence)) = request(&mut reader)? {
        let head = format!("RTSP/1.0 200 OK\r\nCSeq: {sequence}\r\n");
        match (method.as_str(), attack) {
            ("OPTIONS", _) => {
                write!(to, "{head}Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n\r\n")?;
            }
            ("DESCRIBE", Attack::EndlessBody(length)) => {
                write!(
                    to,
                    "{head}Content-Type: application/sdp\r\nContent-Length: {length}\r\n\r\n"
                )?;
                return flood(to, &vec![b'x'; 1 << 20], goes_on);
            }
            ("DESCRIBE", Attack::EndlessHeaders) => {
                to.write_all(head.as_bytes())?;
                let line = format!("X-More: {}\r\n", "y".repeat(1000));
                return flood(to, line.repeat(1000).as_bytes(), goes_on);
            }
            ("DESCRIBE", Attack::Silence) => {
                write!(to, "{head}Content-Type: appli")?;
                // Until the other side has had enough.
                return request(&mut reader).map(|_| ());
            }
            ("DESCRIBE", Attack::EndlessFragments | Attack::ManyUnits) => {
                let length = SDP.len();
                write!(
                    to,
                    "{head}Content-Type: application/sdp\r\nContent-Length: {length}\r\n\r\n{SDP}"
                )?;
            }
            ("SETUP", _) => write!(
                to,
                "{head}Session: 1\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n\r\n"
            )?,
            ("PLAY", _) => {
                write!(to, "{head}Session: 1\r\nRange: npt=0-\r\n\r\n")?;
                let is_bomb = attack == Attack::ManyUnits;
                let payload = if is_bomb { many_units } else { endless_fragment };
                return send_packets(to, payload, goes_on);
            }
            _ => write!(to, "{head}\r\n")?,
        }
    }
    Ok(())
}

/// H.264 as every camera describes it; the parameter sets are of 320×180.
const SDP: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=camera\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n\
    m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n\
    a=fmtp:96 packetization-mode=1;sprop-parameter-sets=Z0LAFdoFB+hAAAADAEAAAAyjxYuo,aM4yyA==\r\n\
    a=control:track1\r\n";

/// The method and the sequence number of the next request; nothing at the end.
fn request(reader: &mut impl BufRead) -> Result<Option<(String, String)>> {
    let mut first = String::new();
    if reader.read_line(&mut first)? == 0 {
        return Ok(None);
    }
    let mut sequence = String::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        match line.trim_end().split_once(": ") {
            Some(("CSeq", number)) => number.clone_into(&mut sequence),
            Some(_) => {}
            None => break,
        }
    }
    let method = first.split(' ').next().unwrap_or_default().to_owned();
    Ok(Some((method, sequence)))
}

fn flood(mut to: &TcpStream, bytes: &[u8], goes_on: impl Fn() -> bool) -> Result<()> {
    while goes_on() {
        to.write_all(bytes)?;
    }
    Ok(())
}

/// Sends packets with these payloads as fast as they are taken, in the frames of
/// section 10.12.
fn send_packets(
    mut to: &TcpStream,
    payload: fn(u16) -> Vec<u8>,
    goes_on: impl Fn() -> bool,
) -> Result<()> {
    let mut number = 0u16;
    while goes_on() {
        let mut packet = vec![0x80, 96];
        packet.extend(number.to_be_bytes());
        packet.extend([0, 0, 0, 1, 0, 0, 0, 7]);
        packet.extend(payload(number));
        let length = (packet.len() as u16).to_be_bytes();
        to.write_all(&[&[b'$', 0][..], &length, &packet].concat())?;
        number = number.wrapping_add(1).max(1);
    }
    Ok(())
}

/// FU indicator and FU header of an IDR slice: only that of the first packet begins.
fn endless_fragment(number: u16) -> Vec<u8> {
    let begins = if number == 0 { 0x80 } else { 0 };
    [&[0x7c, begins | 5][..], &[0x55; 60_000]].concat()
}

/// A supplement of one byte, twenty thousand times.
fn many_units(_: u16) -> Vec<u8> {
    [&[0x78][..], &[0, 1, 6].repeat(20_000)].concat()
}
