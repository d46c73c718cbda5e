//! Runs one pipeline for as long as it is wanted.
//!
//! The decisions are in [`super::lifecycle`] and [`super::demand`]; this task only
//! receives events, polls the pipeline and carries out the effects.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use log::{info, warn};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::demand::Demand;
use super::lifecycle::{Effect, Event, Lifecycle, Phase, Run};
use crate::base::time::now;
use crate::model::failure::Failure;
use crate::model::status::{Ended, Past, State};

/// How often the progress of a running pipeline is polled.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// How long a supervisor that ends waits for its pipeline to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);

/// A pipeline that can be started and stopped. A run reports on `events`, with its
/// run number; the last event of each run is [`Event::Ended`], sent after its devices
/// and sockets are released.
pub trait Pipeline: Send + 'static {
    /// Starts a run. It waits until an earlier run has ended.
    fn start(&mut self, run: Run, events: mpsc::Sender<Event>);
    /// Requests the end of the current run, if any.
    fn stop(&mut self);
    /// The progress of the current run.
    fn progress(&self) -> RunProgress;
    /// Called when the pipeline becomes wanted: acquires the feeds and flows that it
    /// depends on. They are kept between runs, until [`Pipeline::release`].
    fn acquire(&mut self) {}
    /// Called when the pipeline is not wanted any more: releases its dependencies.
    fn release(&mut self) {}
}

/// Progress of a run, to detect a stall.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RunProgress {
    /// Frames or bytes that have come out so far.
    Count(u64),
    /// No output is expected now, so that silence is no stall.
    AtRest,
}

/// The count of a source at the previous poll.
#[derive(Debug, Default)]
pub struct LastCount(AtomicU64);

impl LastCount {
    /// Whether `given`, the source's count in all, is the same as at the previous call.
    pub fn is_unchanged(&self, given: u64) -> bool {
        self.0.swap(given, Ordering::Relaxed) == given
    }
}

/// The handle to a supervisor. Dropping the last clone stops the pipeline.
#[derive(Clone, Debug)]
pub struct Supervisor {
    name: Arc<str>,
    /// Whether [`Supervisor::end`] was called on any clone.
    is_ending: Arc<AtomicBool>,
    requests: mpsc::Sender<Request>,
    report: watch::Receiver<Report>,
}

#[derive(Debug)]
enum Request {
    /// An operator wants a fresh start.
    Restart,
    /// An operator wants the next attempt now.
    TryNow,
    /// An operator has changed the settings; answered when it is done, so that later
    /// failures are kept.
    ForgetFailures(oneshot::Sender<()>),
    /// The watchdog checks that the task answers.
    Ping(oneshot::Sender<()>),
    /// Ends the task, even while handles exist.
    End,
}

/// The status of a pipeline.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    pub phase: Phase,
    pub run: Run,
    /// Failures in a row.
    pub failures: u32,
    /// The first failure since it was last live for ten seconds.
    pub first_failure: Option<Failure>,
    /// Failures since the supervisor began.
    pub all_failures: u32,
    /// The last failure of all, however long ago.
    pub last_failure: Option<Failure>,
    /// When and why the last few runs ended, oldest first.
    pub ends: Vec<(Instant, Failure)>,
    /// When the next timer of the supervisor is due, if any.
    pub deadline: Option<Instant>,
    /// Whether any frame or byte has ever come out.
    pub has_been_live: bool,
}

impl Supervisor {
    /// Starts the task; `name` is the pipeline's name in the log. `demand` decides from
    /// the number of readers in `needed` whether the pipeline is wanted.
    pub fn spawn(
        name: String,
        pipeline: Box<dyn Pipeline>,
        lifecycle: Lifecycle,
        demand: Demand,
        needed: watch::Receiver<usize>,
    ) -> (Self, JoinHandle<()>) {
        // Sixteen: requests come from operators; a full inbox only delays them.
        let (requests, inbox) = mpsc::channel(16);
        let (published, report) = watch::channel(report_of(&lifecycle));
        let shared_name = name.as_str().into();
        let task = Task { name, pipeline, lifecycle, demand, needed, published };
        let join = tokio::spawn(task.run(inbox));
        (Self { name: shared_name, is_ending: Arc::default(), requests, report }, join)
    }

