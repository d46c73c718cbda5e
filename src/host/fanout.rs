//! Where a feed gives its frames to several streams.
//!
//! Frames go to every taker on the feed's own thread; a taker never waits.
//! What must be had from the start (the pictures since the newest key frame,
//! the configuration of the sound) is kept for later takers while the run goes
//! on. It belongs to that run: none of it is there before the next one begins.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gstreamer as gst;
use tokio::sync::watch;

use crate::base::time::MediaTime;
use crate::media::h264::{NalType, nal_units};
use crate::model::given::{Given, Pictures};
use crate::model::ids::FeedName;
use crate::model::track::AudioInfo;
use crate::model::unit::{AccessUnit, TrackKind};

/// Encoded pictures that are kept for takers to come; who comes later than
/// that after a key frame waits for the next one.
const PAST_BYTES: usize = 8 << 20;

/// See the module's description.
pub(super) struct Fanout {
    name: FeedName,
    inner: Mutex<Inner>,
    given: watch::Sender<Option<Given>>,
}

/// What a taker gets.
#[derive(Clone, Debug)]
pub(super) enum Frame {
    /// A plain picture: a copy that all takers share.
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

type Taker = Box<dyn FnMut(&Frame) + Send>;

#[derive(Default)]
struct Inner {
    takers: Vec<(u64, TrackKind, Taker)>,
    next_id: u64,
    /// The run that goes on.
    run: Option<Kept>,
    /// The number of the latest run.
    latest_run: u64,
    /// Whether pictures have been found to be in another order, in any run.
    disordered: bool,
}

/// What is kept of a run.
struct Kept {
    run: u64,
    begin: MediaTime,
    sound: Option<AudioInfo>,
    past: Past,
    order: Order,
}

/// A run of the feed. Dropping it ends the run: nothing of it is handed out
/// any more.
#[derive(Debug)]
pub(super) struct FeedRun(Writer);

/// Where a run's frames enter. Those of a run that has ended go nowhere, so
/// that a pipeline which hangs while stopping does not write into the next run.
#[derive(Clone)]
pub(super) struct Writer {
    fanout: Arc<Fanout>,
    run: u64,
}

/// Whether pictures come in the order in which they are shown.
#[derive(Default)]
struct Order {
    latest: MediaTime,
    breaks: u32,
}

/// A clock that was set makes one step back, and a far one; pictures that are
/// shown in another order make many small ones.
const SMALL_STEP: Duration = Duration::from_millis(500);

/// The encoded pictures since the newest key frame.
#[derive(Default)]
struct Past {
    units: VecDeque<AccessUnit>,
    bytes: usize,
    /// Whether it begins with a key frame; nothing is of use before.
    whole: bool,
}

/// While it lives, frames are taken.
#[derive(Debug)]
pub(super) struct Taking {
    fanout: Arc<Fanout>,
    id: u64,
}

impl Fanout {
    pub(super) fn new(name: FeedName) -> Arc<Self> {
        Arc::new(Self { name, inner: Mutex::default(), given: watch::Sender::new(None) })
    }

    /// Its pictures were once found to be in another order than that in which
    /// they are shown.
    pub(super) fn expect_disorder(&self) {
        self.lock().disordered = true;
    }

    /// What the feed gives; nothing before its first run has found out.
    pub(super) fn given(&self) -> watch::Receiver<Option<Given>> {
        self.given.subscribe()
    }

    /// Begins a run at `now`. One that goes on still is over.
    pub(super) fn begin_run(self: &Arc<Self>, now: MediaTime) -> FeedRun {
        let mut inner = self.lock();
        inner.latest_run += 1;
        let run = inner.latest_run;
        let (past, order) = (Past::default(), Order::default());
        inner.run = Some(Kept { run, begin: now, sound: None, past, order });
        FeedRun(Writer { fanout: Arc::clone(self), run })
    }

    /// From when on the frames are that a taker gets who comes at `now`: some
    /// may be of the past, but none from before the run.
    pub(super) fn earliest(&self, now: MediaTime) -> MediaTime {
        self.lock().run.as_ref().map_or(now, |kept| kept.begin.min(now))
    }

    /// The decoding time of the oldest picture that a new taker gets, if it is
    /// one of the past.
    pub(super) fn begin(&self) -> Option<MediaTime> {
        let inner = self.lock();
        inner.run.as_ref()?.past.for_joiners().next().map(|unit| unit.dts)
    }

