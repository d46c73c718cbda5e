//! Reads frames from the appsinks of a pipeline, and sends them to the service or to the
//! subscribers of a shared feed.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use log::debug;

use super::anchor::Anchor;
use super::clock::{clock, media_time};
use super::outbox::Out;
use crate::base::lock::Lock;
use crate::base::time::MediaTime;
use crate::host::fanout::{Fanout, Frame, Plain, Subscription, Writer};
use crate::media::aac;
use crate::model::failure::Failure;
use crate::model::fault::Fault;
use crate::model::track::AudioInfo;
use crate::model::unit::{AccessUnit, TrackKind};

/// The destination of frames.
#[derive(Clone, Debug)]
pub(super) enum Target {
    /// To the service.
    Stream(Arc<Out>),
    /// To the subscribers of a shared feed; the run counts its frames for the service.
    Shared(Writer, Arc<Out>),
}

impl Target {
    /// Subscribes to a track's encoded frames of `fanout`; runs on the feed's thread.
    pub(super) fn subscribe_to(self, fanout: &Arc<Fanout>, track: TrackKind) -> Subscription {
        fanout.subscribe(track, move |frame| match frame {
            Frame::Unit(unit) => self.unit(unit.clone()),
            Frame::Sound(info) => self.audio_config(info.clone()),
            Frame::Plain(_) => {}
        })
    }

    /// Sends one encoded frame.
    pub(super) fn unit(&self, unit: AccessUnit) {
        match self {
            Target::Stream(out) => out.unit(unit),
            Target::Shared(writer, out) => {
                let is_progress = writer.shows_progress(unit.track);
                if writer.unit(unit) && is_progress {
                    out.count_frame();
                }
            }
        }
    }

    /// Counts a dropped frame.
    pub(super) fn count_dropped(&self) {
        match self {
            Target::Stream(out) | Target::Shared(_, out) => out.count_dropped(),
        }
    }

    pub(super) fn audio_config(&self, info: AudioInfo) {
        match self {
            Target::Stream(out) => out.audio_config(info),
            Target::Shared(writer, _) => writer.audio_config(info),
        }
    }
}

/// The sinks of a feed: `video` and `audio` for encoded frames, `plain` for
/// raw video that other pipelines encode.
pub(super) const SINKS: [&str; 3] = ["video", "audio", "plain"];

/// Connects the [`SINKS`] of these names, if the pipeline has them. To be called before
/// frames flow.
///
/// # Errors
/// An element of that name is no appsink.
pub(super) fn tap(timeline: &Timeline, names: &[&str], target: &Target) -> Result<(), Failure> {
    let pipeline = timeline.pipeline().ok_or(Failure::Ended)?;
    for name in names {
        let Some(sink) = pipeline.by_name(name) else { continue };
        let sink = sink
            .downcast::<gst_app::AppSink>()
            .map_err(|_| Fault::wrong_element(name, "appsink"))?;
        let clock = timeline.clone();
        sink.set_callbacks(match (*name, target) {
            ("plain", Target::Shared(writer, out)) => plain(clock, writer.clone(), Arc::clone(out)),
            ("audio", _) => encoded(TrackKind::Audio, clock, target.clone()),
            _ => encoded(TrackKind::Video, clock, target.clone()),
        });
    }
    Ok(())
}

/// Counts frames that the queue `newest` of this bin drops: it holds one frame, and a
/// newer one replaces it when the elements behind it are too slow.
pub(super) fn count_dropped(bin: &impl IsA<gst::Bin>, target: &Target) {
    let Some(newest) = bin.as_ref().by_name("newest") else { return };
    let target = target.clone();
    newest.connect("overrun", false, move |_| {
        target.count_dropped();
        None
    });
}

/// The callbacks of a sink that gets encoded frames.
fn encoded(track: TrackKind, clock: Timeline, target: Target) -> gst_app::AppSinkCallbacks {
    let mut tap = Tap { track, target, clock, caps: None };
    gst_app::AppSinkCallbacks::builder()
        .new_sample(move |sink| {
            let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
            tap.take(&sample);
            Ok(gst::FlowSuccess::Ok)
        })
        .build()
}

