//! Whether a stream is to be recorded: its plan, and what somebody wants by hand. Pure.
//!
//! A start by hand lasts until somebody stops it; a stop lasts until the plan
//! would have stopped as well. Whoever goes back to what the plan says anyway
//! leaves the rest to the plan.

use jiff::{Timestamp, Zoned};
use serde::{Deserialize, Serialize};

use crate::config::settings::Record;

/// What somebody wants by hand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wish {
    /// As planned.
    #[default]
    Plan,
    On,
    /// Until that many seconds since 1970, or until somebody starts it.
    Off {
        until: Option<i64>,
    },
}

/// Until when the plan has it on.
enum Planned {
    Off,
    On(Option<Timestamp>),
}

fn planned(plan: &Record, now: &Zoned) -> Planned {
    match plan {
        Record::Off => Planned::Off,
        Record::Always => Planned::On(None),
        Record::Scheduled(schedule) => {
            schedule.on_until(now).map_or(Planned::Off, |end| Planned::On(Some(end)))
        }
    }
}

impl Wish {
    /// Whether it is to be recorded.
    pub fn is_on(self, plan: &Record, now: &Zoned) -> bool {
        let is_planned = matches!(planned(plan, now), Planned::On(_));
        match self {
            Wish::Plan => is_planned,
            Wish::On => true,
            Wish::Off { until: Some(until) } => is_planned && now.timestamp().as_second() >= until,
            Wish::Off { until: None } => false,
        }
    }

    /// The wish of somebody who starts it.
    pub fn start(plan: &Record, now: &Zoned) -> Self {
        match planned(plan, now) {
            Planned::On(_) => Wish::Plan,
            Planned::Off => Wish::On,
        }
    }

    /// The wish of somebody who stops it.
    pub fn stop(plan: &Record, now: &Zoned) -> Self {
        match planned(plan, now) {
            Planned::On(until) => Wish::Off { until: until.map(Timestamp::as_second) },
            Planned::Off => Wish::Plan,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Zoned {
        format!("2026-11-{text}[Europe/Berlin]").parse().unwrap()
    }

    fn service() -> Record {
        Record::Scheduled("sun 9:45-11:15".parse().unwrap())
    }

    #[test]
    fn without_a_wish_the_plan_decides() {
        assert!(Wish::Plan.is_on(&Record::Always, &at("27T12:00")));
        assert!(!Wish::Plan.is_on(&Record::Off, &at("27T12:00")));
        assert!(Wish::Plan.is_on(&service(), &at("29T10:00")));
        assert!(!Wish::Plan.is_on(&service(), &at("29T12:00")));
    }

    #[test]
    fn what_is_started_outside_its_hours_goes_on_until_somebody_stops_it() {
        let wish = Wish::start(&service(), &at("29T09:00"));
        for time in ["29T09:00", "29T10:00", "29T12:00", "30T12:00"] {
            assert!(wish.is_on(&service(), &at(time)), "{time}");
        }
        assert_eq!(Wish::stop(&service(), &at("29T12:00")), Wish::Plan);
    }

    #[test]
    fn what_is_stopped_within_its_hours_comes_again_with_the_next() {
        let wish = Wish::stop(&service(), &at("29T10:00"));
        assert!(!wish.is_on(&service(), &at("29T11:00")));
        let next = "2026-12-06T10:00[Europe/Berlin]".parse().unwrap();
        assert!(wish.is_on(&service(), &next));
        assert_eq!(Wish::start(&service(), &at("29T11:00")), Wish::Plan);
    }

    #[test]
    fn what_is_always_recorded_can_be_stopped_for_good() {
        let wish = Wish::stop(&Record::Always, &at("27T12:00"));
        assert!(!wish.is_on(&Record::Always, &at("30T12:00")));
        assert_eq!(Wish::start(&Record::Always, &at("30T12:00")), Wish::Plan);
    }
}
