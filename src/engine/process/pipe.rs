//! A named pipe or a file as a feed: read to its end, and opened again.
//!
//! A pipe that nobody writes to is waited for; that is no failure.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use tokio::io::Interest;
use tokio::net::unix::pipe::{OpenOptions, Receiver};
use tokio::task::coop::consume_budget;

use super::bytes::Sign;
use super::command::Blocks;
use crate::base::disk::{CALL_TIMEOUT, Disk, DiskFile};
use crate::hub::bytes::{ByteRing, Clock};
use crate::model::status::Failure;

/// A file is read in pieces of this size.
const PIECE: usize = 64 << 10;

enum Opened {
    Pipe(Receiver),
    File(DiskFile),
}

/// Passes on what is in `path`, round after round if `again`.
pub(super) async fn read(path: &Path, again: bool, flow: &ByteRing, sign: &mut Sign) -> Failure {
    // Open until the next one is: whoever writes meanwhile would find nobody to
    // read it, and die of that.
    let mut last = None;
    loop {
        let before = flow.bytes_in();
        let read = match open(path.to_owned()).await {
            Ok(Opened::Pipe(pipe)) => {
                let pipe = last.insert(pipe);
                round_of_pipe(pipe, flow, sign).await
            }
            Ok(Opened::File(file)) => match round_of_file(file, flow, sign).await {
                Ok(()) if flow.bytes_in() == before => {
                    return Failure::File(format!("{path:?} is empty"));
                }
                read => read,
            },
            Err(error) => Err(error),
        };
        if let Err(error) = read {
            return Failure::File(format!("{path:?} cannot be read: {error}"));
        }
        if !again {
            return Failure::Ended;
        }
    }
}

async fn open(path: PathBuf) -> io::Result<Opened> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let disk = Disk::at(folder.unwrap_or(Path::new(".")))?;
    let runtime = tokio::runtime::Handle::current();
    let of_file = disk.clone();
    let opened = disk.run(CALL_TIMEOUT, move || {
        // Pipes are waited for by the runtime.
        let _runtime = runtime.enter();
        let kind = fs::metadata(&path)?.file_type();
        if kind.is_fifo() {
            // Does not wait for a writer.
            Ok(Opened::Pipe(OpenOptions::new().open_receiver(&path)?))
        } else if kind.is_file() {
            Ok(Opened::File(DiskFile::new(File::open(&path)?, of_file)))
        } else {
            Err(io::Error::other("it is neither a named pipe nor a file"))
        }
    });
    opened.await?
}

/// From its first writer to its last.
async fn round_of_pipe(pipe: &Receiver, flow: &ByteRing, sign: &mut Sign) -> io::Result<()> {
    flow.set_clock(Clock::Own);
    flow.begin_run();
    let mut blocks = Blocks::default();
    loop {
        // A pipe that nobody has opened yet does not become readable.
        let ready = pipe.ready(Interest::READABLE).await?;
        match blocks.fill(|room| pipe.try_read_buf(room)) {
            Ok(bytes) if bytes.is_empty() => return Ok(()),
            Ok(bytes) => {
                flow.publish(bytes);
                sign.give();
            }
            // The last writer has left, and another one came before this was read. The
            // receiver would be called readable for ever, and reading spin.
            Err(error) if error.kind() == ErrorKind::WouldBlock && ready.is_read_closed() => {
                return Ok(());
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        // Of a fast writer every read succeeds at once: readers of the flow need
        // their turn on this thread.
        consume_budget().await;
    }
}

/// As fast as its fastest reader takes it: a file has no clock of its own.
async fn round_of_file(file: DiskFile, flow: &ByteRing, sign: &mut Sign) -> io::Result<()> {
    flow.set_clock(Clock::Readers);
    flow.begin_run();
    loop {
        flow.wait_for_room().await;
        let read = file.wait(|mut file| {
            let mut piece = vec![0; PIECE];
            let length = file.read(&mut piece)?;
            piece.truncate(length);
            Ok(piece)
        });
        let piece = read.await?;
        if piece.is_empty() {
            return Ok(());
        }
        flow.publish(Bytes::from(piece));
        sign.give();
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::time::Duration;

    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;
    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_writer_that_follows_at_once_begins_a_new_round() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        mkfifo(&path, Mode::S_IRWXU).unwrap();
        let flow = ByteRing::new(None, 1000);
        let (tell, _news) = mpsc::channel(1);
        let mut sign = Sign::new(1, tell, None);
        let pipe = OpenOptions::new().open_receiver(&path).unwrap();
        let first = File::options().write(true).open(&path).unwrap();
        let mut round = pin!(round_of_pipe(&pipe, &flow, &mut sign));
        let waits = tokio::time::timeout(Duration::ZERO, &mut round).await;
        assert!(waits.is_err(), "the writer is there still");

        drop(first);
        while !pipe.ready(Interest::READABLE).await.unwrap().is_read_closed() {}
        let _second = File::options().write(true).open(&path).unwrap();

        round.await.unwrap();
    }
}
