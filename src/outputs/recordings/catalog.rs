//! The folder of the recordings, and what is known of each.
//!
//! What lies there is read once, at the start; afterwards the index say what
//! there is, so that a list costs no look at the disk. Nothing is written or
//! deleted that has not a name of livebox's own, and no link is followed.

mod deletion;
mod entry;

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use log::{info, warn};

use self::entry::BytesWritten;
pub use self::entry::{Entry, NotDeleted, State};
pub(super) use self::entry::{Known, Sums};
use super::clock::Clock;
use super::index::span_of;
use super::name::{Name, Stage};
use crate::base::disk::{CALL_TIMEOUT, Disk, DiskFile, Silent};
use crate::base::time;
use crate::config::settings::Retention;
use crate::model::ids::StreamName;
use crate::model::status::Usage;
use crate::outputs::recordings::recorder::{PIECE, RecordError, Recorder};

/// So many recordings of a stream begin in one second at most.
const NUMBERS: std::ops::RangeInclusive<u8> = 1..=200;

/// Of files that hold recordings: streams may have passwords, now or later.
const MODE: u32 = 0o640;

/// Made and removed at once, to see whether the folder can be written.
const TRIAL: &str = ".livebox-may-write";

/// See the module's description.
#[derive(Debug)]
pub(super) struct Catalog {
    folder: PathBuf,
    /// Makes every call into the folder.
    disk: Disk,
    /// Whether it lies on another disk than the system; not known until that has answered once.
    is_apart: OnceLock<bool>,
    keep: Mutex<Retention>,
    clock: Mutex<Clock>,
    index: Mutex<Index>,
}

#[derive(Debug, Default)]
struct Index {
    all: BTreeMap<Name, Entry>,
    written: HashMap<StreamName, BytesWritten>,
    /// What the disk had headroom for at the last look.
    free: Option<u64>,
    last_error: Option<String>,
}

impl Catalog {
    /// A folder that does not answer is taken as it is: it may answer later.
    ///
    /// # Errors
    /// The folder is not there or may not be written.
    pub(super) async fn open(folder: PathBuf, keep: Retention) -> io::Result<Self> {
        let disk = Disk::at(&folder)?;
        let catalog = Self {
            folder: folder.clone(),
            disk: disk.clone(),
            is_apart: OnceLock::new(),
            keep: Mutex::new(keep),
            clock: Mutex::default(),
            index: Mutex::default(),
        };
        match disk.run(CALL_TIMEOUT, move || try_folder(&folder)).await {
            Ok(tried) => tried.map(|()| catalog),
            Err(Silent) => Ok(catalog),
        }
    }

    /// Does something in the folder, however long that takes.
    ///
    /// # Errors
    /// Too much has to be done there.
    pub(super) async fn on_disk<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Result<T, Silent> {
        let own = Arc::clone(self);
        self.disk.wait(move || work(&own)).await
    }

