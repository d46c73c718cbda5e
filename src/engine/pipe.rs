//! A named pipe or a file as a feed: read to its end, and opened again.
//!
//! A pipe that nobody writes to is waited for; that is no failure.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use tokio::net::unix::pipe::{OpenOptions, Receiver};

use super::bytes::Sign;
use super::command::Blocks;
use crate::base::disk::{Disk, DiskFile, PATIENCE};
use crate::hub::bytes::{Clock, Flow};
use crate::model::status::Failure;

/// A file is read in pieces of this size.
const PIECE: usize = 64 << 10;

enum Opened {
    Pipe(Receiver),
    File(DiskFile),
}

/// Passes on what is in `path`, round after round if `again`.
pub(super) async fn read(path: &Path, again: bool, flow: &Flow, sign: &mut Sign) -> Failure {
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
    let opened = disk.run(PATIENCE, move || {
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
async fn round_of_pipe(pipe: &Receiver, flow: &Flow, sign: &mut Sign) -> io::Result<()> {
    flow.set_clock(Clock::Own);
    flow.begin_run();
    let mut blocks = Blocks::default();
    loop {
        // A pipe that nobody has opened yet does not become readable.
        pipe.readable().await?;
        match blocks.fill(|room| pipe.try_read_buf(room)) {
            Ok(bytes) if bytes.is_empty() => return Ok(()),
            Ok(bytes) => {
                flow.publish(bytes);
                sign.give();
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// As fast as its fastest reader takes it: a file has no clock of its own.
async fn round_of_file(file: DiskFile, flow: &Flow, sign: &mut Sign) -> io::Result<()> {
    flow.set_clock(Clock::Readers);
    flow.begin_run();
    loop {
        flow.room().await;
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
