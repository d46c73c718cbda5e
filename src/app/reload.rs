//! Reloads the configuration and swaps the topology.
//!
//! Reloads run one after the other. An invalid file changes nothing. If a unit was
//! live before a reload and is not live soon after it, its old settings are restored.

#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{LevelFilter, info, warn};
use sd_notify::NotifyState;
use tokio::signal::unix::Signal;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::{log_stream_urls, notify_systemd, tls};
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
use crate::service::reloads::{Changes, ReloadError, Request};
use crate::service::topology::Topology;

/// Time to read the file; a disk that takes longer is treated as broken.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// The source of the configuration, and the settings outside the topology.
pub struct Source {
    pub load: Box<dyn Fn() -> Result<Loaded, LoadError> + Send + Sync>,
    /// Prints the configuration without secrets.
    pub show: fn(&Settings) -> String,
    /// Sets the log level.
    pub set_level: Box<dyn Fn(LevelFilter) + Send + Sync>,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Source")
    }
}

/// The task that reloads the configuration on request.
#[derive(Debug)]
pub(super) struct Reloader {
    pub source: Arc<Source>,
    pub topology: watch::Sender<Arc<Topology>>,
    pub state: Arc<http::State>,
    pub recordings: Option<Arc<Recordings>>,
    /// The tasks of all units.
    pub tasks: Vec<JoinHandle<()>>,
    pub requests: mpsc::Receiver<Request>,
    pub hangups: Signal,
    pub probations: Vec<Probation>,
    /// A read that has timed out and still blocks its thread: no second one is started.
    pub reading: Option<JoinHandle<Result<Loaded, ReloadError>>>,
}

impl Reloader {
    /// Runs until shutdown. Returns the tasks that must be joined.
    pub(super) async fn run(mut self, mut shutdown: Shutdown) -> Vec<JoinHandle<()>> {
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
                Some(request) = self.requests.recv() => {
                    let outcome = self.reload().await;
                    // The requester may have given up.
                    request.send(outcome).ok();
                }
                Some(()) = self.hangups.recv() => {
                    self.reload().await.ok();
                }
                () = until(due) => self.judge().await,
            }
        }
    }

    /// Reloads the configuration.
    async fn reload(&mut self) -> Result<Changes, ReloadError> {
        match NotifyState::monotonic_usec_now() {
            Ok(stamp) => notify_systemd(&[NotifyState::Reloading, stamp]),
            Err(error) => warn!("cannot notify systemd: {error}"),
        }
        let outcome = self.try_reload().await;
        let status = match &outcome {
            Ok(changes) => {
                info!("configuration reloaded: {}", changes.summary());
                String::new()
            }
            Err(refused) => {
                warn!("configuration rejected, nothing has changed: {}", refused.reason);
                refused.problems.iter().for_each(|problem| warn!("{problem}"));
                // The status is one line.
                let reason = refused.reason.replace('\n', " / ");
                format!("The configuration was rejected: {reason}")
            }
        };
        notify_systemd(&[NotifyState::Ready, NotifyState::Status(&status)]);
        outcome
    }

    async fn try_reload(&mut self) -> Result<Changes, ReloadError> {
        let Loaded { settings, warnings, .. } = self.load().await?;
        warnings.iter().for_each(|warning| warn!("configuration: {warning}"));
        let running = Arc::clone(&self.topology.borrow().settings);
        let (settings, at_next_start) = taking_effect(&running, settings);
        (self.source.set_level)(settings.log.level);
        let changes = self.move_to(settings, Vec::new()).await;
        let warnings = warnings.iter().map(ToString::to_string).collect();
        Ok(Changes { at_next_start, warnings, ..changes })
    }

    /// Loads the configuration.
    async fn load(&mut self) -> Result<Loaded, ReloadError> {
        if self.reading.as_ref().is_some_and(|reading| !reading.is_finished()) {
            return Err(plain_error("its disk does not answer".to_owned()));
        }
        let (source, running) =
            (Arc::clone(&self.source), Arc::clone(&self.topology.borrow().settings));
        let mut reading = tokio::task::spawn_blocking(move || {
            let loaded = (source.load)().map_err(reload_error)?;
            // Files on which the next start would fail.
            if loaded.settings.server.tls != running.server.tls {
                tls(&loaded.settings).map_err(|error| plain_error(format!("{error:#}")))?;
            }
            Ok(loaded)
        });
        match tokio::time::timeout(READ_TIMEOUT, &mut reading).await {
            Ok(Ok(read)) => read,
            Ok(Err(panic)) => Err(plain_error(panic.to_string())),
            Err(_) => {
                self.reading = Some(reading);
                Err(plain_error(format!("it cannot be read within {} s", READ_TIMEOUT.as_secs())))
            }
        }
    }

    /// Swaps the topology for that of `settings`.
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
        before.disconnect_removed(&next, &diff);
        let units = next.units();
        self.probations.retain(|probation| {
            units.iter().any(|unit| unit.supervisor.same_as(&probation.unit.supervisor))
        });
        self.probations.extend(probations(&before, &live, &next, now()));
        self.tasks.retain(|task| !task.is_finished());
        self.tasks.extend(tasks);
        log_stream_urls(&next.settings, |name| before.settings.has_stream(name));
        Changes::from_diff(&diff, Vec::new())
    }

    /// Restores the old settings of units that have failed.
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
        let mut rolled_back_units = topology.rolled_back.clone();
        for probation in failed {
            let (what, reason) = (probation.unit_name().to_owned(), reason(&probation));
            let feeds: Vec<_> = probation.unit.feed.iter().cloned().collect();
            let streams: Vec<_> = probation.unit.stream.iter().cloned().collect();
            match rolled_back(&settings, &probation.old, &feeds, &streams) {
                Some(merged) => {
                    warn!(
                        "{what} was rolled back to its earlier settings: with the new ones {reason}"
                    );
                    settings = merged;
                    let streams = streams_of(&probation.unit, &settings);
                    rolled_back_units.push(RolledBack { what, reason, streams });
                }
                None => warn!(
                    "{what} does not work with its new settings: {reason}; the earlier ones do not \
                     fit the rest of the configuration"
                ),
            }
        }
        if rolled_back_units.len() > topology.rolled_back.len() {
            self.move_to(settings, rolled_back_units).await;
        }
    }
}

/// The streams of a unit.
fn streams_of(unit: &Unit, settings: &Settings) -> Vec<StreamName> {
    let of_feed = unit.feed.iter().flat_map(|feed| settings.all_streams_of(feed));
    of_feed.chain(unit.stream.iter()).cloned().collect()
}

fn reason(probation: &Probation) -> String {
    let seconds = probation::TIMEOUT.as_secs();
    match probation.cause() {
        Some(cause) => format!("nothing arrived within {seconds} s. {}", cause.say()),
        None => format!("nothing arrived within {seconds} s."),
    }
}

fn reload_error(error: LoadError) -> ReloadError {
    match &error {
        LoadError::Problems { origin, problems } => {
            let count = problems.len();
            let word = if count == 1 { "problem" } else { "problems" };
            ReloadError {
                reason: format!("{count} {word} in the configuration ({origin})"),
                problems: problems.iter().map(ToString::to_string).collect(),
            }
        }
        LoadError::Unreadable { source, .. } => plain_error(format!("{error}: {source}")),
    }
}

fn plain_error(reason: String) -> ReloadError {
    ReloadError { reason, problems: Vec::new() }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
