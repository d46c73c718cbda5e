//! What is recorded, where, and how long it is kept.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::base::schedule::Schedule;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recordings {
    /// An existing folder; without one it is `recordings` in the folder of the state.
    pub folder: Option<PathBuf>,
    pub keep: Retention,
    /// After this long a recording goes on in another file.
    pub split: Duration,
}

/// What is kept; of what is too much the oldest goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    pub days: Option<u32>,
    /// At most so many bytes of recordings.
    pub size: Option<u64>,
    /// At least so many bytes of the disk stay free.
    pub free: u64,
    pub clock: WhichClock,
}

/// By which clock the ages of recordings count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhichClock {
    /// One that was set by the network since the start of the system.
    #[default]
    Synchronised,
    Any,
}

/// When a stream is recorded. By hand it can be started and stopped in any case.
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
