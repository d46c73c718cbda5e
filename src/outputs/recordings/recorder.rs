//! Writes a stream to a file.
//!
//! The file is the fMP4 that viewers get, appended as it arrives, so that it can
//! be played up to a power cut. Writes are few and large, which suits SD cards.
//! The camera never waits for the disk: frames that a slow disk misses are
//! logged, and the file continues at a key frame.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use log::{info, warn};

use crate::base::disk::{Disk, DiskFile};
use crate::base::shutdown::Shutdown;
use crate::base::time::now;
use crate::hub::{Read, Reader};

/// Size of a write, unless the sync interval ends first.
pub const WRITE_BYTES: usize = 64 << 10;

/// Bytes are synced to the disk at this interval: half of the two seconds that a
/// power cut may cost, because the disk needs time as well.
const SYNC_INTERVAL: Duration = Duration::from_secs(1);

/// Why a recording cannot start or ends.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("there is no folder {} to record to", .0.display())]
    NoFolder(PathBuf),
    #[error("{} exists already, and a recording replaces no file; name another one", .0.display())]
    Exists(PathBuf),
    #[error("too many recordings were started within this second")]
    Many,
    #[error("cannot create the recording {}", .path.display())]
    Create { path: PathBuf, source: io::Error },
    #[error("the disk is full: the recording {} ends", .0.display())]
    Full(PathBuf),
    #[error("cannot write to the recording {}", .path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("the encoding of the stream has changed: the recording {} ends", .0.display())]
    CodecChange(PathBuf),
}

/// A recording whose file exists.
#[derive(Debug)]
pub struct Recorder {
    path: PathBuf,
    disk: Disk,
    file: DiskFile,
    written: Written,
    buffer: Buffer,
    has_begun: bool,
}

impl RecordError {
    /// The problem of the folder, if it is one, as the predicate of a sentence
    /// that begins with the folder.
    pub fn folder_problem(&self) -> Option<String> {
        match self {
            RecordError::NoFolder(_) => Some("does not exist".to_owned()),
            RecordError::Full(_) => Some("cannot be written: the disk is full".to_owned()),
            RecordError::Create { source, .. } | RecordError::Write { source, .. } => {
                Some(format!("cannot be written: {source}"))
            }
            RecordError::Exists(_) | RecordError::Many | RecordError::CodecChange(_) => None,
        }
    }
}

impl Recorder {
    /// Creates the file in the folder of `disk` with these permissions, as far as
    /// the umask allows; blocks.
    ///
    /// # Errors
    /// The file exists already, or cannot be created.
    pub fn create(path: &Path, disk: Disk, mode: u32) -> Result<Self, RecordError> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
            return Err(RecordError::NoFolder(folder.to_owned()));
        }
        let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
        let path = path.to_owned();
        let file = match file {
            Ok(file) => file,
            Err(source) if source.kind() == io::ErrorKind::AlreadyExists => {
                return Err(RecordError::Exists(path));
            }
            Err(source) => return Err(RecordError::Create { path, source }),
        };
        let (file, buffer) = (DiskFile::new(file, disk.clone()), Buffer::new(now()));
        Ok(Self { path, disk, file, written: Written::default(), buffer, has_begun: false })
    }

    /// Records until `shutdown` or the end of the stream; everything is on the
    /// disk when it returns.
    ///
    /// # Errors
    /// A write fails, or the encoding of the stream changes; up to there the file
    /// is complete.
    pub async fn record(
        mut self,
        mut reader: Reader,
        mut shutdown: Shutdown,
    ) -> Result<(), RecordError> {
        loop {
            let read = tokio::select! {
                read = reader.next() => Some(read),
                () = tokio::time::sleep_until(self.buffer.sync_at.into()) => None,
                () = shutdown.requested() => break,
            };
            match read {
                Some(Read::Chunk(piece)) => self.add(&piece.bytes),
                Some(Read::Skipped(lost)) => {
                    warn!(lost; "the disk is too slow; the recording continues at a key frame");
                }
                Some(Read::Init(_)) if self.has_begun => {
                    self.flush(Due::Sync).await?;
                    return Err(RecordError::CodecChange(self.path.clone()));
                }
                Some(Read::Init(init)) => {
                    info!("recording to {}", self.path.display());
                    self.add(&init.bytes);
                }
                Some(Read::End) => break,
                None => {}
            }
            self.flush_due().await?;
        }
        self.finish().await.map(|_| ())
    }

    /// Buffers bytes; [`Recorder::flush_due`] writes them.
    pub fn add(&mut self, bytes: &Bytes) {
        self.has_begun = true;
        self.buffer.add(bytes);
    }

    /// The latest time at which [`Recorder::flush_due`] is to be called next.
    pub fn due_at(&self) -> Instant {
        self.buffer.sync_at
    }

    /// Writes the buffer if that is due; returns the length of the file in bytes.
    ///
    /// # Errors
    /// The write fails; up to there the file is complete.
    pub async fn flush_due(&mut self) -> Result<u64, RecordError> {
        if let Some(due) = self.buffer.due(now()) {
            self.flush(due).await?;
        }
        Ok(self.written.length)
    }

    /// Writes the buffer and syncs; returns the length of the file in bytes.
    ///
    /// # Errors
    /// The write fails; up to there the file is complete.
    pub async fn finish(mut self) -> Result<u64, RecordError> {
        self.flush(Due::Sync).await?;
        Ok(self.written.length)
    }

    async fn flush(&mut self, due: Due) -> Result<(), RecordError> {
        let bytes = self.buffer.take(due, now());
        let before = self.written;
        if bytes.is_empty() && !before.has_unsynced {
            return Ok(());
        }
        let written = self.file.wait(move |file| before.append(file, &bytes, due)).await;
        self.written = written.map_err(|error| self.write_error(error))?;
        Ok(())
    }

    fn write_error(&self, source: io::Error) -> RecordError {
        let path = self.path.clone();
        if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
            return RecordError::Full(path);
        }
        RecordError::Write { path, source }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        // An empty file is of no use and would block the name for the next attempt.
        if !self.has_begun {
            let path = std::mem::take(&mut self.path);
            self.disk.post(move || drop(std::fs::remove_file(path)));
        }
    }
}

