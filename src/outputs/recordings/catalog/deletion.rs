//! Retention: deletes recordings that exceed the limits, by age only if the
//! clock is reliable.

use std::io;
use std::time::Duration;

use jiff::Timestamp;
use log::{info, warn};

use super::{Catalog, Entry, State, is_separate_disk, try_writing};
use crate::base::system;
use crate::base::time::now;
use crate::config::settings::{Retention, WhichClock};
use crate::model::failure::Failure;
use crate::outputs::recordings::clock::Synchronised;
use crate::outputs::recordings::name::Name;
use crate::outputs::recordings::retention::{Candidate, Headroom};

/// The consequence of an unreliable clock, for the log.
const NO_AGES: &str = "no recording is deleted by its age for a day";

/// Whether recordings may be deleted by their age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ages {
    Known,
    Unknown,
}

impl Catalog {
    /// Deletes recordings that exceed the limits; blocks.
    ///
    /// # Errors
    /// The disk has too little free space afterwards, or the folder is missing.
    pub(in crate::outputs::recordings) fn make_headroom(
        &self,
        headroom: Headroom,
    ) -> Result<(), Failure> {
        let missing = |error: io::Error| {
            self.disk.note(Some(format!("is not available: {error}")));
            let folder = self.folder.display();
            Failure::Disk(format!("the folder {folder} is not available: {error}"))
        };
        let keep = self.keep();
        let ages = self.check_clock();
        let free = self.read_free().map_err(missing)?;
        // An unplugged disk leaves its mount point, a folder of the system's disk.
        let is_separate = is_separate_disk(&self.folder).map_err(missing)?;
        if *self.is_separate_disk.get_or_init(|| is_separate) && !is_separate {
            return Err(missing(io::Error::other("its disk is unplugged")));
        }
        for name in self.surplus(&keep, free, headroom, ages) {
            if self.delete(&name).is_ok() {
                info!("{name} is deleted by the limits of recordings.keep");
            }
        }
        let free = self.read_free().map_err(missing)?;
        if free >= keep.required_free(headroom) {
            return Ok(());
        }
        let [free, required] =
            [free, keep.required_free(headroom)].map(crate::base::units::size_in_words);
        Err(Failure::Disk(format!(
            "the disk has {free} free and needs {required} (recordings.keep.free)"
        )))
    }

    /// As [`Catalog::make_headroom`], before a write: also records a lack of
    /// space as a problem of the folder.
    ///
    /// # Errors
    /// As [`Catalog::make_headroom`].
    pub(in crate::outputs::recordings) fn require_headroom(
        &self,
        headroom: Headroom,
    ) -> Result<(), Failure> {
        let made = self.make_headroom(headroom);
        if made.is_err() && self.disk.trouble().is_none() {
            // Without the amounts, which change: each text is logged once.
            self.disk.note(Some("has too little free space (recordings.keep.free)".to_owned()));
        }
        made
    }

    /// Applies the limits, and clears the problem of the folder if it is gone;
    /// blocks.
    pub(in crate::outputs::recordings) fn check(&self) {
        let required = self.keep().required_free(Headroom::Start);
        let has_space = |free: Option<u64>| free.is_some_and(|free| free >= required);
        if self.make_headroom(Headroom::Continue).is_ok()
            && self.disk.trouble().is_some()
            && has_space(self.index().free)
            && try_writing(&self.folder).is_ok()
        {
            self.disk.note(None);
        }
    }

    /// Reads the free space of the disk into the index; blocks.
    fn read_free(&self) -> io::Result<u64> {
        let free = system::disk_free(&self.folder);
        self.index().free = free.as_ref().ok().copied();
        free
    }

    /// The recordings to delete, from the oldest.
    fn surplus(&self, keep: &Retention, free: u64, headroom: Headroom, ages: Ages) -> Vec<Name> {
        let now = Timestamp::now();
        let mut index = self.index();
        if ages == Ages::Known {
            let undated = index.all.iter_mut().filter(|(name, _)| !name.is_dated());
            undated.for_each(|(_, entry)| entry.seen = entry.seen.or(Some(now)));
        }
        let is_deletable = |state| matches!(state, State::Finished | State::Waiting(_));
        let (deletable, others): (Vec<_>, Vec<_>) =
            index.all.iter().partition(|(_, entry)| is_deletable(entry.state));
        // Without a reliable date, the age counts from the first reliable clock.
        let end = |name: &Name, entry: &Entry| {
            if name.is_dated() { entry.end() } else { entry.seen.unwrap_or(now) }
        };
        let mut deletable: Vec<_> =
            deletable.into_iter().map(|(name, entry)| (end(name, entry), name, entry)).collect();
        deletable.sort_by_key(|(end, ..)| *end);
        let age = |end: Timestamp| match ages {
            Ages::Known => u64::try_from(now.as_second() - end.as_second()).unwrap_or(0),
            Ages::Unknown => 0,
        };
        let candidates = deletable.iter().map(|(end, _, entry)| Candidate {
            age: Duration::from_secs(age(*end)),
            bytes: entry.bytes,
        });
        let other_bytes = others.iter().map(|(_, entry)| entry.bytes).sum();
        let count = keep.surplus(&candidates.collect::<Vec<_>>(), other_bytes, free, headroom);
        deletable.into_iter().take(count).map(|(_, name, _)| name.clone()).collect()
    }

    /// Compares the clock with the newest recording, at the start of the service.
    pub(super) fn compare_clock(&self) {
        let newest = {
            let index = self.index();
            let dated = index.all.iter().filter(|(name, _)| name.is_dated());
            dated.map(|(_, entry)| entry.end()).max()
        };
        let wall = Timestamp::now();
        let difference =
            newest.and_then(|newest| self.clock.lock().check_start(newest, wall, now()));
        if let Some(seconds) = difference {
            let days = seconds / 86_400;
            warn!("the clock is {days} days from the newest recording: {NO_AGES}");
        }
    }

    fn check_clock(&self) -> Ages {
        let (wall, now) = (Timestamp::now(), now());
        let mut clock = self.clock.lock();
        if let Some(step) = clock.check(wall, now) {
            warn!("the clock jumped by {step} s: {NO_AGES}");
        }
        if clock.has_reliable_ages(now) { Ages::Known } else { Ages::Unknown }
    }

    /// Whether the system reports that the network has set the clock.
    pub(in crate::outputs::recordings) fn is_synchronised(&self) -> bool {
        self.clock.lock().is_synchronised()
    }

    /// Sets the state of the clock that the system reports.
    pub(in crate::outputs::recordings) fn set_synchronised(&self, synchronised: Synchronised) {
        let state = match self.keep().clock {
            WhichClock::Any => Synchronised::Unknown,
            WhichClock::Synchronised => synchronised,
        };
        if self.clock.lock().set_synchronised(state) && self.keep().days.is_some() {
            match state {
                Synchronised::No => info!(
                    "the network has not set the clock yet: until then no recording is deleted by its age"
                ),
                Synchronised::Yes | Synchronised::Unknown => {}
            }
        }
    }
}
