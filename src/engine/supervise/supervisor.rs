//! Runs one pipeline for as long as it is wanted.
//!
//! The decisions are in [`super::lifecycle`] and [`super::demand`]; this task
//! only listens, asks, and does what it is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use log::{info, warn};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::demand::Demand;
use super::lifecycle::{Effect, Event, Lifecycle, Phase, Run};
use crate::model::status::{Ended, Failure, Past, State};

/// How often a running pipeline is asked how far it has come.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// How long the end of a supervisor waits for its pipeline.
const LEAVING: Duration = Duration::from_secs(3);

/// A pipeline that can be started and stopped. What happens to it in between
/// arrives on `news`, marked with the run it belongs to; every run ends with
/// [`Event::Ended`], which means that it has let go of its devices and sockets.
pub trait Pipeline: Send + 'static {
    /// Begins a run. If an earlier one still holds on, the new one waits for it.
    fn start(&mut self, run: Run, news: mpsc::Sender<Event>);
    /// Ends the run that is going on, if any.
    fn stop(&mut self);
    /// How far the run has come.
    fn pulse(&self) -> Pulse;
    /// Somebody wants it from now on, whether a run goes on or not: what it
    /// needs of others is to be there.
    fn hold(&mut self) {}
    /// Nobody wants it any more.
    fn let_go(&mut self) {}
}

/// A sign of life.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pulse {
    /// So many frames or bytes have come out so far.
    Count(u64),
    /// Nothing is asked of it now, so that silence means nothing.
    AtRest,
}

/// What a source had given when it was asked last.
#[derive(Debug, Default)]
pub struct GivenBefore(AtomicU64);

impl GivenBefore {
    /// Whether the source has given no more since, with `given` in all.
    pub fn is_still(&self, given: u64) -> bool {
        self.0.swap(given, Ordering::Relaxed) == given
    }
}

/// The handle to a supervisor. Dropping every clone stops the pipeline.
#[derive(Clone, Debug)]
pub struct Supervisor {
    what: Arc<str>,
    /// Whether it was told to end, by whomever.
    ended: Arc<AtomicBool>,
    requests: mpsc::Sender<Request>,
    report: watch::Receiver<Report>,
}

#[derive(Debug)]
enum Request {
    /// An operator wants a fresh start.
    Restart,
    /// An operator wants the next attempt now.
    TryNow,
    /// An operator has changed what it does; answered when that has happened, so
    /// that what comes next is not forgotten with it.
    Forget(oneshot::Sender<()>),
    /// Somebody wants to know whether the task still listens.
    Answer(oneshot::Sender<()>),
    /// It is needed no more, whoever still holds it.
    End,
}

/// Where a pipeline stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    pub phase: Phase,
    pub run: Run,
    /// Failures in a row.
    pub failures: u32,
    /// The first failure since it was live for long.
    pub first_failure: Option<Failure>,
    /// Failures since the supervisor began.
    pub all_failures: u32,
    /// The last failure of all, however long ago.
    pub last_failure: Option<Failure>,
    /// When and why runs ended: the newest few, the last one at the end.
    pub ends: Vec<(Instant, Failure)>,
    /// Until when the supervisor does something by itself, if ever.
    pub deadline: Option<Instant>,
    /// Whether anything has ever come out.
    pub has_lived: bool,
}

impl Supervisor {
    /// Starts the task; `what` names the pipeline in the log. The pipeline is
    /// wanted as `demand` makes it of the numbers that `needed` shows.
    pub fn spawn(
        what: String,
        pipeline: impl Pipeline,
        lifecycle: Lifecycle,
        demand: Demand,
        needed: watch::Receiver<usize>,
    ) -> (Self, JoinHandle<()>) {
        // Sixteen: operators type slowly; a full inbox only makes them wait.
        let (requests, inbox) = mpsc::channel(16);
        let (published, report) = watch::channel(report_of(&lifecycle));
        let name = what.as_str().into();
        let task = Task { what, pipeline, lifecycle, demand, needed, published };
        let join = tokio::spawn(task.run(inbox));
        (Self { what: name, ended: Arc::default(), requests, report }, join)
    }

