//! node-media-server as a peer: livebox pushes the stream to it, and it serves
//! it as an endless FLV over HTTP. Left out where npm is not installed, or has
//! no registry to install it from.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use crate::common::http::Http;
use crate::common::process::{Process, run};
use crate::common::{ports, wait};

/// Its version and those of all that it needs.
const LOCKED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/node-media-server");
const INSTALL_LIMIT: Duration = Duration::from_secs(180);
const START_LIMIT: Duration = Duration::from_secs(15);

/// A node-media-server. Dropping it ends it.
pub(crate) struct NodeMediaServer {
    process: Process,
    rtmp_port: u16,
    pub(crate) http_port: u16,
    _folder: TempDir,
}

impl NodeMediaServer {
    /// Installs it into a folder of its own and starts it; nothing if that is
    /// not possible, and then it says why.
    pub(crate) fn start() -> Option<Self> {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        if let Err(why) = install(folder.path()) {
            eprintln!("node-media-server is left out: {why}");
            return None;
        }
        let (rtmp_port, http_port) = (ports::free(), ports::free());
        let config = json!({
            "bind": "127.0.0.1",
            "auth": {"play": false, "publish": false},
            "rtmp": {"port": rtmp_port},
            "http": {"port": http_port},
            "store": {"path": "./data"},
            "record": {"auto": false, "path": "./record"},
        });
        let file = folder.path().join("config.json");
        std::fs::write(&file, config.to_string()).expect("the folder is writable");
        let mut command = Command::new("node");
        command.arg("node_modules/node-media-server/bin/app.js").arg("--no-admin");
        command.arg("--config").arg(file).current_dir(folder.path());
        let process = Process::start("node-media-server", &mut command);
        let answers = || Http::local(http_port).request("GET", "/").try_answer().ok();
        wait::until("node-media-server answers", START_LIMIT, answers);
        Some(Self { process, rtmp_port, http_port, _folder: folder })
    }

    /// Where to push to; the key is joined to it.
    pub(crate) fn url(&self) -> String {
        format!("rtmp://127.0.0.1:{}/live2", self.rtmp_port)
    }

    /// Waits until the stream `path` can be watched.
    pub(crate) fn wait_for(&self, path: &str) {
        let http = Http::local(self.http_port);
        wait::until("node-media-server shows the stream", START_LIMIT, || {
            let (head, mut body) = http.request("GET", path).send().ok()?;
            let came = head.status == 200 && body.take_bytes(20_000).is_ok();
            body.close();
            came.then_some(())
        });
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }
}

fn install(folder: &Path) -> Result<(), String> {
    for name in ["package.json", "package-lock.json"] {
        let copied = std::fs::copy(Path::new(LOCKED).join(name), folder.join(name));
        copied.map_err(|error| format!("{name}: {error}"))?;
    }
    let found = |program: &str| Command::new(program).arg("--version").output().is_ok();
    if let Some(program) = ["node", "npm"].into_iter().find(|program| !found(program)) {
        return Err(format!("{program} is not installed"));
    }
    let mut command = Command::new("npm");
    command.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(folder);
    let ended = run(&mut command, b"", INSTALL_LIMIT);
    if ended.code == Some(0) { Ok(()) } else { Err(format!("npm ci: {}", ended.stderr)) }
}