    /// As [`Catalog::on_disk`], for somebody who waits for the answer.
    ///
    /// # Errors
    /// The disk does not answer in time.
    pub(super) async fn soon_on_disk<T: Send + 'static>(
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
        *self.keep.lock().unwrap_or_else(PoisonError::into_inner) = keep;
    }

    fn keep(&self) -> Retention {
        *self.keep.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what lies in the folder, and clears away what a crash has left of
    /// unfinished work; blocks.
    pub(super) fn read(&self) {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) => {
                self.disk.note(Some(format!("cannot be read: {error}")));
                return self.trouble(format!("the folder cannot be read: {error}"));
            }
        };
        let (mut parts, mut whole) = (Vec::new(), Vec::new());
        for entry in entries.flatten() {
            // Of the entry itself: a link is nobody's recording.
            let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
            let file = entry.file_name();
            let Some((name, stage)) = file.to_str().and_then(Name::of_file) else { continue };
            match stage {
                _ if !is_file => {}
                Stage::Part => parts.push(name),
                Stage::Whole => whole.push(name),
                Stage::New | Stage::Through => self.remove(&name, stage),
            }
        }
        for name in whole {
            let path = name.path(&self.folder, Stage::Whole);
            self.enter(name, State::Finished, &path);
        }
        for name in parts {
            let path = name.path(&self.folder, Stage::Part);
            match self.find(&name).map(|entry| entry.state) {
                // It was finished, and only this was left to do.
                Some(State::Finished) => self.remove(&name, Stage::Part),
                Some(State::Recording | State::Waiting(_) | State::Finishing) => {}
                None => self.enter(name, State::Waiting(None), &path),
            }
        }
        self.compare_clock();
        info!("{} recordings are in {}", self.index().all.len(), self.folder.display());
    }

    fn enter(&self, name: Name, state: State, path: &Path) {
        let Ok(mut file) = open_plain(path) else { return };
        let bytes = file.metadata().map_or(0, |found| found.len());
        let span =
            (state == State::Finished && name.is_mp4()).then(|| span_of(&mut file)).flatten();
        let begun = name.stamp().to_zoned(TimeZone::system());
        let begun = begun.map_or(Timestamp::UNIX_EPOCH, |begun| begun.timestamp());
        self.index().all.entry(name).or_insert(Entry { state, bytes, span, begun, seen: None });
    }

    /// Begins a recording, which is in the index from then on; blocks.
    ///
    /// # Errors
    /// The disk takes none.
    pub(super) fn create(
        &self,
        stream: &StreamName,
        ending: &'static str,
    ) -> Result<(Name, Recorder), RecordError> {
        let name = self.begin(stream, ending).ok_or(RecordError::Many)?;
        let path = name.path(&self.folder, Stage::Part);
        match Recorder::create(&path, self.disk.clone(), MODE) {
            Ok(recorder) => Ok((name, recorder)),
            Err(error) => {
                self.forget(&name);
                Err(error)
            }
        }
    }

    /// The name of a recording that begins, which is in the index from then on; blocks.
    pub(super) fn begin(&self, stream: &StreamName, ending: &'static str) -> Option<Name> {
        let now = time::local();
        // The index stays free while the disk is asked: only its own thread begins recordings.
        let is_set = self.clock().is_set(time::now());
        let name = NUMBERS
            .map(|number| Name::new(stream.clone(), now.datetime(), number, ending))
            .map(|name| if is_set { name } else { name.undated() })
            .find(|name| {
                let is_there = |stage| name.path(&self.folder, stage).symlink_metadata().is_ok();
                self.find(name).is_none() && ![Stage::Whole, Stage::Part].into_iter().any(is_there)
            })?;
        let (state, begun) = (State::Recording, now.timestamp());
        let entry = Entry { state, bytes: 0, span: None, begun, seen: None };
        self.index().all.insert(name.clone(), entry);
        Some(name)
    }

    /// A recording has come so far.
    pub(super) fn grown(&self, name: &Name, bytes: u64, span: Duration) {
        let mut index = self.index();
        let Some(entry) = index.all.get_mut(name) else { return };
        let more = bytes.saturating_sub(entry.bytes);
        (entry.bytes, entry.span) = (bytes, Some(span));
        if more > 0 {
            index.wear_of(name.stream()).add(more, time::local().date());
        }
    }

    /// A recording has ended.
    pub(super) fn ended(&self, name: &Name, known: Option<Known>) {
        self.change(name, |entry| entry.state = State::Waiting(known));
    }

    /// There is nothing in it.
    pub(super) fn forget(&self, name: &Name) {
        self.index().all.remove(name);
    }

    /// The oldest recording that waits to be finished.
    pub(super) fn unfinished(&self) -> Option<(Name, Option<Known>, u64)> {
        let index = self.index();
        index.all.iter().find_map(|(name, entry)| match entry.state {
            State::Waiting(known) => Some((name.clone(), known, entry.bytes)),
            State::Recording | State::Finishing | State::Finished => None,
        })
    }

    /// It is being finished; says whether it is still there.
    pub(super) fn finishing(&self, name: &Name) -> bool {
        self.change(name, |entry| entry.state = State::Finishing)
    }

    /// Puts what was made of a recording in its place and lets the original go;
    /// blocks. What was `made` is on the disk before anything else happens.
    ///
    /// # Errors
    /// The disk refuses; the original is as it was.
    pub(super) fn finished(&self, name: &Name, made: Stage) -> io::Result<()> {
        let (from, to) = (name.path(&self.folder, made), name.path(&self.folder, Stage::Whole));
        let mut file = open_plain(&from)?;
        file.sync_all()?;
        let bytes = file.metadata()?.len();
        let span = name.is_mp4().then(|| span_of(&mut file)).flatten();
        fs::rename(&from, &to)?;
        File::open(&self.folder)?.sync_all()?;
        if made == Stage::New {
            self.remove(name, Stage::Part);
            self.index().wear_of(name.stream()).add(bytes, time::local().date());
        }
        self.change(name, |entry| {
            (entry.state, entry.bytes) = (State::Finished, bytes);
            entry.span = span.or(entry.span);
        });
        Ok(())
    }

    /// Deletes a recording; blocks.
    ///
    /// # Errors
    /// It is not there or in use.
    pub(super) fn delete(&self, name: &Name) -> Result<(), NotDeleted> {
        match self.find(name).map(|entry| entry.state) {
            None => return Err(NotDeleted::NoSuch),
            Some(State::Recording) => return Err(NotDeleted::Recording),
            Some(State::Finishing) => return Err(NotDeleted::Finishing),
            Some(State::Waiting(_) | State::Finished) => {}
        }
        for stage in [Stage::Whole, Stage::Part] {
            match fs::remove_file(name.path(&self.folder, stage)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    self.trouble(format!("{name} cannot be deleted: {error}"));
                    return Err(NotDeleted::Disk);
                }
                Ok(()) | Err(_) => {}
            }
        }
        self.forget(name);
        Ok(())
    }

    pub(super) fn find(&self, name: &Name) -> Option<Entry> {
        self.index().all.get(name).cloned()
    }

    /// Up to `limit` recordings before `before` of streams that may be shown,
    /// the newest first. Each stream is asked for once.
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

    /// A file that is served; blocks.
    pub(super) fn serve(&self, name: &Name) -> Option<(DiskFile, Metadata)> {
        let state = self.find(name)?.state;
        let stages = match state {
            State::Finished => [Stage::Whole, Stage::Part],
            State::Recording | State::Waiting(_) | State::Finishing => [Stage::Part, Stage::Whole],
        };
        stages.into_iter().find_map(|stage| {
            let file = open_plain(&name.path(&self.folder, stage)).ok()?;
            let facts = file.metadata().ok()?;
            Some((DiskFile::new(file, self.disk.clone()), facts))
        })
    }

    pub(super) fn sums(&self) -> Sums {
        let mut index = self.index();
        let usage = index.usage(time::local().date());
        let free = index.free.filter(|_| !self.disk.is_silent());
        Sums { usage, free, last_error: index.last_error.clone() }
    }

    /// What went wrong is told once in the log, and shown.
    pub(super) fn trouble(&self, what: String) {
        let mut index = self.index();
        if index.last_error.as_ref() != Some(&what) {
            warn!("recordings: {what}");
        }
        index.last_error = Some(what);
    }

    pub(super) fn remove(&self, name: &Name, stage: Stage) {
        match fs::remove_file(name.path(&self.folder, stage)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                self.trouble(format!("{name} cannot be cleared away: {error}"));
            }
            Ok(()) | Err(_) => {}
        }
    }

    fn change(&self, name: &Name, edit: impl FnOnce(&mut Entry)) -> bool {
        self.index().all.get_mut(name).map(edit).is_some()
    }

    fn clock(&self) -> MutexGuard<'_, Clock> {
        self.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        // Every step is complete in itself.
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Index {
    fn wear_of(&mut self, stream: &StreamName) -> &mut BytesWritten {
        self.written.entry(stream.clone()).or_default()
    }

    /// What each stream's recordings take and have cost.
    fn usage(&mut self, today: Date) -> Vec<(StreamName, Usage)> {
        let mut usage: HashMap<&StreamName, Usage> = HashMap::new();
        for (stream, written) in &mut self.written {
            written.turn(today);
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

/// Whether recordings can be kept in the folder; blocks.
fn try_folder(folder: &Path) -> io::Result<()> {
    if !folder.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    // Rights alone tell little: the disk may be read-only, or no disk at all.
    let trial = folder.join(TRIAL);
    match OpenOptions::new().write(true).create_new(true).open(&trial) {
        Ok(_) => fs::remove_file(&trial),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        // There is headroom once the oldest recordings are gone.
        Err(error) if error.kind() == io::ErrorKind::StorageFull => Ok(()),
        Err(error) => Err(error),
    }
}

/// Whether the disk takes as much as a recording writes at once; blocks.
fn try_writing(folder: &Path) -> io::Result<()> {
    let trial = folder.join(TRIAL);
    let written = File::create(&trial).and_then(|mut file| {
        file.write_all(&[0; PIECE])?;
        file.sync_all()
    });
    written.and(fs::remove_file(&trial))
}

/// Whether the folder lies on another file system than the root.
fn is_apart(folder: &Path) -> io::Result<bool> {
    Ok(fs::metadata(folder)?.dev() != fs::metadata("/")?.dev())
}

/// Opens a file, and no link.
fn open_plain(path: &Path) -> io::Result<File> {
    let no_link = nix::fcntl::OFlag::O_NOFOLLOW | nix::fcntl::OFlag::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(no_link.bits()).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::InvalidInput.into()) }
}

#[cfg(test)]
mod tests;
