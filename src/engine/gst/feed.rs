//! A feed with its encoder: frames cross from GStreamer into the hub here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use log::debug;
use tokio::sync::{mpsc, watch};

use super::film;
use super::probe::Encoders;
use super::running::Running;
use super::v4l2;
use crate::config::settings::Source;
use crate::engine::encoder::choose_for;
use crate::engine::lifecycle::{Event, Run};
use crate::engine::plan::{Capture, Form, Plan};
use crate::engine::runs::{Runs, Stop};
use crate::engine::supervisor::{Pipeline, Pulse};
use crate::hub;
use crate::media::aac;
use crate::media::packager::Expect;
use crate::model::status::{Encoder, Failure};
use crate::model::unit::{AccessUnit, TrackKind};

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
    encoders: Arc<Encoders>,
    chosen: watch::Sender<Option<Encoder>>,
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
        Self { job: Job { plan, stream, encoders, chosen }, runs: Runs::default() }
    }
}

impl Pipeline for FeedPipeline {
    fn start(&mut self, run: Run, news: mpsc::Sender<Event>) {
        let job = self.job.clone();
        let tell = news.clone();
        self.runs.start(run, news, move |stop| job.run(run, tell, stop));
    }

    fn stop(&mut self) {
        self.runs.stop();
    }

    fn pulse(&self) -> Pulse {
        Pulse::Count(self.job.stream.frames())
    }
}

impl Job {
    async fn run(self, run: Run, tell: mpsc::Sender<Event>, mut stop: Stop) -> Failure {
        let plan = self.plan.borrow().clone();
        let prepared = tokio::select! {
            prepared = self.prepare(&plan) => prepared,
            () = stop.requested() => return Failure::Ended,
        };
        let (line, capture) = match prepared {
            Ok(prepared) => prepared,
            Err(failure) => return failure,
        };
        debug!("stream {} runs: {line}", self.stream.name());
        let expect = Expect { video: Some(plan.feed.fps.frame()), audio: plan.sounds(capture) };
        self.stream.begin_run(expect, plan.stream.bitrate.bps());
        let sign = FirstSign { run, tell, given: AtomicBool::new(false) };
        let stream = Arc::clone(&self.stream);
        let started = tokio::task::spawn_blocking(move || start(&line, &stream, sign)).await;
        let failure = match started {
            Ok(Ok(mut running)) => {
                let film = played(&plan, &running);
                let failure = tokio::select! {
                    failure = running.ended() => failure,
                    failure = film => failure,
                    () = stop.requested() => Failure::Ended,
                };
                running.close(&format!("the feed of stream {}", self.stream.name())).await;
                failure
            }
            Ok(Err(failure)) => failure,
            Err(panic) => Failure::Build(panic.to_string()),
        };
        self.stream.end_run();
        failure
    }

    /// What the feed gives, and the launch line for it with the encoder that works.
    async fn prepare(&self, plan: &Plan) -> Result<(String, Capture), Failure> {
        let capture = capture_of(plan).await?;
        let encoder = if capture.form == Form::H264 {
            let element =
                if matches!(plan.feed.source, Source::File(_)) { "file" } else { "camera" };
            let because = "it gives H.264 by itself".to_owned();
            Encoder { element: element.to_owned(), because }
        } else {
            let trials = self.encoders.trials().await;
            choose_for(plan.feed.size, &plan.stream.encoder, trials)
                .map_err(|error| Failure::Build(error.to_string()))?
        };
        let line = plan
            .launch_line(capture, &encoder.element)
            .map_err(|error| Failure::Build(error.to_string()))?;
        self.announce(encoder);
        Ok((line, capture))
    }

    fn announce(&self, encoder: Encoder) {
        self.chosen.send_if_modified(|chosen| {
            if chosen.as_ref() == Some(&encoder) {
                return false;
            }
            let Encoder { element, because } = &encoder;
            log::info!("stream {} is encoded by {element}: {because}", self.stream.name());
            *chosen = Some(encoder);
            true
        });
    }
}

async fn capture_of(plan: &Plan) -> Result<Capture, Failure> {
    let device = match &plan.feed.source {
        Source::TestClock => return Ok(Capture::plain(plan.feed.fps)),
        Source::File(path) => return film::look(path, plan).await,
        Source::V4l2(device) => device.clone(),
    };
    let offers = tokio::task::spawn_blocking(move || v4l2::offers(&device))
        .await
        .map_err(|panic| Failure::Camera(panic.to_string()))??;
    v4l2::choose(&offers, plan)
}

