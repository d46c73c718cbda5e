//! Headless Chromium, driven through WebDriver (W3C) as its own driver speaks it.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::http::Http;
use super::process::Process;
use super::tools::{path_of, tool};
use super::{ports, proc, wait};

const START_LIMIT: Duration = wait::TIMEOUT;
const FLAGS: &[&str] = &[
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--window-size=1000,800",
];

/// A browser with one window. Dropping it ends browser and driver.
#[derive(Debug)]
pub struct Browser {
    driver: Process,
    http: Http,
    session: String,
    _profile: TempDir,
}

/// Whether pages may run scripts of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scripts {
    Allowed,
    Blocked,
}

/// The page that a browser shows.
pub trait Page {
    /// Evaluates the body of a JavaScript function in the page.
    fn evaluate(&self, script: &str) -> Value;

    /// A number that `script` returns; not a number counts as zero.
    fn number(&self, script: &str) -> f64 {
        self.evaluate(script).as_f64().unwrap_or(0.0)
    }
}

impl Page for Browser {
    fn evaluate(&self, script: &str) -> Value {
        self.evaluate(script)
    }
}

impl Browser {
    pub fn start(scripts: Scripts) -> Self {
        let profile = tempfile::tempdir().expect("there is room for a folder");
        let port = ports::free();
        let mut command: Command = tool("chromedriver");
        command.arg(format!("--port={port}"));
        let driver = Process::start("chromedriver", &mut command);
        let http = Http::local(port);
        wait::until("chromedriver answers", START_LIMIT, || {
            http.request("GET", "/status")
                .try_answer()
                .ok()
                .filter(|a| a.json()["value"]["ready"] == true)
        });
        let options = options(profile.path(), scripts);
        let answer = http.post("/session", &options).json();
        let session = answer["value"]["sessionId"].as_str();
        let session =
            session.unwrap_or_else(|| panic!("chromium does not start: {answer}")).to_owned();
        Self { driver, http, session, _profile: profile }
    }

    pub fn open(&self, url: &str) {
        self.command("url", &json!({"url": url}));
    }

    /// Shows pages as a phone with so many pixels does.
    pub fn become_phone(&self, width: u32, height: u32) {
        let metrics =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": true});
        let command = json!({"cmd": "Emulation.setDeviceMetricsOverride", "params": metrics});
        self.command("goog/cdp/execute", &command);
    }

    /// Has the time zone `zone`, such as `Asia/Tokyo`.
    pub fn move_to_zone(&self, zone: &str) {
        let params = json!({"timezoneId": zone});
        self.command(
            "goog/cdp/execute",
            &json!({"cmd": "Emulation.setTimezoneOverride", "params": params}),
        );
    }

    /// Prefers `light` or `dark` pages.
    pub fn prefer_colours(&self, scheme: &str) {
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        let params = json!({"features": features});
        self.command(
            "goog/cdp/execute",
            &json!({"cmd": "Emulation.setEmulatedMedia", "params": params}),
        );
    }

    /// Evaluates the body of a JavaScript function in the page.
    pub fn evaluate(&self, script: &str) -> Value {
        self.command("execute/sync", &json!({"script": script, "args": []}))
    }

    /// Types `text` into the field that `selector` finds, in the place of what it holds.
    pub fn fill(&self, selector: &str, text: &str) {
        let field = self.element(selector);
        self.command(&format!("element/{field}/clear"), &json!({}));
        self.command(&format!("element/{field}/value"), &json!({"text": text}));
    }

    /// Clicks what `selector` finds.
    pub fn click(&self, selector: &str) {
        let element = self.element(selector);
        self.command(&format!("element/{element}/click"), &json!({}));
    }

    fn element(&self, selector: &str) -> String {
        let asked = json!({"using": "css selector", "value": selector});
        let found = self.command("element", &asked);
        let id = found.as_object().and_then(|object| object.values().next());
        id.and_then(Value::as_str).expect("an element has a reference").to_owned()
    }

    /// A number that `script` returns; not a number counts as zero.
    pub fn number(&self, script: &str) -> f64 {
        self.evaluate(script).as_f64().unwrap_or(0.0)
    }

    /// A picture of the page as PNG.
    pub fn screenshot(&self) -> Vec<u8> {
        let answer = self.http.get(&format!("/session/{}/screenshot", self.session)).json();
        let text = answer["value"].as_str().expect("a screenshot is text");
        BASE64_STANDARD.decode(text).expect("a screenshot is base64")
    }

    fn command(&self, name: &str, body: &Value) -> Value {
        let answer = self.http.post(&format!("/session/{}/{name}", self.session), body);
        assert_eq!(answer.status(), 200, "{name} {body}: {}", answer.text());
        answer.json()["value"].clone()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let started = proc::descendants(self.driver.pid());
        let session = format!("/session/{}", self.session);
        // A browser that has crashed cannot say goodbye.
        self.http.request("DELETE", &session).try_answer().ok();
        self.driver.kill();
        proc::wait_for_ends(&started);
    }
}

fn options(profile: &Path, scripts: Scripts) -> Value {
    let mut arguments: Vec<String> = FLAGS.iter().map(|flag| (*flag).to_owned()).collect();
    arguments.push(format!("--user-data-dir={}", profile.display()));
    let javascript = match scripts {
        Scripts::Allowed => 1,
        Scripts::Blocked => 2,
    };
    json!({"capabilities": {"alwaysMatch": {
        "browserName": "chrome",
        // The certificates of tests are known to nobody.
        "acceptInsecureCerts": true,
        "pageLoadStrategy": "eager",
        "goog:chromeOptions": {
            "binary": path_of("chromium"),
            "args": arguments,
            "prefs": {"profile.managed_default_content_settings.javascript": javascript},
        },
    }}})
}
