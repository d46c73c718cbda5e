//! A stream's pictures as JPEG: decoded and encoded once for all who watch.
//!
//! Reads the ring like any other, from the newest key frame on. The first
//! picture comes at once; what lies between it and the live edge is decoded as
//! fast as it goes, and the encoder takes of it what it can.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use log::debug;
use tokio::sync::mpsc;

use super::feeder::{Over, Sources, WhenLate, feed, first_chunk};
use super::picture::{decoders, no_decoder};
use super::running::Running;
use super::tap::FirstSign;
use crate::base::time::{MediaTime, WallClock};
use crate::engine::lifecycle::{Event, Run};
use crate::engine::plan::{mjpeg_line, narrowed};
use crate::engine::runs::{Runs, Stop};
use crate::engine::supervisor::{Pipeline, Pulse};
use crate::hub::{self, Reader, Stills};
use crate::media::packager::Init;
use crate::model::status::Failure;

/// How a stream is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Of the JPEG, 1 to 100.
    pub quality: u8,
    /// Never wider than the stream.
    pub width: Option<u32>,
}

/// Makes JPEGs of one stream in one look.
#[derive(Debug)]
pub struct MjpegPipeline {
    look: Look,
    stream: Arc<hub::Stream>,
    stills: Arc<Stills>,
    /// Which decoder comes next: one that makes nothing of a stream is followed
    /// by another.
    turn: Arc<AtomicUsize>,
    /// Frames that the stream had given when the supervisor asked last.
    stream_before: AtomicU64,
    runs: Runs,
}

impl MjpegPipeline {
    pub fn new(look: Look, stream: Arc<hub::Stream>, stills: Arc<Stills>) -> Self {
        let (turn, stream_before) = (Arc::default(), AtomicU64::new(0));
        Self { look, stream, stills, turn, stream_before, runs: Runs::default() }
    }
}

impl Pipeline for MjpegPipeline {
    fn start(&mut self, run: Run, news: mpsc::Sender<Event>) {
        let attempt = Attempt {
            look: self.look,
            stills: Arc::clone(&self.stills),
            turn: Arc::clone(&self.turn),
            sign: FirstSign::new(run, news.clone()),
        };
        let reader = self.stream.listen();
        self.runs.start(run, news, move |stop| attempt.run(reader, stop));
    }

    fn stop(&mut self) {
        self.runs.stop();
    }

    /// Pictures; at rest while the stream gives nothing.
    fn pulse(&self) -> Pulse {
        let given = self.stream.chunks();
        if self.stream_before.swap(given, Ordering::Relaxed) == given {
            return Pulse::AtRest;
        }
        Pulse::Count(self.stills.end())
    }
}

type Started = (Running, Sources, Result<(), Failure>);

/// One run.
struct Attempt {
    look: Look,
    stills: Arc<Stills>,
    turn: Arc<AtomicUsize>,
    sign: Arc<FirstSign>,
}

impl Attempt {
    async fn run(self, mut reader: Reader, mut stop: Stop) -> Failure {
        let stream = Arc::clone(reader.stream());
        let (init, first) = tokio::select! {
            start = first_chunk(&mut reader) => start,
            () = stop.requested() => return Failure::Ended,
            () = stream.gone() => return self.over(),
        };
        let Some(begin) = first.units.first().map(|unit| unit.dts) else {
            return Failure::Build("the stream gave an empty chunk".to_owned());
        };
        let before = self.stills.end();
        let label = format!("MJPEG of {}", reader.stream().name());
        let turn = Arc::clone(&self.turn);
        let stills = Arc::clone(&self.stills);
        let started = tokio::task::spawn_blocking(move || self.start(&init, begin)).await;
        let (mut running, sources) = match started {
            Ok(Ok((running, _, Err(failure)))) => {
                running.close(&label).await;
                turn.fetch_add(1, Ordering::Relaxed);
                return failure;
            }
            Ok(Ok((running, sources, Ok(())))) => (running, sources),
            Ok(Err(failure)) => return failure,
            Err(panic) => return Failure::Build(panic.to_string()),
        };
        let tell_lost = |lost| debug!(lost; "{label} cannot keep up and goes on at a key frame");
        let fed = async {
            match feed(&mut reader, first, sources, tell_lost).await {
                // The bus says why.
                Over::Refused => std::future::pending().await,
                Over::CodecChange => Failure::CodecChange,
                Over::Gone => {
                    stills.wake();
                    Failure::Ended
                }
            }
        };
        let failure = tokio::select! {
            failure = running.ended() => failure,
            failure = fed => failure,
            () = stop.requested() => Failure::Ended,
        };
        running.close(&label).await;
        if stills.end() == before && failure != Failure::CodecChange {
            turn.fetch_add(1, Ordering::Relaxed);
        }
        failure
    }

