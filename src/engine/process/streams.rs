//! Streams of shared feeds, each as a run in the host of its feed's family.

use std::convert::Infallible;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use super::encoders::Encoders;
use super::family::{Family, FamilyRun};
use super::listeners::{FirstSign, OtherSound, SoundTo, ToStream};
use super::reports::Reports;
use crate::engine::plan::Plan;
use crate::engine::shared::{Need, SharedFeed};
use crate::engine::supervise::lifecycle::{Event, Run};
use crate::engine::supervise::runs::{Runs, Stop};
use crate::engine::supervise::supervisor::{GivenBefore, Pipeline, Pulse};
use crate::engine::work::Work;
use crate::hub;
use crate::model::given::Given;
use crate::model::status::{Encoder, Failure};

/// A feed that others take from, and where it runs.
#[derive(Clone, Debug)]
pub struct FeedSource {
    pub feed: Arc<SharedFeed>,
    pub family: Arc<Family>,
}

/// Runs a stream of a shared feed.
#[derive(Debug)]
pub struct StreamPipeline {
    job: Job,
    runs: Runs,
    /// Kept while the stream is wanted, between runs too.
    needs: Vec<Need>,
    /// What the feed had given when the supervisor asked last.
    given_before: GivenBefore,
}

#[derive(Clone, Debug)]
struct Job {
    plan: watch::Receiver<Plan>,
    stream: Arc<hub::Stream>,
    from: FeedSource,
    /// Where the sound comes from, if not from there as well.
    sound: Option<FeedSource>,
    encoders: Arc<Encoders>,
    chosen: watch::Sender<Option<Encoder>>,
    reports: Reports,
}

impl StreamPipeline {
    /// Follows the plan, also while it runs, and tells the encoder that it
    /// takes on `chosen`. `sound` gives the sound, where another feed does.
    pub fn new(
        plan: watch::Receiver<Plan>,
        stream: Arc<hub::Stream>,
        (from, sound): (FeedSource, Option<FeedSource>),
        encoders: Arc<Encoders>,
        chosen: watch::Sender<Option<Encoder>>,
    ) -> Self {
        let reports = Reports::default();
        let job = Job { plan, stream, from, sound, encoders, chosen, reports };
        Self { job, runs: Runs::default(), needs: Vec::new(), given_before: GivenBefore::default() }
    }
}

impl Pipeline for StreamPipeline {
    fn start(&mut self, run: Run, news: mpsc::Sender<Event>) {
        let job = self.job.clone();
        let sign = FirstSign::new(run, news.clone());
        self.runs.start(run, news, move |stop| job.run(sign, stop));
    }

    fn stop(&mut self) {
        self.runs.stop();
    }

    /// Frames that came out; at rest while the feed gives none.
    fn pulse(&self) -> Pulse {
        let given = self.job.from.feed.frames();
        if self.given_before.is_still(given) {
            return Pulse::AtRest;
        }
        Pulse::Count(self.job.stream.chunks())
    }

    fn acquire(&mut self) {
        if self.needs.is_empty() {
            let feeds = std::iter::once(&self.job.from).chain(&self.job.sound);
            self.needs = feeds.map(|from| from.feed.need()).collect();
        }
    }

    fn release(&mut self) {
        self.needs.clear();
    }
}

impl Job {
    async fn run(mut self, sign: FirstSign, mut stop: Stop) -> Failure {
        let mut sound = self.sound.as_ref().map(|from| from.feed.given());
        let other_sound = tokio::select! {
            other_sound = sounds(&mut sound) => other_sound,
            () = stop.requested() => return Failure::Ended,
        };
        let plan = self.plan.borrow_and_update().clone();
        let other = OtherSound::default();
        let listener = ToStream {
            stream: Arc::clone(&self.stream),
            feed: plan.feed.name.clone(),
            sign,
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
            let (ask, stop) = Stop::pair();
            let (stream, reports) = (Arc::clone(&self.stream), self.reports.clone());
            let to = SoundTo { stream, reports, other_sound: other };
            (ask, tokio::spawn(add_sound(from, to, stop)))
        });
        let failure = tokio::select! {
            failure = run.ended() => failure,
            never = self.steer(&run, sound) => match never {},
            () = stop.requested() => Failure::Ended,
        };
        run.close().await;
        if let Some((ask, adding)) = adding {
            drop(ask);
            adding.await.ok();
        }
        self.stream.end_run();
        failure
    }

    /// Tells the run of changes: of the plan, and of what the other feed gives.
    async fn steer(
        &mut self,
        run: &FamilyRun,
        mut sound: Option<watch::Receiver<Option<Given>>>,
    ) -> Infallible {
        let plan = self.plan.borrow().clone();
        self.encoders.tell(run, &plan).await;
        loop {
            tokio::select! {
                Ok(()) = self.plan.changed() => {}
                () = news(&mut sound) => {}
            }
            let plan = self.plan.borrow_and_update().clone();
            // First what it is encoded with: the run begins anew with that.
            self.encoders.tell(run, &plan).await;
            let other_sound = sounds(&mut sound).await;
            run.follow(&Work::Stream { plan, other_sound }).await;
        }
    }
}

/// Adds the sound of another feed to what a stream has, until it is to stop. Where
/// that fails it begins again with the feed.
async fn add_sound(from: FeedSource, to: SoundTo, mut stop: Stop) {
    let work = Work::Sound { feed: from.feed.name().clone() };
    let mut runs = from.feed.runs();
    loop {
        runs.mark_unchanged();
        if let Ok(run) = from.family.begin(&work, Box::new(to.clone())).await {
            let is_over = tokio::select! {
                _ = run.ended() => false,
                () = stop.requested() => true,
            };
            run.close().await;
            if is_over {
                return;
            }
        }
        tokio::select! {
            _ = runs.changed() => {}
            () = stop.requested() => return,
        }
    }
}

/// Whether another feed gives sound, as soon as that is known; nothing where
/// there is no other feed.
async fn sounds(known: &mut Option<watch::Receiver<Option<Given>>>) -> Option<bool> {
    let known = known.as_mut()?;
    loop {
        if let Some(given) = *known.borrow_and_update() {
            return Some(given.sound);
        }
        if known.changed().await.is_err() {
            // The feed is gone, and this task will be told to end.
            std::future::pending::<()>().await;
        }
    }
}

/// Returns when another feed gives something else.
async fn news(known: &mut Option<watch::Receiver<Option<Given>>>) {
    let changed = match known {
        Some(known) => known.changed().await.is_ok(),
        None => false,
    };
    if !changed {
        std::future::pending::<()>().await;
    }
}