    /// Asks for a fresh start now; returns once the request is queued.
    pub async fn restart(&self) {
        // A closed inbox means the service is going down; nothing is owed then.
        self.requests.send(Request::Restart).await.ok();
    }

    /// Ends a wait between attempts; returns once the request is queued.
    pub async fn try_now(&self) {
        // As with a restart: a closed inbox is owed nothing.
        self.requests.send(Request::TryNow).await.ok();
    }

    /// Forgets earlier failures, so that the delays between attempts begin anew;
    /// returns when that has happened.
    pub async fn forget(&self) {
        let (answer, answered) = oneshot::channel();
        if self.requests.send(Request::Forget(answer)).await.is_ok() {
            answered.await.ok();
        }
    }

    /// Stops the pipeline for good; returns when it has let go of its devices
    /// and sockets, or hangs.
    pub async fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
        self.requests.send(Request::End).await.ok();
        self.requests.closed().await;
    }

    /// Whether somebody has told it to end: then nothing is owed any more.
    pub fn is_told_to_end(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// Whether both are handles to the same one.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.ended, &other.ended)
    }

    /// The pipeline's name in the log.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// Returns once the task has answered: whether it is there at all.
    pub async fn answers(&self) -> bool {
        let (answer, answered) = oneshot::channel();
        self.requests.send(Request::Answer(answer)).await.is_ok() && answered.await.is_ok()
    }

    pub fn report(&self) -> Report {
        self.report.borrow().clone()
    }

    /// Returns when the pipeline is down and has failed `times` in a row, or
    /// will not be tried again.
    pub async fn fails(&self, times: u32) {
        if self.watch().wait_for(|report| report.is_hopeless(times)).await.is_err() {
            // The supervisor is gone: nothing fails any more.
            std::future::pending::<()>().await;
        }
    }

    /// Changes of the report wake the receiver.
    pub fn watch(&self) -> watch::Receiver<Report> {
        self.report.clone()
    }
}

impl Report {
    /// The phase with spans instead of instants, as people are told.
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
            Phase::Over { cause } => State::Over { cause: cause.clone() },
        }
    }

    /// Failures, and why runs ended, as people are told.
    pub fn past(&self, now: Instant) -> Past {
        let ended = |(at, cause): &(Instant, Failure)| Ended {
            ago: now.saturating_duration_since(*at),
            cause: cause.clone(),
        };
        Past { restarts: self.all_failures, ends: self.ends.iter().rev().map(ended).collect() }
    }

    /// Whether it is down and has failed `times` in a row, or will not be tried again.
    pub fn is_hopeless(&self, times: u32) -> bool {
        match self.phase {
            Phase::Waiting { .. } => self.failures >= times,
            Phase::Over { .. } => true,
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
        has_lived: lifecycle.has_lived(),
    }
}

struct Task<P> {
    what: String,
    pipeline: P,
    lifecycle: Lifecycle,
    demand: Demand,
    needed: watch::Receiver<usize>,
    published: watch::Sender<Report>,
}

