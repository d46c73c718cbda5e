//! Pipelines that start no process: their devices behave as a test sets them, on the
//! clock of the runtime.
//!
//! Frames go through the real rings, and runs follow each other as those of real
//! pipelines do.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};

use crate::base::lock::Lock;
use crate::base::time::{MediaTime, now};
use crate::engine::dependencies::Dependencies;
use crate::engine::plan::Plan;
use crate::engine::process::bytes::run::{BytesParts, Origin};
use crate::engine::process::{
    Base, CaptureParts, FeedParts, Meter, PipelineFactory, PushParts, StreamParts,
};
use crate::engine::shared::SharedFeed;
use crate::engine::supervise::lifecycle::{Event, Run};
use crate::engine::supervise::runs::{Runs, Stop};
use crate::engine::supervise::supervisor::{Pipeline, RunProgress};
use crate::hub;
use crate::hub::bytes::ByteRing;
use crate::media::packager::Expect;
use crate::media::samples::placeholders;
use crate::model::failure::Failure;
use crate::wire::answer::Sent;

/// The time between two frames.
const FRAME: Duration = Duration::from_millis(200);

/// What a device does in each run. A change applies to the current run too.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Behaviour {
    /// Gives frames or bytes, or takes them.
    #[default]
    Works,
    /// As [`Behaviour::Works`] at this frame rate and below, and silent above it.
    WorksUpTo { fps: u32 },
    /// Gives one frame, and then nothing.
    Stalls,
    /// Gives one frame and expects no more now.
    Rests,
    /// Gives nothing.
    Silent,
    /// Every run ends at once.
    Fails(Failure),
    /// Its pipeline panics when it is polled.
    Panics,
}

/// A camera, an encoder, a receiver or a command. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Device(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    behaviour: watch::Sender<Behaviour>,
    starts: Lock<Vec<Instant>>,
    stops: AtomicU64,
    is_running: AtomicBool,
    is_acquired: AtomicBool,
    output: AtomicU64,
}

/// Creates pipelines of devices that are known by their names in the log: `feed front`,
/// `stream front`, `push tube`; those of commands by their programs.
#[derive(Clone, Debug, Default)]
pub(crate) struct FakePipelines(Arc<Lock<BTreeMap<String, Device>>>);

/// A pipeline with a device.
#[derive(Debug)]
struct FakePipeline {
    device: Device,
    sink: Arc<Sink>,
    dependencies: Dependencies,
    runs: Runs,
}

/// Where the output of a pipeline goes.
#[derive(Debug)]
enum Sink {
    Nowhere,
    Stream { stream: Arc<hub::Stream>, plan: watch::Receiver<Plan> },
    Feed(Arc<SharedFeed>),
    Bytes { flow: Arc<ByteRing>, resurrect: bool },
    Receiver { stream: Arc<hub::Stream>, meter: Arc<Meter> },
}

impl FakePipelines {
    /// The device of this name.
    pub(crate) fn device(&self, name: &str) -> Device {
        self.0.lock().entry(name.to_owned()).or_default().clone()
    }

    /// Sets what the device of this name does from now on.
    pub(crate) fn set(&self, name: &str, behaviour: Behaviour) {
        self.device(name).set(behaviour);
    }

    /// The number of runs of a device.
    pub(crate) fn starts(&self, name: &str) -> usize {
        self.device(name).starts().len()
    }

    fn create(&self, name: &str, sink: Sink, dependencies: Dependencies) -> Box<dyn Pipeline> {
        Box::new(FakePipeline::new(self.device(name), sink, dependencies))
    }
}

impl PipelineFactory for FakePipelines {
    fn feed(&self, parts: FeedParts) -> Box<dyn Pipeline> {
        let FeedParts { plan, stream, .. } = parts;
        let name = format!("stream {}", stream.name());
        self.create(&name, Sink::Stream { stream, plan }, Dependencies::default())
    }

    fn capture(&self, parts: CaptureParts) -> Box<dyn Pipeline> {
        let CaptureParts { feed, base, .. } = parts;
        let dependencies = Dependencies::on(base.as_ref().map(Base::dependency));
        self.create(&format!("feed {}", feed.name()), Sink::Feed(feed), dependencies)
    }

