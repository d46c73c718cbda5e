//! Pushes: streams on their way to a receiver elsewhere.
//!
//! A push that is wanted is never given up; it retries until somebody stops it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::preflight::{Preflight, preflight};
use crate::base::backoff::Backoff;
use crate::config::settings::{self, Mode};
use crate::engine::process::{Destination, Meter, PushPipeline};
use crate::engine::registry;
use crate::engine::supervise::demand::Demand;
use crate::engine::supervise::lifecycle::{Lifecycle, Limits, Phase};
use crate::engine::supervise::supervisor::{Report, Supervisor};
use crate::model::ids::PushName;
use crate::model::status::{self, Failure, State};

/// A receiver must take media this soon after the connection begins, and a
/// byte every few seconds after that. Acknowledgements on the RTMP level come
/// only every few megabytes and prove nothing.
const PUSH_LIMITS: Limits = Limits {
    start_timeout: Duration::from_secs(10),
    stall_timeout: Duration::from_secs(5),
    stop_timeout: Duration::from_secs(4),
    backoff: Backoff::PUSH,
    spread: 0.0,
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
        spread: f64,
    ) -> (Arc<Self>, JoinHandle<()>) {
        let (settings, stream) = (push.clone(), Arc::clone(stream));
        let (destination, destinations) = watch::channel(destination(push, &stream));
        let hub = Arc::clone(stream.hub());
        let pipeline = PushPipeline::new(push.name.to_string(), destinations, hub);
        let meter = pipeline.meter();
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

    /// The same push, by settings that change nothing of what is sent.
    pub fn with(&self, settings: &settings::Push) -> Arc<Self> {
        Arc::new(Self { settings: settings.clone(), ..self.clone() })
    }

    pub fn name(&self) -> &PushName {
        &self.settings.name
    }

    /// As the configuration has it.
    pub fn settings(&self) -> &settings::Push {
        &self.settings
    }

    pub fn supervisor(&self) -> &Supervisor {
        &self.supervisor
    }

    /// Whether somebody wants it to send.
    pub fn is_wanted(&self) -> bool {
        *self.wanted.borrow() > 0
    }

    /// The stream that it sends.
    pub fn stream(&self) -> &registry::Stream {
        &self.stream
    }

    /// Sends to `destination` from now on, for as long as it takes. What failed
    /// before counts no more.
    pub async fn start(&self, destination: Destination) {
        self.supervisor.forget_failures().await;
        self.destination.send_replace(Some(destination));
        self.wanted.send_replace(1);
    }

    pub fn stop(&self) {
        self.wanted.send_replace(0);
    }

    /// Ends a wait between two attempts.
    pub async fn try_now(&self) {
        self.supervisor.try_now().await;
    }

    /// Forgets why it failed: it will send elsewhere, or something else.
    pub async fn forget(&self) {
        self.supervisor.forget_failures().await;
    }

    pub fn state(&self, now: Instant) -> State {
        self.supervisor.report().state(now)
    }

    /// Waits until it sends for the first time.
    ///
    /// # Errors
    /// It failed before that; says how.
    pub async fn first_try(&self) -> Result<(), Failure> {
        let settled =
            |report: &Report| matches!(report.phase, Phase::Live { .. }) || report.failures > 0;
        let mut watch = self.supervisor.watch();
        let report = watch.wait_for(settled).await.map(|report| report.clone());
        match report {
            Ok(Report { phase: Phase::Live { .. }, .. }) => Ok(()),
            Ok(Report { last_failure, .. }) => Err(last_failure.unwrap_or(Failure::Ended)),
            // The supervisor is gone: nothing comes any more.
            Err(_) => std::future::pending().await,
        }
    }

    /// Whether its stream is fit for the receiver.
    pub fn preflight(&self) -> Preflight {
        let init = self.stream.hub().init();
        let tracks = init.as_ref().map(|init| &init.tracks);
        let audio = self.destination.borrow().as_ref().map_or(self.settings.audio, |to| to.audio);
        preflight(tracks, self.stream.hub().measured(), audio)
    }

    /// Bytes sent since the start of the service.
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

/// Where the settings of a push lead, and what of `stream` goes there; nowhere
/// without a URL.
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
