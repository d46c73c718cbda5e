//! The folder of the recordings and its index in memory.
//!
//! The folder is read once, at the start; afterwards the index is authoritative,
//! so that a list needs no disk access. Only files with names that livebox gives
//! are written or deleted, and no symbolic link is followed.

mod deletion;
mod entry;

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, MutexGuard, OnceLock};
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use log::{info, warn};

use self::entry::BytesWritten;
pub use self::entry::{DeleteError, Entry, State};
pub(super) use self::entry::{Summary, Totals, Unfinished};
use super::clock::Clock;
use super::index::read_duration;
use super::name::{Name, Stage};
use crate::base::disk::{CALL_TIMEOUT, Disk, DiskFile, Silent};
use crate::base::lock::Lock;
use crate::base::time;
use crate::config::settings::Retention;
use crate::model::ids::StreamName;
use crate::model::status::Usage;
use crate::outputs::recordings::recorder::{RecordError, Recorder, WRITE_BYTES};

/// The numbers of recordings of a stream that start within one second.
const NUMBERS: std::ops::RangeInclusive<u8> = 1..=200;

/// The permissions of recordings: not for all users, because streams may have
/// passwords.
const FILE_MODE: u32 = 0o640;

/// A file that is created and removed to test whether the folder is writable.
const TRIAL_FILE: &str = ".livebox-may-write";

/// The folder of the recordings and its index.
#[derive(Debug)]
pub(super) struct Catalog {
    folder: PathBuf,
    /// All calls into the folder run on its thread.
    disk: Disk,
    /// Whether the folder is on another file system than the root; unset until
    /// the disk has answered once.
    is_separate_disk: OnceLock<bool>,
    keep: Lock<Retention>,
    clock: Lock<Clock>,
    index: Lock<Index>,
}

#[derive(Debug, Default)]
struct Index {
    all: BTreeMap<Name, Entry>,
    written: HashMap<StreamName, BytesWritten>,
    /// Free space in bytes at the last check.
    free: Option<u64>,
    last_error: Option<String>,
}

impl Catalog {
    /// Opens the folder and tests whether it is writable. A disk that does not
    /// answer in time is accepted: it may answer later.
    ///
    /// # Errors
    /// The folder does not exist or is not writable.
    pub(super) async fn open(folder: PathBuf, keep: Retention) -> io::Result<Self> {
        let disk = Disk::at(&folder)?;
        let catalog = Self {
            folder: folder.clone(),
            disk: disk.clone(),
            is_separate_disk: OnceLock::new(),
            keep: Lock::new(keep),
            clock: Lock::default(),
            index: Lock::default(),
        };
        match disk.run(CALL_TIMEOUT, move || try_folder(&folder)).await {
            Ok(result) => result.map(|()| catalog),
            Err(Silent) => Ok(catalog),
        }
    }

    /// Runs `work` on the thread of the disk, without a timeout.
    ///
    /// # Errors
    /// The queue of the disk is full.
    pub(super) async fn on_disk<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Result<T, Silent> {
        let own = Arc::clone(self);
        self.disk.wait(move || work(&own)).await
    }

    /// As [`Catalog::on_disk`], with a timeout. `work` is done even after the
    /// timeout.
    ///
    /// # Errors
    /// The disk does not answer in time.
    pub(super) async fn on_disk_in_time<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Result<T, Silent> {
        let own = Arc::clone(self);
        self.disk.run(CALL_TIMEOUT, move || work(&own)).await
    }