impl<P: Pipeline> Task<P> {
    /// The inbox is open until the pipeline has let go.
    async fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        // News has a channel of its own: a running pipeline holds its sender,
        // and that must not keep this task alive once every handle is gone.
        // Sixteen, as a run tells of its first frame and its end only.
        let (tell, mut news) = mpsc::channel(16);
        let mut ask = tokio::time::interval(ASK_EVERY);
        ask.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        self.needed.mark_changed();
        loop {
            let deadline = earliest(self.lifecycle.deadline(), self.demand.deadline());
            let event = tokio::select! {
                request = requests.recv() => match request {
                    Some(Request::Restart) => Some(Event::Restart),
                    Some(Request::TryNow) => Some(Event::TryNow),
                    Some(Request::Forget(done)) => {
                        self.handle(Event::Forget, &tell);
                        done.send(()).ok();
                        None
                    }
                    Some(Request::Answer(to)) => {
                        // Who asked may have lost patience.
                        to.send(()).ok();
                        None
                    }
                    Some(Request::End) | None => break,
                },
                Some(event) = news.recv() => Some(event),
                Ok(()) = self.needed.changed() => {
                    let count = *self.needed.borrow_and_update();
                    self.demand.on_count(count, now())
                }
                _ = ask.tick(), if self.is_running() => Some(self.ask()),
                () = until(deadline) => self.demand.on_tick(now()).or(Some(Event::Tick)),
            };
            if let Some(event) = event {
                self.handle(event, &tell);
            }
        }
        self.leave(news).await;
    }

    /// Stops what runs, and waits a while until it has let go.
    async fn leave(mut self, mut news: mpsc::Receiver<Event>) {
        if !self.is_running() && !matches!(self.lifecycle.phase(), Phase::Stopping { .. }) {
            return;
        }
        self.pipeline.stop();
        let own = self.lifecycle.run();
        let ended = async {
            while let Some(event) = news.recv().await {
                if matches!(event, Event::Ended(run, _) if run == own) {
                    break;
                }
            }
        };
        tokio::time::timeout(LEAVING, ended).await.ok();
    }

    fn is_running(&self) -> bool {
        matches!(self.lifecycle.phase(), Phase::Starting { .. } | Phase::Live { .. })
    }

    fn ask(&self) -> Event {
        match self.pipeline.pulse() {
            Pulse::Count(count) => Event::Progress(self.lifecycle.run(), count),
            Pulse::AtRest => Event::AtRest(self.lifecycle.run()),
        }
    }

    fn handle(&mut self, event: Event, tell: &mpsc::Sender<Event>) {
        let before = self.lifecycle.phase().clone();
        let forgets = event == Event::Forget;
        match event {
            Event::Wanted => self.pipeline.hold(),
            Event::Unwanted => self.pipeline.let_go(),
            Event::Restart
            | Event::TryNow
            | Event::Forget
            | Event::FirstSign(_)
            | Event::Progress(..)
            | Event::AtRest(_)
            | Event::Ended(..)
            | Event::Tick => {}
        }
        match self.lifecycle.on(event, now()) {
            Some(Effect::Start(run)) => self.pipeline.start(run, tell.clone()),
            Some(Effect::Stop) => self.pipeline.stop(),
            None => {}
        }
        let report = report_of(&self.lifecycle);
        if forgets {
            self.published.send_replace(report);
        } else if report.phase != before {
            self.tell_people(&before, &report.phase);
            self.published.send_replace(report);
        }
    }

    /// One line per incident: the first failure, then each doubling.
    fn tell_people(&self, before: &Phase, after: &Phase) {
        let what = self.what.as_str();
        match after {
            Phase::Live { .. } if matches!(before, Phase::Starting { .. }) => {
                info!(run = self.lifecycle.run(); "{what} is live");
            }
            Phase::Waiting { cause: Failure::Restart, .. } => {
                info!("{what} is restarted by an operator");
            }
            Phase::Waiting { cause, retry_at } => {
                let failures = self.lifecycle.failures();
                if failures.is_power_of_two() {
                    let wait_ms = retry_at.saturating_duration_since(now()).as_millis();
                    warn!(failures, wait_ms; "{what} failed: {cause}");
                }
            }
            Phase::Over { cause } => warn!("{what} is over: {cause}"),
            Phase::Idle if matches!(before, Phase::Stopping { .. }) => info!("{what} rests"),
            Phase::Idle | Phase::Live { .. } | Phase::Starting { .. } | Phase::Stopping { .. } => {}
        }
    }
}

