//! Repeated events that would fill the log: the first one and each doubling are logged.

use std::time::{Duration, Instant};

use super::lock::Lock;

/// An incident is over after this long without an event.
const ENDS_AFTER: Duration = Duration::from_secs(600);

/// Counts the events of an incident.
#[derive(Clone, Copy, Debug, Default)]
pub struct Incident(Option<(u64, Instant)>);

impl Incident {
    /// Counts one event. Returns the number of events in this incident if it is
    /// to be logged: at 1, 2, 4, 8, …
    pub fn add(&mut self, now: Instant) -> Option<u64> {
        let before = match self.0 {
            Some((count, last)) if now.saturating_duration_since(last) < ENDS_AFTER => count,
            Some(_) | None => 0,
        };
        let count = before + 1;
        self.0 = Some((count, now));
        count.is_power_of_two().then_some(count)
    }
}

/// An incident that several tasks add to.
#[derive(Debug, Default)]
pub struct Shared(Lock<Incident>);

impl Shared {
    /// As [`Incident::add`].
    pub fn add(&self, now: Instant) -> Option<u64> {
        self.0.lock().add(now)
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests choose their own start time")]
mod tests {
    use super::*;

    #[test]
    fn an_incident_is_logged_at_its_first_event_and_at_each_doubling() {
        let (mut incident, now) = (Incident::default(), Instant::now());
        let logged: Vec<_> = (0..1000).filter_map(|_| incident.add(now)).collect();
        assert_eq!(logged, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]);
        assert_eq!(incident.add(now + ENDS_AFTER), Some(1), "another incident");
    }
}
