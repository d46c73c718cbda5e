//! Where a feed gives its frames to several streams.
//!
//! Frames go to whoever takes them, on the feed's own thread; a taker never
//! waits. What must be had from the start (the pictures since the newest key
//! frame, the configuration of the sound) is kept for those who come later.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gstreamer as gst;
use tokio::sync::watch;

use crate::base::time::MediaTime;
use crate::engine::plan::{Given, Pictures};
use crate::media::h264::{NalType, nal_units};
use crate::model::ids::FeedName;
use crate::model::track::AudioInfo;
use crate::model::unit::{AccessUnit, TrackKind};

/// Encoded pictures that are kept for takers to come; who comes later than
/// that after a key frame waits for the next one.
const PAST_BYTES: usize = 8 << 20;

/// See the module's description.
pub struct Outlet {
    name: FeedName,
    inner: Mutex<Inner>,
    given: watch::Sender<Option<Given>>,
    needs: watch::Sender<usize>,
    frames: AtomicU64,
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
    sound: Option<AudioInfo>,
    past: Past,
    order: Order,
    /// Whether pictures have been found to be in another order, in any run.
    disordered: bool,
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

/// While it lives, the feed is needed.
#[derive(Debug)]
pub(super) struct Need(Arc<Outlet>);

/// While it lives, frames are taken.
#[derive(Debug)]
pub(super) struct Taking {
    outlet: Arc<Outlet>,
    id: u64,
}

impl Outlet {
    pub fn new(name: FeedName) -> Arc<Self> {
        Arc::new(Self {
            name,
            inner: Mutex::default(),
            given: watch::Sender::new(None),
            needs: watch::Sender::new(0),
            frames: AtomicU64::new(0),
        })
    }

    pub(super) fn name(&self) -> &FeedName {
        &self.name
    }

    /// How many need the feed; changes wake the receiver.
    pub fn needs(&self) -> watch::Receiver<usize> {
        self.needs.subscribe()
    }

    pub(super) fn need(self: &Arc<Self>) -> Need {
        self.needs.send_modify(|count| *count += 1);
        Need(Arc::clone(self))
    }

    /// Frames that the feed lives by, since the start of the service.
    pub(super) fn frames(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }

    /// What the feed gives; nothing before its first run has found out.
    pub(super) fn given(&self) -> watch::Receiver<Option<Given>> {
        self.given.subscribe()
    }

    /// A run begins. Nothing of the run before is handed on.
    pub(super) fn begin_run(&self) {
        let mut inner = self.lock();
        inner.past = Past::default();
        inner.order = Order::default();
        inner.sound = None;
    }

    /// What this run gives, before its first frame. Where pictures were once
    /// found to be in another order, they are taken to be so again: who passes
    /// them through would have to begin anew after each run's first pictures.
    pub(super) fn promise(&self, mut given: Given) {
        if self.lock().disordered {
            disorder(&mut given);
        }
        self.given.send_if_modified(|known| {
            let differs = *known != Some(given);
            *known = Some(given);
            differs
        });
    }

    /// Whether anybody takes pictures: a copy of each would be in vain.
    pub(super) fn has_viewers(&self) -> bool {
        self.lock().takers.iter().any(|(_, track, _)| *track == TrackKind::Video)
    }

    /// Hands out a plain picture.
    pub(super) fn plain(&self, plain: Plain) {
        self.lock().hand_out(TrackKind::Video, &Frame::Plain(plain));
    }

    /// Whether frames of this kind show that the feed is alive: a sound does
    /// only where there is no picture, as a camera may be silent beside it.
    pub(super) fn lives_by(&self, track: TrackKind) -> bool {
        let has_pictures = self.given.borrow().is_some_and(|given| given.pictures.is_some());
        (track == TrackKind::Video) == has_pictures
    }

    /// Counts a frame that the feed lives by, whether it is handed out or not.
    pub(super) fn count_frame(&self) {
        self.frames.fetch_add(1, Ordering::Relaxed);
    }

    /// Hands out an encoded picture or a sound. Pictures before the first key
    /// frame of a run go nowhere. Returns whether it is of any use.
    pub(super) fn unit(&self, unit: AccessUnit) -> bool {
        let track = unit.track;
        let mut inner = self.lock();
        if track == TrackKind::Video {
            if !inner.past.push(&unit) {
                return false;
            }
            if inner.order.is_broken_by(unit.pts) {
                inner.disordered = true;
                self.given.send_if_modified(|given| given.as_mut().is_some_and(disorder));
            }
        }
        inner.hand_out(track, &Frame::Unit(unit));
        true
    }

    pub(super) fn audio_config(&self, info: AudioInfo) {
        let mut inner = self.lock();
        inner.sound = Some(info.clone());
        inner.hand_out(TrackKind::Audio, &Frame::Sound(info));
    }

    /// The decoding time of the oldest picture that a new taker gets, if it is
    /// one of the past.
    pub(super) fn begin(&self) -> Option<MediaTime> {
        let inner = self.lock();
        inner.past.for_joiners().next().map(|unit| unit.dts)
    }

