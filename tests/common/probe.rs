//! What ffprobe and ffmpeg find in a stream or file.

use std::time::Duration;

use serde_json::Value;

use super::process::run;
use super::tools::tool;

const LIMIT: Duration = super::wait::TIMEOUT;
const RATE: f64 = 44_100.0;

/// The streams of a file or URL.
#[derive(Debug)]
pub struct Streams(Vec<Value>);

/// How loud what is, on average over the sound that was listened to.
#[derive(Debug, PartialEq)]
pub struct Sound {
    /// Root mean square, 1.0 for full scale.
    pub loudness: f64,
    /// Times that the wave crosses zero upwards, per second.
    pub pitch: f64,
}

/// Asks ffprobe what is in `source`, of the format `format` where it cannot be guessed.
pub fn streams(source: &str, format: Option<&str>) -> Streams {
    let mut command = tool("ffprobe");
    command.args(["-v", "error", "-show_streams", "-of", "json"]);
    command.args(format.iter().flat_map(|format| ["-f", format]));
    let finished = run(command.arg(source), b"", LIMIT);
    assert_eq!(finished.code, Some(0), "ffprobe {source}: {}", finished.stderr);
    let answer: Value = serde_json::from_str(&finished.stdout).expect("ffprobe writes JSON");
    Streams(answer["streams"].as_array().expect("ffprobe lists streams").clone())
}

impl Streams {
    /// The first stream of the kind `video` or `audio`.
    pub fn first(&self, kind: &str) -> &Value {
        let found = self.0.iter().find(|stream| stream["codec_type"] == kind);
        found.unwrap_or_else(|| panic!("no {kind} in {:?}", self.0))
    }

    pub fn codecs(&self) -> Vec<&str> {
        self.0.iter().filter_map(|stream| stream["codec_name"].as_str()).collect()
    }
}

/// When each packet of the first stream of the kind `v` or `a` is shown, in seconds.
pub fn packet_times(source: &str, kind: &str) -> Vec<f64> {
    let mut command = tool("ffprobe");
    command.args(["-v", "error", "-select_streams", &format!("{kind}:0")]);
    command.args(["-show_entries", "packet=pts_time", "-of", "csv=p=0", source]);
    let finished = run(&mut command, b"", LIMIT);
    assert_eq!(finished.code, Some(0), "ffprobe {source}: {}", finished.stderr);
    let times = finished.stdout.lines().map(|line| line.trim_end_matches(','));
    times.filter_map(|time| time.parse().ok()).collect()
}

/// How many packets a file of the raw format `format` has.
pub fn packet_count(source: &str, format: &str) -> usize {
    let mut command = tool("ffprobe");
    command.args(["-v", "error", "-f", format, "-show_entries", "packet=size", "-of", "csv=p=0"]);
    let finished = run(command.arg(source), b"", LIMIT);
    assert_eq!(finished.code, Some(0), "ffprobe {source}: {}", finished.stderr);
    finished.stdout.lines().filter(|line| !line.is_empty()).count()
}

/// Decodes `seconds` of `source`, both picture and sound, and fails on any complaint of the decoder.
pub fn decode(source: &str, seconds: u32) {
    let mut command = tool("ffmpeg");
    command.args(["-v", "error", "-xerror", "-i", source, "-t", &seconds.to_string()]);
    // In the times of the source: rounded to frames, those of a burst would be the same.
    command.args(["-enc_time_base", "-1"]);
    let finished = run(command.args(["-f", "null", "-"]), b"", LIMIT);
    assert_eq!(finished.code, Some(0), "decoding {source}: {}", finished.stderr);
    assert_eq!(finished.stderr, "", "decoding {source}");
}

/// Listens to `seconds` of `source`, its first half second left out.
pub fn listen(source: &str, seconds: u32) -> Sound {
    let raw = tempfile::NamedTempFile::new().expect("there is room for a file");
    let mut command = tool("ffmpeg");
    command.args(["-v", "error", "-y", "-i", source, "-ss", "0.5", "-t", &seconds.to_string()]);
    command.args(["-vn", "-ac", "1", "-ar", "44100", "-f", "s16le"]).arg(raw.path());
    let finished = run(&mut command, b"", LIMIT);
    assert_eq!(finished.code, Some(0), "decoding {source}: {}", finished.stderr);
    let bytes = std::fs::read(raw.path()).expect("ffmpeg has written it");
    let samples: Vec<f64> = bytes
        .chunks_exact(2)
        .map(|pair| f64::from(i16::from_le_bytes([pair[0], pair[1]])) / 32_768.0)
        .collect();
    assert!(!samples.is_empty(), "{source} has no sound");
    let energy: f64 = samples.iter().map(|sample| sample * sample).sum();
    let crossings = samples.windows(2).filter(|pair| pair[0] < 0.0 && pair[1] >= 0.0).count();
    Sound {
        loudness: (energy / samples.len() as f64).sqrt(),
        pitch: crossings as f64 * RATE / samples.len() as f64,
    }
}
