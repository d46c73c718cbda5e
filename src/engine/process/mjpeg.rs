//! Motion JPEG of a stream: decoded and encoded once for all viewers, in a host.
//!
//! The ring is read from the newest key frame on, at the speed at which the host takes
//! units. The host sends pictures; only the newest is kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use log::debug;
use tokio::sync::mpsc;

use super::host::{Host, Input};
use crate::base::time::{MediaTime, WallClock};
use crate::engine::feeder::{EndReason, WhenLate, feed, first_chunk};
use crate::engine::plan::narrowed;
use crate::engine::supervise::lifecycle::{Event, Run};
use crate::engine::supervise::runs::{Runs, Stop};
use crate::engine::supervise::supervisor::{LastCount, Pipeline, RunProgress};
use crate::hub::{self, Piece, Reader, Stills};
use crate::media::packager::Init;
use crate::model::failure::Failure;
use crate::model::fault::Fault;
use crate::wire::answer::Picture;
use crate::wire::job::Mjpeg;

/// Quality and size of the pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MjpegVariant {
    /// JPEG quality, 1 to 100.
    pub quality: u8,
    /// Width in pixels; pictures are never wider than the stream.
    pub width: Option<u32>,
}

/// Makes JPEGs of one stream in one variant.
#[derive(Debug)]
pub struct MjpegPipeline {
    variant: MjpegVariant,
    stream: Arc<hub::Stream>,
    stills: Arc<Stills>,
    /// The number of the next decoder: after a run without pictures another is tried.
    next_decoder: Arc<AtomicU32>,
    /// The stream's chunks at the previous poll.
    last_chunks: LastCount,
    runs: Runs,
}

impl MjpegPipeline {
    pub fn new(variant: MjpegVariant, stream: Arc<hub::Stream>, stills: Arc<Stills>) -> Self {
        let (next_decoder, last_chunks) = (Arc::default(), LastCount::default());
        Self { variant, stream, stills, next_decoder, last_chunks, runs: Runs::default() }
    }
}

impl Pipeline for MjpegPipeline {
    fn start(&mut self, run: Run, events: mpsc::Sender<Event>) {
        let attempt = Attempt {
            variant: self.variant,
            stills: Arc::clone(&self.stills),
            next_decoder: Arc::clone(&self.next_decoder),
            run,
            events: events.clone(),
        };
        let reader = self.stream.join_uncounted();
        self.runs.start(run, events, move |stop| attempt.run(reader, stop));
    }

    fn stop(&mut self) {
        self.runs.stop();
    }

    /// Published pictures; at rest while the stream gives nothing.
    fn progress(&self) -> RunProgress {
        let given = self.stream.chunks();
        if self.last_chunks.is_unchanged(given) {
            return RunProgress::AtRest;
        }
        RunProgress::Count(self.stills.end())
    }
}

/// One run.
struct Attempt {
    variant: MjpegVariant,
    stills: Arc<Stills>,
    next_decoder: Arc<AtomicU32>,
    run: Run,
    events: mpsc::Sender<Event>,
}

impl Attempt {
    async fn run(self, mut reader: Reader, mut stop: Stop) -> Failure {
        let stream = Arc::clone(reader.stream());
        let (init, first) = tokio::select! {
            start = first_chunk(&mut reader) => start,
            () = stop.requested() => return Failure::Ended,
            () = stream.wait_retired() => return self.removed(),
        };
        let Some(begin) = first.units.first().map(|unit| unit.dts) else {
            return Fault::EmptyChunk.into();
        };
        let host_name = format!("mjpeg {}", stream.name());
        let (mut host, input) = match Host::start(&host_name, self.job(&init, begin)).await {
            Ok(started) => started,
            Err(failure) => return failure,
        };
        let before = self.stills.end();
        let failure = tokio::select! {
            failure = self.publish(&mut host) => failure,
            failure = self.feed(&mut reader, first, input) => failure,
            () = stop.requested() => Failure::Ended,
        };
        host.end().await;
        if self.stills.end() == before && failure != Failure::CodecChange {
            self.next_decoder.fetch_add(1, Ordering::Relaxed);
        }
        failure
    }

    fn job(&self, init: &Init, begin: MediaTime) -> Mjpeg {
        let MjpegVariant { quality, width } = self.variant;
        let video = init.tracks.video.as_ref();
        let source = video.map_or((0, 0), |video| (video.width, video.height));
        let size = width.and_then(|width| narrowed(source, width));
        Mjpeg { quality, size, begin, decoder: self.next_decoder.load(Ordering::Relaxed) }
    }

    async fn feed(&self, reader: &mut Reader, first: Arc<Piece>, mut input: Input) -> Failure {
        let name = reader.stream().name().clone();
        let on_lost =
            |lost| debug!(lost; "MJPEG of {name} is too slow and continues at a key frame");
        match feed(reader, first, &mut input, WhenLate::Jump, on_lost).await {
            // The end of the host gives the reason.
            EndReason::Refused => std::future::pending().await,
            EndReason::CodecChange => Failure::CodecChange,
            EndReason::Gone => self.removed(),
        }
    }

    async fn publish(&self, host: &mut Host<Picture>) -> Failure {
        let mut is_first = true;
        loop {
            let (Picture { pts }, jpeg) = match host.next().await {
                Ok(picture) => picture,
                Err(failure) => return failure,
            };
            // A copy, as the received bytes are part of a larger block.
            let jpeg = Bytes::copy_from_slice(&jpeg);
            self.stills.publish(jpeg, WallClock::now().unix(pts));
            if std::mem::take(&mut is_first) {
                self.events.send(Event::FirstOutput(self.run)).await.ok();
            }
        }
    }

    /// The stream was removed: wakes its viewers.
    fn removed(&self) -> Failure {
        self.stills.wake();
        Failure::Ended
    }
}