    fn stream(&self, parts: StreamParts) -> Box<dyn Pipeline> {
        let dependencies = parts.dependencies();
        let StreamParts { plan, stream, .. } = parts;
        let name = format!("stream {}", stream.name());
        self.create(&name, Sink::Stream { stream, plan }, dependencies)
    }

    fn push(&self, parts: PushParts) -> Box<dyn Pipeline> {
        let PushParts { name, stream, meter, .. } = parts;
        let sink = Sink::Receiver { stream, meter };
        self.create(&format!("push {name}"), sink, Dependencies::default())
    }

    fn bytes(&self, parts: BytesParts) -> Box<dyn Pipeline> {
        let dependencies = parts.dependencies();
        let name = match &parts.origin {
            Origin::Command(program) => program.name().to_owned(),
            Origin::Pipe(path) => path.display().to_string(),
        };
        let BytesParts { flow, resurrect, .. } = parts;
        self.create(&name, Sink::Bytes { flow, resurrect }, dependencies)
    }
}

impl Device {
    pub(crate) fn new(behaviour: Behaviour) -> Self {
        let device = Self::default();
        device.set(behaviour);
        device
    }

    /// A pipeline whose output goes nowhere.
    pub(crate) fn pipeline(&self) -> Box<dyn Pipeline> {
        Box::new(FakePipeline::new(self.clone(), Sink::Nowhere, Dependencies::default()))
    }

    pub(crate) fn set(&self, behaviour: Behaviour) {
        self.0.behaviour.send_replace(behaviour);
    }

    /// When each run began.
    pub(crate) fn starts(&self) -> Vec<Instant> {
        self.0.starts.lock().clone()
    }

    /// How often a stop was requested.
    pub(crate) fn stops(&self) -> u64 {
        self.0.stops.load(Ordering::Relaxed)
    }

    pub(crate) fn is_running(&self) -> bool {
        self.0.is_running.load(Ordering::Relaxed)
    }

    /// Whether its pipeline is wanted.
    pub(crate) fn is_acquired(&self) -> bool {
        self.0.is_acquired.load(Ordering::Relaxed)
    }
}

/// One run of a pipeline.
struct Attempt {
    device: Device,
    sink: Arc<Sink>,
    /// The event of the first frame, until that has come.
    first: Option<Event>,
    events: mpsc::Sender<Event>,
}

impl Attempt {
    async fn run(mut self, mut stop: Stop) -> Failure {
        let was_running = self.device.0.is_running.swap(true, Ordering::Relaxed);
        assert!(!was_running, "two runs use one device");
        let timeline = Timeline::begin();
        self.sink.begin(timeline.media_time());
        let failure = tokio::select! {
            failure = self.give(&timeline) => failure,
            () = stop.requested() => Failure::Ended,
        };
        self.sink.end();
        self.device.0.is_running.store(false, Ordering::Relaxed);
        failure
    }

    async fn give(&mut self, timeline: &Timeline) -> Failure {
        let mut behaviour = self.device.0.behaviour.subscribe();
        let mut frames = interval(FRAME);
        frames.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut reader = self.sink.source();
        loop {
            let current = behaviour.borrow_and_update().clone();
            let gives = match current {
                Behaviour::Works => true,
                Behaviour::WorksUpTo { fps } => self.sink.fps().is_none_or(|wanted| wanted <= fps),
                Behaviour::Stalls | Behaviour::Rests => self.first.is_some(),
                Behaviour::Silent | Behaviour::Panics => false,
                Behaviour::Fails(failure) => return failure,
            };
            tokio::select! {
                () = next(&mut frames, reader.as_mut()), if gives => {
                    self.sink.give(timeline.media_time());
                    self.device.0.output.fetch_add(1, Ordering::Relaxed);
                    if let Some(first) = self.first.take() {
                        self.events.send(first).await.ok();
                    }
                }
                Ok(()) = behaviour.changed() => {}
            }
        }
    }
}

/// Waits until there is something to give: the next frame of a device, or a chunk of the
/// stream that is sent.
async fn next(frames: &mut tokio::time::Interval, reader: Option<&mut hub::Reader>) {
    match reader {
        Some(reader) => while !matches!(reader.next().await, hub::Read::Chunk(_)) {},
        None => drop(frames.tick().await),
    }
}

