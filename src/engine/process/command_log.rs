//! What commands say on their standard error: a file each, or the service's log.
//!
//! Limited in size and in rate: a program that complains for ever must neither
//! fill nor wear out an SD card.

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
use crate::base::disk::{CALL_TIMEOUT, Disk};
use crate::base::time::log_stamp;

/// A file that is longer becomes `NAME.log.old`, in the place of the one before.
const LONGEST: u64 = 1 << 20;

/// Nobody else may read what a program says: no scrubbing finds every secret.
const MODE: u32 = 0o640;

/// So much may be said at once, and so much a second on average.
const BURST: f64 = 65_536.0;
const BYTES_A_SECOND: f64 = 1024.0;

/// The standard error of a command, over all its runs.
#[derive(Debug)]
pub(super) struct CommandLog {
    /// As the service's log names it: `feed clip`.
    what: String,
    /// Makes the calls into the folder, where there is one.
    disk: Option<Disk>,
    /// Bytes that were too many, or that the disk did not take, since the last that were kept.
    left_out: AtomicUsize,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    place: Place,
    budget: Budget,
    /// What the service's log gets of that which the file does not take.
    lines: LineLimit,
    /// What it gets of last words.
    last_words: LineLimit,
    /// Whether the disk did not take what was said last.
    has_failed: bool,
}

#[derive(Debug)]
enum Place {
    File { path: PathBuf, open: Option<(File, u64)> },
    Service,
}

/// Goes up with time, and down with what is said.
#[derive(Debug)]
struct Budget {
    left: f64,
    most: f64,
    a_second: f64,
    at: Option<Instant>,
}

impl Budget {
    fn new(most: f64, a_second: f64) -> Self {
        Self { left: most, most, a_second, at: None }
    }

    /// Takes `cost`, if there is as much.
    fn take(&mut self, cost: f64, now: Instant) -> bool {
        let passed = self.at.map_or(0.0, |at| now.duration_since(at).as_secs_f64());
        self.at = Some(now);
        self.left = (self.left + passed * self.a_second).min(self.most);
        let is_enough = self.left >= cost;
        if is_enough {
            self.left -= cost;
        }
        is_enough
    }
}

impl CommandLog {
    /// `kind` and `name` name the file: `feed_clip.log` in `folder`. Without a
    /// folder the service's log has it, at debug.
    pub(super) fn new(folder: Option<&Path>, kind: &str, name: &str) -> Self {
        let place = match folder {
            Some(folder) => {
                let path = folder.join(format!("{kind}_{name}.log"));
                Place::File { path, open: None }
            }
            None => Place::Service,
        };
        let budget = Budget::new(BURST, BYTES_A_SECOND);
        let (lines, last_words) = Default::default();
        let inner = Mutex::new(Inner { place, budget, lines, last_words, has_failed: false });
        // Without a thread there is no file either, and what is said goes to the service's log.
        let disk = folder.and_then(|folder| Disk::at(folder).ok());
        Self { what: format!("{kind} {name}"), disk, left_out: AtomicUsize::new(0), inner }
    }

    /// Keeps what was said, or leaves it out where the disk does not answer: a
    /// program must not wait until it does.
    pub(super) async fn keep(self: &Arc<Self>, said: &[u8], now: Instant) {
        let Some(disk) = &self.disk else { return self.write(said, now) };
        let (own, bytes) = (Arc::clone(self), said.to_vec());
        if disk.run(CALL_TIMEOUT, move || own.write(&bytes, now)).await.is_err() {
            self.left_out.fetch_add(said.len(), Ordering::Relaxed);
        }
    }

    /// Keeps what was said; may block.
    fn write(&self, said: &[u8], now: Instant) {
        // What is kept is whole at every moment.
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let Inner { place, budget, lines, has_failed, .. } = &mut *inner;
        let (Place::File { path, open }, Some(disk)) = (place, &self.disk) else {
            self.tell(said, lines, now);
            return;
        };
        if !budget.take(said.len() as f64, now) {
            self.left_out.fetch_add(said.len(), Ordering::Relaxed);
            return;
        }
        let gap = self.left_out.swap(0, Ordering::Relaxed);
        let note = if gap > 0 { format!("\n[{gap} bytes are left out]\n") } else { String::new() };
        match append(path, open, &[note.as_bytes(), said]) {
            Ok(()) if *has_failed => disk.note(None),
            Ok(()) => {}
            Err(error) => {
                *open = None;
                disk.note(Some(format!("cannot be written: {error}")));
                self.left_out.fetch_add(gap + said.len(), Ordering::Relaxed);
                self.tell(said, lines, now);
                *has_failed = true;
                return;
            }
        }
        *has_failed = false;
    }

    /// Warns of the last lines of a program that has died, and how it did.
    pub(super) fn warn_of_last(&self, lines: &[String], how: &str, now: Instant) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        for line in lines {
            if let Some(line) = inner.last_words.admit(line, now) {
                warn!("{} said before it died ({how}): {line}", self.what);
            }
        }
    }

    fn tell(&self, said: &[u8], lines: &mut LineLimit, now: Instant) {
        for line in String::from_utf8_lossy(said).split(['\n', '\r']) {
            if let Some(line) = lines.admit(line, now) {
                debug!("{} says: {line}", self.what);
            }
        }
    }
}

impl Drop for CommandLog {
    fn drop(&mut self) {
        let inner = self.inner.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let (Place::File { open, .. }, Some(disk)) = (&mut inner.place, &self.disk)
            && let Some(file) = open.take()
        {
            // Closing may hang as well.
            disk.post(move || drop(file));
        }
    }
}

fn append(path: &Path, open: &mut Option<(File, u64)>, parts: &[&[u8]]) -> io::Result<()> {
    if open.as_ref().is_some_and(|(_, length)| *length >= LONGEST) {
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

/// The file and its length, with the line by which one sees where a start is.
fn begin(path: &Path) -> io::Result<(File, u64)> {
    let mut file = OpenOptions::new().create(true).append(true).mode(MODE).open(path)?;
    if file.metadata()?.mode() & !MODE & 0o777 != 0 {
        // Another user's file stays as that user wants it.
        file.set_permissions(Permissions::from_mode(MODE)).ok();
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
    fn a_log_begins_with_the_time_and_never_exceeds_its_size() {
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
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, MODE);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with('[') && text.lines().next().unwrap().ends_with("] Log opened"));
        let size = |path: &Path| std::fs::metadata(path).unwrap().len();
        assert!(size(&path) <= LONGEST + 2048);
        assert!(size(&path.with_extension("log.old")) <= LONGEST + 2048);
    }

    #[test]
    fn a_program_that_complains_without_end_is_cut_short() {
        let folder = tempfile::tempdir().unwrap();
        let log = CommandLog::new(Some(folder.path()), "stream", "a");
        let now = zero();
        for _ in 0..1000 {
            log.write(&[b'x'; 1024], now);
        }
        log.write(b"later", now + Duration::from_secs(60));
        let text = std::fs::read_to_string(folder.path().join("stream_a.log")).unwrap();
        assert!(text.len() < 70_000, "{} bytes", text.len());
        assert!(
            text.ends_with("[958464 bytes are left out]\nlater"),
            "{}",
            &text[text.len() - 80..]
        );
    }

    #[test]
    fn a_folder_that_is_gone_costs_the_file_and_nothing_else() {
        let log = CommandLog::new(Some(Path::new("/no/such/folder")), "feed", "clip");
        log.write(b"one\n", zero());
        log.write(b"two\n", zero());
    }
}
