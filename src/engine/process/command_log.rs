//! Logs the standard error of commands: a file each, or the service's log.
//!
//! Limited in size and rate: a program that logs without end must neither fill nor
//! wear out an SD card.

mod lines;

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use log::{debug, warn};

pub(super) use self::lines::LineLimit;
use super::token_bucket::TokenBucket;
use crate::base::disk::{CALL_TIMEOUT, Disk};
use crate::base::time::log_stamp;

/// A longer file becomes `NAME.log.old` and replaces the previous one.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Not readable by other users: scrubbing does not find every secret.
const FILE_MODE: u32 = 0o640;

/// Rate limit: bytes at once, and bytes per second on average.
const BURST_BYTES: f64 = 65_536.0;
const BYTES_PER_SECOND: f64 = 1024.0;

/// The standard error of a command, over all its runs.
#[derive(Debug)]
pub(super) struct CommandLog {
    /// The name in the service's log: `feed clip`.
    name: String,
    /// Runs the calls into the folder, if there is one.
    disk: Option<Disk>,
    /// Bytes over the rate limit, or not taken by the disk, since the last write.
    dropped_bytes: AtomicUsize,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    target: Target,
    budget: TokenBucket,
    /// Limit of lines in the service's log that the file does not take.
    lines: LineLimit,
    /// Limit of last lines in the service's log.
    last_lines: LineLimit,
    /// Whether the last write failed.
    has_failed: bool,
}

#[derive(Debug)]
enum Target {
    File { path: PathBuf, open: Option<(File, u64)> },
    Service,
}

impl CommandLog {
    /// The file is `KIND_NAME.log` in `folder`. Without a folder, lines go to the
    /// service's log at debug.
    pub(super) fn new(folder: Option<&Path>, kind: &str, name: &str) -> Self {
        let target = match folder {
            Some(folder) => {
                let path = folder.join(format!("{kind}_{name}.log"));
                Target::File { path, open: None }
            }
            None => Target::Service,
        };
        let budget = TokenBucket::new(BURST_BYTES, BYTES_PER_SECOND);
        let (lines, last_lines) = Default::default();
        let inner = Mutex::new(Inner { target, budget, lines, last_lines, has_failed: false });
        // Without a disk thread there is no file, and lines go to the service's log.
        let disk = folder.and_then(|folder| Disk::at(folder).ok());
        Self { name: format!("{kind} {name}"), disk, dropped_bytes: AtomicUsize::new(0), inner }
    }

    /// Writes `said`, or drops it if the disk does not answer: a program must not wait
    /// for that.
    pub(super) async fn keep(self: &Arc<Self>, said: &[u8], now: Instant) {
        let Some(disk) = &self.disk else { return self.write(said, now) };
        let (own, bytes) = (Arc::clone(self), said.to_vec());
        if disk.run(CALL_TIMEOUT, move || own.write(&bytes, now)).await.is_err() {
            self.dropped_bytes.fetch_add(said.len(), Ordering::Relaxed);
        }
    }

    /// Writes `said`; may block.
    fn write(&self, said: &[u8], now: Instant) {
        // Every statement leaves the state valid. A `base::lock` may not guard file IO.
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let Inner { target, budget, lines, has_failed, .. } = &mut *inner;
        let (Target::File { path, open }, Some(disk)) = (target, &self.disk) else {
            self.log_lines(said, lines, now);
            return;
        };
        if !budget.take(said.len() as f64, now) {
            self.dropped_bytes.fetch_add(said.len(), Ordering::Relaxed);
            return;
        }
        let gap = self.dropped_bytes.swap(0, Ordering::Relaxed);
        let note = if gap > 0 { format!("\n[{gap} bytes dropped]\n") } else { String::new() };
        match append(path, open, &[note.as_bytes(), said]) {
            Ok(()) if *has_failed => disk.note(None),
            Ok(()) => {}
            Err(error) => {
                *open = None;
                disk.note(Some(format!("cannot be written: {error}")));
                self.dropped_bytes.fetch_add(gap + said.len(), Ordering::Relaxed);
                self.log_lines(said, lines, now);
                *has_failed = true;
                return;
            }
        }
        *has_failed = false;
    }

