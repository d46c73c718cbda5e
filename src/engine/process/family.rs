//! The host of a feed family: started with the first run of its pipelines, and ended after
//! the last.
//!
//! Each run has its own supervisor. If the host dies, all of its runs end.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Mutex as AsyncMutex, oneshot, watch};
use tokio::task::JoinHandle;

use super::host::{Host, Input};
use crate::base::lock::Lock;
use crate::config::settings::Feed;
use crate::engine::work::Work;
use crate::model::failure::Failure;
use crate::model::fault::Fault;
use crate::wire::answer::{News, RunNews};
use crate::wire::job::{self, Foreign};
use crate::wire::{Order, ToHost};

/// How long a run may take to stop before its host is killed: network cameras are sent a
/// TEARDOWN.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// Receives the messages of one run, on the task that reads the host's socket: it must not
/// wait. The end of the run is reported by [`FamilyRun::ended`].
pub(super) trait Listener: Send {
    fn hear(&mut self, news: News, payload: Bytes);
}

/// A feed, the streams that show it and the feeds that are made from it.
#[derive(Debug)]
pub struct Family {
    /// The name in lists of processes: `feed front`, after the feed that the others are made
    /// from.
    name: String,
    source: Option<Foreign>,
    host: AsyncMutex<Option<Arc<Connection>>>,
}

/// One host.
#[derive(Debug)]
struct Connection {
    input: AsyncMutex<Input>,
    runs: Lock<Runs>,
    /// Ends the host.
    task: Lock<Option<(oneshot::Sender<()>, JoinHandle<()>)>>,
}

#[derive(Default)]
struct Runs {
    next: u32,
    /// The number of runs that are not closed. The host ends at 0.
    open: usize,
    listeners: BTreeMap<u32, Entry>,
    /// How the host has ended.
    death: Option<Failure>,
}

struct Entry {
    listener: Arc<RunListener>,
    end: watch::Sender<Option<Failure>>,
}

/// The listener of a run; `None` after the run is closed. It has a lock of its own, so that
/// starts of other runs do not wait while it publishes a frame.
type RunListener = Lock<Option<Box<dyn Listener>>>;

/// A run in the host. It must be closed.
#[derive(Debug)]
pub(super) struct FamilyRun {
    family: Arc<Family>,
    connection: Arc<Connection>,
    number: u32,
    ended: watch::Receiver<Option<Failure>>,
}

impl Family {
    /// The family of `feed`, which is not made from another video feed.
    pub fn of(feed: &Feed) -> Arc<Self> {
        let source = feed.source.foreign();
        let name = format!("feed {}", feed.name);
        Arc::new(Self { name, source, host: AsyncMutex::default() })
    }

    /// Starts a run, in the present host or in a new one.
    ///
    /// # Errors
    /// No host can be started.
    pub(super) async fn begin(
        self: &Arc<Self>,
        work: &Work,
        listener: Box<dyn Listener>,
    ) -> Result<FamilyRun, Failure> {
        let work = encoded(work)?;
        let (end, ended) = watch::channel(None);
        let entry = Entry { listener: Arc::new(Lock::new(Some(listener))), end };
        let (connection, number) = self.join(entry).await?;
        let run = FamilyRun { family: Arc::clone(self), connection, number, ended };
        run.send(Order::Work, work).await;
        Ok(run)
    }

    async fn join(&self, entry: Entry) -> Result<(Arc<Connection>, u32), Failure> {
        let mut host = self.host.lock().await;
        if let Some(connection) = host.as_ref() {
            let mut runs = connection.runs.lock();
            // Under one lock with `death`: a run added to a dead host would never end.
            if runs.death.is_none() {
                let number = runs.add(entry);
                return Ok((Arc::clone(connection), number));
            }
        }
        let job = job::Family { source: self.source.clone() };
        let connection = Connection::open(Host::start(&self.name, job).await?);
        let number = connection.runs.lock().add(entry);
        *host = Some(Arc::clone(&connection));
        Ok((connection, number))
    }

    /// Closes a run of `connection`. After the last one the host is ended; a next run waits
    /// until its devices are released.
    async fn leave(&self, connection: &Arc<Connection>) {
        let mut host = self.host.lock().await;
        let is_last = {
            let mut runs = connection.runs.lock();
            runs.open -= 1;
            runs.open == 0
        };
        if is_last {
            connection.end().await;
            host.take_if(|present| Arc::ptr_eq(present, connection));
        }
    }
}