    /// Hands all frames of a track to `taker` from now on, those first that it
    /// needs of the past. It is called on the feed's thread: it must not wait,
    /// nor call this outlet.
    pub(super) fn take(
        self: &Arc<Self>,
        track: TrackKind,
        mut taker: impl FnMut(&Frame) + Send + 'static,
    ) -> Taking {
        let mut inner = self.lock();
        match track {
            TrackKind::Video => {
                inner.past.for_joiners().for_each(|unit| taker(&Frame::Unit(unit.clone())));
            }
            TrackKind::Audio => {
                inner.sound.iter().for_each(|info| taker(&Frame::Sound(info.clone())));
            }
        }
        let id = inner.next_id;
        inner.next_id += 1;
        inner.takers.push((id, track, Box::new(taker)));
        Taking { outlet: Arc::clone(self), id }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A taker that panics leaves the list as it is.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Outlet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outlet").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Drop for Need {
    fn drop(&mut self) {
        self.0.needs.send_modify(|count| *count -= 1);
    }
}

impl Drop for Taking {
    fn drop(&mut self) {
        self.outlet.lock().takers.retain(|(id, _, _)| *id != self.id);
    }
}

impl Inner {
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
mod tests {
    use bytes::Bytes;
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    use super::*;

    const GIVEN: Given = Given { pictures: Some(Pictures::H264 { in_order: true }), sound: true };

    fn outlet() -> Arc<Outlet> {
        let outlet = Outlet::new("front".parse().unwrap());
        outlet.begin_run();
        outlet.promise(GIVEN);
        outlet
    }

    fn picture(header: u8, at: u64, bytes: usize) -> AccessUnit {
        let mut data = vec![1; bytes];
        data[..5].copy_from_slice(&[0, 0, 0, 1, header]);
        let time = MediaTime(at);
        AccessUnit {
            track: TrackKind::Video,
            pts: time,
            dts: time,
            duration: None,
            data: Bytes::from(data),
        }
    }

    fn key(at: u64) -> AccessUnit {
        picture(0x65, at, 100)
    }

    fn delta(at: u64) -> AccessUnit {
        picture(0x41, at, 100)
    }

    /// A taker of pictures that notes their times.
    fn taken(outlet: &Arc<Outlet>) -> (Taking, UnboundedReceiver<u64>) {
        let (tell, times) = unbounded_channel();
        let taking = outlet.take(TrackKind::Video, move |frame| {
            if let Frame::Unit(unit) = frame {
                tell.send(unit.dts.0).unwrap();
            }
        });
        (taking, times)
    }

    fn all(times: &mut UnboundedReceiver<u64>) -> Vec<u64> {
        std::iter::from_fn(|| times.try_recv().ok()).collect()
    }

    #[test]
    fn who_comes_late_gets_the_pictures_since_the_newest_key_frame() {
        let outlet = outlet();
        for unit in [key(1), delta(2), key(3), delta(4)] {
            assert!(outlet.unit(unit));
        }
        assert_eq!(outlet.begin(), Some(MediaTime(3)));

        let (_taking, mut times) = taken(&outlet);
        outlet.unit(delta(5));

        assert_eq!(all(&mut times), [3, 4, 5]);
    }

    #[test]
    fn pictures_before_the_first_key_frame_of_a_run_go_nowhere() {
        let outlet = outlet();
        let (_taking, mut times) = taken(&outlet);
        assert!(!outlet.unit(delta(1)));
        assert!(outlet.unit(key(2)));
        outlet.begin_run();
        assert!(!outlet.unit(delta(3)));
        assert_eq!(all(&mut times), [2]);
        assert_eq!(outlet.begin(), None);
    }

    #[test]
    fn a_group_of_pictures_that_is_too_long_is_not_kept() {
        let outlet = outlet();
        outlet.unit(key(1));
        outlet.unit(picture(0x41, 2, PAST_BYTES));
        outlet.unit(delta(3));
        assert_eq!(outlet.begin(), None);
        outlet.unit(key(4));
        assert_eq!(outlet.begin(), Some(MediaTime(4)));
    }

    #[test]
    fn who_lets_go_gets_nothing_more() {
        let outlet = outlet();
        let (taking, mut times) = taken(&outlet);
        assert!(outlet.has_viewers());
        drop(taking);
        outlet.unit(key(1));
        assert!(!outlet.has_viewers());
        assert!(all(&mut times).is_empty());
    }

    #[test]
    fn a_feed_is_needed_for_as_long_as_anybody_needs_it() {
        let outlet = outlet();
        let count = outlet.needs();
        let (one, other) = (outlet.need(), outlet.need());
        assert_eq!(*count.borrow(), 2);
        drop((one, other));
        assert_eq!(*count.borrow(), 0);
    }

    #[test]
    fn a_run_that_gives_the_same_is_no_change() {
        let outlet = outlet();
        let mut given = outlet.given();
        given.mark_unchanged();
        outlet.promise(GIVEN);
        assert!(!given.has_changed().unwrap());
        outlet.promise(Given { sound: false, ..GIVEN });
        assert!(given.has_changed().unwrap());
    }

    #[test]
    fn pictures_that_were_once_out_of_order_are_not_trusted_again() {
        const MS: u64 = 1_000_000;
        let outlet = outlet();
        for time in [40, 160, 80, 120, 280, 200, 240] {
            outlet.unit(key(time * MS));
        }
        outlet.begin_run();
        outlet.promise(GIVEN);
        let pictures = outlet.given().borrow().unwrap().pictures;
        assert_eq!(pictures, Some(Pictures::H264 { in_order: false }));
    }

    #[test]
    fn pictures_that_are_shown_in_another_order_are_told_of() {
        const MS: u64 = 1_000_000;
        let in_order = |times: &[u64]| {
            let outlet = outlet();
            for time in times {
                outlet.unit(key(time * MS));
            }
            let given = *outlet.given().borrow();
            given.unwrap().pictures == GIVEN.pictures
        };
        assert!(in_order(&[40, 80, 120, 160]));
        assert!(!in_order(&[40, 160, 80, 120, 280, 200, 240]));
        // A server whose clock was set back goes on from there.
        assert!(in_order(&[5000, 5040, 40, 80, 120]));
    }
}
