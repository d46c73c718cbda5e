//! An HLS player without a decoder: the playlist every second, and each
//! segment as soon as it is in there, all over one connection.

use std::io::{Error, ErrorKind, Result};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::net::TcpStream;

use crate::common::wait;
use crate::load::{MEASURING, OVER, Taken, read, write_all};

const EVERY: Duration = Duration::from_secs(1);

/// Plays until it is over; an answer that is not 200 is an error.
pub(crate) async fn play(
    socket: &TcpStream,
    host: &str,
    playlist: &str,
    phase: &AtomicU8,
    taken: &mut Taken,
) -> Result<()> {
    let folder = &playlist[..=playlist.rfind('/').expect("paths begin with a slash")];
    let mut answer = Answer::default();
    let mut had = String::new();
    loop {
        let begin = wait::now();
        let mut bytes = answer.fetch(socket, host, playlist).await?;
        let newest = newest(answer.body())?;
        if newest != had {
            bytes += answer.fetch(socket, host, &format!("{folder}{newest}")).await?;
            had = newest;
        }
        match phase.load(Ordering::Relaxed) {
            OVER => return Ok(()),
            MEASURING => taken.bytes += bytes as u64,
            _ => {}
        }
        tokio::time::sleep(EVERY.saturating_sub(begin.elapsed())).await;
    }
}

/// The last segment of a playlist.
fn newest(playlist: &[u8]) -> Result<String> {
    let text = String::from_utf8_lossy(playlist);
    let mut lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.next_back().map(str::to_owned).ok_or_else(|| bad("a playlist without segments"))
}

/// The newest answer, in a buffer that is used again.
#[derive(Default)]
struct Answer {
    bytes: Vec<u8>,
    filled: usize,
    head: usize,
}

impl Answer {
    /// Returns how many bytes came.
    async fn fetch(&mut self, socket: &TcpStream, host: &str, path: &str) -> Result<usize> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        write_all(socket, request.as_bytes()).await?;
        (self.filled, self.head) = (0, 0);
        let mut length = usize::MAX;
        while self.filled < length {
            self.bytes.resize(self.bytes.len().max(self.filled + 64 * 1024), 0);
            self.filled += read(socket, &mut self.bytes[self.filled..]).await?;
            if self.head == 0
                && let Some(end) = end_of_head(&self.bytes[..self.filled])
            {
                self.head = end;
                length = end + content_length(&self.bytes[..end])?;
            }
        }
        Ok(self.filled)
    }

    fn body(&self) -> &[u8] {
        &self.bytes[self.head..self.filled]
    }
}

fn end_of_head(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)
}

fn content_length(head: &[u8]) -> Result<usize> {
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    if !head.starts_with("http/1.1 200 ") {
        return Err(bad(head.lines().next().unwrap_or_default()));
    }
    let line = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length = line.and_then(|length| length.trim().parse().ok());
    length.ok_or_else(|| bad("an answer without a length"))
}

fn bad(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, what.to_owned())
}
