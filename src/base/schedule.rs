//! Weekly schedules in local time.
//!
//! Does not read the clock. When daylight saving time begins, a window that
//! begins in the skipped hour begins later by that hour. When it ends, a window
//! that ends in the repeated hour ends in its second occurrence.

use std::fmt;
use std::str::FromStr;

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _, Zoned};

/// Maximum windows of one schedule.
const MAX_WINDOWS: usize = 50;

/// Windows of the week.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    windows: Vec<Window>,
}

/// From one time of day to another, on some days of the week. A window whose
/// end is not later than its beginning ends on the next day.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Window {
    /// Monday first.
    days: [bool; 7],
    from: Time,
    /// `None` is 24:00.
    to: Option<Time>,
}

/// A text that is not a schedule: its first bad part, with examples.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{part:?} is not a recording time; use for example `sun 9:45-11:15`, `mon-fri sun 06:00-22:00`, \
     `21:30-24:00` for every day, or several of them separated by commas"
)]
pub struct BadSchedule {
    pub part: String,
}

const DAYS: [(&str, &str); 7] = [
    ("mon", "monday"),
    ("tue", "tuesday"),
    ("wed", "wednesday"),
    ("thu", "thursday"),
    ("fri", "friday"),
    ("sat", "saturday"),
    ("sun", "sunday"),
];

impl Schedule {
    /// The latest end of the windows that contain `now`, in the time zone of
    /// `now`; `None` outside all windows.
    pub fn on_until(&self, now: &Zoned) -> Option<Timestamp> {
        let (zone, moment) = (now.time_zone(), now.timestamp());
        let today = now.date();
        // A window of yesterday may not have ended yet.
        let begins = [today.yesterday().ok(), Some(today)];
        let all = begins
            .iter()
            .flatten()
            .flat_map(|day| self.windows.iter().filter_map(|window| window.span(*day, zone)));
        all.filter(|(begin, end)| (*begin..*end).contains(&moment)).map(|(_, end)| end).max()
    }
}

impl Window {
    /// Beginning and end of the window that begins on `day`, if one does.
    fn span(&self, day: Date, zone: &TimeZone) -> Option<(Timestamp, Timestamp)> {
        let index = usize::try_from(day.weekday().to_monday_zero_offset()).ok()?;
        if !self.days[index] {
            return None;
        }
        let last = match self.to {
            Some(to) if to > self.from => day.to_datetime(to),
            Some(to) => day.checked_add(1.day()).ok()?.to_datetime(to),
            None => day.checked_add(1.day()).ok()?.to_datetime(Time::midnight()),
        };
        let begin = zone.to_ambiguous_zoned(day.to_datetime(self.from)).compatible().ok()?;
        let end = zone.to_ambiguous_zoned(last).later().ok()?;
        Some((begin.timestamp(), end.timestamp()))
    }
}

impl FromStr for Schedule {
    type Err = BadSchedule;

    fn from_str(text: &str) -> Result<Self, BadSchedule> {
        let parts: Vec<&str> = text.split(',').map(str::trim).collect();
        let windows = parts
            .iter()
            .map(|part| window(part).ok_or_else(|| BadSchedule { part: (*part).to_owned() }));
        let windows: Vec<_> = windows.take(MAX_WINDOWS + 1).collect::<Result<_, _>>()?;
        if windows.len() > MAX_WINDOWS {
            return Err(BadSchedule { part: parts[MAX_WINDOWS].to_owned() });
        }
        Ok(Self { windows })
    }
}

/// Parses `mon-fri sun 6:00-22:00`.
fn window(text: &str) -> Option<Window> {
    let mut words: Vec<&str> = text.split_whitespace().collect();
    let (from, to) = words.pop()?.split_once('-')?;
    let (from, to) = (time(from)??, time(to)?);
    let mut days = [words.is_empty(); 7];
    for word in words {
        let (first, last) = match word.split_once('-') {
            Some((first, last)) => (day(first)?, day(last)?),
            None => (day(word)?, day(word)?),
        };
        let mut index = first;
        loop {
            days[index] = true;
            if index == last {
                break;
            }
            index = (index + 1) % 7;
        }
    }
    Some(Window { days, from, to })
}

fn day(word: &str) -> Option<usize> {
    let same = |known: &str| known.eq_ignore_ascii_case(word);
    DAYS.iter().position(|(short, long)| same(short) || same(long))
}

/// Parses `9:45`; `Some(None)` is `24:00`.
fn time(text: &str) -> Option<Option<Time>> {
    let (hour, minute) = text.split_once(':')?;
    let digits = |part: &str| {
        let is_plain = (1..=2).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
        is_plain.then(|| part.parse::<i8>().ok()).flatten()
    };
    let (hour, minute) = (digits(hour)?, digits(minute).filter(|_| minute.len() == 2)?);
    if (hour, minute) == (24, 0) {
        return Some(None);
    }
    Time::new(hour, minute, 0, 0).ok().map(Some)
}

