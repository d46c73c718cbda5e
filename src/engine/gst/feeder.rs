//! Feeding a consumer's pipeline from a stream, at the speed at which it drains.
//!
//! A feeder never drops a frame by itself: dropping H.264 corrupts silently.
//! Who falls behind goes on at a key frame, and the pipeline is told so.

use std::sync::Arc;
use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use tokio::sync::watch;

use crate::base::time::MediaTime;
use crate::hub::{Piece, Read, Reader};
use crate::media::packager::{Chunk, Init};
use crate::model::status::Failure;
use crate::model::track::AudioInfo;
use crate::model::unit::TrackKind;

/// A source of bytes that holds more than this takes no more.
const BYTES_HELD: u64 = 1 << 20;

/// A source that holds more than this takes no more until it is drained; the
/// reader then falls behind and goes on at a key frame.
const SOURCE_HOLDS: Duration = Duration::from_secs(1);

/// The sources of one pipeline.
#[derive(Debug)]
pub(super) struct Sources {
    video: Source,
    audio: Option<Source>,
    begin: MediaTime,
    when_late: WhenLate,
}

/// What a feeder does whose pipeline cannot keep up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WhenLate {
    /// It falls back until the ring lets go of what it reads.
    FallBack,
    /// It goes on at the newest key frame as soon as there is one ahead.
    Jump,
}

/// Why a feeder cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// A source takes no more; the pipeline's bus knows why.
    Refused,
    CodecChange,
    /// The stream is taken away; who feeds is told to stop.
    Gone,
}

#[derive(Debug)]
pub(super) struct Source {
    app: gst_app::AppSrc,
    /// Whether it is full.
    full: watch::Receiver<bool>,
}

/// The first chunk, with what is needed to decode it.
pub(super) async fn first_chunk(reader: &mut Reader) -> (Arc<Init>, Arc<Piece>) {
    let mut init = None;
    loop {
        match (reader.next().await, &init) {
            (Read::Init(new), _) => init = Some(new),
            (Read::Chunk(chunk), Some(init)) => return (Arc::clone(init), chunk),
            // Who feeds is told to stop when its stream is taken away.
            (Read::Chunk(_) | Read::Skipped(_) | Read::Over, _) => {}
        }
    }
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
        when_late: WhenLate,
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
        Ok(Self { video, audio, begin, when_late })
    }

    /// A moment as the pipeline's time, which begins at `begin`.
    fn running_time(&self, time: MediaTime) -> gst::ClockTime {
        gst::ClockTime::from_nseconds(time.0.saturating_sub(self.begin.0))
    }

    fn take(&self, chunk: &Chunk, gap: bool) -> Result<(), gst::FlowError> {
        for unit in &chunk.units {
            let (source, data) = match (unit.track, &self.audio) {
                (TrackKind::Video, _) => (&self.video, chunk.annex_b()),
                (TrackKind::Audio, Some(source)) => (source, chunk.payload(unit)),
                (TrackKind::Audio, None) => continue,
            };
            let mut buffer = gst::Buffer::from_slice(data);
            let fresh = buffer.get_mut().expect("a new buffer has one owner");
            fresh.set_pts(self.running_time(unit.pts));
            fresh.set_dts(self.running_time(unit.dts));
            fresh.set_duration(gst::ClockTime::from_nseconds(unit.duration.as_nanos() as u64));
            if !unit.key && unit.track == TrackKind::Video {
                fresh.set_flags(gst::BufferFlags::DELTA_UNIT);
            }
            if gap {
                fresh.set_flags(gst::BufferFlags::DISCONT);
            }
            source.push(buffer)?;
        }
        Ok(())
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
        let source = Self::prepared(element, Some(caps))?;
        let held = gst::ClockTime::from_nseconds(SOURCE_HOLDS.as_nanos() as u64);
        source.app.set_max_bytes(0);
        source.app.set_max_time(held);
        Ok(source)
    }

    /// A source of bytes, of which it may be known what they are.
    ///
    /// # Errors
    /// The element is no appsrc.
    pub(super) fn of_bytes(
        element: gst::Element,
        caps: Option<&gst::Caps>,
    ) -> Result<Self, Failure> {
        let source = Self::prepared(element, caps)?;
        source.app.set_max_bytes(BYTES_HELD);
        source.app.set_max_time(gst::ClockTime::ZERO);
        Ok(source)
    }

    fn prepared(element: gst::Element, caps: Option<&gst::Caps>) -> Result<Self, Failure> {
        let app = element
            .downcast::<gst_app::AppSrc>()
            .map_err(|other| Failure::Build(format!("{:?} is not an appsrc", other.name())))?;
        app.set_caps(caps);
        app.set_max_buffers(0);
        let (tell, full) = watch::channel(false);
        let drained = tell.clone();
        app.set_callbacks(
            gst_app::AppSrcCallbacks::builder()
                .need_data(move |_, _| {
                    drained.send_replace(false);
                })
                .enough_data(move |_| {
                    tell.send_replace(true);
                })
                .build(),
        );
        Ok(Self { app, full })
    }

    fn is_full(&self) -> bool {
        *self.full.borrow()
    }

    /// Hands on a buffer.
    ///
    /// # Errors
    /// It takes no more; the pipeline's bus knows why.
    pub(super) fn push(&self, buffer: gst::Buffer) -> Result<(), gst::FlowError> {
        self.app.push_buffer(buffer).map(|_| ())
    }

    /// Nothing follows.
    pub(super) fn end(&self) {
        self.app.end_of_stream().ok();
    }

    /// Waits until it takes more.
    pub(super) async fn has_room(&self) {
        // An error means that the source is gone, and the run with it.
        self.full.clone().wait_for(|full| !*full).await.ok();
    }
}

/// Feeds a pipeline from `first` on. Returns when it cannot go on. `tell_lost`
/// learns how many chunks were skipped.
pub(super) async fn feed(
    reader: &mut Reader,
    first: Arc<Piece>,
    sources: Sources,
    tell_lost: impl Fn(u64),
) -> Over {
    let generation = first.generation;
    let mut next = Some(Read::Chunk(first));
    let mut gap = false;
    loop {
        let read = match next.take() {
            Some(read) => read,
            None => reader.next().await,
        };
        match read {
            Read::Chunk(chunk) => {
                if sources.take(&chunk, gap).is_err() {
                    return Over::Refused;
                }
                gap = false;
                let is_late = sources.video.is_full();
                sources.video.has_room().await;
                if is_late && sources.when_late == WhenLate::Jump {
                    let lost = reader.jump();
                    if lost > 0 {
                        tell_lost(lost);
                        gap = true;
                    }
                }
            }
            Read::Skipped(lost) => {
                tell_lost(lost);
                gap = true;
            }
            Read::Init(init) if init.generation != generation => return Over::CodecChange,
            Read::Init(_) => {}
            Read::Over => return Over::Gone,
        }
    }
}
