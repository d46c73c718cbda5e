//! File names of recordings: `front_2026-11-27_18-00-00.mp4`.
//!
//! Files with other names are foreign and never touched. The names of a stream
//! sort by time and need no escaping in a URL or a shell.

use std::cmp::Ordering;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use jiff::civil::DateTime;

use crate::model::ids::StreamName;

/// File extensions and their content types.
const EXTENSIONS: [(&str, &str); 12] = [
    ("mp4", "video/mp4"),
    ("ts", "video/mp2t"),
    ("webm", "video/webm"),
    ("mkv", "video/x-matroska"),
    ("flv", "video/x-flv"),
    ("h264", "video/h264"),
    ("mjpeg", "multipart/x-mixed-replace"),
    ("wav", "audio/wav"),
    ("mp3", "audio/mpeg"),
    ("aac", "audio/aac"),
    ("ogg", "audio/ogg"),
    ("bin", "application/octet-stream"),
];

/// `_2026-11-27_18-00-00`
const STAMP: &str = "_%Y-%m-%d_%H-%M-%S";
const STAMP_LENGTH: usize = 20;

/// Follows the stamp if the clock was not set when the recording started.
const UNSET_CLOCK: &str = "_unset-clock";

/// The name of a recording, independent of the stage of its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// Local time.
    stamp: DateTime,
    stream: StreamName,
    /// Whether the clock was set when it started, as far as was known.
    is_dated: bool,
    /// Counts from 1 the recordings of a stream that have the same stamp: started
    /// in one second, or an hour apart when daylight saving time ends.
    number: u8,
    extension: &'static str,
}

/// The content of a file of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// `.part.mp4`: written while recording.
    Part,
    /// `.new.mp4`: the result of finishing, not yet complete.
    New,
    /// `.tmp.mp4`: an intermediate file of finishing.
    Temporary,
    /// `.mp4`: finished.
    Final,
}

const STAGES: [(Stage, &str); 4] =
    [(Stage::Part, ".part"), (Stage::New, ".new"), (Stage::Temporary, ".tmp"), (Stage::Final, "")];

impl Name {
    /// The name of a recording that starts at `stamp`, local time. `number` is 1
    /// for the first one with this stamp.
    pub fn new(stream: StreamName, stamp: DateTime, number: u8, extension: &'static str) -> Self {
        let stamp = stamp.with().subsec_nanosecond(0).build().unwrap_or(stamp);
        Self { stamp, stream, is_dated: true, number: number.max(1), extension }
    }

    /// Marks the stamp as unreliable, because the clock was not set.
    pub fn undated(self) -> Self {
        Self { is_dated: false, ..self }
    }

    /// Whether the stamp is reliable.
    pub fn is_dated(&self) -> bool {
        self.is_dated
    }

    pub fn stream(&self) -> &StreamName {
        &self.stream
    }

    /// The start in local time.
    pub fn stamp(&self) -> DateTime {
        self.stamp
    }

    /// Whether its files are MP4.
    pub fn is_mp4(&self) -> bool {
        self.extension == "mp4"
    }

    /// The content type of its files.
    pub fn content_type(&self) -> &'static str {
        let known = EXTENSIONS.iter().find(|(extension, _)| *extension == self.extension);
        known.map_or("application/octet-stream", |(_, kind)| kind)
    }

    pub fn path(&self, folder: &Path, stage: Stage) -> PathBuf {
        folder.join(self.file(stage))
    }

    fn file(&self, stage: Stage) -> String {
        let Self { stamp, stream, is_dated, number, extension } = self;
        let stamp = stamp.strftime(STAMP);
        let unset = if *is_dated { "" } else { UNSET_CLOCK };
        let number = if *number > 1 { format!("_{number}") } else { String::new() };
        let stage = STAGES.iter().find(|(known, _)| *known == stage).map_or("", |(_, text)| text);
        format!("{stream}{stamp}{unset}{number}{stage}.{extension}")
    }

    /// Parses a file name; `None` if livebox does not give such a name.
    pub fn parse_file(file: &str) -> Option<(Self, Stage)> {
        let (rest, extension) = file.rsplit_once('.')?;
        let extension = EXTENSIONS.iter().find(|(known, _)| *known == extension)?.0;
        let (stage, rest) =
            STAGES.iter().find_map(|(stage, text)| Some((*stage, rest.strip_suffix(text)?)))?;
        let (rest, number) = match rest.rsplit_once('_') {
            Some((rest, digits)) if digits.len() <= 3 => (rest, digits.parse().ok()?),
            _ => (rest, 1),
        };
        let (rest, is_dated) =
            rest.strip_suffix(UNSET_CLOCK).map_or((rest, true), |rest| (rest, false));
        let split = rest.len().checked_sub(STAMP_LENGTH).filter(|at| rest.is_char_boundary(*at))?;
        let (stream, stamp) = rest.split_at(split);
        let stamp = DateTime::strptime(STAMP, stamp).ok()?;
        let name = Self { stamp, stream: stream.parse().ok()?, is_dated, number, extension };
        // Accepts the canonical form only.
        (name.file(stage) == file).then_some((name, stage))
    }
}