impl FamilyRun {
    /// Waits until the run has ended by itself or its host has died; returns the reason.
    pub(super) async fn ended(&self) -> Failure {
        let mut ended = self.ended.clone();
        let failure = ended.wait_for(Option::is_some).await;
        // The connection reports the end of every run before it is dropped.
        failure.ok().and_then(|failure| failure.clone()).unwrap_or(Failure::Ended)
    }

    /// Sends an order. Errors are ignored: the host is dead, and that is reported by
    /// [`FamilyRun::ended`].
    pub(super) async fn send(&self, order: Order, payload: Bytes) {
        let message = ToHost::Run { run: self.number, order };
        self.connection.input.lock().await.send(&message, payload).await.ok();
    }

    /// Replaces the job of the run.
    pub(super) async fn set_work(&self, work: &Work) {
        if let Ok(work) = encoded(work) {
            self.send(Order::Work, work).await;
        }
    }

    /// Ends the run; returns when its devices are released. If it hangs, its host is killed
    /// with all of its runs.
    pub(super) async fn close(self) {
        let stopping = async {
            self.send(Order::Stop, Bytes::new()).await;
            self.ended().await;
        };
        let has_ended = tokio::time::timeout(STOP_TIMEOUT, pin!(stopping)).await.is_ok();
        self.connection.close(self.number);
        if !has_ended {
            self.connection.end().await;
        }
        self.family.leave(&self.connection).await;
    }
}

impl Connection {
    fn open((host, input): (Host<RunNews>, Input)) -> Arc<Self> {
        let (stop, stopped) = oneshot::channel();
        let connection = Arc::new(Self {
            input: AsyncMutex::new(input),
            runs: Lock::default(),
            task: Lock::default(),
        });
        let task = tokio::spawn(Arc::clone(&connection).listen(host, stopped));
        *connection.task.lock() = Some((stop, task));
        connection
    }

    /// Reads the messages of the host until it dies or is stopped.
    async fn listen(self: Arc<Self>, mut host: Host<RunNews>, stopped: oneshot::Receiver<()>) {
        let death = tokio::select! {
            death = self.receive(&mut host) => death,
            _ = stopped => Failure::Crash("its process hung and was killed".to_owned()),
        };
        let open_runs = {
            let mut runs = self.runs.lock();
            runs.death = Some(death.clone());
            std::mem::take(&mut runs.listeners)
        };
        host.end().await;
        for entry in open_runs.into_values() {
            entry.end.send_replace(Some(death.clone()));
        }
    }

    async fn receive(&self, host: &mut Host<RunNews>) -> Failure {
        loop {
            match host.next().await {
                Ok((RunNews { run, news: News::Ended(failure) }, _)) => {
                    if let Some(entry) = self.runs.lock().listeners.remove(&run) {
                        entry.end.send_replace(Some(failure));
                    }
                }
                Ok((RunNews { run, news }, payload)) => {
                    let listener = self.runs.lock().listener(run);
                    if let Some(listener) = listener
                        && let Some(listener) = &mut *listener.lock()
                    {
                        listener.hear(news, payload);
                    }
                }
                Err(failure) => return failure,
            }
        }
    }

    /// Removes a run: its listener hears nothing after this.
    fn close(&self, run: u32) {
        let entry = self.runs.lock().listeners.remove(&run);
        if let Some(entry) = entry {
            entry.listener.lock().take();
        }
    }

    /// Ends the host; returns when it has ended, or cannot be killed.
    async fn end(&self) {
        let task = self.task.lock().take();
        if let Some((stop, task)) = task {
            stop.send(()).ok();
            task.await.ok();
        }
    }
}

impl Runs {
    fn add(&mut self, entry: Entry) -> u32 {
        let number = self.next;
        self.next += 1;
        self.open += 1;
        self.listeners.insert(number, entry);
        number
    }

    fn listener(&self, run: u32) -> Option<Arc<RunListener>> {
        self.listeners.get(&run).map(|entry| Arc::clone(&entry.listener))
    }
}

impl std::fmt::Debug for Runs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runs").field("open", &self.open).finish_non_exhaustive()
    }
}

fn encoded(work: &Work) -> Result<Bytes, Failure> {
    work.encode().map(Bytes::from).map_err(|error| Fault::unsent_job(error).into())
}
