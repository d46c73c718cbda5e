//! Feeds, each as a run in the host of its family.

use std::sync::Arc;

use log::debug;
use tokio::sync::{mpsc, watch};

use super::encoders::Encoders;
use super::family::{Family, FamilyRun};
use super::listeners::{FirstSign, OtherSound, ToFeed, ToStream};
use super::reports::Reports;
use crate::engine::controls;
use crate::engine::plan::Plan;
use crate::engine::shared::{self, SharedFeed};
use crate::engine::supervise::lifecycle::{Event, Run};
use crate::engine::supervise::runs::{Runs, Stop};
use crate::engine::supervise::supervisor::{GivenBefore, Pipeline, Pulse};
use crate::engine::work::Work;
use crate::hub;
use crate::hub::bytes::{self, Begin, ByteRing, Read, Reader};
use crate::model::status::{Encoder, Failure};
use crate::wire::Order;

/// Runs a feed and its only stream.
#[derive(Debug)]
pub struct FeedPipeline {
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
    /// Each run follows the plan as it stands at its start, and tells the
    /// encoder that it takes on `chosen`.
    pub fn new(
        plan: watch::Receiver<Plan>,
        stream: Arc<hub::Stream>,
        encoders: Arc<Encoders>,
        chosen: watch::Sender<Option<Encoder>>,
    ) -> Self {
        let family = Family::of(&plan.borrow().feed);
        let reports = Reports::default();
        let job = WholeJob { plan, stream, family, encoders, chosen, reports };
        Self { job, runs: Runs::default() }
    }
}

impl Pipeline for FeedPipeline {
    fn start(&mut self, run: Run, news: mpsc::Sender<Event>) {
        let job = self.job.clone();
        let sign = FirstSign::new(run, news.clone());
        self.runs.start(run, news, move |stop| job.run(sign, stop));
    }

    fn stop(&mut self) {
        self.runs.stop();
    }

    fn pulse(&self) -> Pulse {
        Pulse::Count(self.job.stream.chunks())
    }
}

impl WholeJob {
    async fn run(self, sign: FirstSign, mut stop: Stop) -> Failure {
        let plan = self.plan.borrow().clone();
        let controls = tokio::select! {
            controls = controls::list(&plan.feed) => controls,
            () = stop.requested() => return Failure::Ended,
        };
        let work = Work::Whole { plan: plan.clone(), controls };
        let listener = ToStream {
            stream: Arc::clone(&self.stream),
            feed: plan.feed.name.clone(),
            sign,
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
            never = self.encoders.keep(&run, &plan) => match never {},
        };
        run.close().await;
        self.stream.end_run();
        failure
    }
}

/// Returns when the run ends, or is to end.
async fn ended(run: &FamilyRun, stop: &mut Stop) -> Failure {
    tokio::select! {
        failure = run.ended() => failure,
        () = stop.requested() => Failure::Ended,
    }
}

/// Of the streams that share a feed, each with the feed. They come and go; one
/// is always there.
pub type Plans = watch::Receiver<Vec<watch::Sender<Plan>>>;

/// What a feed is made from.
#[derive(Clone, Debug)]
pub enum Base {
    /// Another feed of its family.
    Feed(Arc<SharedFeed>, Plans),
    /// A feed of bytes.
    Bytes(Arc<ByteRing>),
}