impl fmt::Display for Schedule {
    /// Writes text that parses as the same schedule.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, window) in self.windows.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            if window.days != [true; 7] {
                let days = DAYS.iter().zip(window.days).filter(|(_, is_on)| *is_on);
                days.map(|((short, _), _)| short).try_for_each(|day| write!(f, "{day} "))?;
            }
            let Window { from, to, .. } = window;
            write!(f, "{:02}:{:02}-", from.hour(), from.minute())?;
            match to {
                Some(to) => write!(f, "{:02}:{:02}", to.hour(), to.minute())?,
                None => f.write_str("24:00")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(text: &str) -> Schedule {
        text.parse().unwrap()
    }

    fn at(text: &str) -> Zoned {
        text.parse().unwrap()
    }

    /// The end of the current window, in the local time of Berlin.
    fn until(text: &str, now: &str) -> Option<String> {
        let now = at(&format!("{now}[Europe/Berlin]"));
        let end = schedule(text).on_until(&now)?;
        Some(end.to_zoned(now.time_zone().clone()).strftime("%m-%d %H:%M %Z").to_string())
    }

    #[test]
    fn a_window_includes_its_beginning_and_excludes_its_end() {
        let church = "sun 9:45-11:15";
        assert_eq!(until(church, "2026-11-29T09:44:59"), None);
        assert_eq!(until(church, "2026-11-29T09:45:00"), Some("11-29 11:15 CET".to_owned()));
        assert_eq!(until(church, "2026-11-29T11:14:59"), Some("11-29 11:15 CET".to_owned()));
        assert_eq!(until(church, "2026-11-29T11:15:00"), None);
        assert_eq!(until(church, "2026-11-28T10:00:00"), None);
    }

    #[test]
    fn days_are_words_or_ranges_and_a_night_ends_on_the_next_day() {
        let nights = "fri-sun 21:30-04:00, wed 12:00-13:00";
        for on in ["2026-11-27T22:00", "2026-11-30T03:59", "2026-11-25T12:30"] {
            assert!(until(nights, on).is_some(), "{on}");
        }
        for off in ["2026-11-27T03:00", "2026-11-30T22:00", "2026-11-26T12:30"] {
            assert_eq!(until(nights, off), None, "{off}");
        }
        assert_eq!(until("00:00-24:00", "2026-11-27T23:59"), Some("11-28 00:00 CET".to_owned()));
        assert!(until("sat-mon 10:00-11:00", "2026-11-30T10:00").is_some());
    }

    #[test]
    fn when_clocks_go_forward_a_window_in_the_skipped_hour_begins_an_hour_later() {
        // 2026-03-29: 02:00 is followed by 03:00.
        let window = "sun 02:15-02:45";
        assert_eq!(until(window, "2026-03-29T01:59:59"), None);
        assert_eq!(until(window, "2026-03-29T03:20:00"), Some("03-29 03:45 CEST".to_owned()));
        assert_eq!(until("sun 1:30-3:30", "2026-03-29T01:45"), Some("03-29 03:30 CEST".to_owned()));
        assert_eq!(
            until("sun 12:00-13:00", "2026-03-29T12:00"),
            Some("03-29 13:00 CEST".to_owned())
        );
    }

    #[test]
    fn when_clocks_go_back_a_window_ends_in_the_second_repeated_hour() {
        // 2026-10-25: 03:00 CEST is followed by 02:00 CET.
        let window = "sun 02:15-02:45";
        for on in
            ["2026-10-25T02:20:00+02:00", "2026-10-25T02:50:00+02:00", "2026-10-25T02:20:00+01:00"]
        {
            assert_eq!(until(window, on), Some("10-25 02:45 CET".to_owned()), "{on}");
        }
        assert_eq!(until(window, "2026-10-25T02:50:00+01:00"), None);
        assert_eq!(
            until("sun 12:00-13:00", "2026-10-25T12:59"),
            Some("10-25 13:00 CET".to_owned())
        );
    }

    #[test]
    fn every_bad_schedule_is_refused_with_an_example() {
        for bad in [
            "",
            "sun",
            "9:45",
            "sun 9:45",
            "sunn 9:45-10:00",
            "sun 9-10",
            "sun 9:5-10:00",
            "sun 25:00-26:00",
            "sun 24:00-25:00",
            "24:00-1:00",
            "mon-fry 1:00-2:00",
            "sun,9:45-10:00",
            "sun 9:45-10:00,",
            "sun -1:00-2:00",
            "sun 1:00-2:00-3:00",
            "sun 09:60-10:00",
        ] {
            let message = bad.parse::<Schedule>().unwrap_err().to_string();
            assert!(message.contains("sun 9:45-11:15"), "{bad}");
        }
        let many = vec!["sun 1:00-2:00"; 51].join(",");
        assert!(many.parse::<Schedule>().is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_text_causes_a_panic_and_a_printed_schedule_parses_as_itself(
            text in "((mon|tue-fri|sat|sunday|x) ){0,3}[0-2]?[0-9]:[0-5][0-9]-[0-2]?[0-9]:[0-5][0-9]",
            noise in "\\PC{0,40}",
        ) {
            noise.parse::<Schedule>().ok();
            if let Ok(read) = text.parse::<Schedule>() {
                assert_eq!(schedule(&read.to_string()), read);
            }
        }
    }
}
