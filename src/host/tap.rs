//! Where encoded frames leave a pipeline: appsinks, and the way from there
//! to the service or to those who share a feed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use log::debug;

use super::anchor::Anchor;
use super::clock::{clock, media_time};
use super::outbox::Out;
use crate::base::time::MediaTime;
use crate::host::fanout::{Fanout, Frame, Plain, Taking, Writer};
use crate::media::aac;
use crate::model::status::Failure;
use crate::model::track::AudioInfo;
use crate::model::unit::{AccessUnit, TrackKind};

/// Where frames go.
#[derive(Clone, Debug)]
pub(super) enum Target {
    /// To the service.
    Stream(Arc<Out>),
    /// To those who share a feed; its run tells the service that it lives.
    Shared(Writer, Arc<Out>),
}

impl Target {
    /// Gets a track's encoded frames from `fanout` as they are, on the feed's thread.
    pub(super) fn take_from(self, fanout: &Arc<Fanout>, track: TrackKind) -> Taking {
        fanout.take(track, move |frame| match frame {
            Frame::Unit(unit) => self.unit(unit.clone()),
            Frame::Sound(info) => self.audio_config(info.clone()),
            Frame::Plain(_) => {}
        })
    }

    /// Hands on one encoded frame.
    pub(super) fn unit(&self, unit: AccessUnit) {
        match self {
            Target::Stream(out) => out.unit(unit),
            Target::Shared(writer, out) => {
                let is_life = writer.lives_by(unit.track);
                if writer.unit(unit) && is_life {
                    out.count_frame();
                }
            }
        }
    }

    /// Counts a frame that was left out because something was too slow for it.
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
/// pictures that others encode.
pub(super) const SINKS: [&str; 3] = ["video", "audio", "plain"];

/// Taps those of the [`SINKS`] with these names that the pipeline has; frames
/// must not be flowing into them yet.
///
/// # Errors
/// An element of that name is no appsink.
pub(super) fn tap(timeline: &Timeline, names: &[&str], target: &Target) -> Result<(), Failure> {
    let pipeline = timeline.pipeline().ok_or(Failure::Ended)?;
    for name in names {
        let Some(sink) = pipeline.by_name(name) else { continue };
        let sink = sink
            .downcast::<gst_app::AppSink>()
            .map_err(|_| Failure::Build(format!("{name:?} is not an appsink")))?;
        let clock = timeline.clone();
        sink.set_callbacks(match (*name, target) {
            ("plain", Target::Shared(writer, out)) => plain(clock, writer.clone(), Arc::clone(out)),
            ("audio", _) => encoded(TrackKind::Audio, clock, target.clone()),
            _ => encoded(TrackKind::Video, clock, target.clone()),
        });
    }
    Ok(())
}

/// Counts the frames that are left out because what follows the queue `newest`
/// of this bin is too slow: that holds one frame, and lets it go for the next.
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

/// The callbacks of a sink that gets plain pictures: each is copied once, so
/// that whoever keeps it keeps none of the camera's few buffers.
fn plain(clock: Timeline, writer: Writer, out: Arc<Out>) -> gst_app::AppSinkCallbacks {
    gst_app::AppSinkCallbacks::builder()
        .new_sample(move |sink| {
            let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
            if writer.has_viewers()
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

/// Frames may be this much ahead of the clock: those of films are, a little.
const AHEAD: gst::ClockTime = gst::ClockTime::from_seconds(10);

/// A pipeline's place on the media timeline.
#[derive(Clone, Debug)]
pub(super) struct Timeline {
    pipeline: gst::glib::WeakRef<gst::Pipeline>,
    /// Where its frames have times of a foreign clock.
    anchor: Option<Arc<Mutex<Anchor>>>,
}

impl Timeline {
    pub(super) fn of(pipeline: &gst::Pipeline) -> Self {
        Self { pipeline: pipeline.downgrade(), anchor: None }
    }

    /// For one whose frames have times of a foreign clock, one for all its tracks.
    pub(super) fn anchored(pipeline: &gst::Pipeline, anchor: Arc<Mutex<Anchor>>) -> Self {
        Self { anchor: Some(anchor), ..Self::of(pipeline) }
    }

    /// The pipeline, unless it is gone.
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
                let mut anchor = anchor.lock().unwrap_or_else(PoisonError::into_inner);
                gst::ClockTime::from_nseconds(anchor.place(foreign, now.nseconds()))
            }
            (Some(_), None) => now,
            (None, running) => base + running?,
        };
        // Nothing comes from the future, and a timeline that went there would
        // not come back.
        let latest = now + AHEAD;
        (moment <= latest).then(|| media_time(moment))
    }
}

/// Where one track's encoded frames leave the pipeline.
struct Tap {
    track: TrackKind,
    target: Target,
    clock: Timeline,
    /// The caps seen last, so that only a change is looked into.
    caps: Option<gst::Caps>,
}

impl Tap {
    fn take(&mut self, sample: &gst::Sample) {
        if self.track == TrackKind::Audio {
            self.look_at_caps(sample);
        }
        if let Some(unit) = self.unit(sample) {
            self.target.unit(unit);
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
