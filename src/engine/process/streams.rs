//! Streams of shared feeds; each runs in the host of its feed's family.

use std::convert::Infallible;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use super::encoders::Encoders;
use super::family::{Family, FamilyRun};
use super::listeners::{FirstFrame, OtherSound, SoundTo, ToStream};
use super::reports::Reports;
use crate::engine::dependencies::{Dependencies, Dependency};
use crate::engine::plan::Plan;
use crate::engine::shared::SharedFeed;
use crate::engine::supervise::lifecycle::{Event, Run};
use crate::engine::supervise::runs::{Runs, Stop};
use crate::engine::supervise::supervisor::{LastCount, Pipeline, RunProgress};
use crate::engine::work::Work;
use crate::hub;
use crate::model::failure::Failure;
use crate::model::given::Given;
use crate::model::status::Encoder;

/// A shared feed and the host in which it runs.
#[derive(Clone, Debug)]
pub struct FeedSource {
    pub feed: Arc<SharedFeed>,
    pub family: Arc<Family>,
}

/// A stream of a shared feed.
#[derive(Debug)]
pub struct StreamParts {
    /// Its changes are applied also while the stream runs.
    pub plan: watch::Receiver<Plan>,
    pub stream: Arc<hub::Stream>,
    pub from: FeedSource,
    /// The feed of the sound, if it is another one.
    pub sound: Option<FeedSource>,
    /// Receives the encoder in use.
    pub chosen: watch::Sender<Option<Encoder>>,
}

/// Runs a stream of a shared feed.
#[derive(Debug)]
pub(super) struct StreamPipeline {
    job: Job,
    runs: Runs,
    dependencies: Dependencies,
    /// The feed's frames at the previous poll.
    last_count: LastCount,
}

#[derive(Clone, Debug)]
struct Job {
    plan: watch::Receiver<Plan>,
    stream: Arc<hub::Stream>,
    from: FeedSource,
    /// The feed of the sound, if it is another one.
    sound: Option<FeedSource>,
    encoders: Arc<Encoders>,
    chosen: watch::Sender<Option<Encoder>>,
    reports: Reports,
}

impl StreamParts {
    pub(in crate::engine) fn dependencies(&self) -> Dependencies {
        let feeds = std::iter::once(&self.from).chain(&self.sound);
        Dependencies::on(feeds.map(|from| Dependency::Feed(Arc::clone(&from.feed))))
    }
}

impl StreamPipeline {
    pub(super) fn new(parts: StreamParts, encoders: Arc<Encoders>) -> Self {
        let dependencies = parts.dependencies();
        let StreamParts { plan, stream, from, sound, chosen } = parts;
        let reports = Reports::default();
        let job = Job { plan, stream, from, sound, encoders, chosen, reports };
        Self { job, runs: Runs::default(), dependencies, last_count: LastCount::default() }
    }
}

impl Pipeline for StreamPipeline {
    fn start(&mut self, run: Run, events: mpsc::Sender<Event>) {
        let job = self.job.clone();
        let first_frame = FirstFrame::new(run, events.clone());
        self.runs.start(run, events, move |stop| job.run(first_frame, stop));
    }

    fn stop(&mut self) {
        self.runs.stop();
    }

    /// Frames that came out; at rest while the feed gives none.
    fn progress(&self) -> RunProgress {
        let given = self.job.from.feed.frames();
        if self.last_count.is_unchanged(given) {
            return RunProgress::AtRest;
        }
        RunProgress::Count(self.job.stream.chunks())
    }

    fn acquire(&mut self) {
        self.dependencies.acquire();
    }

    fn release(&mut self) {
        self.dependencies.release();
    }
}

impl Job {
    async fn run(mut self, first_frame: FirstFrame, mut stop: Stop) -> Failure {
        let mut sound = self.sound.as_ref().map(|from| from.feed.given());
        let other_sound = tokio::select! {
            other_sound = wait_sound(&mut sound) => other_sound,
            () = stop.requested() => return Failure::Ended,
        };
        let plan = self.plan.borrow_and_update().clone();
        let other = OtherSound::default();
        let listener = ToStream {
            stream: Arc::clone(&self.stream),
            feed: plan.feed.name.clone(),
            first_frame,
            chosen: self.chosen.clone(),
            reports: self.reports.clone(),
            dropped: 0,
            other_sound: other.clone(),
        };
        let work = Work::Stream { plan, other_sound };
        let run = match self.from.family.begin(&work, Box::new(listener)).await {
            Ok(run) => run,
            Err(failure) => return failure,
        };
        let adding = self.sound.clone().map(|from| {
            let (request_stop, stop) = Stop::pair();
            let (stream, reports) = (Arc::clone(&self.stream), self.reports.clone());
            let to = SoundTo { stream, reports, other_sound: other };
            (request_stop, tokio::spawn(add_sound(from, to, stop)))
        });
        let failure = tokio::select! {
            failure = run.ended() => failure,
            never = self.update(&run, sound) => match never {},
            () = stop.requested() => Failure::Ended,
        };
        run.close().await;
        if let Some((request_stop, adding)) = adding {
            drop(request_stop);
            adding.await.ok();
        }
        self.stream.end_run();
        failure
    }

    /// Sends changes of the plan and of the other feed's media to the run.
    async fn update(
        &mut self,
        run: &FamilyRun,
        mut sound: Option<watch::Receiver<Option<Given>>>,
    ) -> Infallible {
        let plan = self.plan.borrow().clone();
        self.encoders.send_choice(run, &plan).await;
        loop {
            tokio::select! {
                Ok(()) = self.plan.changed() => {}
                () = wait_changed(&mut sound) => {}
            }
            let plan = self.plan.borrow_and_update().clone();
            // The encoder first: the run restarts its pipeline at the plan.
            self.encoders.send_choice(run, &plan).await;
            let other_sound = wait_sound(&mut sound).await;
            run.set_work(&Work::Stream { plan, other_sound }).await;
        }
    }
}

/// Adds the sound of another feed to a stream until a stop is requested. After a failure
/// it starts again with the next run of that feed.
async fn add_sound(from: FeedSource, to: SoundTo, mut stop: Stop) {
    let work = Work::Sound { feed: from.feed.name().clone() };
    let mut runs = from.feed.runs();
    loop {
        runs.mark_unchanged();
        if let Ok(run) = from.family.begin(&work, Box::new(to.clone())).await {
            let is_stopped = tokio::select! {
                _ = run.ended() => false,
                () = stop.requested() => true,
            };
            run.close().await;
            if is_stopped {
                return;
            }
        }
        tokio::select! {
            _ = runs.changed() => {}
            () = stop.requested() => return,
        }
    }
}

/// Waits until it is known whether the other feed has sound; none without another feed.
async fn wait_sound(known: &mut Option<watch::Receiver<Option<Given>>>) -> Option<bool> {
    let known = known.as_mut()?;
    loop {
        if let Some(given) = *known.borrow_and_update() {
            return Some(given.sound);
        }
        if known.changed().await.is_err() {
            // The feed was dropped, and this task will be stopped.
            std::future::pending::<()>().await;
        }
    }
}

/// Waits until the media of the other feed change; pending without another feed.
async fn wait_changed(known: &mut Option<watch::Receiver<Option<Given>>>) {
    let changed = match known {
        Some(known) => known.changed().await.is_ok(),
        None => false,
    };
    if !changed {
        std::future::pending::<()>().await;
    }
}