/// What is to be done with the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    /// Write it to the page cache.
    Write,
    /// Write it, and sync all that is written to the disk.
    Sync,
}

/// Bytes that are not written yet.
#[derive(Debug)]
struct Buffer {
    chunks: Vec<Bytes>,
    length: usize,
    sync_at: Instant,
}

impl Buffer {
    fn new(now: Instant) -> Self {
        Self { chunks: Vec::new(), length: 0, sync_at: now + SYNC_INTERVAL }
    }

    fn add(&mut self, bytes: &Bytes) {
        self.chunks.push(bytes.clone());
        self.length += bytes.len();
    }

    fn due(&self, now: Instant) -> Option<Due> {
        if now >= self.sync_at {
            return Some(Due::Sync);
        }
        (self.length >= WRITE_BYTES).then_some(Due::Write)
    }

    fn take(&mut self, due: Due, now: Instant) -> Vec<u8> {
        if due == Due::Sync {
            self.sync_at = now + SYNC_INTERVAL;
        }
        self.length = 0;
        std::mem::take(&mut self.chunks).concat()
    }
}

/// The part of a file that holds complete chunks.
#[derive(Clone, Copy, Debug, Default)]
struct Written {
    length: u64,
    /// Whether written bytes are not synced yet.
    has_unsynced: bool,
}

impl Written {
    /// Appends `bytes`; blocks.
    fn append(self, mut file: &File, bytes: &[u8], due: Due) -> io::Result<Self> {
        let written = file.write_all(bytes);
        if written.is_err() {
            // Players cannot handle a partial chunk at the end.
            file.set_len(self.length).ok();
        }
        written?;
        let length = self.length + bytes.len() as u64;
        match due {
            Due::Write => Ok(Self { length, has_unsynced: self.has_unsynced || !bytes.is_empty() }),
            Due::Sync => file.sync_data().map(|()| Self { length, has_unsynced: false }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::disk::CALL_TIMEOUT;

    fn buffer(chunks: &[usize]) -> (Buffer, Instant) {
        let begin = now();
        let mut buffer = Buffer::new(begin);
        chunks.iter().for_each(|length| buffer.add(&vec![7; *length].into()));
        (buffer, begin)
    }

    #[test]
    fn small_chunks_are_written_together_once_an_interval() {
        let (mut buffer, begin) = buffer(&[1000; 20]);
        assert_eq!(buffer.due(begin + SYNC_INTERVAL / 2), None);
        assert_eq!(buffer.due(begin + SYNC_INTERVAL), Some(Due::Sync));
        assert_eq!(buffer.take(Due::Sync, begin + SYNC_INTERVAL).len(), 20_000);
        assert_eq!(buffer.due(begin + SYNC_INTERVAL), None);
        assert_eq!(buffer.due(begin + 2 * SYNC_INTERVAL), Some(Due::Sync));
    }

    #[test]
    fn a_full_buffer_is_written_at_once_and_synced_in_time() {
        let (mut buffer, begin) = buffer(&[WRITE_BYTES]);
        assert_eq!(buffer.due(begin), Some(Due::Write));
        buffer.take(Due::Write, begin + SYNC_INTERVAL / 2);
        assert_eq!(buffer.due(begin + SYNC_INTERVAL), Some(Due::Sync));
    }

    #[test]
    fn a_recording_replaces_no_file_and_creates_no_folder() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::at(folder.path()).unwrap();
        let create = |path: &Path| {
            let (path, own) = (path.to_owned(), disk.clone());
            disk.run_blocking(CALL_TIMEOUT, move || Recorder::create(&path, own, 0o666)).unwrap()
        };
        let path = folder.path().join("a.mp4");
        let unused = create(&path).unwrap();
        assert!(matches!(create(&path), Err(RecordError::Exists(_))));
        drop(unused);
        drop(create(&path).unwrap());
        assert!(matches!(create(&folder.path().join("lost/a.mp4")), Err(RecordError::NoFolder(_))));
        assert!(matches!(create(folder.path()), Err(RecordError::Exists(_))));
    }
}
