//! Headless Firefox, driven by Marionette: JSON with its length before it, on
//! a local port of Firefox's own choice.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::process::Process;
use crate::common::tools::tool;
use crate::common::{proc, wait};

const START_LIMIT: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(30);
/// A free port, and clocks as exact as Chromium's.
const PREFERENCES: &str = "\
user_pref('marionette.port', 0);
user_pref('privacy.reduceTimerPrecision', false);
";

/// A browser with one window. Dropping it ends it.
pub(crate) struct Firefox {
    process: Process,
    wire: BufReader<TcpStream>,
    /// Of the newest command.
    number: u64,
    _profile: TempDir,
}

impl Firefox {
    pub(crate) fn start() -> Self {
        let profile = tempfile::tempdir().expect("there is room for a folder");
        let file = |name| profile.path().join(name);
        std::fs::write(file("user.js"), PREFERENCES).expect("the folder is writable");
        let mut command = tool("firefox-esr");
        command.args(["--headless", "--marionette", "--no-remote", "--profile"]);
        let process = Process::start("firefox", command.arg(profile.path()));
        let socket = wait::until("firefox listens", START_LIMIT, || {
            let port = std::fs::read_to_string(file("MarionetteActivePort")).ok()?;
            TcpStream::connect(("127.0.0.1", port.trim().parse().ok()?)).ok()
        });
        socket.set_read_timeout(Some(PATIENCE)).expect("sockets have timeouts");
        let mut firefox =
            Self { process, wire: BufReader::new(socket), number: 0, _profile: profile };
        let greeting = firefox.read();
        assert_eq!(greeting["marionetteProtocol"], 3, "{greeting}");
        firefox.command("WebDriver:NewSession", &json!({"pageLoadStrategy": "eager"}));
        firefox
    }

    pub(crate) fn open(&mut self, url: &str) {
        self.command("WebDriver:Navigate", &json!({"url": url}));
    }

    /// Evaluates the body of a JavaScript function in the page.
    pub(crate) fn evaluate(&mut self, script: &str) -> Value {
        let asked = json!({"script": script, "args": []});
        self.command("WebDriver:ExecuteScript", &asked)["value"].clone()
    }

    fn command(&mut self, name: &str, parameters: &Value) -> Value {
        self.number += 1;
        let text = json!([0, self.number, name, parameters]).to_string();
        let text = format!("{}:{text}", text.len());
        self.wire.get_mut().write_all(text.as_bytes()).expect("firefox reads");
        let answer = self.read();
        assert_eq!((&answer[1], &answer[2]), (&self.number.into(), &Value::Null), "{name}");
        answer[3].clone()
    }

    fn read(&mut self) -> Value {
        let mut length = Vec::new();
        self.wire.read_until(b':', &mut length).expect("firefox answers");
        let length = String::from_utf8_lossy(&length);
        let length =
            length.trim_end_matches(':').parse().expect("an answer begins with its length");
        let mut text = vec![0; length];
        self.wire.read_exact(&mut text).expect("firefox ends what it says");
        serde_json::from_slice(&text).expect("firefox speaks JSON")
    }
}

impl Drop for Firefox {
    fn drop(&mut self) {
        let started = proc::descendants(self.process.pid());
        self.process.kill();
        proc::wait_for_ends(&started);
    }
}
