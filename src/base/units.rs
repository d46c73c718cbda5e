//! Quantities in configuration and API: bit rates, frame rates, picture sizes.
//!
//! Each type is parsed from all its spellings, and printed in one canonical
//! form.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A text that is not the expected quantity, with the spellings that are.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{text:?} is not {wanted}")]
pub struct BadUnit {
    pub text: String,
    pub wanted: Cow<'static, str>,
}

/// Bits per second, 100 kbit/s to 50 Mbit/s.
///
/// The minimum is what hardware encoders support; the maximum is twice what the
/// fastest of them delivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Bitrate(u32);

impl Bitrate {
    pub const MIN: Self = Self(100_000);
    pub const MAX: Self = Self(50_000_000);
    const WANTED: &str =
        "a bit rate from 100k to 50M (examples: 800k, 800kbps, 1M, 1.5Mbps, 100000)";

    /// Returns `None` outside [`Bitrate::MIN`] to [`Bitrate::MAX`].
    pub fn from_bps(bps: u64) -> Option<Self> {
        let rate = Self(u32::try_from(bps).ok()?);
        (Self::MIN..=Self::MAX).contains(&rate).then_some(rate)
    }

    pub fn bps(self) -> u32 {
        self.0
    }

    /// Kilobits per second, rounded down.
    pub fn kbps(self) -> u32 {
        self.0 / 1000
    }

    /// The default rate for a picture of this size, by height.
    pub fn default_for(size: Size) -> Self {
        Self(match size.height {
            0..=240 => 400_000,
            241..=360 => 750_000,
            361..=480 => 1_000_000,
            481..=720 => 2_500_000,
            _ => 4_500_000,
        })
    }
}

impl FromStr for Bitrate {
    type Err = BadUnit;

    /// Parses `N`, `Nk`, `Nkb`, `Nkbps`, `NM`, `NMb`, `NMbps`, and the original
    /// manual's misspelling `Nkpbs`. Multipliers are decimal. Any letter case,
    /// except `B`, which would be bytes.
    fn from_str(text: &str) -> Result<Self, BadUnit> {
        let bad = || BadUnit { text: text.to_owned(), wanted: Self::WANTED.into() };
        if let Some((bits, _)) = text.trim().split_once('B') {
            let wanted = match bits.parse::<Self>() {
                Ok(_) => format!("a bit rate: B stands for bytes; write {bits} for bits a second"),
                Err(bad) => bad.wanted.into_owned(),
            };
            return Err(BadUnit { text: text.to_owned(), wanted: wanted.into() });
        }
        let lower = text.trim().to_ascii_lowercase();
        let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let factor = match &lower[digits.len()..] {
            "" | "bps" => 1.0,
            "k" | "kb" | "kbps" | "kpbs" | "kbit" => 1_000.0,
            "m" | "mb" | "mbps" | "mbit" => 1_000_000.0,
            _ => return Err(bad()),
        };
        let number = plain_number(digits).ok_or_else(bad)?;
        Self::from_bps((number * factor).round() as u64).ok_or_else(bad)
    }
}

impl fmt::Display for Bitrate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bps if bps % 1_000_000 == 0 => write!(f, "{}M", bps / 1_000_000),
            bps if bps % 1_000 == 0 => write!(f, "{}k", bps / 1_000),
            bps => write!(f, "{bps}"),
        }
    }
}

/// Whole frames per second, 1 to 120.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FrameRate(u32);

impl FrameRate {
    pub const MIN: u32 = 1;
    pub const MAX: u32 = 120;
    const WANTED: &str = "a frame rate from 1 to 120";

    pub fn new(fps: u64) -> Option<Self> {
        let fps = u32::try_from(fps).ok()?;
        (Self::MIN..=Self::MAX).contains(&fps).then_some(Self(fps))
    }

    pub fn fps(self) -> u32 {
        self.0
    }

    /// Duration of one frame.
    pub fn frame(self) -> Duration {
        Duration::from_secs(1) / self.0
    }
}

impl FromStr for FrameRate {
    type Err = BadUnit;

    fn from_str(text: &str) -> Result<Self, BadUnit> {
        let bad = || BadUnit { text: text.to_owned(), wanted: Self::WANTED.into() };
        text.trim().parse().ok().and_then(Self::new).ok_or_else(bad)
    }
}

