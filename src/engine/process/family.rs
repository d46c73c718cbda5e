//! The host of a feed family: started with the first run of any of its
//! pipelines, ended after the last one.
//!
//! Each run is supervised by itself. If the host dies, all of them have ended.

use std::collections::BTreeMap;
use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Mutex as AsyncMutex, oneshot, watch};
use tokio::task::JoinHandle;

use super::host::{Host, Input};
use crate::config::settings::{Feed, Source};
use crate::engine::work::Work;
use crate::model::status::Failure;
use crate::wire::answer::{News, RunNews};
use crate::wire::job::{self, Foreign};
use crate::wire::{Order, ToHost};

/// A run that has not ended so long after it was asked to hangs, and its host
/// with it: cameras on the network need a moment to be told.
const ENDING: Duration = Duration::from_secs(2);

/// Receives the news of one run, on the task that reads the host's socket: it must
/// not wait. The end of the run is reported elsewhere.
pub(super) trait Listener: Send {
    fn hear(&mut self, news: News, payload: Bytes);
}

/// A feed, the streams that show it and the feeds that are made from it.
#[derive(Debug)]
pub struct Family {
    /// As lists of processes show it: `feed front`, of the one that the others are made from.
    name: String,
    source: Option<Foreign>,
    host: AsyncMutex<Option<Arc<Connection>>>,
}

/// One host.
#[derive(Debug)]
struct Connection {
    input: AsyncMutex<Input>,
    runs: Mutex<Runs>,
    /// Ends the host.
    task: Mutex<Option<(oneshot::Sender<()>, JoinHandle<()>)>>,
}

#[derive(Default)]
struct Runs {
    next: u32,
    /// Those that go on. A host ends when there are none.
    going: usize,
    listeners: BTreeMap<u32, Entry>,
    /// How the host has died.
    death: Option<Failure>,
}

struct Entry {
    listener: Box<dyn Listener>,
    end: watch::Sender<Option<Failure>>,
}

/// A run in the host. It is to be closed.
#[derive(Debug)]
pub(super) struct FamilyRun {
    family: Arc<Family>,
    connection: Arc<Connection>,
    number: u32,
    ended: watch::Receiver<Option<Failure>>,
}

impl Family {
    /// That of `feed`, which is made from no other feed of pictures.
    pub fn of(feed: &Feed) -> Arc<Self> {
        let source = match &feed.source {
            Source::Rtsp(pull) => Some(Foreign::Network { port: pull.port() }),
            Source::File(path) => path.parent().map(Path::to_owned).map(Foreign::Folder),
            Source::Unpacked(_) => Some(Foreign::Service),
            Source::TestClock | Source::V4l2(_) | Source::SoundOnly | Source::Made(_) => None,
        };
        let name = format!("feed {}", feed.name);
        Arc::new(Self { name, source, host: AsyncMutex::default() })
    }

    /// Begins a run, in a host that is there already or in a new one.
    ///
    /// # Errors
    /// There is no host to be had.
    pub(super) async fn begin(
        self: &Arc<Self>,
        work: &Work,
        listener: Box<dyn Listener>,
    ) -> Result<FamilyRun, Failure> {
        let work = encoded(work)?;
        let (end, ended) = watch::channel(None);
        let entry = Entry { listener, end };
        let (connection, number) = self.join(entry).await?;
        let run = FamilyRun { family: Arc::clone(self), connection, number, ended };
        run.send(Order::Work, work).await;
        Ok(run)
    }

    async fn join(&self, entry: Entry) -> Result<(Arc<Connection>, u32), Failure> {
        let mut host = self.host.lock().await;
        if let Some(connection) = host.as_ref() {
            let mut runs = connection.lock();
            // Under one lock: runs that a dead host would get never end.
            if runs.death.is_none() {
                let number = runs.add(entry);
                return Ok((Arc::clone(connection), number));
            }
        }
        let job = job::Family { source: self.source.clone() };
        let connection = Connection::open(Host::start(&self.name, job).await?);
        let number = connection.lock().add(entry);
        *host = Some(Arc::clone(&connection));
        Ok((connection, number))
    }