impl FakePipeline {
    fn new(device: Device, sink: Sink, dependencies: Dependencies) -> Self {
        Self { device, sink: Arc::new(sink), dependencies, runs: Runs::default() }
    }
}

impl Pipeline for FakePipeline {
    fn start(&mut self, run: Run, events: mpsc::Sender<Event>) {
        self.device.0.starts.lock().push(now());
        let attempt = Attempt {
            device: self.device.clone(),
            sink: Arc::clone(&self.sink),
            first: Some(Event::FirstOutput(run)),
            events: events.clone(),
        };
        self.runs.start(run, events, move |stop| attempt.run(stop));
    }

    fn stop(&mut self) {
        self.device.0.stops.fetch_add(1, Ordering::Relaxed);
        self.runs.stop();
    }

    fn progress(&self) -> RunProgress {
        match *self.device.0.behaviour.borrow() {
            Behaviour::Rests => RunProgress::AtRest,
            Behaviour::Panics => panic!("the test requested it"),
            Behaviour::Works
            | Behaviour::WorksUpTo { .. }
            | Behaviour::Stalls
            | Behaviour::Silent
            | Behaviour::Fails(_) => {
                RunProgress::Count(self.device.0.output.load(Ordering::Relaxed))
            }
        }
    }

    fn acquire(&mut self) {
        self.device.0.is_acquired.store(true, Ordering::Relaxed);
        self.dependencies.acquire();
    }

    fn release(&mut self) {
        self.device.0.is_acquired.store(false, Ordering::Relaxed);
        self.dependencies.release();
    }
}

impl Sink {
    /// The frame rate that is asked for, if any.
    fn fps(&self) -> Option<u32> {
        match self {
            Sink::Stream { plan, .. } => Some(plan.borrow().fps().fps()),
            Sink::Nowhere | Sink::Feed(_) | Sink::Bytes { .. } | Sink::Receiver { .. } => None,
        }
    }

    /// The stream that is sent, which a reader keeps wanted.
    fn source(&self) -> Option<hub::Reader> {
        match self {
            Sink::Receiver { stream, .. } => Some(stream.join()),
            Sink::Nowhere | Sink::Stream { .. } | Sink::Feed(_) | Sink::Bytes { .. } => None,
        }
    }

    fn begin(&self, at: MediaTime) {
        match self {
            Sink::Stream { stream, .. } => {
                let expect = Expect { video: Some(FRAME), audio: false };
                stream.begin_run(at, expect, 1_000_000);
            }
            Sink::Feed(feed) => feed.begin_run(),
            Sink::Bytes { flow, .. } => flow.begin_run(),
            Sink::Receiver { meter, .. } => meter.begin_run(),
            Sink::Nowhere => {}
        }
    }

    fn give(&self, at: MediaTime) {
        match self {
            Sink::Stream { stream, .. } => {
                let key_frame = placeholders(at, 1, 1).remove(0);
                assert!(stream.publish(key_frame).expect("the sample is well-formed"));
            }
            Sink::Feed(feed) => feed.count(1, 0),
            Sink::Bytes { flow, .. } => flow.publish(Bytes::from_static(b"bytes")),
            Sink::Receiver { meter, .. } => {
                let bytes = meter.acknowledged() + 1000;
                meter.record(Sent { written: bytes, acknowledged: bytes }, now());
            }
            Sink::Nowhere => {}
        }
    }

    fn end(&self) {
        match self {
            Sink::Stream { stream, .. } => stream.end_run(),
            Sink::Bytes { flow, resurrect } => {
                flow.end_run();
                if !resurrect {
                    flow.finish();
                }
            }
            Sink::Nowhere | Sink::Feed(_) | Sink::Receiver { .. } => {}
        }
    }
}

/// The media times of a run.
struct Timeline {
    began: Instant,
    begin: MediaTime,
}

impl Timeline {
    #[expect(
        clippy::disallowed_methods,
        reason = "it compares the runtime's clock with the real one"
    )]
    fn begin() -> Self {
        let (real, media, began) = (Instant::now(), MediaTime::now(), now());
        let begin = media.before(real.saturating_duration_since(began))
            + began.saturating_duration_since(real);
        Self { began, begin }
    }

    /// The present time of the runtime's clock.
    fn media_time(&self) -> MediaTime {
        self.begin + now().saturating_duration_since(self.began)
    }
}
