//! motion as a server of Motion JPEG: it plays the stream over RTSP and shows it
//! in the same size and quality. Left out where it is not installed.

use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use crate::common::http::Http;
use crate::common::process::Process;
use crate::common::tools::tool;
use crate::common::{ports, wait};

const MOTION: &str = "/usr/bin/motion";
pub(crate) const PATH: &str = "/";
/// Pictures a second: of the stream, and of both servers.
pub(crate) const FPS: u32 = 30;
pub(crate) const QUALITY: u32 = 80;
const START_LIMIT: Duration = Duration::from_secs(30);

/// A motion that serves. Dropping it ends it.
pub(crate) struct Motion {
    process: Process,
    pub(crate) port: u16,
    _folder: TempDir,
}

impl Motion {
    /// Serves what is found at `source`; nothing if motion is missing or does not get along.
    pub(crate) fn start(source: &str) -> Option<Self> {
        if !Path::new(MOTION).exists() {
            return None;
        }
        let folder = tempfile::tempdir().expect("there is room for a folder");
        let port = ports::free();
        // It sees no motion, records nothing, and never slows down.
        let text = format!(
            "daemon off\nsetup_mode off\nlog_level 4\ntarget_dir {folder}\n\
             netcam_url {source}\nnetcam_params rtsp_transport=tcp\n\
             width 1280\nheight 720\nframerate {FPS}\nthreshold 2000000\n\
             emulate_motion off\npicture_output off\nmovie_output off\nsnapshot_interval 0\n\
             webcontrol_port 0\nstream_port {port}\nstream_localhost on\nstream_motion off\n\
             stream_maxrate {FPS}\nstream_quality {QUALITY}\ntext_left\ntext_right\n",
            folder = folder.path().display()
        );
        let file = folder.path().join("motion.conf");
        std::fs::write(&file, text).expect("the folder is writable");
        let mut command = tool("motion");
        command.arg("-n").arg("-c").arg(&file).current_dir(folder.path());
        let process = Process::start("motion", &mut command);
        // It shows a grey picture of 640 by 480 while it has no other.
        wait::within(START_LIMIT, || {
            let asked = Http::local(port).request("GET", PATH).send();
            let (head, mut body) = asked.ok()?;
            let is_there = head.status == 200 && is_wide(&body.take_bytes(100_000).ok()?);
            body.close();
            is_there.then_some(())
        })?;
        Some(Self { process, port, _folder: folder })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }
}

/// Whether the frame header of a JPEG says 1280 by 720 (ITU-T T.81, B.2.2).
fn is_wide(bytes: &[u8]) -> bool {
    bytes
        .windows(9)
        .any(|header| header.starts_with(&[0xff, 0xc0]) && header[5..] == [0x02, 0xd0, 0x05, 0x00])
}
