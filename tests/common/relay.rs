//! A relay in front of a server on loopback, which remembers what clients sent.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// A relay. Dropping it ends it and its connections.
#[derive(Debug)]
pub struct Relay {
    port: u16,
    open: Arc<Mutex<Open>>,
    listener: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Open {
    is_over: bool,
    sockets: Vec<TcpStream>,
    sent: Vec<u8>,
}

impl Relay {
    /// Passes everything on to `to`, a loopback port.
    pub fn start(to: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
        let port = listener.local_addr().expect("it is bound").port();
        let open = Arc::<Mutex<Open>>::default();
        let theirs = Arc::clone(&open);
        let listen = move || {
            for client in listener.incoming().flatten() {
                if theirs.lock().expect("nothing panics with it").is_over {
                    return;
                }
                let Ok(server) = TcpStream::connect(("127.0.0.1", to)) else { continue };
                relay(&client, &server, &theirs);
            }
        };
        let listener = Some(std::thread::spawn(listen));
        Self { port, open, listener }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether clients have sent these bytes, over all connections.
    pub fn has_passed_on(&self, bytes: &[u8]) -> bool {
        let open = self.open.lock().expect("nothing panics with it");
        open.sent.windows(bytes.len()).any(|window| window == bytes)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        {
            let mut open = self.open.lock().expect("nothing panics with it");
            open.is_over = true;
            for socket in &open.sockets {
                // Fails where the other side was quicker.
                socket.shutdown(Shutdown::Both).ok();
            }
        }
        // One more connection lets the listener see that.
        TcpStream::connect(("127.0.0.1", self.port)).ok();
        if let Some(listener) = self.listener.take() {
            listener.join().ok();
        }
    }
}

/// Passes on both ways, on threads that end with the connections.
fn relay(client: &TcpStream, server: &TcpStream, open: &Arc<Mutex<Open>>) {
    let twice = |socket: &TcpStream| socket.try_clone().expect("a file is left");
    let (up, down) = ((twice(client), twice(server)), (twice(server), twice(client)));
    let theirs = Arc::clone(open);
    open.lock().expect("nothing panics with it").sockets.extend([twice(client), twice(server)]);
    std::thread::spawn(move || {
        pass_on(up, |bytes| theirs.lock().expect("nothing panics with it").sent.extend(bytes));
    });
    std::thread::spawn(move || pass_on(down, |_| {}));
}

fn pass_on((mut from, mut to): (TcpStream, TcpStream), seen: impl Fn(&[u8])) {
    let mut piece = [0; 16 << 10];
    while let Ok(length @ 1..) = from.read(&mut piece) {
        seen(&piece[..length]);
        if to.write_all(&piece[..length]).is_err() {
            break;
        }
    }
    for socket in [&from, &to] {
        socket.shutdown(Shutdown::Both).ok();
    }
}