    pub(super) fn disk(&self) -> &Disk {
        &self.disk
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn set_keep(&self, keep: Retention) {
        *self.keep.lock() = keep;
    }

    fn keep(&self) -> Retention {
        *self.keep.lock()
    }

    /// Reads the folder into the index, and removes temporary files that a crash
    /// has left; blocks.
    pub(super) fn read(&self) {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) => {
                self.disk.note(Some(format!("cannot be read: {error}")));
                return self.set_error(format!("the folder cannot be read: {error}"));
            }
        };
        let (mut parts, mut finished) = (Vec::new(), Vec::new());
        for entry in entries.flatten() {
            // The type of the entry itself: a symbolic link is not a recording.
            let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
            let file = entry.file_name();
            let Some((name, stage)) = file.to_str().and_then(Name::parse_file) else { continue };
            match stage {
                _ if !is_file => {}
                Stage::Part => parts.push(name),
                Stage::Final => finished.push(name),
                Stage::New | Stage::Temporary => self.remove_file(&name, stage),
            }
        }
        for name in finished {
            let path = name.path(&self.folder, Stage::Final);
            self.add_existing(name, State::Finished, &path);
        }
        for name in parts {
            let path = name.path(&self.folder, Stage::Part);
            match self.find(&name).map(|entry| entry.state) {
                // A crash after finishing has left the original.
                Some(State::Finished) => self.remove_file(&name, Stage::Part),
                Some(State::Recording | State::Waiting(_) | State::Finishing) => {}
                None => self.add_existing(name, State::Waiting(None), &path),
            }
        }
        self.compare_clock();
        info!("{} recordings are in {}", self.index().all.len(), self.folder.display());
    }

    fn add_existing(&self, name: Name, state: State, path: &Path) {
        let Ok(mut file) = open_regular(path) else { return };
        let bytes = file.metadata().map_or(0, |found| found.len());
        let span =
            (state == State::Finished && name.is_mp4()).then(|| read_duration(&mut file)).flatten();
        let started = name.stamp().to_zoned(TimeZone::system());
        let started = started.map_or(Timestamp::UNIX_EPOCH, |started| started.timestamp());
        self.index().all.entry(name).or_insert(Entry { state, bytes, span, started, seen: None });
    }

    /// Creates the file of a recording and adds it to the index; blocks.
    ///
    /// # Errors
    /// The file cannot be created.
    pub(super) fn create(
        &self,
        stream: &StreamName,
        extension: &'static str,
    ) -> Result<(Name, Recorder), RecordError> {
        let name = self.reserve_name(stream, extension).ok_or(RecordError::Many)?;
        let path = name.path(&self.folder, Stage::Part);
        match Recorder::create(&path, self.disk.clone(), FILE_MODE) {
            Ok(recorder) => Ok((name, recorder)),
            Err(error) => {
                self.remove_entry(&name);
                Err(error)
            }
        }
    }

    /// Adds an entry for a recording that starts; returns its name, or `None` if
    /// all numbers of this second are used. Blocks.
    pub(super) fn reserve_name(
        &self,
        stream: &StreamName,
        extension: &'static str,
    ) -> Option<Name> {
        let now = time::local();
        // The index is not locked during disk access; there is no race, because
        // only the thread of the disk reserves names.
        let is_set = self.clock.lock().is_set(time::now());
        let name = NUMBERS
            .map(|number| Name::new(stream.clone(), now.datetime(), number, extension))
            .map(|name| if is_set { name } else { name.undated() })
            .find(|name| {
                let exists = |stage| name.path(&self.folder, stage).symlink_metadata().is_ok();
                self.find(name).is_none() && ![Stage::Final, Stage::Part].into_iter().any(exists)
            })?;
        let (state, started) = (State::Recording, now.timestamp());
        let entry = Entry { state, bytes: 0, span: None, started, seen: None };
        self.index().all.insert(name.clone(), entry);
        Some(name)
    }

    /// Sets the length and duration of a running recording.
    pub(super) fn set_progress(&self, name: &Name, bytes: u64, span: Duration) {
        let mut index = self.index();
        let Some(entry) = index.all.get_mut(name) else { return };
        let more = bytes.saturating_sub(entry.bytes);
        (entry.bytes, entry.span) = (bytes, Some(span));
        if more > 0 {
            index.written_by(name.stream()).add(more, time::local().date());
        }
    }

    /// Marks a recording as ended; it then waits to be finished.
    pub(super) fn set_waiting(&self, name: &Name, summary: Option<Summary>) {
        self.update(name, |entry| entry.state = State::Waiting(summary));
    }

    fn remove_entry(&self, name: &Name) {
        self.index().all.remove(name);
    }

    /// The oldest recording that waits to be finished.
    pub(super) fn next_unfinished(&self) -> Option<Unfinished> {
        let index = self.index();
        index.all.iter().find_map(|(name, entry)| match entry.state {
            State::Waiting(summary) => {
                Some(Unfinished { name: name.clone(), summary, bytes: entry.bytes })
            }
            State::Recording | State::Finishing | State::Finished => None,
        })
    }

    /// Marks a recording as being finished; returns whether it still exists.
    pub(super) fn set_finishing(&self, name: &Name) -> bool {
        self.update(name, |entry| entry.state = State::Finishing)
    }

    /// Syncs the file of `stage`, gives it the final name and removes the
    /// original; blocks.
    ///
    /// # Errors
    /// The disk reports an error; the original is unchanged.
    pub(super) fn install(&self, name: &Name, stage: Stage) -> io::Result<()> {
        let (from, to) = (name.path(&self.folder, stage), name.path(&self.folder, Stage::Final));
        let mut file = open_regular(&from)?;
        file.sync_all()?;
        let bytes = file.metadata()?.len();
        let span = name.is_mp4().then(|| read_duration(&mut file)).flatten();
        fs::rename(&from, &to)?;
        File::open(&self.folder)?.sync_all()?;
        if stage == Stage::New {
            self.remove_file(name, Stage::Part);
            self.index().written_by(name.stream()).add(bytes, time::local().date());
        }
        self.update(name, |entry| {
            (entry.state, entry.bytes) = (State::Finished, bytes);
            entry.span = span.or(entry.span);
        });
        Ok(())
    }

    /// Deletes a recording; blocks.
    ///
    /// # Errors
    /// It does not exist or is in use, or the disk reports an error.
    pub(super) fn delete(&self, name: &Name) -> Result<(), DeleteError> {
        match self.find(name).map(|entry| entry.state) {
            None => return Err(DeleteError::NoSuch),
            Some(State::Recording) => return Err(DeleteError::Recording),
            Some(State::Finishing) => return Err(DeleteError::Finishing),
            Some(State::Waiting(_) | State::Finished) => {}
        }
        for stage in [Stage::Final, Stage::Part] {
            match fs::remove_file(name.path(&self.folder, stage)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    self.set_error(format!("{name} cannot be deleted: {error}"));
                    return Err(DeleteError::Disk);
                }
                Ok(()) | Err(_) => {}
            }
        }
        self.remove_entry(name);
        Ok(())
    }

    pub(super) fn find(&self, name: &Name) -> Option<Entry> {
        self.index().all.get(name).cloned()
    }

    /// Up to `limit` recordings older than `before` of the streams for which
    /// `may_show` is true, the newest first. Calls `may_show` once for each stream.
    pub(super) fn list(
        &self,
        before: Option<&Name>,
        limit: usize,
        may_show: impl Fn(&StreamName) -> bool,
    ) -> Vec<(Name, Entry)> {
        let mut known: HashMap<StreamName, bool> = HashMap::new();
        let mut is_shown = |stream: &StreamName| match known.get(stream) {
            Some(known) => *known,
            None => *known.entry(stream.clone()).or_insert(may_show(stream)),
        };
        let index = self.index();
        let newest = index.all.iter().rev();
        let older = newest.skip_while(|(name, _)| before.is_some_and(|before| *name >= before));
        let shown = older.filter(|(name, _)| is_shown(name.stream())).take(limit);
        shown.map(|(name, entry)| (name.clone(), entry.clone())).collect()
    }

    /// Opens the file of a recording for reading; `None` if there is none. Blocks.
    pub(super) fn open_file(&self, name: &Name) -> Option<(DiskFile, Metadata)> {
        let state = self.find(name)?.state;
        let stages = match state {
            State::Finished => [Stage::Final, Stage::Part],
            State::Recording | State::Waiting(_) | State::Finishing => [Stage::Part, Stage::Final],
        };
        stages.into_iter().find_map(|stage| {
            let file = open_regular(&name.path(&self.folder, stage)).ok()?;
            let metadata = file.metadata().ok()?;
            Some((DiskFile::new(file, self.disk.clone()), metadata))
        })
    }

    pub(super) fn totals(&self) -> Totals {
        let mut index = self.index();
        let usage = index.usage(time::local().date());
        let free = index.free.filter(|_| !self.disk.is_silent());
        Totals { usage, free, last_error: index.last_error.clone() }
    }

    /// Sets the error that the status shows; logs it unless it is the same again.
    pub(super) fn set_error(&self, error: String) {
        let mut index = self.index();
        if index.last_error.as_ref() != Some(&error) {
            warn!("recordings: {error}");
        }
        index.last_error = Some(error);
    }

    /// Removes the file of `stage`, if there is one; blocks.
    pub(super) fn remove_file(&self, name: &Name, stage: Stage) {
        match fs::remove_file(name.path(&self.folder, stage)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                let path = name.path(&self.folder, stage);
                self.set_error(format!("{} cannot be removed: {error}", path.display()));
            }
            Ok(()) | Err(_) => {}
        }
    }

    /// Edits the entry of `name`; returns whether there is one.
    fn update(&self, name: &Name, edit: impl FnOnce(&mut Entry)) -> bool {
        self.index().all.get_mut(name).map(edit).is_some()
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock()
    }
}

