//! A web server of a test's own: nginx with modules of Debian's, on loopback,
//! in a folder of its own.

use std::fs;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use super::process::Process;
use super::tools::{file_of, tool};
use super::wait;

const START_LIMIT: Duration = wait::TIMEOUT;

/// A module of nginx: its file in Debian's folder, and its package.
pub const RTMP: (&str, &str) = ("/usr/lib/nginx/modules/ngx_rtmp_module.so", "libnginx-mod-rtmp");
pub const STREAM: (&str, &str) =
    ("/usr/lib/nginx/modules/ngx_stream_module.so", "libnginx-mod-stream");

/// A running nginx. Dropping it kills it.
#[derive(Debug)]
pub struct Nginx {
    folder: TempDir,
    port: u16,
    process: Process,
}

impl Nginx {
    /// Starts it with `module` and the rest of a configuration, in which
    /// `@root@` is its folder and `@port@` the port of loopback that it listens on.
    /// `prepare` gets the folder first.
    pub fn start(
        module: (&'static str, &str),
        config: &str,
        port: u16,
        prepare: impl FnOnce(&Path),
    ) -> Self {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        prepare(folder.path());
        let text = [COMMON, config]
            .concat()
            .replace("@module@", file_of(module.0, module.1))
            .replace("@root@", &folder.path().display().to_string())
            .replace("@port@", &port.to_string());
        fs::write(folder.path().join("nginx.conf"), text).expect("the folder is writable");
        let process = run(folder.path(), port);
        Self { folder, port, process }
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Ends it at once, as a crash would: nothing is closed or said.
    pub fn crash(&mut self) {
        self.process.kill();
    }

    /// Starts it again on the same ports.
    pub fn come_back(&mut self) {
        self.process = run(self.folder.path(), self.port);
    }
}

fn run(folder: &Path, port: u16) -> Process {
    let mut command = tool("nginx");
    command.arg("-p").arg(folder).arg("-c").arg(folder.join("nginx.conf"));
    command.arg("-e").arg(folder.join("error.log"));
    let process = Process::start("nginx", &mut command);
    wait::until("nginx listens", START_LIMIT, || {
        std::net::TcpStream::connect(("127.0.0.1", port)).ok()
    });
    process
}

const COMMON: &str = "\
load_module @module@;
daemon off;
master_process off;
pid @root@/nginx.pid;
error_log @root@/error.log notice;
worker_rlimit_nofile 4096;
events { worker_connections 2048; }
";
