//! Distributes the frames of a feed to several streams.
//!
//! Subscribers are called on the feed's thread and must not wait. Late subscribers first
//! get what a decoder needs: the pictures since the newest key frame, and the
//! configuration of the sound. That state belongs to a run and ends with it.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use gstreamer as gst;
use tokio::sync::watch;

use crate::base::lock::Lock;
use crate::base::time::MediaTime;
use crate::media::h264::{NalType, nal_units};
use crate::model::given::{Given, Pictures};
use crate::model::ids::FeedName;
use crate::model::track::AudioInfo;
use crate::model::unit::{AccessUnit, TrackKind};

/// Limit of the encoded pictures that are kept. After it is exceeded, new subscribers
/// wait for the next key frame.
const MAX_GOP_BYTES: usize = 8 << 20;

/// The distribution of one feed.
pub(super) struct Fanout {
    name: FeedName,
    inner: Lock<Inner>,
    given: watch::Sender<Option<Given>>,
}

/// What a subscriber gets.
#[derive(Clone, Debug)]
pub(super) enum Frame {
    /// A raw picture: a copy that all subscribers share.
    Plain(Plain),
    /// An encoded picture, or a sound.
    Unit(AccessUnit),
    /// How to decode the sounds that follow.
    Sound(AudioInfo),
}

#[derive(Clone, Debug)]
pub(super) struct Plain {
    pub pts: MediaTime,
    pub duration: Option<Duration>,
    pub buffer: gst::Buffer,
    pub caps: gst::Caps,
}

type Subscriber = Box<dyn FnMut(&Frame) + Send>;

#[derive(Default)]
struct Inner {
    subscribers: Vec<(u64, TrackKind, Subscriber)>,
    next_id: u64,
    /// The current run, if any.
    run: Option<RunState>,
    /// The number of the latest run.
    latest_run: u64,
    /// Whether pictures out of display order were found, in any run.
    disordered: bool,
}

/// The state of a run.
struct RunState {
    run: u64,
    begin: MediaTime,
    sound: Option<AudioInfo>,
    gop: Gop,
    order: Order,
}

/// A run of the feed. Dropping it ends the run: no more of its frames are distributed.
#[derive(Debug)]
pub(super) struct FeedRun(Writer);

/// Takes the frames of a run. Frames of a run that has ended are ignored, so that a
/// pipeline that hangs while stopping does not write into the next run.
#[derive(Clone)]
pub(super) struct Writer {
    fanout: Arc<Fanout>,
    run: u64,
}

/// Detects pictures that are not in display order.
#[derive(Default)]
struct Order {
    latest: MediaTime,
    breaks: u32,
}

/// The largest step back of reordered pictures, which make many; a clock that was set
/// makes one larger step.
const MAX_REORDERING: Duration = Duration::from_millis(500);

/// The encoded pictures since the newest key frame.
#[derive(Default)]
struct Gop {
    units: VecDeque<AccessUnit>,
    bytes: usize,
    /// Whether it begins with a key frame.
    has_key: bool,
}

/// A subscription, which ends when it is dropped.
#[derive(Debug)]
pub(super) struct Subscription {
    fanout: Arc<Fanout>,
    id: u64,
}

impl Fanout {
    pub(super) fn new(name: FeedName) -> Arc<Self> {
        Arc::new(Self { name, inner: Lock::default(), given: watch::Sender::new(None) })
    }

    /// Marks the feed's pictures as not in display order, as found by an earlier host.
    pub(super) fn expect_disorder(&self) {
        self.inner.lock().disordered = true;
    }

    /// The media that the feed gives; none before its first run has found out.
    pub(super) fn given(&self) -> watch::Receiver<Option<Given>> {
        self.given.subscribe()
    }

    /// Begins a run at `now`, and ends an earlier one.
    pub(super) fn begin_run(self: &Arc<Self>, now: MediaTime) -> FeedRun {
        let mut inner = self.inner.lock();
        inner.latest_run += 1;
        let run = inner.latest_run;
        let (gop, order) = (Gop::default(), Order::default());
        inner.run = Some(RunState { run, begin: now, sound: None, gop, order });
        FeedRun(Writer { fanout: Arc::clone(self), run })
    }

    /// The earliest time that frames of a subscriber coming at `now` may have: kept
    /// pictures are older than `now`, but not older than the run.
    pub(super) fn earliest(&self, now: MediaTime) -> MediaTime {
        self.inner.lock().run.as_ref().map_or(now, |state| state.begin.min(now))
    }

    /// The decoding time of the oldest kept picture that a new subscriber gets, if any.
    pub(super) fn begin(&self) -> Option<MediaTime> {
        let inner = self.inner.lock();
        inner.run.as_ref()?.gop.for_joiners().next().map(|unit| unit.dts)
    }

    /// Calls `subscriber` with all further frames of a track, after the kept ones that a
    /// decoder needs. It runs on the feed's thread: it must not wait, nor call this fanout.
    pub(super) fn subscribe(
        self: &Arc<Self>,
        track: TrackKind,
        mut subscriber: impl FnMut(&Frame) + Send + 'static,
    ) -> Subscription {
        let mut inner = self.inner.lock();
        match (track, &inner.run) {
            (TrackKind::Video, Some(state)) => {
                state.gop.for_joiners().for_each(|unit| subscriber(&Frame::Unit(unit.clone())));
            }
            (TrackKind::Audio, Some(state)) => {
                state.sound.iter().for_each(|info| subscriber(&Frame::Sound(info.clone())));
            }
            (_, None) => {}
        }
        let id = inner.next_id;
        inner.next_id += 1;
        inner.subscribers.push((id, track, Box::new(subscriber)));
        Subscription { fanout: Arc::clone(self), id }
    }
}

