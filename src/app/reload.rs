//! The one who reads the configuration again, and goes from topology to topology.
//!
//! One after the other: a request waits for the one before it. A file that is
//! no use changes nothing. A new setting that gives nothing, though what it
//! replaced was live, is taken back.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{LevelFilter, info, warn};
use sd_notify::NotifyState;
use tokio::signal::unix::Signal;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::{announce_streams, tell_systemd, tls};
use crate::base::shutdown::Shutdown;
use crate::base::time::now;
use crate::config::diff::taking_effect;
use crate::config::rollback::rolled_back;
use crate::config::settings::Settings;
use crate::config::{LoadError, Loaded};
use crate::engine::process::set_limits;
use crate::engine::supervise::unit::Unit;
use crate::http;
use crate::model::ids::StreamName;
use crate::model::status::RolledBack;
use crate::outputs::recordings::Recordings;
use crate::service::probation::{self, Probation, Verdict, probations};
use crate::service::reloads::{Asked, Changes, Refused};
use crate::service::topology::Topology;

/// A disk that takes longer than this to give the file has lost it.
const READ_WITHIN: Duration = Duration::from_secs(10);

/// Where the configuration comes from, and what it changes outside.
pub struct Source {
    pub load: Box<dyn Fn() -> Result<Loaded, LoadError> + Send + Sync>,
    /// The configuration as it may be shown.
    pub show: fn(&Settings) -> String,
    /// What is written to the log from then on.
    pub set_level: Box<dyn Fn(LevelFilter) + Send + Sync>,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Source")
    }
}

/// Reads the configuration again when it is asked to.
#[derive(Debug)]
pub(super) struct Reader {
    pub source: Arc<Source>,
    pub topology: watch::Sender<Arc<Topology>>,
    pub state: Arc<http::State>,
    pub recordings: Option<Arc<Recordings>>,
    /// Of what runs.
    pub tasks: Vec<JoinHandle<()>>,
    pub asked: mpsc::Receiver<Asked>,
    pub hangups: Signal,
    pub probations: Vec<Probation>,
    /// A read that was given up: its thread waits for the disk, and no other shall.
    pub reading: Option<JoinHandle<Result<Loaded, Refused>>>,
}

impl Reader {
    /// Reads until the end. Returns the tasks that are to be waited for.
    pub(super) async fn read(mut self, mut shutdown: Shutdown) -> Vec<JoinHandle<()>> {
        tokio::select! {
            () = shutdown.requested() => {}
            never = self.serve() => match never {},
        }
        self.tasks
    }

    async fn serve(&mut self) -> Infallible {
        loop {
            let due = self.probations.iter().map(Probation::until).min();
            tokio::select! {
                Some(asked) = self.asked.recv() => {
                    let outcome = self.reload().await;
                    // Who asked may have gone.
                    asked.send(outcome).ok();
                }
                Some(()) = self.hangups.recv() => {
                    self.reload().await.ok();
                }
                () = until(due) => self.judge().await,
            }
        }
    }

    /// Reads the configuration again and puts it into force.
    async fn reload(&mut self) -> Result<Changes, Refused> {
        match NotifyState::monotonic_usec_now() {
            Ok(stamp) => tell_systemd(&[NotifyState::Reloading, stamp]),
            Err(error) => warn!("systemd cannot be told: {error}"),
        }
        let outcome = self.try_reload().await;
        let status = match &outcome {
            Ok(changes) => {
                info!("the configuration was read again: {}", changes.in_words());
                String::new()
            }
            Err(refused) => {
                warn!("the configuration is not used, nothing has changed: {}", refused.reason);
                refused.problems.iter().for_each(|problem| warn!("{problem}"));
                // The status is one line.
                let reason = refused.reason.replace('\n', " / ");
                format!("The configuration is not used: {reason}")
            }
        };
        tell_systemd(&[NotifyState::Ready, NotifyState::Status(&status)]);
        outcome
    }

    async fn try_reload(&mut self) -> Result<Changes, Refused> {
        let Loaded { settings, warnings, .. } = self.loaded().await?;
        warnings.iter().for_each(|warning| warn!("configuration: {warning}"));
        let running = Arc::clone(&self.topology.borrow().settings);
        let (settings, at_next_start) = taking_effect(&running, settings);
        (self.source.set_level)(settings.log.level);
        let changes = self.move_to(settings, Vec::new()).await;
        let warnings = warnings.iter().map(ToString::to_string).collect();
        Ok(Changes { at_next_start, warnings, ..changes })
    }

