//! A feed of one stream: captured and encoded in one pipeline.

use std::sync::Arc;

use log::debug;
use tokio::sync::{mpsc, watch};

use super::encoding::{Encoding, by_itself};
use super::film;
use super::probe::Encoders;
use super::running::Running;
use super::tap::{FirstSign, SINKS, Target, Timeline, count_dropped, tap};
use super::v4l2;
use crate::config::settings::Source;
use crate::engine::controls::Desk;
use crate::engine::lifecycle::{Event, Run};
use crate::engine::plan::{Capture, Form, Plan};
use crate::engine::runs::{Runs, Stop};
use crate::engine::supervisor::{Pipeline, Pulse};
use crate::hub;
use crate::media::packager::Expect;
use crate::model::status::{Encoder, Failure};

/// Runs the pipeline of one stream and its feed.
#[derive(Debug)]
pub struct FeedPipeline {
    job: Job,
    runs: Runs,
}

/// What one run needs.
#[derive(Clone, Debug)]
struct Job {
    plan: watch::Receiver<Plan>,
    stream: Arc<hub::Stream>,
    encoding: Encoding,
    desk: Desk,
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
        let encoding = Encoding { encoders, chosen };
        Self { job: Job { plan, stream, encoding, desk: Desk::default() }, runs: Runs::default() }
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

impl Job {
    async fn run(self, sign: Arc<FirstSign>, mut stop: Stop) -> Failure {
        let mut plan = self.plan.borrow().clone();
        let prepared = tokio::select! {
            prepared = self.prepare(&mut plan) => prepared,
            () = stop.requested() => return Failure::Ended,
        };
        let (line, capture) = match prepared {
            Ok(prepared) => prepared,
            Err(failure) => return failure,
        };
        let label = format!("the feed of stream {}", self.stream.name());
        let expect = Expect { video: Some(plan.fps().frame()), audio: plan.sounds(capture) };
        self.stream.begin_run(super::now(), expect, plan.stream.bitrate.bps());
        let target = Target::Stream(Arc::clone(&self.stream));
        let failure = carry(&label, line, &plan, target, sign, stop).await;
        self.stream.end_run();
        failure
    }

    /// What the feed gives, and the launch line for it with the encoder that works.
    async fn prepare(&self, plan: &mut Plan) -> Result<(String, Capture), Failure> {
        let capture = capture_of(plan).await?;
        *plan = self.desk.settle(plan.clone(), capture).await;
        let encoder = match capture.form {
            Form::H264 => by_itself(plan),
            Form::Raw | Form::Mjpeg | Form::Coded(_) => self.encoding.choose(plan).await?,
        };
        let line = plan
            .launch_line(capture, &encoder.element)
            .map_err(|error| Failure::Build(error.to_string()))?;
        self.encoding.announce(plan, encoder);
        Ok((line, capture))
    }
}

/// What the feed of one stream gives.
///
/// # Errors
/// It cannot be had, or not as it is asked.
pub(super) async fn capture_of(plan: &Plan) -> Result<Capture, Failure> {
    match &plan.feed.source {
        Source::TestClock => Ok(Capture::plain(plan.feed.fps)),
        Source::File(path) => film::look(path, plan).await,
        Source::V4l2(device) => v4l2::ask(device.clone(), plan).await,
        // These are always in a pipeline of their own.
        Source::Rtsp(_) | Source::SoundOnly | Source::Made(_) | Source::Unpacked(_) => {
            Ok(Capture { form: Form::H264, ..Capture::plain(plan.feed.fps) })
        }
    }
}

/// Builds the pipeline that captures a feed, and runs it until it fails or is
/// to stop.
pub(super) async fn carry(
    label: &str,
    line: String,
    plan: &Plan,
    target: Target,
    sign: Arc<FirstSign>,
    mut stop: Stop,
) -> Failure {
    debug!("{label} runs: {line}");
    let started = tokio::task::spawn_blocking(move || start(&line, &target, &sign)).await;
    match started {
        Ok(Ok(mut running)) => {
            let film = played(plan, &running);
            let failure = tokio::select! {
                failure = running.ended() => failure,
                failure = film => failure,
                () = stop.requested() => Failure::Ended,
            };
            running.close(label).await;
            failure
        }
        Ok(Err(failure)) => failure,
        Err(panic) => Failure::Build(panic.to_string()),
    }
}

fn start(line: &str, target: &Target, sign: &Arc<FirstSign>) -> Result<Running, Failure> {
    let mut running = Running::build(line, Vec::new())?;
    count_dropped(running.pipeline(), target);
    tap(&Timeline::of(running.pipeline()), &SINKS, target, sign)?;
    running.play()?;
    Ok(running)
}

/// Feeds a file into its pipeline; every other feed feeds itself.
fn played(plan: &Plan, running: &Running) -> impl Future<Output = Failure> + use<> {
    let film = match &plan.feed.source {
        Source::File(path) => Some((path.clone(), plan.feed.fps, film::Sources::of(running))),
        Source::TestClock
        | Source::V4l2(_)
        | Source::Rtsp(_)
        | Source::SoundOnly
        | Source::Made(_)
        | Source::Unpacked(_) => None,
    };
    async move {
        match film {
            Some((path, fps, Ok(sources))) => film::play(path, fps, sources).await,
            Some((_, _, Err(failure))) => failure,
            None => std::future::pending().await,
        }
    }
}
