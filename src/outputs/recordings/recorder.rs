//! A stream as a file on a disk.
//!
//! The file is the fMP4 that viewers get, appended as it comes, so that it can
//! be played up to where a power cut ended it. An SD card is written a few
//! large pieces at a time. The camera never waits for the disk: what a slow
//! disk misses is told, and the file goes on at a key frame.

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

/// What is written at once, if it gathers in time.
pub const PIECE: usize = 64 << 10;

/// What is on its way to the disk is no older than this: half of the two
/// seconds that a power cut may cost, since the disk takes its time as well.
const SYNC_EVERY: Duration = Duration::from_secs(1);

/// Why there is no recording, or no more of it.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("there is no folder {} to record to", .0.display())]
    NoFolder(PathBuf),
    #[error("{} is there already, and a recording replaces nothing; name another file", .0.display())]
    Exists(PathBuf),
    #[error("too many recordings begin in this second")]
    Many,
    #[error("cannot begin the recording {}", .path.display())]
    Create { path: PathBuf, source: io::Error },
    #[error("the disk is full: the recording {} ends here", .0.display())]
    Full(PathBuf),
    #[error("cannot write to the recording {}", .path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("the stream is encoded differently now: the recording {} ends here", .0.display())]
    CodecChange(PathBuf),
}

/// A recording, from the creation of its file on.
#[derive(Debug)]
pub struct Recorder {
    path: PathBuf,
    disk: Disk,
    file: DiskFile,
    written: Written,
    gathered: Gathered,
    has_begun: bool,
}

impl RecordError {
    /// What is wrong with the folder, as the end of a sentence about it.
    pub fn of_folder(&self) -> Option<String> {
        match self {
            RecordError::NoFolder(_) => Some("is not there".to_owned()),
            RecordError::Full(_) => Some("takes no recordings: the disk is full".to_owned()),
            RecordError::Create { source, .. } | RecordError::Write { source, .. } => {
                Some(format!("takes no recordings: {source}"))
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
    /// There is one already, or none can be made there.
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
        let (file, gathered) = (DiskFile::new(file, disk.clone()), Gathered::new(now()));
        Ok(Self { path, disk, file, written: Written::default(), gathered, has_begun: false })
    }

    /// Records until `shutdown`; then everything is on the disk.
    ///
    /// # Errors
    /// The disk takes no more, or the stream changes to what no file can hold
    /// beside the rest; up to there the file is complete.
    pub async fn record(
        mut self,
        mut reader: Reader,
        mut shutdown: Shutdown,
    ) -> Result<(), RecordError> {
        loop {
            let read = tokio::select! {
                read = reader.next() => Some(read),
                () = tokio::time::sleep_until(self.gathered.sync_at.into()) => None,
                () = shutdown.requested() => break,
            };
            match read {
                Some(Read::Chunk(piece)) => self.add(&piece.bytes),
                Some(Read::Skipped(lost)) => {
                    warn!(lost; "the disk cannot keep up; the recording goes on at a key frame");
                }
                Some(Read::Init(_)) if self.has_begun => {
                    self.put(Due::Sync).await?;
                    return Err(RecordError::CodecChange(self.path.clone()));
                }
                Some(Read::Init(init)) => {
                    info!("recording to {}", self.path.display());
                    self.add(&init.bytes);
                }
                Some(Read::End) => break,
                None => {}
            }
            self.put_due().await?;
        }
        self.finish().await.map(|_| ())
    }

    /// Takes what follows; it is written when enough has gathered.
    pub fn add(&mut self, bytes: &Bytes) {
        self.has_begun = true;
        self.gathered.add(bytes);
    }

    /// When [`Recorder::put_due`] has something to do at the latest.
    pub fn due_at(&self) -> Instant {
        self.gathered.sync_at
    }

    /// Writes what is due; returns how many bytes the file has.
    ///
    /// # Errors
    /// The disk takes no more; up to there the file is complete.
    pub async fn put_due(&mut self) -> Result<u64, RecordError> {
        if let Some(due) = self.gathered.due(now()) {
            self.put(due).await?;
        }
        Ok(self.written.length)
    }

    /// Brings everything to the disk; returns how many bytes the file has.
    ///
    /// # Errors
    /// Likewise.
    pub async fn finish(mut self) -> Result<u64, RecordError> {
        self.put(Due::Sync).await?;
        Ok(self.written.length)
    }

    /// Brings what has gathered to the disk.
    async fn put(&mut self, due: Due) -> Result<(), RecordError> {
        let bytes = self.gathered.take(due, now());
        let before = self.written;
        if bytes.is_empty() && !before.is_ahead {
            return Ok(());
        }
        let written = self.file.wait(move |file| before.and(file, &bytes, due)).await;
        self.written = written.map_err(|error| self.failed(error))?;
        Ok(())
    }

    fn failed(&self, source: io::Error) -> RecordError {
        let path = self.path.clone();
        if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
            return RecordError::Full(path);
        }
        RecordError::Write { path, source }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        // An empty file is of no use, and would be in the way of the next try.
        if !self.has_begun {
            let path = std::mem::take(&mut self.path);
            self.disk.post(move || drop(std::fs::remove_file(path)));
        }
    }
}

/// What is to be done with what has gathered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    /// It goes to the kernel.
    Write,
    /// It goes to the disk, with all before it.
    Sync,
}