    /// The stream is taken away: who watches is to notice.
    fn over(&self) -> Failure {
        self.stills.wake();
        Failure::Ended
    }

    /// A pipeline and how its start went; it must be closed either way.
    fn start(self, init: &Init, begin: MediaTime) -> Result<Started, Failure> {
        let there: Vec<_> = decoders().collect();
        let turn = self.turn.load(Ordering::Relaxed) % there.len().max(1);
        let decoder = there.get(turn).ok_or_else(no_decoder)?;
        let video = init.tracks.video.as_ref();
        let source = video.map_or((0, 0), |video| (video.width, video.height));
        let size = self.look.width.and_then(|width| narrowed(source, width));
        let line = mjpeg_line(decoder, self.look.quality, size)
            .map_err(|error| Failure::Build(error.to_string()))?;
        let mut running = Running::build(&line, Vec::new())?;
        let newest = running.element("newest")?.static_pad("sink");
        newest.expect("a queue has a sink").add_probe(
            gst::PadProbeType::EVENT_DOWNSTREAM,
            |_, info| {
                name_colours(info);
                gst::PadProbeReturn::Ok
            },
        );
        let sink = running
            .element("pictures")?
            .downcast::<gst_app::AppSink>()
            .map_err(|_| Failure::Build("\"pictures\" is not an appsink".to_owned()))?;
        sink.set_callbacks(self.publishing(begin));
        let sources = Sources::new(running.element("video")?, None, begin, WhenLate::Jump)?;
        let played = running.play();
        Ok((running, sources, played))
    }

    fn publishing(self, begin: MediaTime) -> gst_app::AppSinkCallbacks {
        gst_app::AppSinkCallbacks::builder()
            .new_sample(move |sink| {
                let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                let Some(buffer) = sample.buffer_owned() else { return Ok(gst::FlowSuccess::Ok) };
                let pts = buffer.pts().unwrap_or_default();
                let taken = WallClock::now().unix(begin + Duration::from(pts));
                let Ok(map) = buffer.into_mapped_buffer_readable() else {
                    return Err(gst::FlowError::Error);
                };
                // A copy, so that what the encoder has in reserve is not kept.
                let jpeg = Bytes::copy_from_slice(&map);
                self.stills.publish(jpeg, taken);
                self.sign.give();
                Ok(gst::FlowSuccess::Ok)
            })
            .build()
    }
}

/// Gives the converter a matrix that differs from JPEG's where the two would be
/// one: it then leaves out the range (GStreamer 1.22), and pictures are grey.
/// FCC's is the same within half a percent, and costs half of the way over RGB
/// (measured at 720p: 2.3 instead of 4.4 ms a picture).
fn name_colours(info: &mut gst::PadProbeInfo<'_>) {
    let Some(gst::PadProbeData::Event(event)) = &info.data else { return };
    let gst::EventView::Caps(caps) = event.view() else { return };
    let mut caps = super::picture::with_colours(caps.caps());
    let structure = caps.make_mut().structure_mut(0);
    let Some(structure) = structure else { return };
    let is_narrow = structure
        .get::<&str>("colorimetry")
        .is_ok_and(|of| of == "bt601" || of.starts_with("2:4:"));
    if is_narrow {
        structure.set("colorimetry", "2:2:5:1");
    }
    info.data = Some(gst::PadProbeData::Event(gst::event::Caps::new(&caps)));
}