    /// Requests a restart now; returns when the request is queued.
    pub async fn restart(&self) {
        // A closed inbox means that the supervisor has ended: nothing to restart.
        self.requests.send(Request::Restart).await.ok();
    }

    /// Requests the next attempt now instead of after the delay; returns when the
    /// request is queued.
    pub async fn try_now(&self) {
        // As with a restart: nothing to do if the supervisor has ended.
        self.requests.send(Request::TryNow).await.ok();
    }

    /// Forgets earlier failures, which resets the backoff; returns when that is done.
    pub async fn forget_failures(&self) {
        let (answer, answered) = oneshot::channel();
        if self.requests.send(Request::ForgetFailures(answer)).await.is_ok() {
            answered.await.ok();
        }
    }

    /// Stops the pipeline and ends the task; returns when the pipeline has released its
    /// devices and sockets, or after three seconds.
    pub async fn end(&self) {
        self.is_ending.store(true, Ordering::Relaxed);
        self.requests.send(Request::End).await.ok();
        self.requests.closed().await;
    }

    /// Whether [`Supervisor::end`] was called, so that no more work is due.
    pub fn is_ending(&self) -> bool {
        self.is_ending.load(Ordering::Relaxed)
    }

    /// Whether both are handles to the same supervisor.
    pub fn same_as(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.is_ending, &other.is_ending)
    }

    /// The pipeline's name in the log.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Waits for an answer of the task; false if the task has ended.
    pub async fn is_responsive(&self) -> bool {
        let (answer, answered) = oneshot::channel();
        self.requests.send(Request::Ping(answer)).await.is_ok() && answered.await.is_ok()
    }

    /// The latest report.
    pub fn report(&self) -> Report {
        self.report.borrow().clone()
    }

    /// Waits until the pipeline is down and has failed `times` in a row, or will not be
    /// retried. Never returns once the supervisor has ended.
    pub async fn wait_failed(&self, times: u32) {
        if self.watch().wait_for(|report| report.has_failed(times)).await.is_err() {
            // The supervisor has ended: no failure can come.
            std::future::pending::<()>().await;
        }
    }

    /// A receiver that is woken by changes of the report.
    pub fn watch(&self) -> watch::Receiver<Report> {
        self.report.clone()
    }
}

impl Report {
    /// The phase for the status API, with spans instead of instants.
    pub fn state(&self, now: Instant) -> State {
        match &self.phase {
            Phase::Idle => State::Idle,
            Phase::Starting { .. } => State::Starting,
            Phase::Live { since, .. } => State::Live { since: now.duration_since(*since) },
            Phase::Stopping { .. } => State::Stopping,
            Phase::Waiting { retry_at, cause } => State::Waiting {
                retry_in: retry_at.saturating_duration_since(now),
                cause: cause.clone(),
            },
            Phase::Ended { cause } => State::Ended { cause: cause.clone() },
        }
    }

    /// Failures and ends of runs for the status API, newest first.
    pub fn past(&self, now: Instant) -> Past {
        let ended = |(at, cause): &(Instant, Failure)| Ended {
            ago: now.saturating_duration_since(*at),
            cause: cause.clone(),
        };
        Past { restarts: self.all_failures, ends: self.ends.iter().rev().map(ended).collect() }
    }

    /// Whether it is down and has failed `times` in a row, or will not be retried.
    pub fn has_failed(&self, times: u32) -> bool {
        match self.phase {
            Phase::Waiting { .. } => self.failures >= times,
            Phase::Ended { .. } => true,
            Phase::Idle | Phase::Starting { .. } | Phase::Live { .. } | Phase::Stopping { .. } => {
                false
            }
        }
    }
}

fn report_of(lifecycle: &Lifecycle) -> Report {
    Report {
        phase: lifecycle.phase().clone(),
        run: lifecycle.run(),
        failures: lifecycle.failures(),
        first_failure: lifecycle.first_failure().cloned(),
        all_failures: lifecycle.all_failures(),
        last_failure: lifecycle.last_failure().cloned(),
        ends: lifecycle.ends().iter().cloned().collect(),
        deadline: lifecycle.deadline(),
        has_been_live: lifecycle.has_been_live(),
    }
}

