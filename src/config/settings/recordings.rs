//! Settings of recordings: plans, folder, retention.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::base::schedule::Schedule;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recordings {
    /// An existing folder; `None` for `recordings` in the folder of the state.
    pub folder: Option<PathBuf>,
    pub keep: Retention,
    /// The maximum duration of a file; a recording then continues in another one.
    pub split: Duration,
}

/// Limits of what is kept; the oldest recordings are deleted first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    pub days: Option<u32>,
    /// Maximum size of all recordings, in bytes.
    pub size: Option<u64>,
    /// Minimum free space of the disk, in bytes.
    pub free: u64,
    pub clock: WhichClock,
}

/// The clock that ages of recordings require.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhichClock {
    /// One that the network has set since the boot.
    #[default]
    Synchronised,
    Any,
}

/// The plan of a stream's recording. Starting and stopping by hand is always possible.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Record {
    #[default]
    Off,
    Always,
    Scheduled(Schedule),
}

impl fmt::Display for Record {
    /// As the configuration has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Record::Off => f.write_str("off"),
            Record::Always => f.write_str("always"),
            Record::Scheduled(schedule) => schedule.fmt(f),
        }
    }
}