/// Bytes that are not written yet.
#[derive(Debug)]
struct Gathered {
    chunks: Vec<Bytes>,
    length: usize,
    sync_at: Instant,
}

impl Gathered {
    fn new(now: Instant) -> Self {
        Self { chunks: Vec::new(), length: 0, sync_at: now + SYNC_EVERY }
    }

    fn add(&mut self, bytes: &Bytes) {
        self.chunks.push(bytes.clone());
        self.length += bytes.len();
    }

    fn due(&self, now: Instant) -> Option<Due> {
        if now >= self.sync_at {
            return Some(Due::Sync);
        }
        (self.length >= PIECE).then_some(Due::Write)
    }

    fn take(&mut self, due: Due, now: Instant) -> Vec<u8> {
        if due == Due::Sync {
            self.sync_at = now + SYNC_EVERY;
        }
        self.length = 0;
        std::mem::take(&mut self.chunks).concat()
    }
}

/// Up to where a file holds whole chunks.
#[derive(Clone, Copy, Debug, Default)]
struct Written {
    length: u64,
    /// Whether something is on its way to the disk.
    is_ahead: bool,
}

impl Written {
    /// Appends `bytes`; blocks.
    fn and(self, mut file: &File, bytes: &[u8], due: Due) -> io::Result<Self> {
        let written = file.write_all(bytes);
        if written.is_err() {
            // Half a chunk at the end would trouble players.
            file.set_len(self.length).ok();
        }
        written?;
        let length = self.length + bytes.len() as u64;
        match due {
            Due::Write => Ok(Self { length, is_ahead: self.is_ahead || !bytes.is_empty() }),
            Due::Sync => file.sync_data().map(|()| Self { length, is_ahead: false }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::disk::CALL_TIMEOUT;

    fn gathered(pieces: &[usize]) -> (Gathered, Instant) {
        let begin = now();
        let mut gathered = Gathered::new(begin);
        pieces.iter().for_each(|length| gathered.add(&vec![7; *length].into()));
        (gathered, begin)
    }

    #[test]
    fn small_chunks_wait_for_each_other_but_not_for_long() {
        let (mut gathered, begin) = gathered(&[1000; 20]);
        assert_eq!(gathered.due(begin + SYNC_EVERY / 2), None);
        assert_eq!(gathered.due(begin + SYNC_EVERY), Some(Due::Sync));
        assert_eq!(gathered.take(Due::Sync, begin + SYNC_EVERY).len(), 20_000);
        assert_eq!(gathered.due(begin + SYNC_EVERY), None);
        assert_eq!(gathered.due(begin + 2 * SYNC_EVERY), Some(Due::Sync));
    }

    #[test]
    fn many_bytes_are_written_at_once_and_brought_to_the_disk_in_time() {
        let (mut gathered, begin) = gathered(&[PIECE]);
        assert_eq!(gathered.due(begin), Some(Due::Write));
        gathered.take(Due::Write, begin + SYNC_EVERY / 2);
        assert_eq!(gathered.due(begin + SYNC_EVERY), Some(Due::Sync));
    }

    #[test]
    fn a_recording_replaces_nothing_and_needs_its_folder() {
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
