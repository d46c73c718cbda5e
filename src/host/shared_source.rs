//! Feeds pictures of a shared feed into another pipeline.

use std::sync::Arc;
use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use tokio::sync::watch;

use super::clock::absolute;
use super::running::Running;
use super::tap::Target;
use crate::base::time::MediaTime;
use crate::host::fanout::{Fanout, Frame, Subscription, is_key};
use crate::model::failure::Failure;
use crate::model::fault::Fault;
use crate::model::given::Given;
use crate::model::unit::{AccessUnit, TrackKind};

/// Limit of encoded pictures that wait for the decoder; after that it continues at a key
/// frame.
const MAX_QUEUED: gst::ClockTime = gst::ClockTime::from_seconds(1);

/// Starts a pipeline whose source `frames` gets the pictures of `fanout`, first the kept
/// ones that a decoder needs; blocks. Pictures that it is too slow for are dropped and
/// counted for `target`.
///
/// # Errors
/// The pipeline does not start.
pub(super) fn play_from(
    running: &mut Running,
    fanout: &Arc<Fanout>,
    target: Target,
) -> Result<Subscription, Failure> {
    // Its running time begins with the oldest picture.
    let now = MediaTime::now();
    let begin = fanout.begin().map_or(now, |oldest| oldest.min(now));
    let mut source = SharedSource::new(running.element("frames")?, begin, target)?;
    let pipeline = running.pipeline();
    pipeline.set_start_time(gst::ClockTime::NONE);
    pipeline.set_base_time(absolute(begin));
    running.play()?;
    Ok(fanout.subscribe(TrackKind::Video, move |frame| source.take(frame)))
}

/// Waits until the media of a feed are known.
pub(super) async fn wait_known(known: &mut watch::Receiver<Option<Given>>) -> Given {
    loop {
        if let Some(given) = *known.borrow_and_update() {
            return given;
        }
        wait_changed(known).await;
    }
}

/// Waits until the media of a feed change.
pub(super) async fn wait_changed(known: &mut watch::Receiver<Option<Given>>) {
    if known.changed().await.is_err() {
        // The feed was dropped, and this task will be stopped.
        std::future::pending::<()>().await;
    }
}

/// The appsrc of an encoder's pipeline.
struct SharedSource {
    source: gst_app::AppSrc,
    target: Target,
    begin: MediaTime,
    caps: Option<gst::Caps>,
    /// Whether encoded pictures are dropped until the next key frame.
    awaiting_key: bool,
}

impl SharedSource {
    fn new(element: gst::Element, begin: MediaTime, target: Target) -> Result<Self, Failure> {
        let source = element
            .downcast::<gst_app::AppSrc>()
            .map_err(|_| Fault::wrong_element("frames", "appsrc"))?;
        Ok(Self { source, target, begin, caps: None, awaiting_key: true })
    }

    fn take(&mut self, frame: &Frame) {
        match frame {
            Frame::Plain(plain) => {
                self.set_caps(&plain.caps);
                // The source holds one picture, and a newer one replaces it.
                if self.source.current_level_buffers() > 0 {
                    self.target.count_dropped();
                }
                self.push(plain.buffer.copy(), plain.pts, None, plain.duration);
            }
            Frame::Unit(unit) => self.take_encoded(unit),
            Frame::Sound(_) => {}
        }
    }

    /// Drops pictures up to the next key frame if the decoder cannot keep up.
    fn take_encoded(&mut self, unit: &AccessUnit) {
        let is_key = is_key(&unit.data);
        self.awaiting_key |= self.source.current_level_time() > MAX_QUEUED;
        if self.awaiting_key && !is_key {
            return;
        }
        self.set_caps(
            &gst::Caps::builder("video/x-h264")
                .field("stream-format", "byte-stream")
                .field("alignment", "au")
                .build(),
        );
        let mut buffer = gst::Buffer::from_slice(unit.data.clone());
        let fresh = buffer.get_mut().expect("a new buffer has one owner");
        if self.awaiting_key {
            fresh.set_flags(gst::BufferFlags::DISCONT);
        }
        if !is_key {
            fresh.set_flags(gst::BufferFlags::DELTA_UNIT);
        }
        self.awaiting_key = false;
        self.push(buffer, unit.pts, Some(unit.dts), unit.duration);
    }

    fn set_caps(&mut self, caps: &gst::Caps) {
        if self.caps.as_ref() != Some(caps) {
            self.source.set_caps(Some(caps));
            self.caps = Some(caps.clone());
        }
    }

    /// Pushes a buffer; one from before the pipeline's time is ignored.
    fn push(
        &self,
        mut buffer: gst::Buffer,
        pts: MediaTime,
        dts: Option<MediaTime>,
        duration: Option<Duration>,
    ) {
        let place = |time: MediaTime| time.0.checked_sub(self.begin.0);
        let Some(at) = place(pts) else { return };
        let fresh = buffer.make_mut();
        fresh.set_pts(gst::ClockTime::from_nseconds(at));
        fresh.set_dts(dts.and_then(place).map(gst::ClockTime::from_nseconds));
        fresh.set_duration(duration.and_then(|span| gst::ClockTime::try_from(span).ok()));
        // On an error the pipeline's bus gives the reason.
        self.source.push_buffer(buffer).ok();
    }
}