impl Index {
    fn written_by(&mut self, stream: &StreamName) -> &mut BytesWritten {
        self.written.entry(stream.clone()).or_default()
    }

    /// Disk usage and bytes written, by stream.
    fn usage(&mut self, today: Date) -> Vec<(StreamName, Usage)> {
        let mut usage: HashMap<&StreamName, Usage> = HashMap::new();
        for (stream, written) in &mut self.written {
            written.roll_over(today);
            let BytesWritten { all: written, today, yesterday, .. } = *written;
            let (written_today, written_yesterday) = (today, yesterday);
            let of_stream = Usage { written, written_today, written_yesterday, ..Usage::default() };
            usage.insert(stream, of_stream);
        }
        for (name, entry) in &self.all {
            let of_stream = usage.entry(name.stream()).or_default();
            of_stream.count += 1;
            of_stream.bytes += entry.bytes;
        }
        usage.into_iter().map(|(stream, usage)| (stream.clone(), usage)).collect()
    }
}

/// Tests whether recordings can be created in the folder; blocks.
fn try_folder(folder: &Path) -> io::Result<()> {
    if !folder.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    // Permissions do not suffice: the file system may be read-only.
    let trial = folder.join(TRIAL_FILE);
    match OpenOptions::new().write(true).create_new(true).open(&trial) {
        Ok(_) => fs::remove_file(&trial),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        // Deleting the oldest recordings makes space.
        Err(error) if error.kind() == io::ErrorKind::StorageFull => Ok(()),
        Err(error) => Err(error),
    }
}

/// Tests whether the disk accepts a write of a recording's size; blocks.
fn try_writing(folder: &Path) -> io::Result<()> {
    let trial = folder.join(TRIAL_FILE);
    let written = File::create(&trial).and_then(|mut file| {
        file.write_all(&[0; WRITE_BYTES])?;
        file.sync_all()
    });
    written.and(fs::remove_file(&trial))
}

/// Whether the folder is on another file system than the root.
fn is_separate_disk(folder: &Path) -> io::Result<bool> {
    Ok(fs::metadata(folder)?.dev() != fs::metadata("/")?.dev())
}

/// Opens a regular file for reading; refuses symbolic links.
fn open_regular(path: &Path) -> io::Result<File> {
    let no_link = nix::fcntl::OFlag::O_NOFOLLOW | nix::fcntl::OFlag::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(no_link.bits()).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::InvalidInput.into()) }
}

#[cfg(test)]
mod tests;