struct Task {
    name: String,
    pipeline: Box<dyn Pipeline>,
    lifecycle: Lifecycle,
    demand: Demand,
    needed: watch::Receiver<usize>,
    published: watch::Sender<Report>,
}

impl Task {
    /// The inbox stays open until the pipeline has stopped; [`Supervisor::end`] waits
    /// for that.
    async fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        // Events have a channel of their own: a running pipeline holds its sender,
        // and that must not keep this task alive after the last handle is dropped.
        // Sixteen, as a run sends its first frame and its end only.
        let (sender, mut events) = mpsc::channel(16);
        let mut poll = tokio::time::interval(POLL_INTERVAL);
        poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        self.needed.mark_changed();
        loop {
            let deadline = earliest(self.lifecycle.deadline(), self.demand.deadline());
            let event = tokio::select! {
                request = requests.recv() => match request {
                    Some(Request::Restart) => Some(Event::Restart),
                    Some(Request::TryNow) => Some(Event::TryNow),
                    Some(Request::ForgetFailures(done)) => {
                        self.handle(Event::ForgetFailures, &sender);
                        done.send(()).ok();
                        None
                    }
                    Some(Request::Ping(answer)) => {
                        // The caller may have timed out.
                        answer.send(()).ok();
                        None
                    }
                    Some(Request::End) | None => break,
                },
                Some(event) = events.recv() => Some(event),
                Ok(()) = self.needed.changed() => {
                    let count = *self.needed.borrow_and_update();
                    self.demand.on_count(count, now())
                }
                _ = poll.tick(), if self.is_running() => Some(self.poll()),
                () = sleep_until(deadline) => self.demand.on_tick(now()).or(Some(Event::Tick)),
            };
            if let Some(event) = event {
                self.handle(event, &sender);
            }
        }
        self.stop(events).await;
    }

    /// Stops the current run and waits for its end, at most [`STOP_TIMEOUT`].
    async fn stop(mut self, mut events: mpsc::Receiver<Event>) {
        if !self.is_running() && !matches!(self.lifecycle.phase(), Phase::Stopping { .. }) {
            return;
        }
        self.pipeline.stop();
        let current = self.lifecycle.run();
        let ended = async {
            while let Some(event) = events.recv().await {
                if matches!(event, Event::Ended(run, _) if run == current) {
                    break;
                }
            }
        };
        tokio::time::timeout(STOP_TIMEOUT, ended).await.ok();
    }

    fn is_running(&self) -> bool {
        matches!(self.lifecycle.phase(), Phase::Starting { .. } | Phase::Live { .. })
    }

    fn poll(&self) -> Event {
        match self.pipeline.progress() {
            RunProgress::Count(count) => Event::Progress(self.lifecycle.run(), count),
            RunProgress::AtRest => Event::AtRest(self.lifecycle.run()),
        }
    }

    fn handle(&mut self, event: Event, sender: &mpsc::Sender<Event>) {
        let before = self.lifecycle.phase().clone();
        let is_reset = event == Event::ForgetFailures;
        match event {
            Event::Wanted => self.pipeline.acquire(),
            Event::Unwanted => self.pipeline.release(),
            Event::Restart
            | Event::TryNow
            | Event::ForgetFailures
            | Event::FirstOutput(_)
            | Event::Progress(..)
            | Event::AtRest(_)
            | Event::Ended(..)
            | Event::Tick => {}
        }
        match self.lifecycle.on(event, now()) {
            Some(Effect::Start(run)) => self.pipeline.start(run, sender.clone()),
            Some(Effect::Stop) => self.pipeline.stop(),
            None => {}
        }
        let report = report_of(&self.lifecycle);
        if is_reset {
            self.published.send_replace(report);
        } else if report.phase != before {
            self.log_change(&before, &report.phase);
            self.published.send_replace(report);
        }
    }

    /// One line per incident: the first failure, then each doubling.
    fn log_change(&self, before: &Phase, after: &Phase) {
        let name = self.name.as_str();
        match after {
            Phase::Live { .. } if matches!(before, Phase::Starting { .. }) => {
                info!(run = self.lifecycle.run(); "{name} is live");
            }
            Phase::Waiting { cause: Failure::Restart, .. } => {
                info!("{name} is restarted by an operator");
            }
            Phase::Waiting { cause, retry_at } => {
                let failures = self.lifecycle.failures();
                if failures.is_power_of_two() {
                    let wait_ms = retry_at.saturating_duration_since(now()).as_millis();
                    warn!(failures, wait_ms; "{name} failed: {cause}");
                }
            }
            Phase::Ended { cause } => warn!("{name} ended and is not restarted: {cause}"),
            Phase::Idle if matches!(before, Phase::Stopping { .. }) => info!("{name} is idle"),
            Phase::Idle | Phase::Live { .. } | Phase::Starting { .. } | Phase::Stopping { .. } => {}
        }
    }
}

