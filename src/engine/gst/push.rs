//! One push: a reader of a stream that feeds an RTMP pipeline of its own.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use gstreamer as gst;
use gstreamer::prelude::*;
use log::warn;
use tokio::sync::{mpsc, watch};

use super::feeder::Sources;
use super::metadata::{self, metadata};
use super::running::Running;
use super::trust::{self, Trust};
use super::wire::Wire;
use crate::base::secret::Secret;
use crate::base::time::MediaTime;
use crate::config::settings::PushAudio;
use crate::engine::feeder::{Over, WhenLate, feed, first_chunk};
use crate::engine::lifecycle::{Event, Run};
use crate::engine::plan::{Nominal, push_line};
use crate::engine::runs::{Runs, Stop};
use crate::engine::supervisor::{Pipeline, Pulse};
use crate::hub::{self, Measured, Reader};
use crate::media::packager::Init;
use crate::model::push_url::PushUrl;
use crate::model::status::Failure;

/// How often a push looks how many bytes have left, before and after the first.
const LOOK_EARLY: Duration = Duration::from_millis(100);
const LOOK_LATE: Duration = Duration::from_secs(1);

/// The rate of a push is that of its last seconds.
const RATE_OVER: Duration = Duration::from_secs(5);

/// Where a push goes, and with which sound.
#[derive(Clone, Debug)]
pub struct Destination {
    /// The whole URL with the key.
    pub url: PushUrl,
    /// Another way to the same receiver, likewise; after a failure the two are
    /// tried in turn.
    pub backup: Option<PushUrl>,
    /// What else must not be seen in messages: the key by itself.
    pub key: Option<Secret>,
    /// A PEM file whose certificates are trusted besides those of the system.
    pub ca: Option<PathBuf>,
    pub audio: PushAudio,
    /// What the stream is planned to be.
    pub nominal: Nominal,
}

/// Runs the pipeline of one push.
#[derive(Debug)]
pub struct PushPipeline {
    name: String,
    destination: watch::Receiver<Option<Destination>>,
    stream: Arc<hub::Stream>,
    meter: Arc<Meter>,
    runs: Runs,
}

/// What a push has sent.
#[derive(Debug, Default)]
pub struct Meter {
    /// Over all runs.
    total: AtomicU64,
    /// Written by this run.
    written: AtomicU64,
    /// Of that, what the receiver's machine has.
    left: AtomicU64,
    /// Chunks that the stream gave and this push was too slow for.
    lost: Arc<AtomicU64>,
    /// Runs that failed since the destination was set.
    failed: AtomicU32,
    /// When how many bytes had been sent, over the last seconds of this run.
    recent: Mutex<VecDeque<(Instant, u64)>>,
    /// Frames that the stream had given when the supervisor asked last.
    stream_before: AtomicU64,
}

impl Meter {
    /// Bytes sent since the start of the service.
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// Chunks that were left out since the start of the service.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Bits a second over the last seconds; nothing in the first one, when
    /// what had gathered leaves at once.
    pub fn bitrate(&self) -> u64 {
        let recent = self.recent();
        let (Some(first), Some(last)) = (recent.front(), recent.back()) else { return 0 };
        let span = last.0.duration_since(first.0).as_secs_f64();
        if span >= 1.0 { ((last.1 - first.1) as f64 * 8.0 / span) as u64 } else { 0 }
    }

    /// Whether the run that goes on, or the next one, sends to the backup.
    pub fn is_on_backup(&self) -> bool {
        !self.failed.load(Ordering::Relaxed).is_multiple_of(2)
    }

