//! Films for tests and benchmarks, made by ffmpeg when they are needed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use super::process::run;
use super::tools::tool;

const LIMIT: Duration = super::wait::TIMEOUT;

/// How a film is made.
#[derive(Clone, Copy, Debug)]
pub struct Film<'a> {
    /// What is seen, as a source of ffmpeg's lavfi without size and rate.
    pub picture: &'a str,
    pub size: &'a str,
    pub fps: u32,
    pub seconds: u32,
    pub kbps: u32,
    pub b_frames: u32,
    pub sound: bool,
}

/// A film that passes through, as the benchmarks use it: two megabits a second
/// without ups and downs, a key frame each second, AAC.
pub const STEADY: Film<'static> = Film {
    picture: "testsrc2",
    size: "1280x720",
    fps: 30,
    seconds: 10,
    kbps: 2000,
    b_frames: 0,
    sound: true,
};

/// A small short one for tests.
pub const SHORT: Film<'static> = Film { size: "320x180", fps: 25, seconds: 2, kbps: 400, ..STEADY };

/// Films in a folder that goes with this value.
#[derive(Debug)]
pub struct Clips(TempDir);

impl Clips {
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("there is room for a folder"))
    }

    pub fn folder(&self) -> &Path {
        self.0.path()
    }

    /// Makes a film; the name's ending says in which container.
    pub fn make(&self, name: &str, film: Film<'_>) -> PathBuf {
        let Film { picture, size, fps, seconds, kbps, b_frames, sound } = film;
        let path = self.folder().join(name);
        let joint = if picture.contains('=') { ':' } else { '=' };
        let picture = format!("{picture}{joint}size={size}:rate={fps}:duration={seconds}");
        let mut command = tool("ffmpeg");
        command.args(["-v", "error", "-y", "-f", "lavfi", "-i", &picture]);
        if sound {
            let tone = format!("sine=1000:sample_rate=44100:duration={seconds}");
            command.args(["-f", "lavfi", "-i", &tone, "-c:a", "aac", "-b:a", "96k"]);
        }
        let rate = format!("{kbps}k");
        let buffer = format!("{}k", kbps / 2);
        command.args(["-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p"]);
        command.args(["-color_primaries", "bt709", "-color_trc", "bt709", "-colorspace", "bt709"]);
        command.args(["-b:v", &rate, "-minrate", &rate, "-maxrate", &rate, "-bufsize", &buffer]);
        command.args(["-x264-params", "nal-hrd=cbr:scenecut=0:open-gop=0"]);
        command.args(["-g", &fps.to_string(), "-bf", &b_frames.to_string()]);
        let finished = run(command.arg(&path), b"", LIMIT);
        assert_eq!(finished.code, Some(0), "ffmpeg {name}: {}", finished.stderr);
        path
    }
}

impl Default for Clips {
    fn default() -> Self {
        Self::new()
    }
}
