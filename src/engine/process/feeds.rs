//! Feeds; each runs in the host of its family.

use std::sync::Arc;

use log::debug;
use tokio::sync::{mpsc, watch};

use super::encoders::Encoders;
use super::family::{Family, FamilyRun};
use super::listeners::{FirstFrame, OtherSound, ToFeed, ToStream};
use super::reports::Reports;
use crate::engine::controls;
use crate::engine::dependencies::{Dependencies, Dependency};
use crate::engine::plan::Plan;
use crate::engine::shared::SharedFeed;
use crate::engine::supervise::lifecycle::{Event, Run};
use crate::engine::supervise::runs::{Runs, Stop};
use crate::engine::supervise::supervisor::{LastCount, Pipeline, RunProgress};
use crate::engine::work::Work;
use crate::hub;
use crate::hub::bytes::{Begin, ByteRing, Read, Reader};
use crate::model::failure::Failure;
use crate::model::fault::Fault;
use crate::model::status::Encoder;
use crate::wire::Order;

/// A feed and its only stream.
#[derive(Debug)]
pub struct FeedParts {
    /// Each run takes the plan at its start.
    pub plan: watch::Receiver<Plan>,
    pub stream: Arc<hub::Stream>,
    /// Receives the encoder in use.
    pub chosen: watch::Sender<Option<Encoder>>,
}

/// Runs a feed and its only stream.
#[derive(Debug)]
pub(super) struct FeedPipeline {
    job: WholeJob,
    runs: Runs,
}

#[derive(Clone, Debug)]
struct WholeJob {
    plan: watch::Receiver<Plan>,
    stream: Arc<hub::Stream>,
    family: Arc<Family>,
    encoders: Arc<Encoders>,
    chosen: watch::Sender<Option<Encoder>>,
    reports: Reports,
}

impl FeedPipeline {
    pub(super) fn new(parts: FeedParts, encoders: Arc<Encoders>) -> Self {
        let FeedParts { plan, stream, chosen } = parts;
        let family = Family::of(&plan.borrow().feed);
        let reports = Reports::default();
        let job = WholeJob { plan, stream, family, encoders, chosen, reports };
        Self { job, runs: Runs::default() }
    }
}

impl Pipeline for FeedPipeline {
    fn start(&mut self, run: Run, events: mpsc::Sender<Event>) {
        let job = self.job.clone();
        let first_frame = FirstFrame::new(run, events.clone());
        self.runs.start(run, events, move |stop| job.run(first_frame, stop));
    }

    fn stop(&mut self) {
        self.runs.stop();
    }

    fn progress(&self) -> RunProgress {
        RunProgress::Count(self.job.stream.chunks())
    }
}

impl WholeJob {
    async fn run(self, first_frame: FirstFrame, mut stop: Stop) -> Failure {
        let plan = self.plan.borrow().clone();
        let controls = tokio::select! {
            controls = controls::list(&plan.feed) => controls,
            () = stop.requested() => return Failure::Ended,
        };
        let work = Work::Whole { plan: plan.clone(), controls };
        let listener = ToStream {
            stream: Arc::clone(&self.stream),
            feed: plan.feed.name.clone(),
            first_frame,
            chosen: self.chosen,
            reports: self.reports,
            dropped: 0,
            other_sound: OtherSound::default(),
        };
        let run = match self.family.begin(&work, Box::new(listener)).await {
            Ok(run) => run,
            Err(failure) => return failure,
        };
        let failure = tokio::select! {
            failure = ended(&run, &mut stop) => failure,
            never = self.encoders.send_choice_and_wait(&run, &plan) => match never {},
        };
        run.close().await;
        self.stream.end_run();
        failure
    }
}

/// Waits until the run ends or a stop is requested.
async fn ended(run: &FamilyRun, stop: &mut Stop) -> Failure {
    tokio::select! {
        failure = run.ended() => failure,
        () = stop.requested() => Failure::Ended,
    }
}

