//! The three modes of a feed: turns a number of readers into demand.

use std::time::{Duration, Instant};

use crate::config::settings::Mode;
use crate::engine::supervise::lifecycle::Event;

/// How long an on-demand feed keeps running after its last reader left, so that a
/// reload of a page or a player's second request does not restart the camera.
const GRACE: Duration = Duration::from_millis(500);

/// Turns a number of readers into [`Event::Wanted`] and [`Event::Unwanted`].
#[derive(Debug)]
pub struct Demand {
    mode: Mode,
    wanted: bool,
    unwanted_at: Option<Instant>,
}

impl Demand {
    pub fn new(mode: Mode) -> Self {
        Self { mode, wanted: false, unwanted_at: None }
    }

    /// When [`Demand::on_tick`] has to be called, if at all.
    pub fn deadline(&self) -> Option<Instant> {
        self.unwanted_at
    }

    /// Takes the present number of readers.
    pub fn on_count(&mut self, count: usize, now: Instant) -> Option<Event> {
        let needed = count > 0 || self.mode == Mode::Continuous;
        match (needed, self.wanted) {
            (true, true) => self.unwanted_at = None,
            (true, false) => {
                self.wanted = true;
                return Some(Event::Wanted);
            }
            (false, true) => {
                self.unwanted_at.get_or_insert(now + self.grace());
            }
            (false, false) => {}
        }
        None
    }

    /// To be called when [`Demand::deadline`] has passed; earlier calls do nothing.
    pub fn on_tick(&mut self, now: Instant) -> Option<Event> {
        self.unwanted_at.take_if(|at| *at <= now)?;
        self.wanted = false;
        Some(Event::Unwanted)
    }

    fn grace(&self) -> Duration {
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
    fn a_continuous_feed_is_wanted_without_readers() {
        assert_eq!(Demand::new(Mode::Continuous).on_count(0, zero()), Some(Event::Wanted));
    }

    #[test]
    fn an_on_demand_feed_stops_half_a_second_after_its_last_reader() {
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
    fn a_reader_within_the_linger_time_keeps_the_feed_running() {
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
