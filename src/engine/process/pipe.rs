//! A named pipe or a file as a feed: read to its end, and opened again.
//!
//! A pipe without a writer is no failure: the feed waits for one.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use tokio::io::Interest;
use tokio::net::unix::pipe::{OpenOptions, Receiver};
use tokio::task::coop::consume_budget;

use super::command::Blocks;
use super::first_output::FirstOutput;
use crate::base::disk::{CALL_TIMEOUT, Disk, DiskFile};
use crate::hub::bytes::{ByteRing, Clock};
use crate::model::failure::Failure;

/// The size of the pieces in which a file is read.
const PIECE_BYTES: usize = 64 << 10;

enum Opened {
    Pipe(Receiver),
    File(DiskFile),
}

/// Publishes the content of `path`, in a loop if `repeat`.
pub(super) async fn read(
    path: &Path,
    repeat: bool,
    flow: &ByteRing,
    first_output: &mut FirstOutput,
) -> Failure {
    // Kept open until the next one is: without a reader, a writer would get SIGPIPE.
    let mut open_pipe = None;
    loop {
        let before = flow.bytes_in();
        let read = match open(path.to_owned()).await {
            Ok(Opened::Pipe(pipe)) => {
                let pipe = open_pipe.insert(pipe);
                read_pipe(pipe, flow, first_output).await
            }
            Ok(Opened::File(file)) => match read_file(file, flow, first_output).await {
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
        if !repeat {
            return Failure::Ended;
        }
    }
}

async fn open(path: PathBuf) -> io::Result<Opened> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let disk = Disk::at(folder.unwrap_or(Path::new(".")))?;
    let runtime = tokio::runtime::Handle::current();
    let file_disk = disk.clone();
    let opened = disk.run(CALL_TIMEOUT, move || {
        // The runtime waits for pipes.
        let _runtime = runtime.enter();
        let kind = fs::metadata(&path)?.file_type();
        if kind.is_fifo() {
            // Does not block until there is a writer.
            Ok(Opened::Pipe(OpenOptions::new().open_receiver(&path)?))
        } else if kind.is_file() {
            Ok(Opened::File(DiskFile::new(File::open(&path)?, file_disk)))
        } else {
            Err(io::Error::other("it is neither a named pipe nor a file"))
        }
    });
    opened.await?
}

/// Publishes what is written from the first writer to the end of the last.
async fn read_pipe(
    pipe: &Receiver,
    flow: &ByteRing,
    first_output: &mut FirstOutput,
) -> io::Result<()> {
    flow.set_clock(Clock::Own);
    flow.begin_run();
    let mut blocks = Blocks::default();
    loop {
        // A pipe without a first writer does not become readable.
        let ready = pipe.ready(Interest::READABLE).await?;
        match blocks.fill(|room| pipe.try_read_buf(room)) {
            Ok(bytes) if bytes.is_empty() => return Ok(()),
            Ok(bytes) => {
                flow.publish(bytes);
                first_output.report();
            }
            // The last writer closed it, and another opened it before this read. The
            // receiver would stay readable for ever, and this loop would spin.
            Err(error) if error.kind() == ErrorKind::WouldBlock && ready.is_read_closed() => {
                return Ok(());
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        // With a fast writer every read succeeds at once: this lets readers of the flow
        // run on this thread.
        consume_budget().await;
    }
}

/// Publishes a file as fast as its fastest reader takes it: a file has no clock.
async fn read_file(
    file: DiskFile,
    flow: &ByteRing,
    first_output: &mut FirstOutput,
) -> io::Result<()> {
    flow.set_clock(Clock::Readers);
    flow.begin_run();
    loop {
        flow.wait_for_room().await;
        let read = file.wait(|mut file| {
            let mut piece = vec![0; PIECE_BYTES];
            let length = file.read(&mut piece)?;
            piece.truncate(length);
            Ok(piece)
        });
        let piece = read.await?;
        if piece.is_empty() {
            return Ok(());
        }
        flow.publish(Bytes::from(piece));
        first_output.report();
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
    async fn a_writer_that_follows_at_once_begins_a_new_run() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        mkfifo(&path, Mode::S_IRWXU).unwrap();
        let flow = ByteRing::new(None, 1000);
        let (tell, _news) = mpsc::channel(1);
        let mut first_output = FirstOutput::new(1, tell, None);
        let pipe = OpenOptions::new().open_receiver(&path).unwrap();
        let first = File::options().write(true).open(&path).unwrap();
        let mut round = pin!(read_pipe(&pipe, &flow, &mut first_output));
        let waits = tokio::time::timeout(Duration::ZERO, &mut round).await;
        assert!(waits.is_err(), "the writer still has it open");

        drop(first);
        while !pipe.ready(Interest::READABLE).await.unwrap().is_read_closed() {}
        let _second = File::options().write(true).open(&path).unwrap();

        round.await.unwrap();
    }
}
