//! A stream's pictures as JPEG: decoded and encoded once for all viewers, in a
//! host of their own.
//!
//! The ring is read from the newest key frame on, at the speed at which the host
//! takes what it is sent. The host sends pictures; only the newest one is kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use log::debug;
use tokio::sync::mpsc;

use super::host::{Host, Input};
use crate::base::time::{MediaTime, WallClock};
use crate::engine::feeder::{Over, WhenLate, feed, first_chunk};
use crate::engine::plan::narrowed;
use crate::engine::supervise::lifecycle::{Event, Run};
use crate::engine::supervise::runs::{Runs, Stop};
use crate::engine::supervise::supervisor::{GivenBefore, Pipeline, Pulse};
use crate::hub::{self, Piece, Reader, Stills};
use crate::media::packager::Init;
use crate::model::status::Failure;
use crate::wire::answer::Picture;
use crate::wire::job::Mjpeg;

/// How a stream is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MjpegVariant {
    /// Of the JPEG, 1 to 100.
    pub quality: u8,
    /// Never wider than the stream.
    pub width: Option<u32>,
}

/// Makes JPEGs of one stream in one variant.
#[derive(Debug)]
pub struct MjpegPipeline {
    variant: MjpegVariant,
    stream: Arc<hub::Stream>,
    stills: Arc<Stills>,
    /// Which decoder comes next: one that makes nothing of a stream is followed
    /// by another.
    turn: Arc<AtomicU32>,
    /// Frames that the stream had given when the supervisor asked last.
    stream_before: GivenBefore,
    runs: Runs,
}

impl MjpegPipeline {
    pub fn new(variant: MjpegVariant, stream: Arc<hub::Stream>, stills: Arc<Stills>) -> Self {
        let (turn, stream_before) = (Arc::default(), GivenBefore::default());
        Self { variant, stream, stills, turn, stream_before, runs: Runs::default() }
    }
}

impl Pipeline for MjpegPipeline {
    fn start(&mut self, run: Run, news: mpsc::Sender<Event>) {
        let attempt = Attempt {
            variant: self.variant,
            stills: Arc::clone(&self.stills),
            turn: Arc::clone(&self.turn),
            run,
            news: news.clone(),
        };
        let reader = self.stream.join_uncounted();
        self.runs.start(run, news, move |stop| attempt.run(reader, stop));
    }

    fn stop(&mut self) {
        self.runs.stop();
    }

    /// Pictures; at rest while the stream gives nothing.
    fn pulse(&self) -> Pulse {
        let given = self.stream.chunks();
        if self.stream_before.is_still(given) {
            return Pulse::AtRest;
        }
        Pulse::Count(self.stills.end())
    }
}

/// One run.
struct Attempt {
    variant: MjpegVariant,
    stills: Arc<Stills>,
    turn: Arc<AtomicU32>,
    run: Run,
    news: mpsc::Sender<Event>,
}

impl Attempt {
    async fn run(self, mut reader: Reader, mut stop: Stop) -> Failure {
        let stream = Arc::clone(reader.stream());
        let (init, first) = tokio::select! {
            start = first_chunk(&mut reader) => start,
            () = stop.requested() => return Failure::Ended,
            () = stream.wait_retired() => return self.gone(),
        };
        let Some(begin) = first.units.first().map(|unit| unit.dts) else {
            return Failure::Build("the stream gave an empty chunk".to_owned());
        };
        let what = format!("mjpeg {}", stream.name());
        let (mut host, input) = match Host::start(&what, self.job(&init, begin)).await {
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
            self.turn.fetch_add(1, Ordering::Relaxed);
        }
        failure
    }

    fn job(&self, init: &Init, begin: MediaTime) -> Mjpeg {
        let MjpegVariant { quality, width } = self.variant;
        let video = init.tracks.video.as_ref();
        let source = video.map_or((0, 0), |video| (video.width, video.height));
        let size = width.and_then(|width| narrowed(source, width));
        Mjpeg { quality, size, begin, decoder: self.turn.load(Ordering::Relaxed) }
    }

    async fn feed(&self, reader: &mut Reader, first: Arc<Piece>, mut input: Input) -> Failure {
        let name = reader.stream().name().clone();
        let tell_lost =
            |lost| debug!(lost; "MJPEG of {name} cannot keep up and goes on at a key frame");
        match feed(reader, first, &mut input, WhenLate::Jump, tell_lost).await {
            // The host's end says why.
            Over::Refused => std::future::pending().await,
            Over::CodecChange => Failure::CodecChange,
            Over::Gone => self.gone(),
        }
    }

    async fn publish(&self, host: &mut Host<Picture>) -> Failure {
        let mut is_first = true;
        loop {
            let (Picture { pts }, jpeg) = match host.next().await {
                Ok(picture) => picture,
                Err(failure) => return failure,
            };
            // A copy: what came over the socket lies in a larger block.
            let jpeg = Bytes::copy_from_slice(&jpeg);
            self.stills.publish(jpeg, WallClock::now().unix(pts));
            if std::mem::take(&mut is_first) {
                self.news.send(Event::FirstSign(self.run)).await.ok();
            }
        }
    }

    /// The stream was removed: its viewers have to notice.
    fn gone(&self) -> Failure {
        self.stills.wake();
        Failure::Ended
    }
}