impl fmt::Display for FrameRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Width and height in pixels: even, 32 to 4096 each.
///
/// H.264 4:2:0 needs even sides; the bounds are those of the supported encoders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    pub width: u32,
    pub height: u32,
}

/// The sizes that have a name.
const NAMED: [(&str, Size); 5] = [
    ("240p", Size { width: 426, height: 240 }),
    ("360p", Size { width: 640, height: 360 }),
    ("480p", Size { width: 854, height: 480 }),
    ("720p", Size { width: 1280, height: 720 }),
    ("1080p", Size { width: 1920, height: 1080 }),
];

impl Size {
    const WANTED: &str = "a picture size (240p, 360p, 480p, 720p, 1080p, or \
                          WIDTHxHEIGHT with even sides from 32 to 4096)";

    pub fn new(width: u32, height: u32) -> Option<Self> {
        let side = |n: u32| n.is_multiple_of(2) && (32..=4096).contains(&n);
        (side(width) && side(height)).then_some(Self { width, height })
    }

    /// The name of this size (`360p`), or `WIDTHxHEIGHT`.
    pub fn name(self) -> String {
        match NAMED.iter().find(|(_, size)| *size == self) {
            Some((name, _)) => (*name).to_owned(),
            None => self.to_string(),
        }
    }
}

impl FromStr for Size {
    type Err = BadUnit;

