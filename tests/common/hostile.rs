//! Receivers of RTMP that do what none should: each takes every connection on
//! loopback, and answers as it was told.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// The length of C1, C2, S1 and S2 (RTMP 1.0, 5.2.3).
const HANDSHAKE: usize = 1536;

/// What a receiver does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malice {
    /// It takes the connection and nothing more.
    Silence,
    /// Bytes without a meaning, from the first on.
    Noise,
    /// The same after a proper handshake.
    LateNoise,
    /// Beginnings of messages of 16 MiB on thousands of chunk streams, which
    /// have no end.
    Beginnings,
    /// One message after the other that makes no sense, in proper chunks.
    Messages,
}

/// A receiver. Dropping it ends it and its connections.
#[derive(Debug)]
pub struct Hostile {
    port: u16,
    open: Arc<Mutex<Open>>,
    taken: Arc<AtomicUsize>,
    listener: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Open {
    is_over: bool,
    connections: Vec<TcpStream>,
}

impl Hostile {
    pub fn start(malice: Malice) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
        let port = listener.local_addr().expect("it is bound").port();
        let (open, taken) = (Arc::<Mutex<Open>>::default(), Arc::<AtomicUsize>::default());
        let (theirs, count) = (Arc::clone(&open), Arc::clone(&taken));
        let listen = move || {
            for connection in listener.incoming().flatten() {
                let mut open = theirs.lock().expect("nothing panics with it");
                if open.is_over {
                    return;
                }
                open.connections.extend(connection.try_clone());
                count.fetch_add(1, Ordering::Relaxed);
                // It ends with its connection, or when that is shut down.
                std::thread::spawn(move || answer(connection, malice));
            }
        };
        let listener = Some(std::thread::spawn(listen));
        Self { port, open, taken, listener }
    }

    /// The URL of an application, to which a stream key is joined.
    pub fn url(&self) -> String {
        format!("rtmp://127.0.0.1:{}/live2", self.port)
    }

    /// How many connections it has taken.
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        {
            let mut open = self.open.lock().expect("nothing panics with it");
            open.is_over = true;
            for connection in &open.connections {
                // Fails where the other side was quicker.
                connection.shutdown(Shutdown::Both).ok();
            }
        }
        // One more connection lets the listener see that.
        TcpStream::connect(("127.0.0.1", self.port)).ok();
        if let Some(listener) = self.listener.take() {
            listener.join().ok();
        }
    }
}

/// Ends when the other side, or the test, closes the connection.
fn answer(mut connection: TcpStream, malice: Malice) {
    let reading = connection.try_clone().expect("a file is left");
    if !matches!(malice, Malice::Silence | Malice::Noise) && shake_hands(&mut connection).is_none()
    {
        return;
    }
    // What is sent is read, so that nothing waits for that.
    let sink = std::thread::spawn(move || std::io::copy(&mut { reading }, &mut std::io::sink()));
    let mut noise = Noise(1);
    let mut stream = 0;
    loop {
        let bytes = match malice {
            Malice::Silence => break,
            Malice::Noise | Malice::LateNoise => noise.take(1 << 16),
            Malice::Beginnings => {
                stream = (stream + 1) % 65_000;
                beginning(stream, 0xff_ffff, &noise.take(128))
            }
            Malice::Messages => beginning(5, 128, &noise.take(128)).repeat(400),
        };
        if connection.write_all(&bytes).is_err() {
            break;
        }
    }
    sink.join().expect("it only reads").ok();
}

/// S0, S1 and S2 for C0 and C1.
fn shake_hands(connection: &mut TcpStream) -> Option<()> {
    let mut theirs = [0; 1 + HANDSHAKE];
    connection.read_exact(&mut theirs).ok()?;
    let mut ours = vec![3];
    ours.extend([0; HANDSHAKE]);
    ours.extend(&theirs[1..]);
    connection.write_all(&ours).ok()?;
    connection.read_exact(&mut [0; HANDSHAKE]).ok()
}

/// The first chunk of a message of so many bytes (RTMP 1.0, 5.3.1): a basic
/// header of three bytes for the chunk stream 64 + `stream`, a full message
/// header, and what the chunk holds.
fn beginning(stream: u16, length: u32, bytes: &[u8]) -> Vec<u8> {
    let [low, high] = stream.to_le_bytes();
    let mut chunk = vec![1, low, high, 0, 0, 0];
    chunk.extend(&length.to_be_bytes()[1..]);
    // An AMF command, on message stream 0.
    chunk.extend([20, 0, 0, 0, 0]);
    chunk.extend(bytes);
    chunk
}

/// Numbers without an order, the same each time (xorshift).
struct Noise(u64);

impl Noise {
    fn take(&mut self, count: usize) -> Vec<u8> {
        let next = || {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 as u8
        };
        std::iter::repeat_with(next).take(count).collect()
    }
}