/// The extension of files with this content type.
pub(super) fn extension_for(content_type: &str) -> &'static str {
    let plain = content_type.split(';').next().unwrap_or_default().trim();
    let known = EXTENSIONS.iter().find(|(_, kind)| kind.eq_ignore_ascii_case(plain));
    known.map_or("bin", |(extension, _)| extension)
}

/// The text is not the name of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the name of a recording")]
pub struct InvalidName;

impl FromStr for Name {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        match Self::parse_file(text) {
            Some((name, Stage::Final)) => Ok(name),
            Some((_, Stage::Part | Stage::New | Stage::Temporary)) | None => Err(InvalidName),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file(Stage::Final))
    }
}

impl Ord for Name {
    /// By time.
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |name: &Self| (name.stamp, name.number);
        key(self)
            .cmp(&key(other))
            .then_with(|| self.stream.cmp(&other.stream))
            .then_with(|| self.extension.cmp(other.extension))
            .then_with(|| self.is_dated.cmp(&other.is_dated))
    }
}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: u8) -> Name {
        let stamp = "2026-11-27T18:00:07.5".parse().unwrap();
        Name::new("front".parse().unwrap(), stamp, number, "mp4")
    }

    #[test]
    fn a_file_name_gives_the_recording_and_its_stage() {
        assert_eq!(name(1).to_string(), "front_2026-11-27_18-00-07.mp4");
        let folder = Path::new("/r");
        assert_eq!(
            name(2).path(folder, Stage::Part),
            Path::new("/r/front_2026-11-27_18-00-07_2.part.mp4")
        );
        for (stage, _) in STAGES {
            let path = name(2).path(Path::new(""), stage);
            assert_eq!(Name::parse_file(path.to_str().unwrap()), Some((name(2), stage)));
        }
        let nested: Name = "a_2026-11-27_18-00-07_2026-01-02_03-04-05.ts".parse().unwrap();
        assert_eq!(nested.stream().as_str(), "a_2026-11-27_18-00-07");
        assert_eq!(nested.content_type(), "video/mp2t");
    }

    #[test]
    fn a_name_states_whether_the_clock_was_set() {
        let undated = name(2).undated();
        assert_eq!(undated.to_string(), "front_2026-11-27_18-00-07_unset-clock_2.mp4");
        for stage in STAGES.map(|(stage, _)| stage) {
            let path = undated.path(Path::new(""), stage);
            assert_eq!(Name::parse_file(path.to_str().unwrap()), Some((undated.clone(), stage)));
        }
        assert!(name(2).is_dated() && !undated.is_dated());
    }

    #[test]
    fn names_that_livebox_does_not_write_are_foreign() {
        for file in [
            "",
            "film.mp4",
            "front_2026-11-27.mp4",
            "front_2026-11-27_18-00-07.txt",
            "front_2026-11-27_18-00-07.MP4",
            "front_2026-13-27_18-00-07.mp4",
            "front_2026-11-27_18-00-07_1.mp4",
            "front_2026-11-27_18-00-07_02.mp4",
            "_2026-11-27_18-00-07.mp4",
            "../front_2026-11-27_18-00-07.mp4",
            "a/b_2026-11-27_18-00-07.mp4",
            "front_2026-11-27_18-00-07_999.mp4",
            "front_2026-11-27_18-00-07 .mp4",
            "ä2026-11-27_18-00-07.mp4",
            ".front_2026-11-27_18-00-07.mp4",
            "front_2026-11-27_18-00-07.part.part.mp4",
        ] {
            assert_eq!(Name::parse_file(file), None, "{file}");
        }
        assert!("front_2026-11-27_18-00-07.part.mp4".parse::<Name>().is_err());
    }

    #[test]
    fn names_sort_by_time() {
        let mut names = [name(2), name(1), "a_2027-01-01_00-00-00.mp4".parse().unwrap()];
        names.sort();
        assert_eq!(names.map(|name| name.number), [1, 2, 1]);
    }

    #[test]
    fn byte_streams_have_the_extension_of_their_content_type() {
        assert_eq!(extension_for("video/MP2T; x=y"), "ts");
        assert_eq!(extension_for("multipart/x-mixed-replace;boundary=ffmpeg"), "mjpeg");
        assert_eq!(extension_for("text/plain"), "bin");
    }

    proptest::proptest! {
        #[test]
        fn no_name_panics(text in "\\PC{0,60}") {
            Name::parse_file(&text);
        }
    }
}