    fn from_str(text: &str) -> Result<Self, BadUnit> {
        let lower = text.trim().to_ascii_lowercase();
        if let Some((_, size)) = NAMED.iter().find(|(name, _)| *name == lower) {
            return Ok(*size);
        }
        lower
            .split_once('x')
            .and_then(|(width, height)| Self::new(width.parse().ok()?, height.parse().ok()?))
            .ok_or_else(|| BadUnit { text: text.to_owned(), wanted: Self::WANTED.into() })
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

/// Parses a span of time: `1s`, `500ms`, `2` or `0.5` (seconds), `5m`, `1h`.
pub fn parse_span(text: &str) -> Result<Duration, BadUnit> {
    let bad = || BadUnit {
        text: text.to_owned(),
        wanted: "a span of time (examples: 1s, 500ms, 2, 0.5, 5m)".into(),
    };
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match &lower[digits.len()..] {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(bad()),
    };
    let seconds = plain_number(digits).ok_or_else(bad)? * factor;
    Duration::try_from_secs_f64(seconds).map_err(|_| bad())
}

/// A non-negative decimal number without sign, exponent, `inf` or `nan`.
fn plain_number(digits: &str) -> Option<f64> {
    let plain = !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit() || c == '.');
    plain.then(|| digits.parse().ok()).flatten()
}

/// Parses a number of bytes: `10G`, `500M`, `1.5 GB`, with binary multipliers.
///
/// # Errors
/// `text` is not a number of bytes; the error gives examples.
pub fn parse_bytes(text: &str) -> Result<u64, BadUnit> {
    let bad = || BadUnit {
        text: text.to_owned(),
        wanted: "a number of bytes (examples: 10G, 500M, 1.5G)".into(),
    };
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let steps = match &lower[digits.len()..] {
        "" | "b" => 0,
        "k" | "kb" => 1,
        "m" | "mb" => 2,
        "g" | "gb" => 3,
        "t" | "tb" => 4,
        _ => return Err(bad()),
    };
    let number = plain_number(digits.trim_end()).ok_or_else(bad)? * 1024f64.powi(steps);
    // Larger numbers are not exact in `f64`.
    (number <= 2f64.powi(53)).then_some(number as u64).ok_or_else(bad)
}

/// A number of bytes for display: `79.50 KB`, with binary multipliers.
pub fn size_in_words(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KB", "MB", "GB", "TB", "PB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let (mut size, mut unit) = (bytes as f64 / 1024.0, UNITS[0]);
    for next in &UNITS[1..] {
        if size >= 1024.0 {
            (size, unit) = (size / 1024.0, next);
        }
    }
    format!("{size:.2} {unit}")
}

/// A number of bits per second for display: `750 kbit/s`, `2.5 Mbit/s`.
pub fn rate_in_words(bps: u64) -> String {
    match bps {
        0..1_000_000 => format!("{} kbit/s", bps / 1000),
        1_000_000.. => format!("{:.1} Mbit/s", bps as f64 / 1_000_000.0),
    }
}

/// A duration for display: `1 d 2 h 3 min 4 s`, without parts that are zero.
pub fn duration_in_words(span: Duration) -> String {
    let seconds = span.as_secs();
    let parts = [
        (seconds / 86_400, "d"),
        (seconds / 3600 % 24, "h"),
        (seconds / 60 % 60, "min"),
        (seconds % 60, "s"),
    ];
    let shown = parts.iter().filter(|(count, _)| *count > 0);
    let words: Vec<_> = shown.map(|(count, unit)| format!("{count} {unit}")).collect();
    if words.is_empty() { "0 s".to_owned() } else { words.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_bit_rate_is_parsed() {
        for (text, bps) in [
            ("800kpbs", 800_000),
            ("800kbps", 800_000),
            ("800k", 800_000),
            ("1M", 1_000_000),
            ("1Mbps", 1_000_000),
            ("1.5M", 1_500_000),
            ("100000", 100_000),
        ] {
            assert_eq!(text.parse::<Bitrate>().map(Bitrate::bps), Ok(bps), "{text}");
        }
    }

    #[test]
    fn a_bit_rate_in_bytes_is_refused_with_the_same_number_in_bits() {
        for (text, in_bits) in
            [("2MB", "2M"), ("800kB", "800k"), ("1.5MBps", "1.5M"), ("100000B", "100000")]
        {
            let error = text.parse::<Bitrate>().unwrap_err().to_string();
            assert!(
                error.contains("bytes") && error.contains(&format!("write {in_bits} ")),
                "{error}"
            );
        }
        for text in ["B", "xB", "2GB"] {
            let error = text.parse::<Bitrate>().unwrap_err().to_string();
            assert!(error.contains("100k to 50M"), "{error}");
        }
    }

    #[test]
    fn an_invalid_bit_rate_is_refused_with_examples() {
        for text in ["", "k", "-1M", "99k", "51M", "1e6", "inf", "1 Gbps", "10M10"] {
            let error = text.parse::<Bitrate>().unwrap_err().to_string();
            assert!(error.contains("100k to 50M"), "{error}");
        }
    }

    #[test]
    fn sizes_are_parsed_by_name_and_by_sides() {
        assert_eq!("720p".parse(), Ok(Size { width: 1280, height: 720 }));
        assert_eq!("1280X720".parse::<Size>().unwrap().name(), "720p");
        assert_eq!("800x600".parse::<Size>().unwrap().name(), "800x600");
        for text in ["999p", "801x600", "0x0", "5000x600", "800", "x", "-2x4"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }

    #[test]
    fn spans_are_parsed_with_and_without_a_unit() {
        assert_eq!(parse_span("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_span("2"), Ok(Duration::from_secs(2)));
        assert_eq!(parse_span("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_span("5m"), Ok(Duration::from_secs(300)));
        for text in ["", "soon", "-1s", "1e99", "nan", "99999999999999999999999h"] {
            assert!(parse_span(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_printed_bit_rate_parses_as_itself() {
        for bps in [100_000, 750_000, 2_000_000, 123_456] {
            let rate = Bitrate::from_bps(bps).unwrap();
            assert_eq!(rate.to_string().parse(), Ok(rate));
        }
    }

    #[test]
    fn sizes_rates_and_durations_are_printed_with_units() {
        for (bytes, words) in
            [(0, "0 B"), (1023, "1023 B"), (81_408, "79.50 KB"), (5 << 30, "5.00 GB")]
        {
            assert_eq!(size_in_words(bytes), words);
        }
        for (bps, words) in [(0, "0 kbit/s"), (750_400, "750 kbit/s"), (2_480_000, "2.5 Mbit/s")] {
            assert_eq!(rate_in_words(bps), words);
        }
        for (seconds, words) in [(0, "0 s"), (93_784, "1 d 2 h 3 min 4 s"), (3600, "1 h")] {
            assert_eq!(duration_in_words(Duration::from_secs(seconds)), words);
        }
    }
}