    /// Hands all frames of a track to `taker` from now on, those first that it
    /// needs of the past. It is called on the feed's thread: it must not wait,
    /// nor call this fanout.
    pub(super) fn take(
        self: &Arc<Self>,
        track: TrackKind,
        mut taker: impl FnMut(&Frame) + Send + 'static,
    ) -> Taking {
        let mut inner = self.lock();
        match (track, &inner.run) {
            (TrackKind::Video, Some(kept)) => {
                kept.past.for_joiners().for_each(|unit| taker(&Frame::Unit(unit.clone())));
            }
            (TrackKind::Audio, Some(kept)) => {
                kept.sound.iter().for_each(|info| taker(&Frame::Sound(info.clone())));
            }
            (_, None) => {}
        }
        let id = inner.next_id;
        inner.next_id += 1;
        inner.takers.push((id, track, Box::new(taker)));
        Taking { fanout: Arc::clone(self), id }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A taker that panics leaves the list as it is.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FeedRun {
    pub(super) fn writer(&self) -> Writer {
        self.0.clone()
    }
}

impl Writer {
    /// What this run gives, before its first frame. Where pictures were once
    /// found to be in another order, they are taken to be so again: a stream
    /// that passes them through would begin anew after each run's first pictures.
    pub(super) fn promise(&self, mut given: Given) {
        let Some(inner) = self.lock() else { return };
        if inner.disordered {
            disorder(&mut given);
        }
        self.fanout.given.send_if_modified(|known| {
            let differs = *known != Some(given);
            *known = Some(given);
            differs
        });
    }

    /// Whether anybody takes pictures: a copy of each would be in vain.
    pub(super) fn has_viewers(&self) -> bool {
        let is_video = |(_, track, _): &(u64, TrackKind, Taker)| *track == TrackKind::Video;
        self.lock().is_some_and(|inner| inner.takers.iter().any(is_video))
    }

    /// Whether frames of this kind show that the feed is alive: a sound does
    /// only where there is no picture, as a camera may be silent beside it.
    pub(super) fn lives_by(&self, track: TrackKind) -> bool {
        let has_pictures = self.fanout.given.borrow().is_some_and(|given| given.pictures.is_some());
        (track == TrackKind::Video) == has_pictures
    }

    /// Hands out a plain picture.
    pub(super) fn plain(&self, plain: Plain) {
        if let Some(mut inner) = self.lock() {
            inner.hand_out(TrackKind::Video, &Frame::Plain(plain));
        }
    }

    /// Hands out an encoded picture or a sound. Pictures before the first key
    /// frame of a run go nowhere. Returns whether it is of any use.
    pub(super) fn unit(&self, unit: AccessUnit) -> bool {
        let track = unit.track;
        let Some(mut inner) = self.lock() else { return false };
        if track == TrackKind::Video {
            let Some(kept) = &mut inner.run else { return false };
            if !kept.past.push(&unit) {
                return false;
            }
            if kept.order.is_broken_by(unit.pts) {
                inner.disordered = true;
                self.fanout.given.send_if_modified(|given| given.as_mut().is_some_and(disorder));
            }
        }
        inner.hand_out(track, &Frame::Unit(unit));
        true
    }

    pub(super) fn audio_config(&self, info: AudioInfo) {
        let Some(mut inner) = self.lock() else { return };
        if let Some(kept) = &mut inner.run {
            kept.sound = Some(info.clone());
        }
        inner.hand_out(TrackKind::Audio, &Frame::Sound(info));
    }

    /// The fanout's state, while this run goes on.
    fn lock(&self) -> Option<MutexGuard<'_, Inner>> {
        let inner = self.fanout.lock();
        inner.goes_on(self.run).then_some(inner)
    }
}

impl Drop for FeedRun {
    fn drop(&mut self) {
        if let Some(mut inner) = self.0.lock() {
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

impl Drop for Taking {
    fn drop(&mut self) {
        self.fanout.lock().takers.retain(|(id, _, _)| *id != self.id);
    }
}

impl Inner {
    fn goes_on(&self, run: u64) -> bool {
        self.run.as_ref().is_some_and(|kept| kept.run == run)
    }

    fn hand_out(&mut self, track: TrackKind, frame: &Frame) {
        for (_, wanted, taker) in &mut self.takers {
            if *wanted == track {
                taker(frame);
            }
        }
    }
}

impl Order {
    /// Takes the time of the next picture; true if its order must be mended.
    fn is_broken_by(&mut self, pts: MediaTime) -> bool {
        let back = self.latest.0.saturating_sub(pts.0);
        self.latest = pts.max(self.latest);
        if back > SMALL_STEP.as_nanos() as u64 {
            self.latest = pts;
        } else if back > 0 {
            self.breaks += 1;
        }
        self.breaks == 2
    }
}

/// Takes note that pictures are not in order; returns whether that is news.
fn disorder(given: &mut Given) -> bool {
    match &mut given.pictures {
        Some(Pictures::H264 { in_order }) => std::mem::take(in_order),
        Some(Pictures::Plain) | None => false,
    }
}

impl Past {
    /// Keeps a picture; returns whether a decoder can use it.
    fn push(&mut self, unit: &AccessUnit) -> bool {
        if is_key(&unit.data) {
            *self = Self { whole: true, ..Self::default() };
        }
        self.bytes += unit.data.len();
        if self.bytes <= PAST_BYTES {
            self.units.push_back(unit.clone());
        } else {
            self.units.clear();
        }
        self.whole
    }

    /// What a decoder needs of it; nothing where it has become too long.
    fn for_joiners(&self) -> impl Iterator<Item = &AccessUnit> {
        self.units.iter().filter(|_| self.whole)
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