/// While it lives, what a feed is made from is needed.
#[derive(Debug)]
enum Hold {
    Feed(#[expect(dead_code, reason = "being alive is what it does")] shared::Need),
    Bytes(#[expect(dead_code, reason = "being alive is what it does")] bytes::Need),
}

impl Base {
    fn need(&self) -> Hold {
        match self {
            Base::Feed(feed, _) => Hold::Feed(feed.need()),
            Base::Bytes(flow) => Hold::Bytes(flow.need()),
        }
    }

    /// What it has given since the start of the service.
    fn given(&self) -> u64 {
        match self {
            Base::Feed(feed, _) => feed.frames(),
            Base::Bytes(flow) => flow.bytes_in(),
        }
    }
}

/// Runs a feed that others take from.
#[derive(Debug)]
pub struct CapturePipeline {
    job: CaptureJob,
    runs: Runs,
    /// Kept while the feed is wanted, between runs too.
    need: Option<Hold>,
    /// What it is made from had given this when the supervisor asked last.
    given_before: GivenBefore,
}

#[derive(Clone, Debug)]
struct CaptureJob {
    plans: Plans,
    feed: Arc<SharedFeed>,
    family: Arc<Family>,
    /// What it is made from, if from another feed.
    base: Option<Base>,
    reports: Reports,
}

impl CapturePipeline {
    /// Each run follows the plans as they stand at its start; all have the same feed.
    pub fn new(
        plans: Plans,
        feed: Arc<SharedFeed>,
        family: Arc<Family>,
        base: Option<Base>,
    ) -> Self {
        let job = CaptureJob { plans, feed, family, base, reports: Reports::default() };
        Self { job, runs: Runs::default(), need: None, given_before: GivenBefore::default() }
    }
}

impl Pipeline for CapturePipeline {
    fn start(&mut self, run: Run, news: mpsc::Sender<Event>) {
        let job = self.job.clone();
        self.runs.start(run, news.clone(), move |stop| job.run(run, news, stop));
    }

    fn stop(&mut self) {
        self.runs.stop();
    }

    /// Frames that came; at rest while that gives nothing which it is made from.
    fn pulse(&self) -> Pulse {
        if let Some(base) = &self.job.base {
            let given = base.given();
            if self.given_before.is_still(given) {
                return Pulse::AtRest;
            }
        }
        Pulse::Count(self.job.feed.frames())
    }

    fn acquire(&mut self) {
        let base = self.job.base.as_ref();
        self.need = self.need.take().or_else(|| base.map(Base::need));
    }

    fn release(&mut self) {
        self.need = None;
    }
}

impl CaptureJob {
    async fn run(self, run: Run, news: mpsc::Sender<Event>, mut stop: Stop) -> Failure {
        let Some(plan) = lead(&self.plans) else {
            return Failure::Build("has no stream".to_owned());
        };
        self.feed.begin_run();
        let sign = || FirstSign::new(run, news.clone());
        match &self.base {
            Some(Base::Feed(_, plans)) => self.make(plan, plans.clone(), sign(), stop).await,
            Some(Base::Bytes(flow)) => self.unpack(plan, flow, sign, &mut stop).await,
            None => self.capture(plan, sign(), stop).await,
        }
    }

    async fn begin(&self, work: &Work, sign: FirstSign) -> Result<FamilyRun, Failure> {
        let (feed, reports) = (Arc::clone(&self.feed), self.reports.clone());
        let listener = ToFeed { feed, sign, reports, frames: 0, dropped: 0 };
        self.family.begin(work, Box::new(listener)).await
    }

    async fn capture(&self, plan: Plan, sign: FirstSign, mut stop: Stop) -> Failure {
        let controls = tokio::select! {
            controls = controls::list(&plan.feed) => controls,
            () = stop.requested() => return Failure::Ended,
        };
        let disordered = self.feed.given().borrow().is_some_and(|given| given.is_disordered());
        let work = Work::Capture { plan, controls, disordered };
        let run = match self.begin(&work, sign).await {
            Ok(run) => run,
            Err(failure) => return failure,
        };
        let failure = ended(&run, &mut stop).await;
        run.close().await;
        failure
    }

    /// Makes it from another feed, which may change meanwhile.
    async fn make(&self, plan: Plan, mut plans: Plans, sign: FirstSign, mut stop: Stop) -> Failure {
        let Some(mut base) = first(&mut plans) else {
            return Failure::Build("what it is made from has no stream".to_owned());
        };
        let mut work =
            Work::Made { plan: plan.clone(), base: Box::new(base.borrow_and_update().clone()) };
        let run = match self.begin(&work, sign).await {
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
            run.follow(&work).await;
        };
        run.close().await;
        failure
    }

    /// Has bytes taken apart; those of a new source by a new pipeline.
    async fn unpack(
        &self,
        plan: Plan,
        flow: &Arc<ByteRing>,
        sign: impl Fn() -> FirstSign,
        stop: &mut Stop,
    ) -> Failure {
        let mut runs = flow.runs();
        let mut begin = flow.decodable();
        let work = Work::Unpack { plan };
        loop {
            runs.mark_unchanged();
            // Before the pipeline is there: nothing of the beginning is lost.
            let mut reader = flow.join_uncounted(begin);
            let run = match self.begin(&work, sign()).await {
                Ok(run) => run,
                Err(failure) => return failure,
            };
            let over = tokio::select! {
                biased;
                _ = runs.changed() => None,
                failure = ended(&run, stop) => Some(failure),
                failure = pass_on(flow, &mut reader, &run) => Some(failure),
            };
            run.close().await;
            if let Some(failure) = over {
                return failure;
            }
            // It has begun while the pipeline of the last one was closed.
            begin = Begin::Run;
        }
    }
}

/// What is read as fast as it can be would be played as fast.
const NO_CLOCK: &str = "the `pipe` is a file, which has no clock; `file` plays one in real time";

/// Gives a run the bytes that it takes apart. Returns when there are no more.
async fn pass_on(flow: &ByteRing, reader: &mut Reader, run: &FamilyRun) -> Failure {
    loop {
        match reader.next().await {
            Read::Bytes(_) if flow.is_clockless() => return Failure::File(NO_CLOCK.to_owned()),
            Read::Bytes(bytes) => run.send(Order::Data, bytes).await,
            Read::Skipped(lost) => debug!("{lost} bytes came too fast to be looked into"),
            Read::End => return Failure::Ended,
        }
    }
}

/// The plan that decides in which form a camera is captured: one that can take
/// its H.264 as it is, where there is any.
fn lead(plans: &Plans) -> Option<Plan> {
    let plans: Vec<Plan> = plans.borrow().iter().map(|plan| plan.borrow().clone()).collect();
    plans.iter().find(|plan| plan.may_pass_through()).or(plans.first()).cloned()
}

fn first(plans: &mut Plans) -> Option<watch::Receiver<Plan>> {
    plans.borrow_and_update().first().map(watch::Sender::subscribe)
}
