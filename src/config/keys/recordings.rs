//! `recordings`, and `record` of a stream.

use std::time::Duration;

use super::service::folder;
use super::{span, unit};
use crate::base::units::parse_bytes;
use crate::config::problem::quote;
use crate::config::section::{Field, Report, flag, word};
use crate::config::settings::{Record, Recordings, Retention, WhichClock};

pub(in crate::config) const RECORDINGS: [&str; 3] = ["folder", "keep", "split"];
const KEEP: [&str; 4] = ["days", "size", "free", "clock"];

pub(in crate::config) const CLOCKS: [(&str, WhichClock); 2] =
    [("synchronised", WhichClock::Synchronised), ("any", WhichClock::Any)];

const SPLIT: Duration = Duration::from_secs(3600);
const MIN_SPLIT: Duration = Duration::from_secs(10);
const MAX_SPLIT: Duration = Duration::from_secs(24 * 3600);
const SPLITS: &str = "a span of time from 10 s to 24 h (examples: 1h, 10m)";

/// The default of `keep.free`, in bytes.
const FREE: u64 = 1 << 30;

pub(in crate::config) fn recordings(field: &Field<'_>, report: &mut Report) -> Recordings {
    report.keys(field, &RECORDINGS);
    let keep = field.at("keep");
    report.keys(&keep, &KEEP);
    let free = report.read(&keep.at("free"), |text| parse_bytes(text).map_err(unit));
    let split = report.read(&field.at("split"), |text| span(text, MIN_SPLIT, MAX_SPLIT, SPLITS));
    Recordings {
        folder: report.read(&field.at("folder"), folder),
        keep: Retention {
            days: report.read(&keep.at("days"), days),
            size: report.read(&keep.at("size"), |text| parse_bytes(text).map_err(unit)),
            free: free.unwrap_or(FREE),
            clock: report.read(&keep.at("clock"), word("a clock", &CLOCKS)).unwrap_or_default(),
        },
        split: split.unwrap_or(SPLIT),
    }
}

/// `record` of a stream.
pub(super) fn record(field: &Field<'_>, report: &mut Report) -> Record {
    report.read(&field.at("record"), when).unwrap_or_default()
}

fn when(text: &str) -> Result<Record, String> {
    match (text.to_ascii_lowercase().as_str(), flag(text)) {
        (_, Ok(false)) => Ok(Record::Off),
        ("always", _) | (_, Ok(true)) => Ok(Record::Always),
        _ => text
            .parse()
            .map(Record::Scheduled)
            .map_err(|bad: crate::base::schedule::BadSchedule| format!("{bad}; or off, or always")),
    }
}

fn days(text: &str) -> Result<u32, String> {
    let days = text.parse().ok().filter(|days| (1..=36_500).contains(days));
    days.ok_or_else(|| format!("{} is not a number of days from 1 to 36500", quote(text)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse_text;

    const CAMERA: &str = "feeds: {a: {test: clock}}\n";

    #[test]
    fn a_stream_is_recorded_always_by_hours_or_only_by_hand() {
        let text = format!(
            "{CAMERA}streams: {{a: {{record: always}}, b: {{feed: a}}, \
             c: {{feed: a, record: 'sun 9:45-11:15, wed 19:00-20:30'}}}}\n\
             recordings: {{keep: {{days: 7, size: 10G, clock: any}}, split: 10m}}\n"
        );
        let settings = parse_text(&text).unwrap();
        let plans: Vec<_> =
            settings.streams.iter().map(|stream| stream.record.to_string()).collect();
        assert_eq!(plans, ["always", "off", "sun 09:45-11:15, wed 19:00-20:30"]);
        let keep =
            Retention { days: Some(7), size: Some(10 << 30), free: FREE, clock: WhichClock::Any };
        assert_eq!(settings.recordings.keep, keep);
        assert_eq!(settings.recordings.split, Duration::from_secs(600));
    }

    #[test]
    fn problems_have_their_key_and_line() {
        let text = format!(
            "{CAMERA}streams:\n  a: {{record: 'sunny 9:45-11:15'}}\n  b: {{command: date, client: shot, record: always}}\nrecordings:\n  folder: /nowhere/at/all\n  \
             keep: {{days: 0, size: many, free: -1}}\n  split: 1s\n"
        );
        let problems = parse_text(&text).unwrap_err();
        let said: String = problems.iter().map(|problem| format!("{problem}\n")).collect();
        for part in [
            "streams.a.record (line 3): \"sunny 9:45-11:15\" is not a recording time",
            "recordings.folder (line 6): \"/nowhere/at/all\" is not an existing folder",
            "recordings.keep.days (line 7): \"0\" is not a number of days",
            "recordings.keep.size (line 7): \"many\" is not a number of bytes",
            "recordings.keep.free (line 7): \"-1\" is not a number of bytes",
            "streams.b.record (line 4): a shot is one answer",
            "recordings.split (line 8): \"1s\" is not a span of time from 10 s to 24 h",
        ] {
            assert!(said.contains(part), "{part}\n---\n{said}");
        }
    }
}
