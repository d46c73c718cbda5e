//! VLC without windows: what it shows and plays goes into files.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use super::hosts;
use super::process::Process;
use super::tools::tool;
use super::wait;

/// Bytes of a second of sound: 44.1 kHz, stereo, in floating point.
const SOUND_PER_SECOND: u64 = 44_100 * 2 * 4;

/// A running VLC. Dropping it ends it.
#[derive(Debug)]
pub struct Vlc {
    _process: Process,
    folder: TempDir,
}

impl Vlc {
    /// Plays `url`.
    pub fn play(url: &str) -> Self {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        let all = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(folder.path(), all).expect("the folder is ours");
        let mut command = as_nobody();
        command.env("HOME", folder.path()).arg(tool("vlc").get_program());
        command.args(["-I", "dummy", "--vout", "yuv", "--aout", "afile"]);
        let path = |name: &str| folder.path().join(name);
        command.arg("--yuv-file").arg(path("pictures"));
        command.arg("--audiofile-file").arg(path("sound")).arg(url);
        let _process = Process::start("vlc", &mut command);
        Self { _process, folder }
    }

    /// Waits until it has shown so many pictures of so many pixels, and played so many seconds.
    pub fn wait(&self, pictures: u64, pixels: u64, seconds: u64) {
        let len = |name: &str| std::fs::metadata(self.file(name)).map_or(0, |file| file.len());
        // Three bytes for two pixels: planar YUV 4:2:0.
        let enough = || {
            let shown = len("pictures") / (pixels * 3 / 2);
            (shown >= pictures && len("sound") >= seconds * SOUND_PER_SECOND).then_some(())
        };
        if wait::within(wait::TIMEOUT, enough).is_none() {
            let (shown, played) = (len("pictures"), len("sound"));
            panic!("vlc shows {shown} bytes of pictures and plays {played} bytes of sound");
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// VLC refuses to run as root; the process stays the same one.
fn as_nobody() -> Command {
    if !hosts::is_root() {
        return tool("env");
    }
    let mut command = tool("setpriv");
    command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"]);
    command
}