/// The plans of the streams that share a feed. They change with reloads; there is always
/// at least one.
pub type Plans = watch::Receiver<Vec<watch::Sender<Plan>>>;

/// The source of a feed that is made from another one.
#[derive(Clone, Debug)]
pub enum Base {
    /// Another feed of its family.
    Feed(Arc<SharedFeed>, Plans),
    /// A byte feed.
    Bytes(Arc<ByteRing>),
}

impl Base {
    pub(in crate::engine) fn dependency(&self) -> Dependency {
        match self {
            Base::Feed(feed, _) => Dependency::Feed(Arc::clone(feed)),
            Base::Bytes(flow) => Dependency::Bytes(Arc::clone(flow)),
        }
    }

    /// Frames or bytes that it has given since the start of the service.
    fn given(&self) -> u64 {
        match self {
            Base::Feed(feed, _) => feed.frames(),
            Base::Bytes(flow) => flow.bytes_in(),
        }
    }
}

/// A feed that has a pipeline of its own.
#[derive(Debug)]
pub struct CaptureParts {
    /// Each run takes the plans at its start; all have the same feed.
    pub plans: Plans,
    pub feed: Arc<SharedFeed>,
    pub family: Arc<Family>,
    /// The feed that it is made from, if any.
    pub base: Option<Base>,
}

/// Runs a feed that has a pipeline of its own.
#[derive(Debug)]
pub(super) struct CapturePipeline {
    job: CaptureJob,
    runs: Runs,
    dependencies: Dependencies,
    /// The count of the base at the previous poll.
    last_count: LastCount,
}

#[derive(Clone, Debug)]
struct CaptureJob {
    plans: Plans,
    feed: Arc<SharedFeed>,
    family: Arc<Family>,
    /// The feed that it is made from, if any.
    base: Option<Base>,
    reports: Reports,
}

impl CapturePipeline {
    pub(super) fn new(parts: CaptureParts) -> Self {
        let CaptureParts { plans, feed, family, base } = parts;
        let dependencies = Dependencies::on(base.as_ref().map(Base::dependency));
        let job = CaptureJob { plans, feed, family, base, reports: Reports::default() };
        Self { job, runs: Runs::default(), dependencies, last_count: LastCount::default() }
    }
}

impl Pipeline for CapturePipeline {
    fn start(&mut self, run: Run, events: mpsc::Sender<Event>) {
        let job = self.job.clone();
        self.runs.start(run, events.clone(), move |stop| job.run(run, events, stop));
    }

    fn stop(&mut self) {
        self.runs.stop();
    }

    /// Captured frames; at rest while the base gives nothing.
    fn progress(&self) -> RunProgress {
        if let Some(base) = &self.job.base {
            let given = base.given();
            if self.last_count.is_unchanged(given) {
                return RunProgress::AtRest;
            }
        }
        RunProgress::Count(self.job.feed.frames())
    }

    fn acquire(&mut self) {
        self.dependencies.acquire();
    }

    fn release(&mut self) {
        self.dependencies.release();
    }
}

impl CaptureJob {
    async fn run(self, run: Run, events: mpsc::Sender<Event>, mut stop: Stop) -> Failure {
        let Some(plan) = lead(&self.plans) else {
            return Fault::NoPlan.into();
        };
        self.feed.begin_run();
        let first_frame = || FirstFrame::new(run, events.clone());
        match &self.base {
            Some(Base::Feed(_, plans)) => self.make(plan, plans.clone(), first_frame(), stop).await,
            Some(Base::Bytes(flow)) => self.unpack(plan, flow, first_frame, &mut stop).await,
            None => self.capture(plan, first_frame(), stop).await,
        }
    }

    async fn begin(&self, work: &Work, first_frame: FirstFrame) -> Result<FamilyRun, Failure> {
        let (feed, reports) = (Arc::clone(&self.feed), self.reports.clone());
        let listener = ToFeed { feed, first_frame, reports, frames: 0, dropped: 0 };
        self.family.begin(work, Box::new(listener)).await
    }

