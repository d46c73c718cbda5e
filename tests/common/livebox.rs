//! The binary under test: started with a configuration of its own, on a free
//! loopback port, in an empty folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::http::{Answer, Http};
use super::process::{Finished, Output, Process, run};
use super::{ports, wait};

/// How long a start may take on a busy machine with a cold plugin registry.
const START_LIMIT: Duration = wait::TIMEOUT;

/// The folder of the API.
pub const API: &str = "/api/livebox/v1";

/// One test picture with a tone, as a stream `camera`.
pub const CAMERA: &str = "\
feeds:
  camera: {test: clock, size: 640x360, fps: 25, audio: tone}
streams:
  camera: {feed: camera, bitrate: 750k}
";

/// The same with many bits: whoever does not take them fills the kernel's buffers soon.
pub const LAVISH: &str = "\
feeds:
  camera: {test: clock, size: 640x360, fps: 30, audio: tone}
streams:
  camera: {feed: camera, bitrate: 12M, quality: 10}
";

/// How to start it.
#[derive(Debug, Default)]
pub struct Launch {
    config: Option<String>,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    /// A copy of the binary under test.
    binary: Option<PathBuf>,
    /// A program with arguments that livebox is run by.
    runner: Option<Command>,
    port: Option<u16>,
    bind: Option<String>,
}

/// A running livebox. Dropping it kills it; during a panic its log is shown.
#[derive(Debug)]
pub struct Livebox {
    process: Process,
    port: u16,
    rtsp_port: u16,
    rtsps_port: u16,
    folder: TempDir,
}

impl Launch {
    /// With `config` as its file.
    pub fn with(config: &str) -> Self {
        Self { config: Some(config.to_owned()), ..Self::default() }
    }

    /// Without a file: on the embedded default.
    pub fn on_default() -> Self {
        Self::default()
    }

    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    pub fn env(mut self, name: &str, value: impl AsRef<Path>) -> Self {
        self.environment.push((name.to_owned(), value.as_ref().display().to_string()));
        self
    }

    /// Listens on `port`, which an earlier service has left.
    pub fn on_port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Listens on `address` instead of loopback.
    pub fn bind(mut self, address: &str) -> Self {
        self.bind = Some(address.to_owned());
        self
    }

    /// Starts this copy of the binary instead of the binary itself.
    pub fn copy(mut self, binary: &Path) -> Self {
        self.binary = Some(binary.to_owned());
        self
    }

    /// Runs it by `runner`, which becomes livebox by `exec`.
    pub fn run_by(mut self, runner: Command) -> Self {
        self.runner = Some(runner);
        self
    }

    /// Starts the service and waits until it listens.
    pub fn start(self) -> Livebox {
        let livebox = self.start_without_waiting();
        livebox.log().wait_for("listening", START_LIMIT);
        livebox
    }

    pub fn start_without_waiting(self) -> Livebox {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        let port = self.port.unwrap_or_else(ports::free);
        let (rtsp_port, rtsps_port) = (ports::free(), ports::free());
        let mut command = self.command(folder.path(), port, [rtsp_port, rtsps_port]);
        let process = Process::start("livebox", &mut command);
        Livebox { process, port, rtsp_port, rtsps_port, folder }
    }

    /// Starts the service, which has to end by itself.
    pub fn finish(self) -> Finished {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        let mut command =
            self.command(folder.path(), ports::free(), [ports::free(), ports::free()]);
        run(&mut command, b"", START_LIMIT)
    }