impl FeedRun {
    pub(super) fn writer(&self) -> Writer {
        self.0.clone()
    }
}

impl Writer {
    /// Announces the media of this run, before its first frame. Pictures that were once out
    /// of display order are expected to be so again: a stream that passes them through
    /// would otherwise start anew after the first pictures of each run.
    pub(super) fn announce(&self, mut given: Given) {
        let Some(inner) = self.lock_current() else { return };
        if inner.disordered {
            mark_disordered(&mut given);
        }
        self.fanout.given.send_if_modified(|known| {
            let differs = *known != Some(given);
            *known = Some(given);
            differs
        });
    }

    /// Whether there are subscribers of video; if not, frames need not be copied.
    pub(super) fn has_video_subscribers(&self) -> bool {
        let is_video = |(_, track, _): &(u64, TrackKind, Subscriber)| *track == TrackKind::Video;
        self.lock_current().is_some_and(|inner| inner.subscribers.iter().any(is_video))
    }

    /// Whether frames of this track count as progress of the feed: sound does only without
    /// video, as a camera may stall while its sound continues.
    pub(super) fn shows_progress(&self, track: TrackKind) -> bool {
        let has_pictures = self.fanout.given.borrow().is_some_and(|given| given.pictures.is_some());
        (track == TrackKind::Video) == has_pictures
    }

    /// Distributes a raw picture.
    pub(super) fn plain(&self, plain: Plain) {
        if let Some(mut inner) = self.lock_current() {
            inner.distribute(TrackKind::Video, &Frame::Plain(plain));
        }
    }

    /// Distributes an encoded frame. Pictures before the first key frame of a run are
    /// ignored. Returns whether the frame was distributed.
    pub(super) fn unit(&self, unit: AccessUnit) -> bool {
        let track = unit.track;
        let Some(mut inner) = self.lock_current() else { return false };
        if track == TrackKind::Video {
            let Some(state) = &mut inner.run else { return false };
            if !state.gop.push(&unit) {
                return false;
            }
            if state.order.is_broken_by(unit.pts) {
                inner.disordered = true;
                self.fanout
                    .given
                    .send_if_modified(|given| given.as_mut().is_some_and(mark_disordered));
            }
        }
        inner.distribute(track, &Frame::Unit(unit));
        true
    }

    pub(super) fn audio_config(&self, info: AudioInfo) {
        let Some(mut inner) = self.lock_current() else { return };
        if let Some(state) = &mut inner.run {
            state.sound = Some(info.clone());
        }
        inner.distribute(TrackKind::Audio, &Frame::Sound(info));
    }

    /// The fanout's state, if this run is the current one.
    fn lock_current(&self) -> Option<MutexGuard<'_, Inner>> {
        let inner = self.fanout.inner.lock();
        inner.is_current(self.run).then_some(inner)
    }
}

impl Drop for FeedRun {
    fn drop(&mut self) {
        if let Some(mut inner) = self.0.lock_current() {
            inner.run = None;
        }
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("fanout", &self.fanout).field("run", &self.run).finish()
    }
}

impl fmt::Debug for Fanout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fanout").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.fanout.inner.lock().subscribers.retain(|(id, _, _)| *id != self.id);
    }
}

impl Inner {
    fn is_current(&self, run: u64) -> bool {
        self.run.as_ref().is_some_and(|state| state.run == run)
    }

    fn distribute(&mut self, track: TrackKind, frame: &Frame) {
        for (_, wanted, subscriber) in &mut self.subscribers {
            if *wanted == track {
                subscriber(frame);
            }
        }
    }
}

impl Order {
    /// Takes the time of the next picture; true at the second step back.
    fn is_broken_by(&mut self, pts: MediaTime) -> bool {
        let back = self.latest.0.saturating_sub(pts.0);
        self.latest = pts.max(self.latest);
        if back > MAX_REORDERING.as_nanos() as u64 {
            self.latest = pts;
        } else if back > 0 {
            self.breaks += 1;
        }
        self.breaks == 2
    }
}

/// Marks pictures as not in display order; returns whether that is a change.
fn mark_disordered(given: &mut Given) -> bool {
    match &mut given.pictures {
        Some(Pictures::H264 { in_order }) => std::mem::take(in_order),
        Some(Pictures::Plain) | None => false,
    }
}

impl Gop {
    /// Adds a picture; returns whether a decoder can use it.
    fn push(&mut self, unit: &AccessUnit) -> bool {
        if is_key(&unit.data) {
            *self = Self { has_key: true, ..Self::default() };
        }
        self.bytes += unit.data.len();
        if self.bytes <= MAX_GOP_BYTES {
            self.units.push_back(unit.clone());
        } else {
            self.units.clear();
        }
        self.has_key
    }

    /// The pictures that a new decoder needs; none if the group exceeded the limit.
    fn for_joiners(&self) -> impl Iterator<Item = &AccessUnit> {
        self.units.iter().filter(|_| self.has_key)
    }
}

/// Whether a decoder can start at this access unit (Annex B).
pub(super) fn is_key(annex_b: &[u8]) -> bool {
    nal_units(annex_b)
        .filter_map(|nal| nal.first())
        .any(|header| NalType::of(*header) == NalType::IdrSlice)
}

#[cfg(test)]
mod tests;
