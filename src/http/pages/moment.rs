//! Times on pages.

use std::fmt;

use crate::base::time::{iso_s, utc_s};

/// A time on a page: in UTC, and in the viewer's zone where scripts run
/// (`web/time.js`).
#[derive(Clone, Copy, Debug)]
pub(in crate::http) struct Moment {
    /// Since 1970.
    pub(in crate::http) seconds: u64,
}

impl Moment {
    pub(in crate::http) fn iso(self) -> String {
        iso_s(self.seconds)
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&utc_s(self.seconds))
    }
}