    /// Warns of the end of a program, with its last lines.
    pub(super) fn warn_of_last(&self, lines: &[String], how: &str, now: Instant) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        for line in lines {
            if let Some(line) = inner.last_lines.admit(line, now) {
                warn!("{} died ({how}), its last output: {line}", self.name);
            }
        }
    }

    fn log_lines(&self, said: &[u8], lines: &mut LineLimit, now: Instant) {
        for line in String::from_utf8_lossy(said).split(['\n', '\r']) {
            if let Some(line) = lines.admit(line, now) {
                debug!("{} says: {line}", self.name);
            }
        }
    }
}

impl Drop for CommandLog {
    fn drop(&mut self) {
        let inner = self.inner.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let (Target::File { open, .. }, Some(disk)) = (&mut inner.target, &self.disk)
            && let Some(file) = open.take()
        {
            // Closing may block as well.
            disk.post(move || drop(file));
        }
    }
}

fn append(path: &Path, open: &mut Option<(File, u64)>, parts: &[&[u8]]) -> io::Result<()> {
    if open.as_ref().is_some_and(|(_, length)| *length >= MAX_FILE_BYTES) {
        *open = None;
        std::fs::rename(path, path.with_extension("log.old"))?;
    }
    let (file, length) = match open {
        Some(open) => open,
        None => open.insert(begin(path)?),
    };
    for part in parts {
        file.write_all(part)?;
        *length += part.len() as u64;
    }
    Ok(())
}

/// Opens the file, writes the line that marks a start, and returns its length.
fn begin(path: &Path) -> io::Result<(File, u64)> {
    let mut file = OpenOptions::new().create(true).append(true).mode(FILE_MODE).open(path)?;
    if file.metadata()?.mode() & !FILE_MODE & 0o777 != 0 {
        // Fails for a file of another user, which is left as it is.
        file.set_permissions(Permissions::from_mode(FILE_MODE)).ok();
    }
    let first = format!("[{}] Log opened\n", log_stamp());
    file.write_all(first.as_bytes())?;
    let length = file.metadata()?.len();
    Ok((file, length))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[expect(clippy::disallowed_methods, reason = "tests choose their own zero")]
    fn zero() -> Instant {
        Instant::now()
    }

    #[test]
    fn a_log_begins_with_the_time_and_is_limited_in_size() {
        let folder = tempfile::tempdir().unwrap();
        let log = CommandLog::new(Some(folder.path()), "feed", "clip");
        let line = format!("{}\n", "x".repeat(1023));
        let mut now = zero();
        for _ in 0..3000 {
            log.write(line.as_bytes(), now);
            now += Duration::from_secs(1);
        }
        let path = folder.path().join("feed_clip.log");
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let again = CommandLog::new(Some(folder.path()), "feed", "clip");
        again.write(b"more\n", now);
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, FILE_MODE);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with('[') && text.lines().next().unwrap().ends_with("] Log opened"));
        let size = |path: &Path| std::fs::metadata(path).unwrap().len();
        assert!(size(&path) <= MAX_FILE_BYTES + 2048);
        assert!(size(&path.with_extension("log.old")) <= MAX_FILE_BYTES + 2048);
    }

    #[test]
    fn output_over_the_rate_limit_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let log = CommandLog::new(Some(folder.path()), "stream", "a");
        let now = zero();
        for _ in 0..1000 {
            log.write(&[b'x'; 1024], now);
        }
        log.write(b"later", now + Duration::from_secs(60));
        let text = std::fs::read_to_string(folder.path().join("stream_a.log")).unwrap();
        assert!(text.len() < 70_000, "{} bytes", text.len());
        assert!(text.ends_with("[958464 bytes dropped]\nlater"), "{}", &text[text.len() - 80..]);
    }

    #[test]
    fn a_missing_folder_is_no_error() {
        let log = CommandLog::new(Some(Path::new("/no/such/folder")), "feed", "clip");
        log.write(b"one\n", zero());
        log.write(b"two\n", zero());
    }
}