    async fn capture(&self, plan: Plan, first_frame: FirstFrame, mut stop: Stop) -> Failure {
        let controls = tokio::select! {
            controls = controls::list(&plan.feed) => controls,
            () = stop.requested() => return Failure::Ended,
        };
        let disordered = self.feed.given().borrow().is_some_and(|given| given.is_disordered());
        let work = Work::Capture { plan, controls, disordered };
        let run = match self.begin(&work, first_frame).await {
            Ok(run) => run,
            Err(failure) => return failure,
        };
        let failure = ended(&run, &mut stop).await;
        run.close().await;
        failure
    }

    /// Makes it from another feed, whose plan may change meanwhile.
    async fn make(
        &self,
        plan: Plan,
        mut plans: Plans,
        first_frame: FirstFrame,
        mut stop: Stop,
    ) -> Failure {
        let Some(mut base) = first(&mut plans) else {
            return Fault::NoPlan.into();
        };
        let mut work =
            Work::Made { plan: plan.clone(), base: Box::new(base.borrow_and_update().clone()) };
        let run = match self.begin(&work, first_frame).await {
            Ok(run) => run,
            Err(failure) => return failure,
        };
        let failure = loop {
            tokio::select! {
                failure = ended(&run, &mut stop) => break failure,
                Ok(()) = plans.changed() => base = first(&mut plans).unwrap_or(base),
                Ok(()) = base.changed() => {}
            }
            work =
                Work::Made { plan: plan.clone(), base: Box::new(base.borrow_and_update().clone()) };
            run.set_work(&work).await;
        };
        run.close().await;
        failure
    }

    /// Demultiplexes a byte feed; each run of that gets a new pipeline.
    async fn unpack(
        &self,
        plan: Plan,
        flow: &Arc<ByteRing>,
        first_frame: impl Fn() -> FirstFrame,
        stop: &mut Stop,
    ) -> Failure {
        let mut runs = flow.runs();
        let mut begin = flow.decodable();
        let work = Work::Unpack { plan };
        loop {
            runs.mark_unchanged();
            // Joined before the pipeline starts, so that the beginning is not lost.
            let mut reader = flow.join_uncounted(begin);
            let run = match self.begin(&work, first_frame()).await {
                Ok(run) => run,
                Err(failure) => return failure,
            };
            let end = tokio::select! {
                biased;
                _ = runs.changed() => None,
                failure = ended(&run, stop) => Some(failure),
                failure = send_bytes(flow, &mut reader, &run) => Some(failure),
            };
            run.close().await;
            if let Some(failure) = end {
                return failure;
            }
            // The new run may have begun while the previous pipeline was closed.
            begin = Begin::Run;
        }
    }
}

/// A file is read as fast as possible, and would be played as fast.
const NO_CLOCK: &str = "the `pipe` is a file, which has no clock; `file` plays one in real time";

/// Sends the bytes of a feed to a run. Returns at their end.
async fn send_bytes(flow: &ByteRing, reader: &mut Reader, run: &FamilyRun) -> Failure {
    loop {
        match reader.next().await {
            Read::Bytes(_) if flow.is_clockless() => return Failure::File(NO_CLOCK.to_owned()),
            Read::Bytes(bytes) => run.send(Order::Data, bytes).await,
            Read::Skipped(lost) => debug!(lost; "the demultiplexer is too slow; bytes dropped"),
            Read::End => return Failure::Ended,
        }
    }
}

/// The plan that decides the form in which a camera is captured: the first that can pass
/// H.264 through, else the first.
fn lead(plans: &Plans) -> Option<Plan> {
    let plans: Vec<Plan> = plans.borrow().iter().map(|plan| plan.borrow().clone()).collect();
    plans.iter().find(|plan| plan.may_pass_through()).or(plans.first()).cloned()
}

fn first(plans: &mut Plans) -> Option<watch::Receiver<Plan>> {
    plans.borrow_and_update().first().map(watch::Sender::subscribe)
}
