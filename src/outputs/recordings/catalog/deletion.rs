//! What goes when there is too much: which recordings, and whether the clock
//! can be trusted with their ages.

use std::io;
use std::time::Duration;

use jiff::Timestamp;
use log::{info, warn};

use super::{Catalog, Entry, State, is_apart, try_writing};
use crate::base::system;
use crate::base::time::now;
use crate::config::settings::{Retention, WhichClock};
use crate::model::status::Failure;
use crate::outputs::recordings::clock::Synchronised;
use crate::outputs::recordings::name::Name;
use crate::outputs::recordings::retention::{Candidate, Headroom};

/// What follows from a doubtful clock.
const NO_AGES: &str = "no recording is deleted by its age for a day";

/// Whether recordings may be deleted by their age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ages {
    Known,
    Unknown,
}

impl Catalog {
    /// Deletes what is too much, and says whether there is then headroom; blocks.
    ///
    /// # Errors
    /// There is none, or the folder is gone; says so for people.
    pub(in crate::outputs::recordings) fn make_room(
        &self,
        headroom: Headroom,
    ) -> Result<(), Failure> {
        let gone = |error: io::Error| {
            self.disk.note(Some(format!("is not there: {error}")));
            Failure::Disk(format!("the folder {} is not there: {error}", self.folder.display()))
        };
        let keep = self.keep();
        let ages = self.look_at_clock();
        let free = self.look_free().map_err(gone)?;
        // Where a disk was, its mount point is left, which is the system's own disk.
        let is_apart = is_apart(&self.folder).map_err(gone)?;
        if *self.is_apart.get_or_init(|| is_apart) && !is_apart {
            return Err(gone(io::Error::other("its disk is unplugged")));
        }
        for name in self.surplus(&keep, free, headroom, ages) {
            if self.delete(&name).is_ok() {
                info!("{name} is deleted to make headroom");
            }
        }
        let free = self.look_free().map_err(gone)?;
        if free >= keep.wanted(headroom) {
            return Ok(());
        }
        let [left, wanted] = [free, keep.wanted(headroom)].map(crate::base::units::size_in_words);
        Err(Failure::Disk(format!(
            "the disk has {left} left, and {wanted} are to be free (recordings.keep.free)"
        )))
    }

    /// As [`Catalog::make_room`], for what has to be written: without headroom for it
    /// something is wrong with the folder.
    ///
    /// # Errors
    /// Likewise.
    pub(in crate::outputs::recordings) fn need_room(
        &self,
        headroom: Headroom,
    ) -> Result<(), Failure> {
        let made = self.make_room(headroom);
        if made.is_err() && self.disk.trouble().is_none() {
            // Without amounts, which change: the log has each text once.
            self.disk.note(Some("has too little headroom (recordings.keep.free)".to_owned()));
        }
        made
    }

    /// Deletes what is too much, and looks whether what was wrong with the folder
    /// still is; blocks.
    pub(in crate::outputs::recordings) fn look(&self) {
        let begin = self.keep().wanted(Headroom::Begin);
        let has_room = |free: Option<u64>| free.is_some_and(|free| free >= begin);
        if self.make_room(Headroom::Going).is_ok()
            && self.disk.trouble().is_some()
            && has_room(self.index().free)
            && try_writing(&self.folder).is_ok()
        {
            self.disk.note(None);
        }
    }

    /// What the disk has headroom for, which the index then say; blocks.
    fn look_free(&self) -> io::Result<u64> {
        let free = system::disk_free(&self.folder);
        self.index().free = free.as_ref().ok().copied();
        free
    }

    /// What must go, the oldest first.
    fn surplus(&self, keep: &Retention, free: u64, headroom: Headroom, ages: Ages) -> Vec<Name> {
        let now = Timestamp::now();
        let mut index = self.index();
        if ages == Ages::Known {
            let undated = index.all.iter_mut().filter(|(name, _)| !name.is_dated());
            undated.for_each(|(_, entry)| entry.seen = entry.seen.or(Some(now)));
        }
        let may_go = |state| matches!(state, State::Finished | State::Waiting(_));
        let (go, stay): (Vec<_>, Vec<_>) =
            index.all.iter().partition(|(_, entry)| may_go(entry.state));
        // What has no date counts as made when that was noticed.
        let end = |name: &Name, entry: &Entry| {
            if name.is_dated() { entry.end() } else { entry.seen.unwrap_or(now) }
        };
        let mut go: Vec<_> =
            go.into_iter().map(|(name, entry)| (end(name, entry), name, entry)).collect();
        go.sort_by_key(|(end, ..)| *end);
        let age = |end: Timestamp| match ages {
            Ages::Known => u64::try_from(now.as_second() - end.as_second()).unwrap_or(0),
            Ages::Unknown => 0,
        };
        let held = go.iter().map(|(end, _, entry)| Candidate {
            age: Duration::from_secs(age(*end)),
            bytes: entry.bytes,
        });
        let others = stay.iter().map(|(_, entry)| entry.bytes).sum();
        let count = keep.surplus(&held.collect::<Vec<_>>(), others, free, headroom);
        go.into_iter().take(count).map(|(_, name, _)| name.clone()).collect()
    }

    /// The wall clock beside the newest recording that is there.
    pub(super) fn compare_clock(&self) {
        let newest = {
            let index = self.index();
            let dated = index.all.iter().filter(|(name, _)| name.is_dated());
            dated.map(|(_, entry)| entry.end()).max()
        };
        let wall = Timestamp::now();
        if let Some(away) = newest.and_then(|newest| self.clock().start(newest, wall, now())) {
            let days = away / 86_400;
            warn!("the clock is {days} days from the newest recording: {NO_AGES}");
        }
    }

    fn look_at_clock(&self) -> Ages {
        let (wall, now) = (Timestamp::now(), now());
        let mut clock = self.clock();
        if let Some(away) = clock.look(wall, now) {
            warn!("the clock was set by {away} s: {NO_AGES}");
        }
        if clock.tells_ages(now) { Ages::Known } else { Ages::Unknown }
    }

    /// Whether the network has set the clock.
    pub(in crate::outputs::recordings) fn is_synchronised(&self) -> bool {
        self.clock().is_synchronised()
    }

    /// Takes in what the system says of the clock.
    pub(in crate::outputs::recordings) fn heard_of_clock(&self, synchronised: Synchronised) {
        let heard = match self.keep().clock {
            WhichClock::Any => Synchronised::Unknown,
            WhichClock::Synchronised => synchronised,
        };
        if self.clock().heard(heard) && self.keep().days.is_some() {
            match heard {
                Synchronised::No => info!(
                    "the clock is not set by the network yet: until it is, nothing is deleted by its age"
                ),
                Synchronised::Yes | Synchronised::Unknown => {}
            }
        }
    }
}