/// The clock of the runtime, which tests may pause.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn earliest(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    use super::*;
    use crate::base::backoff::Backoff;
    use crate::config::settings::Mode;
    use crate::engine::supervise::lifecycle::Limits;

    const LIMITS: Limits = Limits {
        first_sign: Duration::from_secs(10),
        silence: Duration::from_secs(5),
        letting_go: Duration::from_secs(3),
        backoff: Backoff::PUSH,
        spread: 0.0,
    };

    /// Counts what it is told to do. With `breaks`, it ends as soon as it is
    /// started; otherwise it gives one frame and then falls silent.
    #[derive(Clone, Default)]
    struct Camera {
        breaks: bool,
        rests: bool,
        starts: Arc<AtomicU32>,
        stops: Arc<AtomicU32>,
        holds: Arc<AtomicBool>,
    }

    impl Pipeline for Camera {
        fn start(&mut self, run: Run, news: mpsc::Sender<Event>) {
            self.starts.fetch_add(1, Ordering::Relaxed);
            let event =
                if self.breaks { Event::Ended(run, Failure::Ended) } else { Event::FirstSign(run) };
            news.try_send(event).unwrap();
        }

        fn stop(&mut self) {
            self.stops.fetch_add(1, Ordering::Relaxed);
        }

        fn pulse(&self) -> Pulse {
            if self.rests { Pulse::AtRest } else { Pulse::Count(1) }
        }

        fn hold(&mut self) {
            self.holds.store(true, Ordering::Relaxed);
        }

        fn let_go(&mut self) {
            self.holds.store(false, Ordering::Relaxed);
        }
    }

    fn supervise(camera: &Camera) -> (Supervisor, watch::Sender<usize>) {
        let needed = watch::Sender::new(0);
        let (supervisor, _) = Supervisor::spawn(
            "feed test".to_owned(),
            camera.clone(),
            Lifecycle::new(LIMITS),
            Demand::new(Mode::OnDemand),
            needed.subscribe(),
        );
        (supervisor, needed)
    }

    async fn pass(seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_broken_camera_is_tried_again_but_never_hammered() {
        let camera = Camera { breaks: true, ..Camera::default() };
        let (supervisor, needed) = supervise(&camera);
        needed.send_replace(1);
        pass(600).await;

        let starts = camera.starts.load(Ordering::Relaxed);
        assert!((20..=30).contains(&starts), "{starts} starts in ten minutes");
        assert!(matches!(supervisor.report().phase, Phase::Waiting { .. }));
    }

    #[tokio::test(start_paused = true)]
    async fn a_camera_that_falls_silent_is_started_again() {
        let camera = Camera::default();
        let (_supervisor, needed) = supervise(&camera);
        needed.send_replace(1);
        pass(8).await;
        assert_eq!(camera.starts.load(Ordering::Relaxed), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_means_nothing_while_nothing_is_asked_for() {
        let camera = Camera { rests: true, ..Camera::default() };
        let (supervisor, needed) = supervise(&camera);
        needed.send_replace(1);
        pass(600).await;
        assert_eq!(camera.starts.load(Ordering::Relaxed), 1);
        assert!(matches!(supervisor.report().phase, Phase::Live { .. }));
    }

    #[tokio::test(start_paused = true)]
    async fn a_camera_that_nobody_needs_is_stopped() {
        let camera = Camera { rests: true, ..Camera::default() };
        let (_supervisor, needed) = supervise(&camera);
        needed.send_replace(1);
        pass(2).await;
        needed.send_replace(0);
        pass(2).await;
        assert_eq!(camera.stops.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_pipeline_needs_is_held_between_its_runs_too() {
        let camera = Camera { breaks: true, ..Camera::default() };
        let (_supervisor, needed) = supervise(&camera);
        needed.send_replace(1);
        for _ in 0..20 {
            pass(1).await;
            assert!(camera.holds.load(Ordering::Relaxed), "a failure is no end of the wish");
        }
        needed.send_replace(0);
        pass(1).await;
        assert!(!camera.holds.load(Ordering::Relaxed));
    }

    #[tokio::test(start_paused = true)]
    async fn a_supervisor_that_is_told_to_end_does_so_whoever_holds_it() {
        let camera = Camera { rests: true, ..Camera::default() };
        let (supervisor, needed) = supervise(&camera);
        needed.send_replace(1);
        pass(1).await;

        let held = supervisor.clone();
        supervisor.end().await;
        assert_eq!(camera.stops.load(Ordering::Relaxed), 1);
        assert!(held.is_told_to_end());
        held.restart().await;
        held.end().await;
        assert_eq!(camera.starts.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_pipeline_stops_when_nobody_holds_the_supervisor() {
        let camera = Camera { rests: true, ..Camera::default() };
        let (supervisor, needed) = supervise(&camera);
        needed.send_replace(1);
        pass(1).await;

        drop(supervisor);
        pass(1).await;
        assert_eq!(camera.stops.load(Ordering::Relaxed), 1);
    }
}
