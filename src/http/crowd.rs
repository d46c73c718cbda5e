//! How many are connected, and how many may be. Pure.
//!
//! One address gets at most half of the places, so that it keeps nobody out
//! alone; a proxy with more viewers than that wants a bigger box.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::base::sockets::network_of;

/// More connections than this are turned away. Measured: 11 KiB each once
/// something was asked for, and 40 for a viewer, so 160 MiB for all.
const PLACES: usize = 4096;

/// Where it is so crowded, a connection ends with its answer.
const DENSE: usize = 1024;

/// Files that the cameras, pushes and pages need, whoever is connected.
const OTHER_FILES: usize = 256;

/// A viewer's connection takes its socket twice.
const FILES_EACH: usize = 2;

/// Files that a process must be allowed to open for as many connections as
/// there may be.
pub const FILES_FOR_ALL: usize = OTHER_FILES + PLACES * FILES_EACH;

/// As many connections as fit where a process may open so many files.
pub fn places(files: usize) -> usize {
    (files.saturating_sub(OTHER_FILES) / FILES_EACH).clamp(1, PLACES)
}

/// Those who have asked for something, and are still connected.
#[derive(Debug)]
pub(super) struct Crowd {
    places: usize,
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// A place; dropping it leaves.
#[derive(Debug)]
pub(super) struct Seat {
    crowd: Arc<Crowd>,
    address: IpAddr,
}

impl Crowd {
    /// As many as fit where a process may open so many files.
    pub(super) fn with_files(files: usize) -> Arc<Self> {
        Arc::new(Self { places: places(files), inside: Mutex::default() })
    }

    /// Lets somebody in from `address`; nothing where it is full.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Seat> {
        let address = network_of(address);
        let mut inside = self.lock();
        let of_address = inside.by_address.get(&address).copied().unwrap_or_default();
        if inside.all >= self.places || of_address >= self.places.div_ceil(2) {
            return None;
        }
        inside.all += 1;
        inside.by_address.insert(address, of_address + 1);
        Some(Seat { crowd: Arc::clone(self), address })
    }

    fn is_dense(&self) -> bool {
        self.lock().all > DENSE.min(self.places / 2)
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Whether others should soon have this place.
    pub(super) fn is_wanted(&self) -> bool {
        self.crowd.is_dense()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut inside = self.crowd.lock();
        inside.all -= 1;
        if let Some(count) = inside.by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                inside.by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    #[test]
    fn one_address_gets_half_and_all_get_the_rest() {
        let crowd = Crowd::with_files(OTHER_FILES + 20);
        let greedy: Vec<_> = (0..9).filter_map(|_| crowd.enter(address(1))).collect();
        assert_eq!(greedy.len(), 5);
        let others: Vec<_> = (2..20).filter_map(|number| crowd.enter(address(number))).collect();
        assert_eq!(others.len(), 5);
        assert!(greedy[0].is_wanted());

        drop(greedy);
        assert!(!others[0].is_wanted());
        assert!(crowd.enter(address(1)).is_some());
        drop(others);
        assert_eq!(crowd.lock().all, 0);
        assert!(crowd.lock().by_address.is_empty());
    }

    #[test]
    fn there_is_a_place_however_few_files_there_are() {
        assert!(Crowd::with_files(0).enter(address(1)).is_some());
        assert_eq!(Crowd::with_files(1 << 20).places, PLACES);
    }
}
