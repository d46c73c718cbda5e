//! Whether a stream is recorded: its plan, and the override by hand.
//!
//! A start by hand lasts until a stop by hand; a stop by hand lasts until the
//! planned hours would have ended as well. An override that agrees with the plan
//! is dropped, and the plan applies.

use jiff::{Timestamp, Zoned};

use crate::config::settings::Record;
use crate::model::ids::StreamName;
use crate::model::recording::ManualOverride;
use crate::store::state_file::{SavedRecording, StateFile};

/// The state by the plan alone.
enum Planned {
    Off,
    /// Until this time; without one, always.
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

impl ManualOverride {
    /// Whether the stream is to be recorded at `now`.
    pub fn is_on(self, plan: &Record, now: &Zoned) -> bool {
        let is_planned = matches!(planned(plan, now), Planned::On(_));
        match self {
            ManualOverride::Plan => is_planned,
            ManualOverride::On => true,
            ManualOverride::Off { until: Some(until) } => {
                is_planned && now.timestamp().as_second() >= until
            }
            ManualOverride::Off { until: None } => false,
        }
    }

    /// The override after a start by hand.
    pub fn start(plan: &Record, now: &Zoned) -> Self {
        match planned(plan, now) {
            Planned::On(_) => ManualOverride::Plan,
            Planned::Off => ManualOverride::On,
        }
    }

    /// The override after a stop by hand.
    pub fn stop(plan: &Record, now: &Zoned) -> Self {
        match planned(plan, now) {
            Planned::On(until) => ManualOverride::Off { until: until.map(Timestamp::as_second) },
            Planned::Off => ManualOverride::Plan,
        }
    }
}

/// The override of `stream` in the state file; `Plan` if the configured plan has
/// changed since it was written.
pub(super) async fn saved(file: &StateFile, stream: &StreamName, plan: &Record) -> ManualOverride {
    let saved = file.read(|state| state.recordings.get(stream.as_str()).cloned()).await;
    let saved = saved.filter(|saved| saved.configured == plan.to_string());
    saved.map_or(ManualOverride::Plan, |saved| saved.manual)
}

/// Writes the override of `stream` into the state file.
pub(super) async fn save(
    file: &StateFile,
    stream: &StreamName,
    plan: &Record,
    manual: ManualOverride,
) {
    let (name, saved) =
        (stream.to_string(), SavedRecording { manual, configured: plan.to_string() });
    file.change(|state| {
        match manual {
            ManualOverride::Plan => state.recordings.remove(&name),
            ManualOverride::On | ManualOverride::Off { .. } => state.recordings.insert(name, saved),
        };
    })
    .await;
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
    fn without_an_override_the_plan_decides() {
        assert!(ManualOverride::Plan.is_on(&Record::Always, &at("27T12:00")));
        assert!(!ManualOverride::Plan.is_on(&Record::Off, &at("27T12:00")));
        assert!(ManualOverride::Plan.is_on(&service(), &at("29T10:00")));
        assert!(!ManualOverride::Plan.is_on(&service(), &at("29T12:00")));
    }

    #[test]
    fn a_start_outside_the_hours_lasts_until_a_stop_by_hand() {
        let manual = ManualOverride::start(&service(), &at("29T09:00"));
        for time in ["29T09:00", "29T10:00", "29T12:00", "30T12:00"] {
            assert!(manual.is_on(&service(), &at(time)), "{time}");
        }
        assert_eq!(ManualOverride::stop(&service(), &at("29T12:00")), ManualOverride::Plan);
    }

    #[test]
    fn a_stop_within_the_hours_lasts_until_the_next_ones() {
        let manual = ManualOverride::stop(&service(), &at("29T10:00"));
        assert!(!manual.is_on(&service(), &at("29T11:00")));
        let next = "2026-12-06T10:00[Europe/Berlin]".parse().unwrap();
        assert!(manual.is_on(&service(), &next));
        assert_eq!(ManualOverride::start(&service(), &at("29T11:00")), ManualOverride::Plan);
    }

    #[test]
    fn a_stop_of_a_permanent_recording_is_permanent() {
        let manual = ManualOverride::stop(&Record::Always, &at("27T12:00"));
        assert!(!manual.is_on(&Record::Always, &at("30T12:00")));
        assert_eq!(ManualOverride::start(&Record::Always, &at("30T12:00")), ManualOverride::Plan);
    }

    #[tokio::test]
    async fn a_start_by_hand_persists_over_a_power_cut() {
        let folder = tempfile::tempdir().unwrap();
        let stream = "front".parse().unwrap();
        let before = StateFile::open(folder.path()).await.unwrap();
        save(&before, &stream, &Record::Off, ManualOverride::On).await;

        let after = StateFile::open(folder.path()).await.unwrap();
        assert_eq!(saved(&after, &stream, &Record::Off).await, ManualOverride::On);
        assert_eq!(saved(&after, &stream, &Record::Always).await, ManualOverride::Plan);
        save(&after, &stream, &Record::Off, ManualOverride::Plan).await;
        let last = StateFile::open(folder.path()).await.unwrap();
        assert_eq!(saved(&last, &stream, &Record::Off).await, ManualOverride::Plan);
    }
}
