//! Whether a new setting works: what was live before it must give something soon.
//!
//! Decides only. Who started it anew takes the old setting again where this
//! says so.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::settings::Settings;
use crate::engine::supervise::lifecycle::Phase;
use crate::engine::supervise::supervisor::Report;
use crate::engine::supervise::unit::Unit;
use crate::model::status::Failure;
use crate::service::topology::Topology;

/// As long as a cold feed has for its first frame.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// A unit that runs by new settings, and was live before.
#[derive(Clone, Debug)]
pub struct Probation {
    pub unit: Unit,
    /// By which it was live.
    pub old: Arc<Settings>,
    until: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is too early to tell.
    Open,
    /// It works, or nobody needs it any more.
    Dismissed,
    /// It gave nothing.
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

    /// Why it gave nothing, where that is known.
    pub fn cause(&self) -> Option<Failure> {
        self.unit.supervisor.report().last_failure
    }

    /// What it is called in the log and on pages.
    pub fn what(&self) -> &str {
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
        | Phase::Over { .. } => Verdict::Failed,
    }
}

/// What is to be tried of `after`: what was started anew, and whose feed or
/// stream is in `live`, the units that were live under `before`.
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

    #[test]
    fn what_gave_nothing_in_time_has_failed_and_what_gave_something_has_not() {
        let now = tokio::time::Instant::now().into_std();
        let waits = Phase::Waiting { retry_at: now, cause: Failure::Ended };
        assert_eq!(verdict(&waits, false, false), Verdict::Open);
        assert_eq!(verdict(&waits, false, true), Verdict::Failed);
        assert_eq!(verdict(&Phase::Starting { give_up_at: now }, false, true), Verdict::Failed);
        assert_eq!(verdict(&waits, true, false), Verdict::Dismissed);
    }

    #[test]
    fn what_nobody_needs_is_not_judged() {
        let now = tokio::time::Instant::now().into_std();
        for phase in [Phase::Idle, Phase::Stopping { give_up_at: now }] {
            assert_eq!(verdict(&phase, false, true), Verdict::Dismissed);
        }
    }
}