    /// The configuration as the file has it now.
    async fn loaded(&mut self) -> Result<Loaded, Refused> {
        if self.reading.as_ref().is_some_and(|reading| !reading.is_finished()) {
            return Err(plainly("its disk does not answer".to_owned()));
        }
        let (source, running) =
            (Arc::clone(&self.source), Arc::clone(&self.topology.borrow().settings));
        let mut reading = tokio::task::spawn_blocking(move || {
            let loaded = (source.load)().map_err(refused)?;
            // Files that the next start would stumble over.
            if loaded.settings.server.tls != running.server.tls {
                tls(&loaded.settings).map_err(|error| plainly(format!("{error:#}")))?;
            }
            Ok(loaded)
        });
        match tokio::time::timeout(READ_WITHIN, &mut reading).await {
            Ok(Ok(read)) => read,
            Ok(Err(panic)) => Err(plainly(panic.to_string())),
            Err(_) => {
                self.reading = Some(reading);
                Err(plainly(format!("it cannot be read within {} s", READ_WITHIN.as_secs())))
            }
        }
    }

    /// Puts settings into force.
    async fn move_to(&mut self, settings: Settings, rolled_back: Vec<RolledBack>) -> Changes {
        let before = Arc::clone(&self.topology.borrow());
        let diff = before.diff(&settings);
        let live: Vec<_> = before.units().into_iter().filter(|unit| unit.is_live()).collect();
        let text = (self.source.show)(&settings);
        set_limits(settings.limits);
        let (next, tasks) = before.next(settings, text, rolled_back).await;
        let next = Arc::new(next);
        self.topology.send_replace(Arc::clone(&next));
        self.state.set_topology(Arc::clone(&next));
        if let Some(recordings) = &self.recordings {
            recordings.apply(&next.settings.recordings, next.recordable()).await;
        }
        before.let_go(&next, &diff);
        let units = next.units();
        self.probations.retain(|probation| {
            units.iter().any(|unit| unit.supervisor.same_as(&probation.unit.supervisor))
        });
        self.probations.extend(probations(&before, &live, &next, now()));
        self.tasks.retain(|task| !task.is_finished());
        self.tasks.extend(tasks);
        announce_streams(&next.settings, |name| before.settings.has_stream(name));
        Changes::of(&diff, Vec::new())
    }

    /// Takes back the settings that have failed.
    async fn judge(&mut self) {
        let now = now();
        let mut failed = Vec::new();
        self.probations.retain(|probation| match probation.verdict(now) {
            Verdict::Open => true,
            Verdict::Dismissed => false,
            Verdict::Failed => {
                failed.push(probation.clone());
                false
            }
        });
        let topology = Arc::clone(&self.topology.borrow());
        let mut settings = Settings::clone(&topology.settings);
        let mut told = topology.rolled_back.clone();
        for probation in failed {
            let (what, reason) = (probation.what().to_owned(), reason(&probation));
            let feeds: Vec<_> = probation.unit.feed.iter().cloned().collect();
            let streams: Vec<_> = probation.unit.stream.iter().cloned().collect();
            match rolled_back(&settings, &probation.old, &feeds, &streams) {
                Some(merged) => {
                    warn!("{what} runs by its earlier setting again: by the new one {reason}");
                    settings = merged;
                    let streams = streams_of(&probation.unit, &settings);
                    told.push(RolledBack { what, reason, streams });
                }
                None => warn!(
                    "{what} has a new setting by which {reason}; the earlier one does not go \
                     together with the rest of the configuration"
                ),
            }
        }
        if told.len() > topology.rolled_back.len() {
            self.move_to(settings, told).await;
        }
    }
}

/// The streams that a unit is there for.
fn streams_of(unit: &Unit, settings: &Settings) -> Vec<StreamName> {
    let of_feed = unit.feed.iter().flat_map(|feed| settings.all_streams_of(feed));
    of_feed.chain(unit.stream.iter()).cloned().collect()
}

fn reason(probation: &Probation) -> String {
    let seconds = probation::TIMEOUT.as_secs();
    match probation.cause() {
        Some(cause) => format!("nothing came within {seconds} s: {cause}"),
        None => format!("nothing came within {seconds} s"),
    }
}

fn refused(error: LoadError) -> Refused {
    match &error {
        LoadError::Problems { origin, problems } => {
            let count = problems.len();
            let word = if count == 1 { "problem" } else { "problems" };
            Refused {
                reason: format!("{count} {word} in the configuration ({origin})"),
                problems: problems.iter().map(ToString::to_string).collect(),
            }
        }
        LoadError::Unreadable { source, .. } => plainly(format!("{error}: {source}")),
    }
}

fn plainly(reason: String) -> Refused {
    Refused { reason, problems: Vec::new() }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