    /// A run of `connection` is over. With the last one its host ends; the next
    /// run waits until the host's devices are free.
    async fn leave(&self, connection: &Arc<Connection>) {
        let mut host = self.host.lock().await;
        let is_last = {
            let mut runs = connection.lock();
            runs.going -= 1;
            runs.going == 0
        };
        if is_last {
            connection.end().await;
            host.take_if(|present| Arc::ptr_eq(present, connection));
        }
    }
}

impl FamilyRun {
    /// Returns when the run has ended by itself, or its host has died; why.
    pub(super) async fn ended(&self) -> Failure {
        let mut ended = self.ended.clone();
        let told = ended.wait_for(Option::is_some).await;
        // The connection reports the end of every run before it is dropped.
        told.ok().and_then(|failure| failure.clone()).unwrap_or(Failure::Ended)
    }

    /// Gives an order; a host that takes none is dead, or will be.
    pub(super) async fn send(&self, order: Order, payload: Bytes) {
        let message = ToHost::Run { run: self.number, order };
        self.connection.input.lock().await.send(&message, payload).await.ok();
    }

    /// It is to do this from now on.
    pub(super) async fn follow(&self, work: &Work) {
        if let Ok(work) = encoded(work) {
            self.send(Order::Work, work).await;
        }
    }

    /// Ends the run, if it goes on; returns when its devices are free.
    /// Where it does not, its host is killed, with all of its runs.
    pub(super) async fn close(self) {
        let ending = async {
            self.send(Order::Stop, Bytes::new()).await;
            self.ended().await;
        };
        let has_ended = tokio::time::timeout(ENDING, pin!(ending)).await.is_ok();
        self.connection.lock().listeners.remove(&self.number);
        if !has_ended {
            self.connection.end().await;
        }
        self.family.leave(&self.connection).await;
    }
}

impl Connection {
    fn open((host, input): (Host<RunNews>, Input)) -> Arc<Self> {
        let (ask, asked) = oneshot::channel();
        let connection = Arc::new(Self {
            input: AsyncMutex::new(input),
            runs: Mutex::default(),
            task: Mutex::default(),
        });
        let task = tokio::spawn(Arc::clone(&connection).listen(host, asked));
        *connection.task.lock().unwrap_or_else(PoisonError::into_inner) = Some((ask, task));
        connection
    }

    /// Reads what the host says until it dies or is to end.
    async fn listen(self: Arc<Self>, mut host: Host<RunNews>, asked: oneshot::Receiver<()>) {
        let death = tokio::select! {
            death = self.hear(&mut host) => death,
            _ = asked => Failure::Crash("its process hangs and was killed".to_owned()),
        };
        let ends = {
            let mut runs = self.lock();
            runs.death = Some(death.clone());
            std::mem::take(&mut runs.listeners)
        };
        host.end().await;
        for entry in ends.into_values() {
            entry.end.send_replace(Some(death.clone()));
        }
    }

    async fn hear(&self, host: &mut Host<RunNews>) -> Failure {
        loop {
            match host.next().await {
                Ok((RunNews { run, news: News::Ended(failure) }, _)) => {
                    if let Some(entry) = self.lock().listeners.remove(&run) {
                        entry.end.send_replace(Some(failure));
                    }
                }
                Ok((RunNews { run, news }, payload)) => {
                    if let Some(entry) = self.lock().listeners.get_mut(&run) {
                        entry.listener.hear(news, payload);
                    }
                }
                Err(failure) => return failure,
            }
        }
    }

    /// Ends the host; returns when it is gone, or cannot be killed.
    async fn end(&self) {
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((ask, task)) = task {
            ask.send(()).ok();
            task.await.ok();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Runs> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Runs {
    fn add(&mut self, entry: Entry) -> u32 {
        let number = self.next;
        self.next += 1;
        self.going += 1;
        self.listeners.insert(number, entry);
        number
    }
}

impl std::fmt::Debug for Runs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runs").field("going", &self.going).finish_non_exhaustive()
    }
}

fn encoded(work: &Work) -> Result<Bytes, Failure> {
    work.encode().map(Bytes::from).map_err(|error| Failure::Build(error.to_string()))
}