    fn recent(&self) -> MutexGuard<'_, VecDeque<(Instant, u64)>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin_run(&self) {
        self.recent().clear();
        self.written.store(0, Ordering::Relaxed);
        self.left.store(0, Ordering::Relaxed);
    }

    fn look(&self, written: u64, left: u64) {
        let before = self.written.swap(written, Ordering::Relaxed);
        let more = written.saturating_sub(before);
        let total = self.total.fetch_add(more, Ordering::Relaxed) + more;
        self.left.store(left, Ordering::Relaxed);
        let now = tokio::time::Instant::now().into_std();
        let mut recent = self.recent();
        recent.push_back((now, total));
        while recent.front().is_some_and(|(then, _)| now.duration_since(*then) > RATE_OVER) {
            recent.pop_front();
        }
    }
}

impl PushPipeline {
    /// Each run takes the destination as it stands at its start.
    pub fn new(
        name: String,
        destination: watch::Receiver<Option<Destination>>,
        stream: Arc<hub::Stream>,
    ) -> Self {
        Self { name, destination, stream, meter: Arc::default(), runs: Runs::default() }
    }

    pub fn meter(&self) -> Arc<Meter> {
        Arc::clone(&self.meter)
    }
}

impl Pipeline for PushPipeline {
    fn start(&mut self, run: Run, news: mpsc::Sender<Event>) {
        let Some(destination) = self.destination.borrow().clone() else {
            let failure = Failure::Build("has no URL to send to".to_owned());
            news.try_send(Event::Ended(run, failure)).ok();
            return;
        };
        let is_new = self.destination.has_changed().unwrap_or(false);
        self.destination.mark_unchanged();
        let attempt = Attempt {
            name: self.name.clone(),
            destination,
            is_new,
            stream: Arc::clone(&self.stream),
            meter: Arc::clone(&self.meter),
            run,
            tell: news.clone(),
        };
        self.meter.begin_run();
        let reader = self.stream.join().counting(&self.meter.lost);
        self.runs.start(run, news, move |stop| attempt.run(reader, stop));
    }

    fn stop(&mut self) {
        self.runs.stop();
    }

    /// Bytes that left; at rest while the stream gives nothing to send.
    fn pulse(&self) -> Pulse {
        let given = self.stream.chunks();
        if self.meter.stream_before.swap(given, Ordering::Relaxed) == given {
            return Pulse::AtRest;
        }
        Pulse::Count(self.meter.left.load(Ordering::Relaxed))
    }
}

/// One run of a push.
struct Attempt {
    name: String,
    destination: Destination,
    /// Whether an operator has set the destination since the last run.
    is_new: bool,
    stream: Arc<hub::Stream>,
    meter: Arc<Meter>,
    run: Run,
    tell: mpsc::Sender<Event>,
}

impl Attempt {
    async fn run(mut self, reader: Reader, stop: Stop) -> Failure {
        // Here the last run is over, and has told how it ended.
        if self.is_new {
            self.meter.failed.store(0, Ordering::Relaxed);
        }
        if let (Some(backup), true) = (&self.destination.backup, self.meter.is_on_backup()) {
            self.destination.url = backup.clone();
        }
        let meter = Arc::clone(&self.meter);
        let failure = self.send(reader, stop).await;
        if failure != Failure::CodecChange {
            meter.failed.fetch_add(1, Ordering::Relaxed);
        }
        failure
    }