/// Feeds a file into its pipeline; every other feed feeds itself.
fn played(plan: &Plan, running: &Running) -> impl Future<Output = Failure> + use<> {
    let film = match &plan.feed.source {
        Source::File(path) => Some((path.clone(), plan.feed.fps, film::Sources::of(running))),
        Source::TestClock | Source::V4l2(_) => None,
    };
    async move {
        match film {
            Some((path, fps, Ok(sources))) => film::play(path, fps, sources).await,
            Some((_, _, Err(failure))) => failure,
            None => std::future::pending().await,
        }
    }
}

/// Tells the supervisor once that a run gives frames.
struct FirstSign {
    run: Run,
    tell: mpsc::Sender<Event>,
    given: AtomicBool,
}

impl FirstSign {
    fn give(&self) {
        if !self.given.swap(true, Ordering::Relaxed) {
            self.tell.try_send(Event::FirstSign(self.run)).ok();
        }
    }
}

fn start(line: &str, stream: &Arc<hub::Stream>, sign: FirstSign) -> Result<Running, Failure> {
    let mut running = Running::build(line, Vec::new())?;
    let base = running.pipeline().downgrade();
    let sign = Arc::new(sign);
    for (name, track) in [("video", TrackKind::Video), ("audio", TrackKind::Audio)] {
        let Ok(sink) = running.element(name) else { continue };
        let sink = sink
            .downcast::<gst_app::AppSink>()
            .map_err(|_| Failure::Build(format!("{name:?} is not an appsink")))?;
        let tap = Tap {
            track,
            stream: Arc::clone(stream),
            base: base.clone(),
            sign: Arc::clone(&sign),
            caps: None,
        };
        sink.set_callbacks(tap.callbacks());
    }
    running.play()?;
    Ok(running)
}

/// Where one track's frames leave the pipeline.
struct Tap {
    track: TrackKind,
    stream: Arc<hub::Stream>,
    base: gst::glib::WeakRef<gst::Pipeline>,
    sign: Arc<FirstSign>,
    /// The caps seen last, so that only a change is looked into.
    caps: Option<gst::Caps>,
}

impl Tap {
    fn callbacks(mut self) -> gst_app::AppSinkCallbacks {
        gst_app::AppSinkCallbacks::builder()
            .new_sample(move |sink| {
                let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                self.take(&sample);
                Ok(gst::FlowSuccess::Ok)
            })
            .build()
    }

    /// Hands one frame to the hub; what cannot be used is skipped and counted there.
    fn take(&mut self, sample: &gst::Sample) {
        if self.track == TrackKind::Audio {
            self.look_at_caps(sample);
        }
        let Some(unit) = self.unit(sample) else { return };
        match self.stream.publish(unit) {
            Ok(true) => self.sign.give(),
            Ok(false) => {}
            Err(error) => debug!("stream {}: a frame is skipped: {error}", self.stream.name()),
        }
    }

    fn look_at_caps(&mut self, sample: &gst::Sample) {
        let caps = sample.caps_owned();
        if caps == self.caps {
            return;
        }
        let config = caps
            .as_ref()
            .and_then(|caps| caps.structure(0))
            .and_then(|structure| structure.get::<gst::Buffer>("codec_data").ok())
            .and_then(|buffer| buffer.map_readable().ok().map(|map| map.to_vec()));
        match config.as_deref().map(aac::parse_config) {
            Some(Ok(info)) => self.stream.audio_config(info),
            Some(Err(error)) => debug!("stream {}: sound: {error}", self.stream.name()),
            None => {}
        }
        self.caps = caps;
    }

    fn unit(&self, sample: &gst::Sample) -> Option<AccessUnit> {
        let buffer = sample.buffer_owned()?;
        let segment = sample.segment()?.downcast_ref::<gst::ClockTime>()?;
        let base = self.base.upgrade()?.base_time()?;
        let on_timeline = |time: Option<gst::ClockTime>| {
            segment.to_running_time(time?).map(|running| super::media_time(base + running))
        };
        let pts = on_timeline(buffer.pts().or(buffer.dts()))?;
        let dts = on_timeline(buffer.dts()).unwrap_or(pts).min(pts);
        let duration = buffer.duration().map(Into::into);
        let data = Bytes::from_owner(buffer.into_mapped_buffer_readable().ok()?);
        Some(AccessUnit { track: self.track, pts, dts, duration, data })
    }
}
