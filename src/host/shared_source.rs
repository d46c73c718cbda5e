//! Where pictures of a shared feed enter another pipeline.

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
use crate::host::fanout::{Fanout, Frame, Taking, is_key};
use crate::model::given::Given;
use crate::model::status::Failure;
use crate::model::unit::{AccessUnit, TrackKind};

/// Encoded pictures that may wait for their decoder; beyond that it goes on at
/// a key frame.
const HELD: gst::ClockTime = gst::ClockTime::from_seconds(1);

/// Starts a pipeline whose source `frames` gets the pictures of `fanout` from
/// now on, those first that a decoder needs of the past; blocks. Those that it
/// is too slow for are counted for `target`.
///
/// # Errors
/// The pipeline does not start.
pub(super) fn play_from(
    running: &mut Running,
    fanout: &Arc<Fanout>,
    target: Target,
) -> Result<Taking, Failure> {
    // Its time begins with the oldest picture that it is given.
    let now = MediaTime::now();
    let begin = fanout.begin().map_or(now, |past| past.min(now));
    let mut source = SharedSource::new(running.element("frames")?, begin, target)?;
    let pipeline = running.pipeline();
    pipeline.set_start_time(gst::ClockTime::NONE);
    pipeline.set_base_time(absolute(begin));
    running.play()?;
    Ok(fanout.take(TrackKind::Video, move |frame| source.take(frame)))
}

/// What a feed gives, as soon as that is known.
pub(super) async fn told(known: &mut watch::Receiver<Option<Given>>) -> Given {
    loop {
        if let Some(given) = *known.borrow_and_update() {
            return given;
        }
        news(known).await;
    }
}

/// Returns when a feed gives something else.
pub(super) async fn news(known: &mut watch::Receiver<Option<Given>>) {
    if known.changed().await.is_err() {
        // The feed is gone, and this task will be told to end.
        std::future::pending::<()>().await;
    }
}

/// Where pictures of a feed enter an encoder's pipeline.
struct SharedSource {
    source: gst_app::AppSrc,
    target: Target,
    begin: MediaTime,
    caps: Option<gst::Caps>,
    /// Whether encoded pictures are of no use before the next key frame.
    awaiting_key: bool,
}

impl SharedSource {
    fn new(element: gst::Element, begin: MediaTime, target: Target) -> Result<Self, Failure> {
        let source = element
            .downcast::<gst_app::AppSrc>()
            .map_err(|_| Failure::Build("\"frames\" is not an appsrc".to_owned()))?;
        Ok(Self { source, target, begin, caps: None, awaiting_key: true })
    }

    fn take(&mut self, frame: &Frame) {
        match frame {
            Frame::Plain(plain) => {
                self.follow(&plain.caps);
                // The source holds one picture, and lets it go for the next.
                if self.source.current_level_buffers() > 0 {
                    self.target.count_dropped();
                }
                self.push(plain.buffer.copy(), plain.pts, None, plain.duration);
            }
            Frame::Unit(unit) => self.take_encoded(unit),
            Frame::Sound(_) => {}
        }
    }

    /// Leaves out whole groups of pictures if the decoder cannot keep up.
    fn take_encoded(&mut self, unit: &AccessUnit) {
        let is_key = is_key(&unit.data);
        self.awaiting_key |= self.source.current_level_time() > HELD;
        if self.awaiting_key && !is_key {
            return;
        }
        self.follow(
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

    fn follow(&mut self, caps: &gst::Caps) {
        if self.caps.as_ref() != Some(caps) {
            self.source.set_caps(Some(caps));
            self.caps = Some(caps.clone());
        }
    }

    /// Pushes a buffer; one from before the pipeline's time goes nowhere.
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
        // A source that takes no more has a pipeline whose bus says why.
        self.source.push_buffer(buffer).ok();
    }
}
