//! Logs what hosts report about a feed or a stream.
//!
//! An exploited host may report any text any number of times: each report becomes one
//! short line, and lines are limited like those of programs.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Instant;

use log::{Level, debug, info, log_enabled, warn};

use super::command_log::LineLimit;
use crate::base::lock::Lock;
use crate::base::time::now;
use crate::model::ids::{FeedName, StreamName};
use crate::model::status::Encoder;

/// Limit of a line; longer ones are cut. The reason for the last choice of encoder
/// names all others.
const MAX_LINE_CHARS: usize = 600;

/// The log of the hosts of one feed or stream, over all runs. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Reports(Arc<Lock<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    limit: LineLimit,
    /// The controls that the camera refused in the last run.
    refused: Vec<String>,
}

impl Reports {
    /// Warns of controls that a camera refused and that it did not refuse in the last run.
    pub(super) fn refused_controls(&self, feed: &FeedName, refused: Vec<String>) {
        let lines = self.0.lock().new_refusals(refused, now());
        for line in lines {
            warn!("feed {feed}: {line}");
        }
    }

    pub(super) fn encoder(&self, stream: &StreamName, encoder: &Encoder) {
        let Encoder { element, because, .. } = encoder;
        let line = self.0.lock().admit(&format!("{element}: {because}"), now());
        if let Some(line) = line {
            info!("stream {stream} is encoded by {line}");
        }
    }

    pub(super) fn skipped_frame(&self, stream: &StreamName, why: &impl Display) {
        if !log_enabled!(Level::Debug) {
            return;
        }
        let line = self.0.lock().admit(&format!("a frame is skipped: {why}"), now());
        if let Some(line) = line {
            debug!("stream {stream}: {line}");
        }
    }
}

impl Inner {
    fn new_refusals(&mut self, refused: Vec<String>, now: Instant) -> Vec<String> {
        let before = std::mem::take(&mut self.refused);
        let new = refused.iter().filter(|line| !before.contains(line));
        let lines = new.filter_map(|line| self.admit(line, now)).collect();
        self.refused = refused;
        lines
    }

    /// The text as one short line, if it is to be logged.
    fn admit(&mut self, text: &str, now: Instant) -> Option<String> {
        self.limit.admit(text, now)?;
        let plain = |c: char| if c.is_control() { ' ' } else { c };
        Some(text.chars().take(MAX_LINE_CHARS).map(plain).collect())
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests choose their own zero")]
mod tests {
    use super::*;

    #[test]
    fn refused_controls_are_logged_once_and_not_in_each_run() {
        let (mut inner, now) = (Inner::default(), Instant::now());
        let refused = || vec!["the camera has no control zoom".to_owned()];
        assert_eq!(inner.new_refusals(refused(), now), refused());
        assert_eq!(inner.new_refusals(refused(), now), [""; 0]);
        let more = || [refused(), vec!["the control iris is read-only".to_owned()]].concat();
        assert_eq!(inner.new_refusals(more(), now), more()[1..]);
    }

    #[test]
    fn changing_reports_of_a_host_do_not_fill_the_log() {
        let (mut inner, now) = (Inner::default(), Instant::now());
        let mut lines = 0;
        for turn in ["no zoom", "no iris"].iter().cycle().take(100_000) {
            lines += inner.new_refusals(vec![(*turn).to_owned()], now).len();
        }
        assert!(lines < 50, "{lines} lines");
        let letter = |n: u32| char::from(b'a' + (n % 26) as u8);
        let text = |n: u32| [n, n / 26, n / 676, n / 17_576].map(letter).iter().collect();
        let many = (0..100_000).map(text).collect();
        assert!(inner.new_refusals(many, now).len() < 50);
    }

    #[test]
    fn a_report_is_one_short_line() {
        let text = format!("first\nsecond\r\x1b[2J{}", "x".repeat(10_000));
        let line = Inner::default().admit(&text, Instant::now()).unwrap();
        assert!(line.starts_with("first second  [2Jxx") && line.len() == MAX_LINE_CHARS, "{line}");
    }
}
