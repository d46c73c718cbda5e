//! Pushes: streams sent to an RTMP receiver.
//!
//! A push that is started retries until it is stopped.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::preflight::{Preflight, preflight};
use crate::base::backoff::Backoff;
use crate::config::settings::{self, Mode};
use crate::engine::process::{Destination, Meter, PipelineFactory, PushParts};
use crate::engine::registry;
use crate::engine::supervise::demand::Demand;
use crate::engine::supervise::lifecycle::{Lifecycle, Limits, Phase};
use crate::engine::supervise::supervisor::{Report, Supervisor};
use crate::model::failure::Failure;
use crate::model::ids::PushName;
use crate::model::status::{self, State};

/// A receiver must accept media within the start timeout, and acknowledge bytes
/// within the stall timeout after that (TCP; RTMP acknowledgements come only
/// every few megabytes).
const PUSH_LIMITS: Limits = Limits {
    start_timeout: Duration::from_secs(10),
    stall_timeout: Duration::from_secs(5),
    stop_timeout: Duration::from_secs(4),
    backoff: Backoff::PUSH,
    spread: 0.0,
    stuck: Failure::nothing_taken,
};

/// One push.
#[derive(Clone, Debug)]
pub struct Push {
    settings: settings::Push,
    stream: Arc<registry::Stream>,
    wanted: watch::Sender<usize>,
    destination: watch::Sender<Option<Destination>>,
    meter: Arc<Meter>,
    supervisor: Supervisor,
}

impl Push {
    /// Starts the push's supervisor, but not yet the push; must be called on a
    /// runtime. The task ends when the push is dropped.
    pub fn spawn(
        push: &settings::Push,
        stream: &Arc<registry::Stream>,
        pipelines: &dyn PipelineFactory,
        spread: f64,
    ) -> (Arc<Self>, JoinHandle<()>) {
        let (settings, stream) = (push.clone(), Arc::clone(stream));
        let (destination, destinations) = watch::channel(destination(push, &stream));
        let meter = Arc::<Meter>::default();
        let pipeline = pipelines.push(PushParts {
            name: push.name.clone(),
            destination: destinations,
            stream: Arc::clone(stream.hub()),
            meter: Arc::clone(&meter),
        });
        let wanted = watch::Sender::new(0);
        let (supervisor, task) = Supervisor::spawn(
            format!("push {}", push.name),
            pipeline,
            Lifecycle::new(Limits { spread, ..PUSH_LIMITS }),
            Demand::new(Mode::Linger(Duration::ZERO)),
            wanted.subscribe(),
        );
        (Arc::new(Self { settings, stream, wanted, destination, meter, supervisor }), task)
    }

    /// The same push with settings that do not change what is sent.
    pub fn with_settings(&self, settings: &settings::Push) -> Arc<Self> {
        Arc::new(Self { settings: settings.clone(), ..self.clone() })
    }

    pub fn name(&self) -> &PushName {
        &self.settings.name
    }

    /// Its settings in the configuration.
    pub fn settings(&self) -> &settings::Push {
        &self.settings
    }

    pub fn supervisor(&self) -> &Supervisor {
        &self.supervisor
    }

    /// Whether it is started.
    pub fn is_wanted(&self) -> bool {
        *self.wanted.borrow() > 0
    }

    /// The stream that it sends.
    pub fn stream(&self) -> &registry::Stream {
        &self.stream
    }

    /// Starts to send to `destination`; retries until [`Push::stop`]. Clears
    /// earlier failures.
    pub async fn start(&self, destination: Destination) {
        self.supervisor.forget_failures().await;
        self.destination.send_replace(Some(destination));
        self.wanted.send_replace(1);
    }

    pub fn stop(&self) {
        self.wanted.send_replace(0);
    }

    /// Skips the delay before the next attempt.
    pub async fn retry_now(&self) {
        self.supervisor.try_now().await;
    }

    /// Clears earlier failures, because the destination or the stream changes.
    pub async fn forget_failures(&self) {
        self.supervisor.forget_failures().await;
    }

    pub fn state(&self, now: Instant) -> State {
        self.supervisor.report().state(now)
    }

    /// Waits for the result of the first attempt.
    ///
    /// # Errors
    /// The failure of the attempt.
    pub async fn first_attempt(&self) -> Result<(), Failure> {
        let settled =
            |report: &Report| matches!(report.phase, Phase::Live { .. }) || report.failures > 0;
        let mut watch = self.supervisor.watch();
        let report = watch.wait_for(settled).await.map(|report| report.clone());
        match report {
            Ok(Report { phase: Phase::Live { .. }, .. }) => Ok(()),
            Ok(Report { last_failure, .. }) => Err(last_failure.unwrap_or(Failure::Ended)),
            // The supervisor has ended: no report follows.
            Err(_) => std::future::pending().await,
        }
    }

    /// Measured values of its stream, with advice for the receiver.
    pub fn preflight(&self) -> Preflight {
        let init = self.stream.hub().init();
        let tracks = init.as_ref().map(|init| &init.tracks);
        let audio = self.destination.borrow().as_ref().map_or(self.settings.audio, |to| to.audio);
        preflight(tracks, self.stream.hub().measured(), audio)
    }

    /// Bytes sent since the push was made.
    pub fn bytes_out(&self) -> u64 {
        self.meter.total()
    }

    pub fn status(&self, now: Instant) -> status::Push {
        let report = self.supervisor.report();
        let is_live = matches!(report.phase, Phase::Live { .. });
        let to = self.destination.borrow().clone();
        let backup = to.as_ref().and_then(|to| to.backup.as_ref());
        let on_backup = backup.map(|_| self.meter.is_on_backup());
        let url = match (on_backup, backup) {
            (Some(true), Some(backup)) => Some(backup),
            _ => to.as_ref().map(|to| &to.url),
        };
        status::Push {
            name: self.settings.name.clone(),
            stream: self.settings.stream.clone(),
            state: report.state(now),
            bytes_out: self.meter.total(),
            bitrate: if is_live { self.meter.bitrate() } else { 0 },
            lost: self.meter.lost(),
            past: report.past(now),
            url: url.map(|url| url.shown(None)),
            on_backup,
            first_failure: report.first_failure,
            last_failure: report.last_failure,
        }
    }
}

/// The destination in the settings of a push of `stream`; `None` without a URL.
pub fn destination(push: &settings::Push, stream: &registry::Stream) -> Option<Destination> {
    let (url, key) = (push.url.as_ref()?, push.key.as_ref());
    Some(Destination {
        url: url.with_key(key),
        backup: push.backup.as_ref().map(|backup| backup.with_key(key)),
        key: push.key.clone().or_else(|| url.key()),
        ca: push.ca.clone(),
        audio: push.audio,
        nominal: stream.plan().nominal(),
    })
}
