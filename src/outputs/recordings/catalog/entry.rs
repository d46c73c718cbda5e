//! The catalog's entry of a recording, and totals over all of them.

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;

use crate::model::ids::StreamName;
use crate::model::status::Usage;
use crate::outputs::recordings::name::Name;

/// Totals over all recordings.
#[derive(Clone, Debug)]
pub(in crate::outputs::recordings) struct Totals {
    pub usage: Vec<(StreamName, Usage)>,
    /// Free space in bytes; `None` while the disk does not answer.
    pub free: Option<u64>,
    pub last_error: Option<String>,
}

/// The catalog's entry of one recording.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub state: State,
    pub bytes: u64,
    /// Unknown for unfinished recordings of an earlier run of the service.
    pub span: Option<Duration>,
    pub started: Timestamp,
    /// For a name without a reliable date: when the clock was first reliable.
    pub seen: Option<Timestamp>,
}

impl Entry {
    /// The end of the recording, or its start if the duration is unknown.
    pub(super) fn end(&self) -> Timestamp {
        // A name may have the last year that can be represented.
        self.started.checked_add(self.span.unwrap_or_default()).unwrap_or(self.started)
    }
}

/// The state of a recording.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum State {
    Recording,
    /// Ended, still fragmented. Without a summary for one of an earlier run.
    Waiting(Option<Summary>),
    /// Being remuxed.
    Finishing,
    Finished,
}

/// Facts about the frames of a recording that has ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    pub span: Duration,
    /// Size of the entries of all frames in an MP4 index.
    pub index_bytes: u64,
}

/// A recording that waits to be finished.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::outputs::recordings) struct Unfinished {
    pub name: Name,
    pub summary: Option<Summary>,
    pub bytes: u64,
}

impl State {
    /// One word: `recording`, `finishing`, `finished`.
    pub fn word(self) -> &'static str {
        match self {
            State::Recording => "recording",
            State::Waiting(_) | State::Finishing => "finishing",
            State::Finished => "finished",
        }
    }
}

/// Bytes written to the disk, in total and by local day.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::outputs::recordings) struct BytesWritten {
    pub all: u64,
    pub today: u64,
    pub yesterday: u64,
    day: Option<Date>,
}

impl BytesWritten {
    pub(super) fn add(&mut self, bytes: u64, today: Date) {
        self.roll_over(today);
        self.all += bytes;
        self.today += bytes;
    }

    /// Starts a new day if `today` is another one.
    pub(super) fn roll_over(&mut self, today: Date) {
        if self.day != Some(today) {
            let follows =
                self.day.is_some_and(|day| day.tomorrow().is_ok_and(|next| next == today));
            self.yesterday = if follows { self.today } else { 0 };
            self.today = 0;
            self.day = Some(today);
        }
    }
}

/// Why a recording cannot be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeleteError {
    #[error("There is no such recording")]
    NoSuch,
    #[error("The recording is running; stop it first")]
    Recording,
    #[error("The recording is being finished; try again")]
    Finishing,
    #[error("Cannot delete the recording: the disk reports an error")]
    Disk,
    #[error("The disk does not answer; the recording is deleted when it does")]
    Silent,
}
