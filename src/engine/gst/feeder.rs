//! Feeding a consumer's pipeline from a stream, at the speed at which it drains.
//!
//! A feeder never drops a frame by itself: dropping H.264 corrupts silently.
//! Who falls behind goes on at a key frame, and the pipeline is told so.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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

/// A source that holds more than this takes no more until it is drained; the
/// reader then falls behind and goes on at a key frame.
const SOURCE_HOLDS: Duration = Duration::from_secs(1);

/// How much faster than life the past is shown.
const SQUEEZE: u64 = 50;

/// The sources of one pipeline.
#[derive(Debug)]
pub(super) struct Sources {
    video: Source,
    audio: Option<Source>,
    join: Join,
    /// Bytes taken so far.
    taken: Arc<AtomicU64>,
}

/// What a reader joins with: where its time begins, and the past.
#[derive(Clone, Copy, Debug)]
pub(super) struct Join {
    begin: MediaTime,
    /// Pictures from before this moment are shown in a blink.
    edge: MediaTime,
}

/// How a feeder treats a pipeline that takes nothing for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// Everything is sent, as late as it may be, as long as the ring has it.
    Complete,
    /// It goes on with what is live.
    Live,
}

/// Why a feeder cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// A source takes no more; the pipeline's bus knows why.
    Refused,
    CodecChange,
}

#[derive(Debug)]
struct Source {
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
            (Read::Chunk(_) | Read::Skipped(_), _) => {}
        }
    }
}

impl Join {
    /// The past as it was: time begins with `first`.
    pub(super) fn complete(first: &Chunk) -> Option<Self> {
        let begin = first.units.first()?.dts;
        Some(Self { begin, edge: begin })
    }

    /// The past in a blink, so that what follows is shown when it happens.
    pub(super) fn live(begin: MediaTime) -> Self {
        Self { begin, edge: now() }
    }

    /// The moment of [`super::clock`] at which the pipeline's time begins.
    pub(super) fn base_time(self) -> gst::ClockTime {
        super::absolute(self.begin)
    }

    fn again(self, now: MediaTime) -> Self {
        Self { edge: now, ..self }
    }

    fn is_past(self, time: MediaTime) -> bool {
        time < self.edge
    }

    fn squeezed(self, time: MediaTime) -> MediaTime {
        match self.edge.0.checked_sub(time.0) {
            Some(ago) => MediaTime(self.edge.0 - ago / SQUEEZE),
            None => time,
        }
    }

    fn running_time(self, time: MediaTime) -> gst::ClockTime {
        gst::ClockTime::from_nseconds(self.squeezed(time).0.saturating_sub(self.begin.0))
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
        join: Join,
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
        Ok(Self { video, audio, join, taken: Arc::default() })
    }

    /// Counts the bytes of pictures and sounds that were taken.
    pub(super) fn taken(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.taken)
    }

    fn take(&self, chunk: &Chunk, gap: bool) -> Result<(), gst::FlowError> {
        for unit in &chunk.units {
            let (source, data) = match (unit.track, &self.audio) {
                (TrackKind::Video, _) => (&self.video, chunk.annex_b()),
                (TrackKind::Audio, Some(_)) if self.join.is_past(unit.pts) => continue,
                (TrackKind::Audio, Some(source)) => (source, chunk.payload(unit)),
                (TrackKind::Audio, None) => continue,
            };
            self.taken.fetch_add(data.len() as u64, Ordering::Relaxed);
            let mut buffer = gst::Buffer::from_slice(data);
            let fresh = buffer.get_mut().expect("a new buffer has one owner");
            fresh.set_pts(self.join.running_time(unit.pts));
            fresh.set_dts(self.join.running_time(unit.dts));
            fresh.set_duration(gst::ClockTime::from_nseconds(unit.duration.as_nanos() as u64));
            if !unit.key && unit.track == TrackKind::Video {
                fresh.set_flags(gst::BufferFlags::DELTA_UNIT);
            }
            if gap {
                fresh.set_flags(gst::BufferFlags::DISCONT);
            }
            source.app.push_buffer(buffer)?;
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
        let app = element
            .downcast::<gst_app::AppSrc>()
            .map_err(|other| Failure::Build(format!("{:?} is not an appsrc", other.name())))?;
        app.set_caps(Some(caps));
        app.set_max_bytes(0);
        app.set_max_buffers(0);
        app.set_max_time(gst::ClockTime::from_nseconds(SOURCE_HOLDS.as_nanos() as u64));
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

    /// Waits until it takes more. Returns whether it was full.
    async fn has_room(&self) -> bool {
        let waited = *self.full.borrow();
        // An error means that the source is gone, and the run with it.
        self.full.clone().wait_for(|full| !*full).await.ok();
        waited
    }
}

fn now() -> MediaTime {
    super::media_time(super::clock().time())
}

/// Feeds a pipeline from `first` on. Returns when it cannot go on. `tell_lost`
/// learns how many chunks were skipped.
pub(super) async fn feed(
    reader: &mut Reader,
    first: Arc<Piece>,
    mut sources: Sources,
    pace: Pace,
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
                if sources.video.has_room().await && pace == Pace::Live {
                    *reader = reader.stream().join();
                    sources.join = sources.join.again(now());
                    gap = true;
                }
            }
            Read::Skipped(lost) => {
                tell_lost(lost);
                gap = true;
            }
            Read::Init(init) if init.generation != generation => return Over::CodecChange,
            Read::Init(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn join() -> Join {
        Join { begin: MediaTime(10 * SECOND), edge: MediaTime(11 * SECOND) }
    }

    #[test]
    fn the_past_takes_a_blink_and_ends_where_life_goes_on() {
        let join = join();
        assert_eq!(join.running_time(MediaTime(10 * SECOND)).mseconds(), 980);
        assert_eq!(join.running_time(MediaTime(11 * SECOND)).mseconds(), 1000);
        assert_eq!(join.running_time(MediaTime(12 * SECOND)).mseconds(), 2000);
    }

    #[test]
    fn who_joins_again_goes_on_in_the_same_time() {
        let later = join().again(MediaTime(20 * SECOND));
        assert_eq!(later.running_time(MediaTime(20 * SECOND)).mseconds(), 10_000);
        assert_eq!(later.running_time(MediaTime(19 * SECOND)).mseconds(), 9980);
    }

    proptest::proptest! {
        #[test]
        fn time_never_runs_back(early in 0..30 * SECOND, late in 0..30 * SECOND) {
            let (early, late) = (early.min(late), early.max(late));
            let join = join();
            assert!(join.running_time(MediaTime(early)) <= join.running_time(MediaTime(late)));
        }
    }
}