    fn command(self, folder: &Path, port: u16, rtsp_ports: [u16; 2]) -> Command {
        let binary = self.binary.unwrap_or_else(binary);
        let mut command = match self.runner {
            None => Command::new(binary),
            Some(mut runner) => {
                runner.arg(binary);
                runner
            }
        };
        let state = folder.join("state");
        fs::create_dir_all(&state).expect("the folder is writable");
        command.arg("serve").current_dir(folder).env("STATE_DIRECTORY", state);
        for (key, port) in ["PORT", "TLS_PORT"].iter().zip(rtsp_ports) {
            command.env(format!("LIVEBOX__RTSP__{key}"), port.to_string());
        }
        command.envs(self.environment);
        if let Some(config) = self.config {
            let file = folder.join("livebox.yaml");
            fs::write(&file, config).expect("the folder is writable");
            command.arg("-f").arg(file);
        }
        command.args(["--port", &port.to_string()]);
        command.args(["--bind", self.bind.as_deref().unwrap_or("127.0.0.1")]);
        command.args(self.arguments);
        command
    }
}

impl Livebox {
    /// The service on `config`, ready.
    pub fn start(config: &str) -> Self {
        Launch::with(config).start()
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where streams are found over RTSP.
    pub fn rtsp_port(&self) -> u16 {
        self.rtsp_port
    }

    pub fn rtsp_url(&self, path: &str) -> String {
        format!("rtsp://127.0.0.1:{}{path}", self.rtsp_port)
    }

    /// The URL where the configuration has a certificate.
    pub fn rtsps_url(&self, path: &str) -> String {
        format!("rtsps://127.0.0.1:{}{path}", self.rtsps_port)
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub fn log(&self) -> &Output {
        self.process.output()
    }

    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    pub fn http(&self) -> Http {
        Http::local(self.port)
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// The URL where the configuration has a certificate.
    pub fn secure_url(&self, path: &str) -> String {
        format!("https://127.0.0.1:{}{path}", self.port)
    }

    pub fn get(&self, path: &str) -> Answer {
        self.http().get(path)
    }

    /// Writes another configuration into its file.
    pub fn rewrite(&self, config: &str) {
        let file = self.folder.path().join("livebox.yaml");
        fs::write(file, config).expect("the folder is writable");
    }

    /// Has it read this configuration, which it has to take; returns what changed.
    pub fn reload(&self, config: &str) -> Value {
        self.rewrite(config);
        let answer = self.http().request("POST", &format!("{API}/reload")).answer();
        assert_eq!(answer.status(), 200, "reload: {}", answer.text());
        answer.json()
    }

    /// The status object (row LB-41).
    pub fn status(&self) -> Value {
        self.get(&format!("{API}/status")).json()
    }

    /// The word of the push's state: `idle`, `preparing`, `streaming`, `stopping`.
    pub fn state(&self) -> String {
        self.status()["status"].as_str().expect("status is a string").to_owned()
    }

    /// Waits until the push is in `state`.
    pub fn wait_for_state(&self, state: &str, limit: Duration) {
        let what = format!("the push is {state:?}");
        wait::until(&what, limit, || (self.state() == state).then_some(()));
    }

    pub fn control(&self) -> Value {
        self.get(&format!("{API}/control")).json()
    }

    pub fn set_control(&self, control: &Value) -> Answer {
        self.http().post(&format!("{API}/control"), control)
    }

    pub fn start_push(&self) -> Answer {
        self.http().put(&format!("{API}/start"))
    }

    pub fn stop_push(&self) -> Answer {
        self.http().put(&format!("{API}/stop"))
    }

    /// Sets where the push goes and starts it.
    pub fn push_to(&self, url: &str, key: &str) {
        let set = self.set_control(&serde_json::json!({"url": url, "name": key}));
        assert_eq!(set.status(), 200, "control: {}", set.text());
        let started = self.start_push();
        assert_eq!(started.status(), 200, "start: {}", started.text());
    }
}

/// The binary under test.
pub fn binary() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_livebox"))
}

/// The binary of its pipeline hosts, which is beside the other.
pub fn host_binary() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_livebox-host"))
}

/// Runs livebox with `arguments` to its end.
pub fn livebox(arguments: &[&str], input: &str) -> Finished {
    run(Command::new(binary()).args(arguments), input.as_bytes(), START_LIMIT)
}
