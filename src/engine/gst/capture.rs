//! A feed that several streams share: captured once, encoded by each of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{mpsc, watch};

use super::derive::{self, Base, Hold};
use super::feed::carry;
use super::film;
use super::outlet::Outlet;
use super::pull;
use super::tap::{FirstSign, Target};
use super::unpack;
use super::v4l2;
use crate::config::settings::Source;
use crate::engine::controls::Desk;
use crate::engine::lifecycle::{Event, Run};
use crate::engine::plan::{Capture, Form, Given, Pictures, Plan};
use crate::engine::runs::{Runs, Stop};
use crate::engine::supervisor::{Pipeline, Pulse};
use crate::model::status::Failure;

/// Of the streams that share a feed, each with the feed. They come and go; one
/// is always there.
pub type Plans = watch::Receiver<Vec<watch::Sender<Plan>>>;

/// Runs the pipeline of a shared feed.
#[derive(Debug)]
pub struct CapturePipeline {
    job: Job,
    runs: Runs,
    /// Kept while the feed is wanted, between runs too.
    need: Option<Hold>,
    /// What the feed that it is made from had given when the supervisor asked last.
    given_before: AtomicU64,
}

#[derive(Clone, Debug)]
struct Job {
    plans: Plans,
    outlet: Arc<Outlet>,
    /// What it is made from, if from another feed.
    base: Option<Base>,
    desk: Desk,
}

impl CapturePipeline {
    /// Each run follows the plans as they stand at its start; all have the same feed.
    pub fn new(plans: Plans, outlet: Arc<Outlet>, base: Option<Base>) -> Self {
        let job = Job { plans, outlet, base, desk: Desk::default() };
        Self { job, runs: Runs::default(), need: None, given_before: AtomicU64::new(0) }
    }
}

impl Pipeline for CapturePipeline {
    fn start(&mut self, run: Run, news: mpsc::Sender<Event>) {
        let job = self.job.clone();
        let sign = FirstSign::new(run, news.clone());
        self.runs.start(run, news, move |stop| job.run(sign, stop));
    }

    fn stop(&mut self) {
        self.runs.stop();
    }

    /// Frames that came; at rest while the feed that it is made from gives none.
    fn pulse(&self) -> Pulse {
        if let Some(base) = &self.job.base {
            let given = base.given();
            if self.given_before.swap(given, Ordering::Relaxed) == given {
                return Pulse::AtRest;
            }
        }
        Pulse::Count(self.job.outlet.frames())
    }

    fn hold(&mut self) {
        let base = self.job.base.as_ref();
        self.need = self.need.take().or_else(|| base.map(Base::need));
    }

    fn let_go(&mut self) {
        self.need = None;
    }
}

impl Job {
    async fn run(self, sign: Arc<FirstSign>, mut stop: Stop) -> Failure {
        let plans = self.plans.borrow().clone();
        let plans: Vec<Plan> = plans.iter().map(|plan| plan.borrow().clone()).collect();
        let Some(plan) = lead(&plans) else {
            return no_stream();
        };
        match &self.base {
            Some(Base::Pictures(base)) => {
                return derive::carry(plan, base, &self.outlet, &sign, stop).await;
            }
            Some(Base::Bytes(flow)) => {
                return unpack::carry(plan, flow, &self.outlet, &sign, stop).await;
            }
            None => {}
        }
        if let Source::Rtsp(pull) = &plan.feed.source {
            let run = self.outlet.begin_run(super::now());
            return pull::carry(plan, pull, run.writer(), sign, stop).await;
        }
        let found = tokio::select! {
            found = look(plan) => found,
            () = stop.requested() => return Failure::Ended,
        };
        let (capture, pictures) = match found {
            Ok(found) => found,
            Err(failure) => return failure,
        };
        let plan = &self.desk.settle(plan.clone(), capture).await;
        let line = match plan.capture_line(capture) {
            Ok(line) => line,
            Err(error) => return Failure::Build(error.to_string()),
        };
        let run = self.outlet.begin_run(super::now());
        run.writer().promise(Given { pictures, sound: plan.feed_sounds(capture) });
        let label = format!("feed {}", self.outlet.name());
        carry(&label, line, plan, Target::Shared(run.writer()), sign, stop).await
    }
}

pub(super) fn no_stream() -> Failure {
    Failure::Build("has no stream".to_owned())
}

/// The plan that decides in which form a camera is captured: one that can take
/// its H.264 as it is, where there is any.
fn lead(plans: &[Plan]) -> Option<&Plan> {
    plans.iter().find(|plan| plan.may_pass_through()).or(plans.first())
}

/// What a shared feed gives, and how it is captured.
///
/// # Errors
/// It cannot be had, or not as it is asked.
pub(super) async fn look(plan: &Plan) -> Result<(Capture, Option<Pictures>), Failure> {
    match &plan.feed.source {
        Source::TestClock | Source::Made(_) => {
            Ok((Capture::plain(plan.feed.fps), Some(Pictures::Plain)))
        }
        Source::SoundOnly => Ok((Capture::plain(plan.feed.fps), None)),
        Source::V4l2(device) => {
            let capture = v4l2::ask(device.clone(), plan).await?;
            let pictures = match capture.form {
                Form::H264 | Form::Coded(_) => Pictures::H264 { in_order: true },
                Form::Raw | Form::Mjpeg => Pictures::Plain,
            };
            Ok((capture, Some(pictures)))
        }
        Source::File(path) => {
            let (in_order, sound) = film::order(path).await?;
            let capture = Capture { form: Form::H264, sound, ..Capture::plain(plan.feed.fps) };
            Ok((capture, Some(Pictures::H264 { in_order })))
        }
        // What it gives is known only while it is fetched; this is what most do.
        Source::Rtsp(_) | Source::Unpacked(_) => {
            let capture = Capture { form: Form::H264, ..Capture::plain(plan.feed.fps) };
            Ok((capture, Some(Pictures::H264 { in_order: true })))
        }
    }
}
