//! What is known of one recording, and of all of them in numbers.

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;

use crate::model::ids::StreamName;
use crate::model::status::Usage;

/// All recordings in numbers.
#[derive(Clone, Debug)]
pub(in crate::outputs::recordings) struct Sums {
    pub usage: Vec<(StreamName, Usage)>,
    /// Nothing where the disk does not say.
    pub free: Option<u64>,
    pub last_error: Option<String>,
}

/// What is known of one recording.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub state: State,
    pub bytes: u64,
    /// Not known of what an earlier start of the service has left behind.
    pub span: Option<Duration>,
    pub begun: Timestamp,
    /// Where its name tells no age: since when the clock does.
    pub seen: Option<Timestamp>,
}

impl Entry {
    /// When it ends, as far as is known.
    pub(super) fn end(&self) -> Timestamp {
        // A name may hold a year behind which there is none.
        self.begun.checked_add(self.span.unwrap_or_default()).unwrap_or(self.begun)
    }
}

/// How far a recording is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum State {
    Recording,
    /// Complete, and still in fragments.
    Waiting(Option<Known>),
    /// Its index is being put in front.
    Finishing,
    Finished,
}

/// What is known of the frames of a recording when it ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Known {
    pub span: Duration,
    /// What the frames of all tracks take in an index.
    pub index_bytes: u64,
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

/// Bytes written.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::outputs::recordings) struct BytesWritten {
    pub all: u64,
    pub today: u64,
    pub yesterday: u64,
    day: Option<Date>,
}

impl BytesWritten {
    pub(super) fn add(&mut self, bytes: u64, today: Date) {
        self.turn(today);
        self.all += bytes;
        self.today += bytes;
    }

    pub(super) fn turn(&mut self, today: Date) {
        if self.day != Some(today) {
            let follows =
                self.day.is_some_and(|day| day.tomorrow().is_ok_and(|next| next == today));
            self.yesterday = if follows { self.today } else { 0 };
            self.today = 0;
            self.day = Some(today);
        }
    }
}

/// Why a recording is not deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotDeleted {
    #[error("No recording is called so")]
    NoSuch,
    #[error("It is being recorded; stop that first")]
    Recording,
    #[error("It is being finished; try again")]
    Finishing,
    #[error("The disk does not let it go")]
    Disk,
    #[error("The disk does not answer; it is deleted once it does")]
    Silent,
}