fn earliest(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::Mode;
    use crate::engine::supervise::lifecycle::tests::LIMITS;
    use crate::engine::tests::fake::{Behaviour, Device};

    fn supervise(device: &Device) -> (Supervisor, watch::Sender<usize>) {
        let needed = watch::Sender::new(0);
        let (supervisor, _) = Supervisor::spawn(
            "feed test".to_owned(),
            device.pipeline(),
            Lifecycle::new(LIMITS),
            Demand::new(Mode::OnDemand),
            needed.subscribe(),
        );
        (supervisor, needed)
    }

    async fn advance(seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_broken_camera_is_retried_with_a_backoff() {
        let camera = Device::new(Behaviour::Fails(Failure::Ended));
        let (supervisor, needed) = supervise(&camera);
        needed.send_replace(1);
        advance(600).await;

        let starts = camera.starts().len();
        assert!((20..=30).contains(&starts), "{starts} starts in ten minutes");
        assert!(matches!(supervisor.report().phase, Phase::Waiting { .. }));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stalled_camera_is_restarted() {
        let camera = Device::new(Behaviour::Stalls);
        let (_supervisor, needed) = supervise(&camera);
        needed.send_replace(1);
        advance(8).await;
        assert_eq!(camera.starts().len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_no_stall_while_no_output_is_expected() {
        let camera = Device::new(Behaviour::Rests);
        let (supervisor, needed) = supervise(&camera);
        needed.send_replace(1);
        advance(600).await;
        assert_eq!(camera.starts().len(), 1);
        assert!(matches!(supervisor.report().phase, Phase::Live { .. }));
    }

    #[tokio::test(start_paused = true)]
    async fn a_camera_without_readers_is_stopped() {
        let camera = Device::new(Behaviour::Rests);
        let (_supervisor, needed) = supervise(&camera);
        needed.send_replace(1);
        advance(2).await;
        needed.send_replace(0);
        advance(2).await;
        assert_eq!(camera.stops(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn dependencies_stay_acquired_between_runs() {
        let camera = Device::new(Behaviour::Fails(Failure::Ended));
        let (_supervisor, needed) = supervise(&camera);
        needed.send_replace(1);
        for _ in 0..20 {
            advance(1).await;
            assert!(camera.is_acquired(), "a failure does not end the demand");
        }
        needed.send_replace(0);
        advance(1).await;
        assert!(!camera.is_acquired());
    }

    #[tokio::test(start_paused = true)]
    async fn a_supervisor_ends_on_request_while_handles_exist() {
        let camera = Device::new(Behaviour::Rests);
        let (supervisor, needed) = supervise(&camera);
        needed.send_replace(1);
        advance(1).await;

        let held = supervisor.clone();
        supervisor.end().await;
        assert_eq!(camera.stops(), 1);
        assert!(held.is_ending());
        held.restart().await;
        held.end().await;
        assert_eq!(camera.starts().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_pipeline_stops_when_the_last_handle_is_dropped() {
        let camera = Device::new(Behaviour::Rests);
        let (supervisor, needed) = supervise(&camera);
        needed.send_replace(1);
        advance(1).await;

        drop(supervisor);
        advance(1).await;
        assert_eq!(camera.stops(), 1);
    }
}
