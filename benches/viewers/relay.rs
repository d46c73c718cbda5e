//! Between a player and livebox: passes every byte on at once, and notes the
//! earliest time in the MP4 that went by.

use std::io::{Read, Result, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;

use crate::common::fmp4::{self, Fragment, Piece, Track};
use crate::common::http;

/// Serves one connection. A second one is refused, as its times would be others.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    thread: JoinHandle<Result<f64>>,
}

/// Reads what a server says, which its client hears as well.
struct Tee {
    server: TcpStream,
    client: TcpStream,
}

impl Relay {
    pub(crate) fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let address = listener.local_addr().expect("it is bound");
        let thread = std::thread::spawn(move || {
            let (client, _) = listener.accept()?;
            drop(listener);
            relayed(client, to)
        });
        Self { address, thread }
    }

    /// The earliest decode time of all tracks, in seconds, once the player has gone.
    pub(crate) fn earliest(self) -> Result<f64> {
        // If no player has come, this ends the waiting; otherwise it is refused.
        TcpStream::connect(self.address).ok();
        self.thread.join().expect("relays do not panic")
    }
}

fn relayed(client: TcpStream, to: SocketAddr) -> Result<f64> {
    let server = TcpStream::connect(to)?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut asks, mut asked) = (client.try_clone()?, server.try_clone()?);
    std::thread::spawn(move || {
        std::io::copy(&mut asks, &mut asked).ok();
        // The player has gone, so that the server may.
        asked.shutdown(Shutdown::Both).ok();
    });
    let (_, mut body) = http::read_answer(Tee { server, client })?;
    let (mut tracks, mut earliest) = (Vec::new(), f64::INFINITY);
    // Ends with an error where the player has gone.
    while let Ok(Some(piece)) = fmp4::read_piece(&mut body) {
        match piece {
            Piece::Init(found) => tracks = found,
            Piece::Fragments(fragments) => {
                let times = fragments.iter().filter_map(|one| seconds(one, &tracks));
                earliest = times.fold(earliest, f64::min);
            }
            Piece::Stamp(_) | Piece::Other => {}
        }
    }
    Ok(earliest)
}

fn seconds(fragment: &Fragment, tracks: &[Track]) -> Option<f64> {
    let track = tracks.iter().find(|track| track.id == fragment.track)?;
    Some(fragment.decode_time as f64 / f64::from(track.timescale))
}

impl Read for Tee {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize> {
        let read = self.server.read(buf)?;
        self.client.write_all(&buf[..read])?;
        Ok(read)
    }
}
