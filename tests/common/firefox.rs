//! Headless Firefox, driven by Marionette: JSON with its length before it, on
//! a local port of Firefox's own choice.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::browser::Page;
use super::process::Process;
use super::tools::tool;
use super::{proc, wait};

const LIMIT: Duration = wait::TIMEOUT;
/// A free port, clocks as exact as Chromium's, and no connection to anything but this machine:
/// everything else goes to a proxy that is not there.
const PREFERENCES: &str = "\
user_pref('marionette.port', 0);
user_pref('privacy.reduceTimerPrecision', false);
user_pref('network.proxy.type', 1);
user_pref('network.proxy.http', '127.0.0.1');
user_pref('network.proxy.http_port', 9);
user_pref('network.proxy.ssl', '127.0.0.1');
user_pref('network.proxy.ssl_port', 9);
user_pref('network.proxy.failover_direct', false);
user_pref('network.captive-portal-service.enabled', false);
user_pref('network.connectivity-service.enabled', false);
user_pref('services.settings.server', 'http://127.0.0.1:9');
";

/// A browser with one window. Dropping it ends it.
#[derive(Debug)]
pub struct Firefox {
    process: Process,
    wire: RefCell<Wire>,
    _profile: TempDir,
}

/// The connection to Marionette.
#[derive(Debug)]
struct Wire {
    socket: BufReader<TcpStream>,
    /// Of the newest command.
    number: u64,
}

impl Firefox {
    pub fn start() -> Self {
        let profile = tempfile::tempdir().expect("there is room for a folder");
        let file = |name| profile.path().join(name);
        std::fs::write(file("user.js"), PREFERENCES).expect("the folder is writable");
        let mut command = tool("firefox-esr");
        command.args(["--headless", "--marionette", "--no-remote", "--profile"]);
        let process = Process::start("firefox", command.arg(profile.path()));
        let socket = wait::until("firefox listens", LIMIT, || {
            let port = std::fs::read_to_string(file("MarionetteActivePort")).ok()?;
            TcpStream::connect(("127.0.0.1", port.trim().parse().ok()?)).ok()
        });
        socket.set_read_timeout(Some(LIMIT)).expect("sockets have timeouts");
        let mut wire = Wire { socket: BufReader::new(socket), number: 0 };
        let greeting = wire.read();
        assert_eq!(greeting["marionetteProtocol"], 3, "{greeting}");
        wire.command("WebDriver:NewSession", &json!({"pageLoadStrategy": "eager"}));
        Self { process, wire: RefCell::new(wire), _profile: profile }
    }

    pub fn open(&self, url: &str) {
        self.wire.borrow_mut().command("WebDriver:Navigate", &json!({"url": url}));
    }

    /// Evaluates the body of a JavaScript function in the page.
    pub fn evaluate(&self, script: &str) -> Value {
        let asked = json!({"script": script, "args": []});
        self.wire.borrow_mut().command("WebDriver:ExecuteScript", &asked)["value"].clone()
    }
}

impl Page for Firefox {
    fn evaluate(&self, script: &str) -> Value {
        self.evaluate(script)
    }
}

impl Wire {
    fn command(&mut self, name: &str, parameters: &Value) -> Value {
        self.number += 1;
        let text = json!([0, self.number, name, parameters]).to_string();
        let text = format!("{}:{text}", text.len());
        self.socket.get_mut().write_all(text.as_bytes()).expect("firefox reads");
        let answer = self.read();
        assert_eq!((&answer[1], &answer[2]), (&self.number.into(), &Value::Null), "{name}");
        answer[3].clone()
    }

    fn read(&mut self) -> Value {
        let mut length = Vec::new();
        self.socket.read_until(b':', &mut length).expect("firefox answers");
        let length = String::from_utf8_lossy(&length);
        let length =
            length.trim_end_matches(':').parse().expect("an answer begins with its length");
        let mut text = vec![0; length];
        self.socket.read_exact(&mut text).expect("firefox ends what it says");
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
