//! Checks that new settings work: a unit that was live before a reload must be
//! live again soon.
//!
//! Decides only; the reload task restores the old settings.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::settings::Settings;
use crate::engine::supervise::lifecycle::Phase;
use crate::engine::supervise::supervisor::Report;
use crate::engine::supervise::unit::Unit;
use crate::model::failure::Failure;
use crate::service::topology::Topology;

/// Time to become live: that of a cold feed for its first frame.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// A unit with new settings that was live before.
#[derive(Clone, Debug)]
pub struct Probation {
    pub unit: Unit,
    /// The settings with which it was live.
    pub old: Arc<Settings>,
    until: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is too early to tell.
    Open,
    /// It works, or is not needed any more.
    Dismissed,
    /// It was not live in time.
    Failed,
}

impl Probation {
    /// When the verdict is due.
    pub fn until(&self) -> Instant {
        self.until
    }

    pub fn verdict(&self, now: Instant) -> Verdict {
        let Report { phase, has_been_live, .. } = self.unit.supervisor.report();
        verdict(&phase, has_been_live, now >= self.until)
    }

    /// Its last failure, if any.
    pub fn cause(&self) -> Option<Failure> {
        self.unit.supervisor.report().last_failure
    }

    /// Its name in the log and on pages.
    pub fn unit_name(&self) -> &str {
        self.unit.supervisor.name()
    }
}

fn verdict(phase: &Phase, has_been_live: bool, is_due: bool) -> Verdict {
    match phase {
        _ if has_been_live => Verdict::Dismissed,
        _ if !is_due => Verdict::Open,
        Phase::Idle | Phase::Stopping { .. } => Verdict::Dismissed,
        Phase::Starting { .. }
        | Phase::Live { .. }
        | Phase::Waiting { .. }
        | Phase::Ended { .. } => Verdict::Failed,
    }
}

/// The units of `after` that were restarted and whose feed or stream is in `live`,
/// the units that were live under `before`.
pub fn probations(
    before: &Topology,
    live: &[Unit],
    after: &Topology,
    now: Instant,
) -> Vec<Probation> {
    let was_live = |unit: &Unit| {
        let same_feed = |other: &&Unit| unit.feed.is_some() && unit.feed == other.feed;
        let same_stream = |other: &&Unit| unit.stream.is_some() && unit.stream == other.stream;
        live.iter().any(|other| same_feed(&other) || same_stream(&other))
    };
    let known = before.units();
    let is_new =
        |unit: &Unit| !known.iter().any(|other| unit.supervisor.same_as(&other.supervisor));
    let units = after.units().into_iter().filter(|unit| is_new(unit) && was_live(unit));
    let old = &before.settings;
    units.map(|unit| Probation { unit, old: Arc::clone(old), until: now + TIMEOUT }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time;

    #[test]
    fn a_unit_fails_unless_it_is_live_in_time() {
        let now = time::now();
        let waits = Phase::Waiting { retry_at: now, cause: Failure::Ended };
        assert_eq!(verdict(&waits, false, false), Verdict::Open);
        assert_eq!(verdict(&waits, false, true), Verdict::Failed);
        assert_eq!(verdict(&Phase::Starting { give_up_at: now }, false, true), Verdict::Failed);
        assert_eq!(verdict(&waits, true, false), Verdict::Dismissed);
    }

    #[test]
    fn a_unit_that_is_not_needed_is_dismissed() {
        let now = time::now();
        for phase in [Phase::Idle, Phase::Stopping { give_up_at: now }] {
            assert_eq!(verdict(&phase, false, true), Verdict::Dismissed);
        }
    }
}
