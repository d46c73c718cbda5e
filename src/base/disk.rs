//! File system calls, made where they may hang.
//!
//! A disk may stop answering for ever: a network share, a worn card. Every
//! folder therefore has one thread that makes all calls into it, one after the
//! other. While that thread hangs, further calls are refused at once, so that a
//! folder costs one thread at most and nobody waits in vain.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak, mpsc};
use std::time::{Duration, Instant};

use log::{info, warn};
use tokio::sync::oneshot;

use super::lock::Lock;

use crate::base::time::now;

/// A folder whose call takes longer than this hangs. Slow cards, which clean up
/// after themselves, pause for a second or two.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// So many calls may wait for the thread of one folder: each recording and each
/// download has one.
const QUEUE: usize = 256;

/// The folders that somebody uses. Whoever names a folder gets the same thread:
/// a reload asks for those that are in use already.
static FOLDERS: Lock<BTreeMap<PathBuf, Weak<Inner>>> = Lock::new(BTreeMap::new());

/// A folder, and the thread that makes the calls into it. Cheap to clone; the
/// thread ends with the last clone.
#[derive(Clone)]
pub struct Disk(Arc<Inner>);

/// The folders that the service uses, each by the key of the configuration that
/// names it.
#[derive(Debug, Default)]
pub struct Folders(Vec<(&'static str, Disk)>);

/// An open file. Also closing it is a call that may hang.
#[derive(Debug)]
pub struct DiskFile {
    file: Option<Arc<File>>,
    disk: Disk,
}

/// The folder does not answer, or has too much to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the disk does not answer")]
pub struct Silent;

struct Inner {
    folder: PathBuf,
    calls: mpsc::Sender<Call>,
    state: Lock<State>,
}

/// What is to be done; it keeps its folder's thread alive.
struct Call {
    work: Box<dyn FnOnce() + Send>,
    disk: Disk,
}

#[derive(Debug, Default)]
struct State {
    /// Calls that are not done yet.
    waiting: usize,
    /// When the call began that is being made.
    busy_since: Option<Instant>,
    /// Whether the log has it that this call hangs.
    is_told: bool,
    /// What went wrong with the last write.
    failure: Option<String>,
}

impl From<Silent> for io::Error {
    fn from(silent: Silent) -> Self {
        io::Error::new(io::ErrorKind::TimedOut, silent)
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Disk").field(&self.0.folder).finish()
    }
}

impl Disk {
    /// The thread for `folder`, which need not exist.
    ///
    /// # Errors
    /// The system gives no further thread.
    pub fn at(folder: &Path) -> io::Result<Self> {
        let mut folders = FOLDERS.lock();
        if let Some(present) = folders.get(folder).and_then(Weak::upgrade) {
            return Ok(Self(present));
        }
        let (calls, queue) = mpsc::channel::<Call>();
        std::thread::Builder::new().name("disk".to_owned()).spawn(move || {
            for Call { work, disk } in queue {
                disk.make(work);
            }
        })?;
        let inner = Inner { folder: folder.to_owned(), calls, state: Lock::default() };
        let inner = Arc::new(inner);
        folders.retain(|_, known| known.strong_count() > 0);
        folders.insert(folder.to_owned(), Arc::downgrade(&inner));
        Ok(Self(inner))
    }

    pub fn folder(&self) -> &Path {
        &self.0.folder
    }

    /// Does `work` on the folder's thread. What is too late happens all the
    /// same, once the disk answers.
    ///
    /// # Errors
    /// It is not done within `patience`, or the folder hangs already.
    pub async fn run<T: Send + 'static>(
        &self,
        patience: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Silent> {
        self.refuse_if_silent()?;
        let (answer, done) = oneshot::channel();
        // The other half is for what has to be done.
        self.send(QUEUE / 2, move || drop(answer.send(work())))?;
        match tokio::time::timeout(patience, done).await {
            Ok(done) => done.map_err(|_| Silent),
            Err(_) => {
                self.tell_if_silent();
                Err(Silent)
            }
        }
    }

    /// As [`Disk::run`], for what has to be done: waits as long as it takes.
    ///
    /// # Errors
    /// Too many calls wait already.
    pub async fn wait<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Silent> {
        let (answer, mut done) = oneshot::channel();
        self.send(QUEUE, move || drop(answer.send(work())))?;
        let done = loop {
            match tokio::time::timeout(CALL_TIMEOUT, &mut done).await {
                Ok(done) => break done,
                Err(_) => self.tell_if_silent(),
            }
        };
        done.map_err(|_| Silent)
    }

    /// As [`Disk::run`], where there is no runtime yet; blocks.
    ///
    /// # Errors
    /// Likewise.
    pub fn run_blocking<T: Send + 'static>(
        &self,
        patience: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Silent> {
        self.refuse_if_silent()?;
        let (answer, done) = mpsc::sync_channel(1);
        self.send(QUEUE / 2, move || drop(answer.send(work())))?;
        done.recv_timeout(patience).map_err(|_| {
            self.tell_if_silent();
            Silent
        })
    }

    /// Does `work` at some time; there is no answer.
    pub fn post(&self, work: impl FnOnce() + Send + 'static) {
        self.0.state.lock().waiting += 1;
        // The thread lives as long as its folder.
        self.0.calls.send(Call { work: Box::new(work), disk: self.clone() }).ok();
    }

    fn send(&self, at_most: usize, work: impl FnOnce() + Send + 'static) -> Result<(), Silent> {
        if self.0.state.lock().waiting >= at_most {
            return Err(Silent);
        }
        self.post(work);
        Ok(())
    }

    fn make(&self, work: Box<dyn FnOnce() + Send>) {
        self.0.state.lock().busy_since = Some(now());
        // Whoever waits for the answer learns of a panic by getting none.
        catch_unwind(AssertUnwindSafe(work)).ok();
        let mut state = self.0.state.lock();
        state.waiting -= 1;
        let began = state.busy_since.take();
        if std::mem::take(&mut state.is_told) {
            let span = began.map_or(0, |began| now().duration_since(began).as_secs());
            info!("the folder {} answers again, after {span} s", self.0.folder.display());
        }
    }

    /// Notes how the last write went; the log has each change once. `failure`
    /// completes a sentence that begins with the folder.
    pub fn note(&self, failure: Option<String>) {
        let mut state = self.0.state.lock();
        if state.failure == failure {
            return;
        }
        let folder = self.0.folder.display();
        match &failure {
            Some(failure) => warn!("the folder {folder} {failure}"),
            None => info!("the folder {folder} can be written again"),
        }
        state.failure = failure;
    }

    /// What is wrong with the folder, as the end of a sentence about it.
    pub fn trouble(&self) -> Option<String> {
        let state = self.0.state.lock();
        match state.silent_for() {
            Some(span) => Some(format!("has not answered for {} s", span.as_secs())),
            None => state.failure.clone(),
        }
    }

    /// Whether a call hangs.
    pub fn is_silent(&self) -> bool {
        self.0.state.lock().silent_for().is_some()
    }

    fn refuse_if_silent(&self) -> Result<(), Silent> {
        if self.is_silent() { Err(Silent) } else { Ok(()) }
    }

    fn tell_if_silent(&self) {
        let mut state = self.0.state.lock();
        if state.busy_since.is_some() && !std::mem::replace(&mut state.is_told, true) {
            let folder = self.0.folder.display();
            warn!("the folder {folder} does not answer; what needs it waits or is refused");
        }
    }
}

impl State {
    fn silent_for(&self) -> Option<Duration> {
        let span = now().saturating_duration_since(self.busy_since?);
        (span >= CALL_TIMEOUT).then_some(span)
    }
}

impl Folders {
    pub fn add(&mut self, key: &'static str, disk: Disk) {
        self.0.push((key, disk));
    }

    /// What is wrong with them, each with its key.
    pub fn troubles(&self) -> Vec<(&'static str, String)> {
        let trouble = |(key, disk): &(&'static str, Disk)| Some((*key, disk.trouble()?));
        self.0.iter().filter_map(trouble).collect()
    }
}

impl DiskFile {
    /// `file` lies in the folder of `disk`.
    pub fn new(file: File, disk: Disk) -> Self {
        Self { file: Some(Arc::new(file)), disk }
    }

    /// Does `work` with the file, within `patience`.
    ///
    /// # Errors
    /// The disk does not answer in time.
    pub async fn run<T: Send + 'static>(
        &self,
        patience: Duration,
        work: impl FnOnce(&File) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let file = self.file()?;
        self.disk.run(patience, move || work(&file)).await?
    }

    /// Does `work` with the file, however long that takes.
    ///
    /// # Errors
    /// Those of `work`, or too many calls wait already.
    pub async fn wait<T: Send + 'static>(
        &self,
        work: impl FnOnce(&File) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let file = self.file()?;
        self.disk.wait(move || work(&file)).await?
    }

    fn file(&self) -> io::Result<Arc<File>> {
        self.file.clone().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Drop for DiskFile {
    fn drop(&mut self) {
        if let Some(file) = self.file.take() {
            self.disk.post(move || drop(file));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of its own for each test: the thread is shared by name.
    fn disk(name: &str) -> Disk {
        Disk::at(Path::new(name)).unwrap()
    }

    /// A call that hangs until the returned sender is used or dropped.
    fn hang(disk: &Disk) -> mpsc::Sender<()> {
        let (go, wait) = mpsc::channel::<()>();
        disk.post(move || {
            wait.recv().ok();
        });
        go
    }

    #[tokio::test]
    async fn calls_are_made_in_their_order_on_one_thread() {
        let disk = disk("/in order");
        let thread = || std::thread::current().id();
        let (one, two) = tokio::join!(disk.wait(thread), disk.run(CALL_TIMEOUT, thread));
        assert_eq!(one, two);
        assert_ne!(one, Ok(thread()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_folder_that_hangs_refuses_at_once_and_takes_one_thread() {
        let disk = disk("/hangs");
        let go = hang(&disk);
        disk.wait_until_busy();
        // The thread's clock is not paused; twice its patience is enough for both.
        assert_eq!(disk.run(2 * CALL_TIMEOUT, || 1).await, Err(Silent));
        assert!(disk.is_silent() && disk.trouble().is_some());
        let before = tokio::time::Instant::now();
        for _ in 0..1000 {
            assert_eq!(disk.run(CALL_TIMEOUT, || 1).await, Err(Silent));
        }
        assert_eq!(before.elapsed(), Duration::ZERO);
        assert!(disk.0.state.lock().waiting <= 2);

        drop(go);
        tokio::time::resume();
        assert_eq!(disk.wait(|| 2).await, Ok(2));
        while disk.trouble().is_some() {
            tokio::task::yield_now().await;
        }
        assert_eq!(disk.run(CALL_TIMEOUT, || 3).await, Ok(3));
    }

    #[tokio::test]
    async fn no_more_calls_wait_than_there_is_room_for() {
        let disk = disk("/full");
        let go = hang(&disk);
        let waits: Vec<_> = (0..QUEUE - 1).map(|_| disk.send(QUEUE, || {})).collect();
        assert!(waits.iter().all(Result::is_ok));
        assert_eq!(disk.wait(|| 1).await, Err(Silent));
        drop(go);
    }

    #[tokio::test]
    async fn a_call_that_panics_is_no_answer_and_the_next_one_is_made() {
        let disk = disk("/panics");
        assert_eq!(disk.wait(|| panic!("for the test")).await, Err::<(), _>(Silent));
        assert_eq!(disk.wait(|| 1).await, Ok(1));
    }

    #[test]
    fn one_name_is_one_thread_and_its_failures_are_one_trouble() {
        let (one, other) = (disk("/same"), disk("/same"));
        assert!(Arc::ptr_eq(&one.0, &other.0));
        one.note(Some("cannot be written: it is full".to_owned()));
        assert_eq!(other.trouble().as_deref(), Some("cannot be written: it is full"));
        other.note(None);
        assert_eq!(one.trouble(), None);
        drop((one, other));
        assert!(Arc::strong_count(&disk("/same").0) <= 2);
    }

    impl Disk {
        fn wait_until_busy(&self) {
            while self.0.state.lock().busy_since.is_none() {
                std::thread::yield_now();
            }
        }
    }
}