    async fn send(self, mut reader: Reader, mut stop: Stop) -> Failure {
        // The pipeline is made when there is something to send: its time
        // begins with the first frame.
        let (init, first) = tokio::select! {
            start = first_chunk(&mut reader) => start,
            () = stop.requested() => return Failure::Ended,
        };
        let Some(begin) = first.units.first().map(|unit| unit.dts) else {
            return Failure::Build("the stream gave an empty chunk".to_owned());
        };
        let destination = self.destination.clone();
        let wire = Wire::new(destination.url.secret());
        let measured = self.stream.measured();
        let build = move || start(&destination, &init, measured, begin);
        let started = tokio::task::spawn_blocking(build).await;
        let Pipes { mut running, mut sources, sink, trust } = match started {
            Ok(Ok(pipes)) => pipes,
            Ok(Err(failure)) => return failure,
            Err(panic) => return Failure::Build(panic.to_string()),
        };
        let label = format!("push {}", self.name);
        let tell_lost = |lost| {
            self.meter.lost.fetch_add(lost, Ordering::Relaxed);
            warn!(lost; "{label} cannot keep up and goes on at a key frame");
        };
        let fed = async {
            match feed(&mut reader, first, &mut sources, WhenLate::FallBack, tell_lost).await {
                // The bus says why.
                Over::Refused | Over::Gone => std::future::pending().await,
                Over::CodecChange => Failure::CodecChange,
            }
        };
        let failure = tokio::select! {
            failure = running.ended() => failure,
            failure = fed => failure,
            never = self.watch_bytes(wire, &sink) => match never {},
            () = stop.requested() => {
                running.say_goodbye().await;
                Failure::Ended
            }
        };
        running.close(&label).await;
        let failure = self.explained(failure).await;
        drop(trust);
        failure
    }

    /// Says in words why the receiver's certificate is refused, if it is that.
    async fn explained(&self, failure: Failure) -> Failure {
        let Destination { url, ca, .. } = &self.destination;
        if !url.is_encrypted() || !trust::is_refusal(&failure) {
            return failure;
        }
        let (url, has_ca) = (url.clone(), ca.is_some());
        let looked = tokio::task::spawn_blocking(move || trust::explain(&url, has_ca)).await;
        looked.ok().flatten().unwrap_or(failure)
    }

    /// Keeps the meter, and tells once when media has left.
    async fn watch_bytes(&self, mut wire: Wire, sink: &gst::Element) -> Infallible {
        let mut live = false;
        loop {
            tokio::time::sleep(if live { LOOK_LATE } else { LOOK_EARLY }).await;
            let sink = sink.clone();
            let looked = tokio::task::spawn_blocking(move || {
                let stats = sink.property::<gst::Structure>("stats");
                let written = stats.get::<u64>("out-bytes-total").unwrap_or(0);
                let left = wire.left(written);
                (wire, written, left)
            });
            let Ok((back, written, left)) = looked.await else {
                return std::future::pending().await;
            };
            wire = back;
            self.meter.look(written, left);
            // The sink counts nothing before the receiver has agreed to take the stream.
            if !live && left > 0 {
                live = true;
                self.tell.send(Event::FirstSign(self.run)).await.ok();
            }
        }
    }
}

/// A started push pipeline.
struct Pipes {
    running: Running,
    sources: Sources,
    sink: gst::Element,
    trust: Option<Trust>,
}

fn start(
    destination: &Destination,
    init: &Init,
    measured: Measured,
    begin: MediaTime,
) -> Result<Pipes, Failure> {
    let line = push_line(destination.audio, init.tracks.audio.is_some())
        .map_err(|error| Failure::Build(error.to_string()))?;
    let mut secrets = vec![destination.url.secret().clone()];
    secrets.extend(destination.key.clone());
    let trust = destination.ca.as_deref().map(Trust::of).transpose()?;
    let mut running = Running::build(&line, secrets)?;
    let sink = running.element("sink")?;
    sink.set_property("location", destination.url.secret().reveal());
    let Destination { audio, nominal, .. } = destination;
    if let Some(metadata) = metadata(&init.tracks, *audio, measured, *nominal) {
        metadata::replace(&sink, &metadata);
    }

    let audio = match &init.tracks.audio {
        Some(info) if destination.audio == PushAudio::Feed => {
            Some((running.element("audio")?, info))
        }
        _ => None,
    };
    let sources = Sources::new(running.element("video")?, audio, begin)?;
    // The pipeline's time begins when the first frame was captured, so that a
    // sound made here is in step, and the receiver sees timestamps from zero.
    let pipeline = running.pipeline();
    pipeline.set_start_time(gst::ClockTime::NONE);
    pipeline.set_base_time(super::absolute(begin));
    running.play()?;
    Ok(Pipes { running, sources, sink, trust })
}