/// The callbacks of a sink that gets raw video. Each frame is copied once, as the camera
/// has few buffers.
fn plain(clock: Timeline, writer: Writer, out: Arc<Out>) -> gst_app::AppSinkCallbacks {
    gst_app::AppSinkCallbacks::builder()
        .new_sample(move |sink| {
            let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
            if writer.has_video_subscribers()
                && let Some(copy) = copied(&sample, &clock)
            {
                writer.plain(copy);
            }
            out.count_frame();
            Ok(gst::FlowSuccess::Ok)
        })
        .build()
}

fn copied(sample: &gst::Sample, clock: &Timeline) -> Option<Plain> {
    let buffer = sample.buffer()?;
    let pts = clock.place(sample, buffer.pts())?;
    Some(Plain {
        pts,
        duration: buffer.duration().map(Duration::from),
        buffer: buffer.copy_deep().ok()?,
        caps: sample.caps_owned()?,
    })
}

/// How far frames may be ahead of the clock; those of files are, a little.
const MAX_AHEAD: gst::ClockTime = gst::ClockTime::from_seconds(10);

/// Converts a pipeline's times to the media timeline.
#[derive(Clone, Debug)]
pub(super) struct Timeline {
    pipeline: gst::glib::WeakRef<gst::Pipeline>,
    /// For frames with times of a foreign clock.
    anchor: Option<Arc<Lock<Anchor>>>,
}

impl Timeline {
    pub(super) fn new(pipeline: &gst::Pipeline) -> Self {
        Self { pipeline: pipeline.downgrade(), anchor: None }
    }

    /// For frames with times of a foreign clock; all tracks share the anchor.
    pub(super) fn anchored(pipeline: &gst::Pipeline, anchor: Arc<Lock<Anchor>>) -> Self {
        Self { anchor: Some(anchor), ..Self::new(pipeline) }
    }

    /// The pipeline, unless it was dropped.
    pub(super) fn pipeline(&self) -> Option<gst::Pipeline> {
        self.pipeline.upgrade()
    }

    fn place(&self, sample: &gst::Sample, time: Option<gst::ClockTime>) -> Option<MediaTime> {
        let segment = sample.segment()?.downcast_ref::<gst::ClockTime>()?;
        let base = self.pipeline()?.base_time()?;
        let running = time.and_then(|time| segment.to_running_time(time));
        let now = clock().time();
        let moment = match (&self.anchor, running) {
            (Some(anchor), Some(running)) => {
                let foreign = (base + running).nseconds();
                let mut anchor = anchor.lock();
                gst::ClockTime::from_nseconds(anchor.place(foreign, now.nseconds()))
            }
            (Some(_), None) => now,
            (None, running) => base + running?,
        };
        // A time in the future is an error, and the timeline could not go back after it.
        let latest = now + MAX_AHEAD;
        (moment <= latest).then(|| media_time(moment))
    }
}

/// Reads one track's encoded frames.
struct Tap {
    track: TrackKind,
    target: Target,
    clock: Timeline,
    /// The caps of the last frame; only changes are parsed.
    caps: Option<gst::Caps>,
}

impl Tap {
    fn take(&mut self, sample: &gst::Sample) {
        if self.track == TrackKind::Audio {
            self.check_caps(sample);
        }
        if let Some(unit) = self.unit(sample) {
            self.target.unit(unit);
        }
    }

    fn check_caps(&mut self, sample: &gst::Sample) {
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
            Some(Ok(info)) => self.target.audio_config(info),
            Some(Err(error)) => debug!("{:?}: sound: {error}", self.target),
            None => {}
        }
        self.caps = caps;
    }

    fn unit(&self, sample: &gst::Sample) -> Option<AccessUnit> {
        let buffer = sample.buffer_owned()?;
        let pts = self.clock.place(sample, buffer.pts().or(buffer.dts()))?;
        let dts = buffer.dts().and_then(|dts| self.clock.place(sample, Some(dts)));
        let dts = dts.unwrap_or(pts).min(pts);
        let duration = buffer.duration().map(Into::into);
        let data = Bytes::from_owner(buffer.into_mapped_buffer_readable().ok()?);
        Some(AccessUnit { track: self.track, pts, dts, duration, data })
    }
}
