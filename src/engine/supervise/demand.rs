//! From "so many need it" to "it is wanted": the three modes of a feed.

use std::time::{Duration, Instant};

use crate::config::settings::Mode;
use crate::engine::supervise::lifecycle::Event;

/// An on-demand feed outlives its last reader by this much, so that a reload
/// of a page or a player's second request does not restart the camera.
const GRACE: Duration = Duration::from_millis(500);

/// Turns a count of readers into wishes.
#[derive(Debug)]
pub struct Demand {
    mode: Mode,
    wanted: bool,
    leave_at: Option<Instant>,
}

impl Demand {
    pub fn new(mode: Mode) -> Self {
        Self { mode, wanted: false, leave_at: None }
    }

    pub fn deadline(&self) -> Option<Instant> {
        self.leave_at
    }

    /// So many need it now.
    pub fn on_count(&mut self, count: usize, now: Instant) -> Option<Event> {
        let needed = count > 0 || self.mode == Mode::Continuous;
        match (needed, self.wanted) {
            (true, true) => self.leave_at = None,
            (true, false) => {
                self.wanted = true;
                return Some(Event::Wanted);
            }
            (false, true) => {
                self.leave_at.get_or_insert(now + self.linger());
            }
            (false, false) => {}
        }
        None
    }

    /// [`Demand::deadline`] may have passed.
    pub fn on_tick(&mut self, now: Instant) -> Option<Event> {
        self.leave_at.take_if(|at| *at <= now)?;
        self.wanted = false;
        Some(Event::Unwanted)
    }

    fn linger(&self) -> Duration {
        match self.mode {
            Mode::OnDemand | Mode::Continuous => GRACE,
            Mode::Linger(span) => span,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_continuous_feed_is_wanted_by_nobody_in_particular() {
        assert_eq!(Demand::new(Mode::Continuous).on_count(0, zero()), Some(Event::Wanted));
    }

    #[test]
    fn an_on_demand_feed_outlives_its_last_reader_by_a_moment() {
        let now = zero();
        let mut demand = Demand::new(Mode::OnDemand);
        assert_eq!(demand.on_count(0, now), None);
        assert_eq!(demand.on_count(2, now), Some(Event::Wanted));
        assert_eq!(demand.on_count(0, now), None);
        assert_eq!(demand.on_tick(now + GRACE / 2), None);
        assert_eq!(demand.on_tick(now + GRACE), Some(Event::Unwanted));
        assert_eq!(demand.deadline(), None);
    }

    #[test]
    fn who_comes_back_in_time_keeps_the_feed() {
        let now = zero();
        let mut demand = Demand::new(Mode::Linger(Duration::from_secs(3)));
        demand.on_count(1, now);
        demand.on_count(0, now);
        assert_eq!(demand.deadline(), Some(now + Duration::from_secs(3)));
        assert_eq!(demand.on_count(1, now + Duration::from_secs(2)), None);
        assert_eq!(demand.on_tick(now + Duration::from_secs(4)), None);
    }

    #[expect(clippy::disallowed_methods, reason = "tests choose their own zero")]
    fn zero() -> Instant {
        Instant::now()
    }
}
