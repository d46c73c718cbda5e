//! VLC as a server: it plays the stream from nginx and serves it as an endless
//! MPEG transport stream over HTTP. Left out where it is not installed.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::common::http::Http;
use crate::common::process::Process;
use crate::common::tools::tool;
use crate::common::{hosts, ports, wait};

const VLC: &str = "/usr/bin/vlc";
pub(crate) const PATH: &str = "/bench.ts";
const START_LIMIT: Duration = Duration::from_secs(15);

/// A VLC that serves. Dropping it ends it.
pub(crate) struct Vlc {
    process: Process,
    pub(crate) port: u16,
}

impl Vlc {
    /// Serves what is found at `source`; nothing if VLC is missing or does not get along.
    pub(crate) fn start(source: &str) -> Option<Self> {
        if !Path::new(VLC).exists() {
            return None;
        }
        let port = ports::free();
        let out = format!("#http{{mux=ts,dst=127.0.0.1:{port}{PATH}}}");
        let mut command = as_nobody();
        command.arg(VLC).args(["-I", "dummy", "--no-sout-all", "--sout-keep", source]);
        command.args(["--sout", &out]);
        let process = Process::start("vlc", &mut command);
        let served = wait::within(START_LIMIT, || {
            let asked = Http::local(port).request("GET", PATH).send();
            asked.ok().filter(|(head, _)| head.status == 200)
        });
        served.map(|(_, body)| body.close())?;
        Some(Self { process, port })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }
}

/// VLC refuses to run as root; the process stays the same one.
fn as_nobody() -> Command {
    if !hosts::is_root() {
        return Command::new("/usr/bin/env");
    }
    let mut command = tool("setpriv");
    command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"]);
    command.env("HOME", "/nonexistent");
    command
}
