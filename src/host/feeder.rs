//! Appsrcs that take encoded frames, with back-pressure.

use std::time::Duration;

use bytes::Bytes;
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use tokio::sync::{mpsc, watch};

use crate::base::time::MediaTime;
use crate::model::failure::Failure;
use crate::model::fault::Fault;
use crate::model::track::AudioInfo;
use crate::model::unit::TrackKind;
use crate::wire::Unit;

/// Limit of a source of bytes.
const MAX_SOURCE_BYTES: u64 = 1 << 20;

/// Limit of a source of frames. When it is full, the reader falls behind and continues
/// at a key frame.
const MAX_SOURCE_TIME: Duration = Duration::from_secs(1);

/// The sources of one pipeline.
#[derive(Debug)]
pub(super) struct Sources {
    video: Source,
    audio: Option<Source>,
    begin: MediaTime,
}

#[derive(Debug)]
pub(super) struct Source {
    app: gst_app::AppSrc,
    /// Whether it is full.
    full: watch::Receiver<bool>,
}

impl Sources {
    /// Prepares the appsrc `video`, and `audio` with the sound to expect there.
    ///
    /// # Errors
    /// An element is no appsrc.
    pub(super) fn new(
        video: gst::Element,
        audio: Option<(gst::Element, &AudioInfo)>,
        begin: MediaTime,
    ) -> Result<Self, Failure> {
        let caps = gst::Caps::builder("video/x-h264")
            .field("stream-format", "byte-stream")
            .field("alignment", "au")
            .build();
        let video = Source::new(video, &caps)?;
        let audio = match audio {
            Some((element, info)) => Some(Source::new(element, &audio_caps(info))?),
            None => None,
        };
        Ok(Self { video, audio, begin })
    }

    /// A media time as the pipeline's running time, which begins at `begin`.
    fn running_time(&self, time: MediaTime) -> gst::ClockTime {
        gst::ClockTime::from_nseconds(time.0.saturating_sub(self.begin.0))
    }

    /// Pushes a unit; ignored if there is no source for its track.
    fn push(&self, unit: &Unit, data: Bytes) -> Result<(), gst::FlowError> {
        let source = match (unit.track, &self.audio) {
            (TrackKind::Video, _) => &self.video,
            (TrackKind::Audio, Some(source)) => source,
            (TrackKind::Audio, None) => return Ok(()),
        };
        let mut buffer = gst::Buffer::from_slice(data);
        let fresh = buffer.get_mut().expect("a new buffer has one owner");
        fresh.set_pts(self.running_time(unit.pts));
        fresh.set_dts(self.running_time(unit.dts));
        fresh.set_duration(gst::ClockTime::from_nseconds(unit.duration.as_nanos() as u64));
        if !unit.key && unit.track == TrackKind::Video {
            fresh.set_flags(gst::BufferFlags::DELTA_UNIT);
        }
        if unit.gap {
            fresh.set_flags(gst::BufferFlags::DISCONT);
        }
        source.push(buffer)
    }

    /// Pushes units at the speed at which the pipeline takes video, until there are no
    /// more. Stays pending if a source fails: the pipeline's bus gives the reason.
    pub(super) async fn push_all(&self, units: &mut mpsc::Receiver<(Unit, Bytes)>) {
        while let Some((unit, data)) = units.recv().await {
            if self.push(&unit, data).is_err() {
                return std::future::pending().await;
            }
            self.video.has_room().await;
        }
    }

    /// Sends end of stream.
    pub(super) fn end(&self) {
        self.video.end();
        self.audio.iter().for_each(Source::end);
    }
}

fn audio_caps(info: &AudioInfo) -> gst::Caps {
    gst::Caps::builder("audio/mpeg")
        .field("mpegversion", 4i32)
        .field("stream-format", "raw")
        .field("framed", true)
        .field("rate", i32::try_from(info.rate).unwrap_or(44_100))
        .field("channels", i32::from(info.channels))
        .field("codec_data", gst::Buffer::from_slice(info.config.clone()))
        .build()
}

impl Source {
    fn new(element: gst::Element, caps: &gst::Caps) -> Result<Self, Failure> {
        let source = Self::prepare(element, Some(caps))?;
        let max_time = gst::ClockTime::from_nseconds(MAX_SOURCE_TIME.as_nanos() as u64);
        source.app.set_max_bytes(0);
        source.app.set_max_time(max_time);
        Ok(source)
    }

    /// A source of bytes, with their caps if these are known.
    ///
    /// # Errors
    /// The element is no appsrc.
    pub(super) fn for_bytes(
        element: gst::Element,
        caps: Option<&gst::Caps>,
    ) -> Result<Self, Failure> {
        let source = Self::prepare(element, caps)?;
        source.app.set_max_bytes(MAX_SOURCE_BYTES);
        source.app.set_max_time(gst::ClockTime::ZERO);
        Ok(source)
    }

    fn prepare(element: gst::Element, caps: Option<&gst::Caps>) -> Result<Self, Failure> {
        let app = element
            .downcast::<gst_app::AppSrc>()
            .map_err(|other| Fault::wrong_element(&other.name(), "appsrc"))?;
        app.set_caps(caps);
        app.set_max_buffers(0);
        let (sender, full) = watch::channel(false);
        let drained = sender.clone();
        app.set_callbacks(
            gst_app::AppSrcCallbacks::builder()
                .need_data(move |_, _| {
                    drained.send_replace(false);
                })
                .enough_data(move |_| {
                    sender.send_replace(true);
                })
                .build(),
        );
        Ok(Self { app, full })
    }

    /// Pushes a buffer.
    ///
    /// # Errors
    /// The pipeline has failed or ended; its bus gives the reason.
    pub(super) fn push(&self, buffer: gst::Buffer) -> Result<(), gst::FlowError> {
        self.app.push_buffer(buffer).map(|_| ())
    }

    /// Sends end of stream.
    pub(super) fn end(&self) {
        self.app.end_of_stream().ok();
    }

    /// Waits until it has room.
    pub(super) async fn has_room(&self) {
        // An error means that the source was dropped with its run.
        self.full.clone().wait_for(|full| !*full).await.ok();
    }
}
