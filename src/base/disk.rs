//! File system calls on threads that may hang.
//!
//! A disk may stop answering for ever: a network share, a worn card. Every
//! folder therefore has one thread that makes all calls into it, one after the
//! other. While that thread hangs, further calls fail at once, so that a hanging
//! folder takes one thread and delays no caller.

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

/// A folder hangs if a call takes longer than this. Slow cards pause for a
/// second or two for garbage collection.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Maximum calls that wait for the thread of one folder: each recording and each
/// download makes one at a time.
const QUEUE: usize = 256;

/// The folders in use. A folder has one thread whoever opens it: a reload opens
/// folders that are in use already.
static FOLDERS: Lock<BTreeMap<PathBuf, Weak<Inner>>> = Lock::new(BTreeMap::new());

/// A folder, and the thread that makes the calls into it. Cheap to clone; the
/// thread ends with the last clone.
#[derive(Clone)]
pub struct Disk(Arc<Inner>);

/// The folders that the service uses, each by the key of the configuration that
/// names it.
#[derive(Debug, Default)]
pub struct Folders(Vec<(&'static str, Disk)>);

/// An open file. Closing it is a call that may hang as well.
#[derive(Debug)]
pub struct DiskFile {
    file: Option<Arc<File>>,
    disk: Disk,
}

/// The folder does not answer, or too many calls wait for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the disk does not answer")]
pub struct Silent;

struct Inner {
    folder: PathBuf,
    calls: mpsc::Sender<Call>,
    state: Lock<State>,
}

/// A call into the folder; it keeps the folder's thread alive.
struct Call {
    work: Box<dyn FnOnce() + Send>,
    disk: Disk,
}

#[derive(Debug, Default)]
struct State {
    /// Calls that are not done, including the current one.
    waiting: usize,
    /// Start of the current call.
    busy_since: Option<Instant>,
    /// Whether the log says that the current call hangs.
    is_logged: bool,
    /// Why the last write failed.
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
    /// The system cannot start a thread.
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

    /// Runs `work` on the folder's thread. After a timeout, `work` still runs
    /// once the disk answers.
    ///
    /// # Errors
    /// It is not done within `timeout`, or the folder hangs already.
    pub async fn run<T: Send + 'static>(
        &self,
        timeout: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Silent> {
        self.refuse_if_silent()?;
        let (answer, done) = oneshot::channel();
        // The other half of the queue is for `wait`.
        self.send(QUEUE / 2, move || drop(answer.send(work())))?;
        match tokio::time::timeout(timeout, done).await {
            Ok(done) => done.map_err(|_| Silent),
            Err(_) => {
                self.log_if_silent();
                Err(Silent)
            }
        }
    }

    /// As [`Disk::run`], for work that must be done: waits without a limit.
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
                Err(_) => self.log_if_silent(),
            }
        };
        done.map_err(|_| Silent)
    }

    /// As [`Disk::run`], without a runtime; blocks.
    ///
    /// # Errors
    /// As for [`Disk::run`].
    pub fn run_blocking<T: Send + 'static>(
        &self,
        timeout: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Silent> {
        self.refuse_if_silent()?;
        let (answer, done) = mpsc::sync_channel(1);
        self.send(QUEUE / 2, move || drop(answer.send(work())))?;
        done.recv_timeout(timeout).map_err(|_| {
            self.log_if_silent();
            Silent
        })
    }

    /// Queues `work` without waiting for it.
    pub fn post(&self, work: impl FnOnce() + Send + 'static) {
        self.0.state.lock().waiting += 1;
        // The thread lives as long as its folder.
        self.0.calls.send(Call { work: Box::new(work), disk: self.clone() }).ok();
    }

    fn send(&self, capacity: usize, work: impl FnOnce() + Send + 'static) -> Result<(), Silent> {
        if self.0.state.lock().waiting >= capacity {
            return Err(Silent);
        }
        self.post(work);
        Ok(())
    }

    fn make(&self, work: Box<dyn FnOnce() + Send>) {
        self.0.state.lock().busy_since = Some(now());
        // A panic drops the sender of the answer, which the caller sees.
        catch_unwind(AssertUnwindSafe(work)).ok();
        let mut state = self.0.state.lock();
        state.waiting -= 1;
        let began = state.busy_since.take();
        let was_logged = std::mem::take(&mut state.is_logged);
        drop(state);
        if was_logged {
            let span = began.map_or(0, |began| now().duration_since(began).as_secs());
            info!("the folder {} answers again, after {span} s", self.0.folder.display());
        }
    }

    /// Sets the result of the last write; logs each change once. `failure`
    /// completes a sentence that begins with the folder.
    pub fn note(&self, failure: Option<String>) {
        let mut state = self.0.state.lock();
        if state.failure == failure {
            return;
        }
        state.failure.clone_from(&failure);
        drop(state);
        let folder = self.0.folder.display();
        match &failure {
            Some(failure) => warn!("the folder {folder} {failure}"),
            None => info!("the folder {folder} can be written again"),
        }
    }

    /// The fault of the folder, if any, as the end of a sentence about it.
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

    fn log_if_silent(&self) {
        let mut state = self.0.state.lock();
        let is_new = state.busy_since.is_some() && !std::mem::replace(&mut state.is_logged, true);
        drop(state);
        if is_new {
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

    /// The faults of all folders, each with its configuration key.
    pub fn troubles(&self) -> Vec<(&'static str, String)> {
        let trouble = |(key, disk): &(&'static str, Disk)| Some((*key, disk.trouble()?));
        self.0.iter().filter_map(trouble).collect()
    }
}

impl DiskFile {
    /// `file` is in the folder of `disk`.
    pub fn new(file: File, disk: Disk) -> Self {
        Self { file: Some(Arc::new(file)), disk }
    }

    /// As [`Disk::run`], with the file.
    ///
    /// # Errors
    /// Those of `work`, or the disk does not answer in time.
    pub async fn run<T: Send + 'static>(
        &self,
        timeout: Duration,
        work: impl FnOnce(&File) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let file = self.file()?;
        self.disk.run(timeout, move || work(&file)).await?
    }

    /// As [`Disk::wait`], with the file.
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

    /// Each test uses another folder: threads are shared by folder.
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
    async fn calls_into_a_folder_are_made_on_one_thread() {
        let disk = disk("/in order");
        let thread = || std::thread::current().id();
        let (one, two) = tokio::join!(disk.wait(thread), disk.run(CALL_TIMEOUT, thread));
        assert_eq!(one, two);
        assert_ne!(one, Ok(thread()));
    }

    #[tokio::test(start_paused = true)]
    async fn calls_into_a_hanging_folder_fail_at_once() {
        let disk = disk("/hangs");
        let go = hang(&disk);
        disk.wait_until_busy();
        // The thread's clock is not paused; twice the timeout is enough for both.
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
    async fn the_number_of_waiting_calls_is_bounded() {
        let disk = disk("/full");
        let go = hang(&disk);
        let waits: Vec<_> = (0..QUEUE - 1).map(|_| disk.send(QUEUE, || {})).collect();
        assert!(waits.iter().all(Result::is_ok));
        assert_eq!(disk.wait(|| 1).await, Err(Silent));
        drop(go);
    }

    #[tokio::test]
    async fn a_call_that_panics_fails_and_the_next_one_is_made() {
        let disk = disk("/panics");
        assert_eq!(disk.wait(|| panic!("for the test")).await, Err::<(), _>(Silent));
        assert_eq!(disk.wait(|| 1).await, Ok(1));
    }

    #[test]
    fn handles_of_one_folder_share_its_thread_and_its_fault() {
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
