//! Two hosts on a wire of their own: network namespaces that end with the test
//! and leave nothing on the machine.
//!
//! The addresses are of the block kept for documentation (RFC 5737), so that a
//! mistake cannot reach anybody.

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::process::{Finished, run};
use super::tools::tool;

pub const BOX: &str = "192.0.2.1";
pub const OTHER: &str = "192.0.2.2";

const LIMIT: Duration = super::wait::TIMEOUT;

/// A box and another host that can reach it.
#[derive(Debug)]
pub struct Hosts {
    the_box: Namespace,
    other: Namespace,
}

/// What curl got.
#[derive(Debug)]
pub struct Fetched {
    pub status: u16,
    pub text: String,
}

impl Hosts {
    pub fn new() -> Self {
        let the_box = Namespace::new();
        let other = Namespace::new();
        let to = other.holder.id().to_string();
        the_box.ip(&["link", "add", "wire", "type", "veth", "peer", "name", "wire", "netns", &to]);
        for (namespace, address) in [(&the_box, BOX), (&other, OTHER)] {
            namespace.ip(&["address", "add", &format!("{address}/24"), "dev", "wire"]);
            namespace.ip(&["link", "set", "wire", "up"]);
            namespace.ip(&["link", "set", "lo", "up"]);
            namespace.ip(&["route", "add", "239.0.0.0/8", "dev", "wire"]);
        }
        Self { the_box, other }
    }

    /// The prefix of a command that runs on the box.
    pub fn on_box(&self) -> Command {
        self.the_box.enter()
    }

    /// The prefix of a command that runs on the other host.
    pub fn on_other(&self) -> Command {
        self.other.enter()
    }

    /// Gives the other host one more address.
    pub fn add_to_other(&self, address: &str) {
        self.other.ip(&["address", "add", &format!("{address}/24"), "dev", "wire"]);
    }

    /// Fetches from the box itself, over loopback.
    pub fn curl_on_box(&self, port: u16, path: &str, arguments: &[&str]) -> Fetched {
        curl(self.the_box.enter(), &format!("http://127.0.0.1:{port}{path}"), arguments)
    }

    /// As [`Hosts::curl_on_box`]; nothing where nobody answers.
    pub fn try_curl_on_box(&self, port: u16, path: &str) -> Option<Fetched> {
        try_curl(self.the_box.enter(), &format!("http://127.0.0.1:{port}{path}"), &[]).ok()
    }

    /// Fetches from the other host, over the wire.
    pub fn curl_from_other(&self, port: u16, path: &str, arguments: &[&str]) -> Fetched {
        curl(self.other.enter(), &format!("http://{BOX}:{port}{path}"), arguments)
    }
}

impl Default for Hosts {
    fn default() -> Self {
        Self::new()
    }
}

/// A network namespace, alive as long as the process that holds it.
#[derive(Debug)]
struct Namespace {
    holder: Child,
}

impl Namespace {
    fn new() -> Self {
        let mut command = tool("unshare");
        if !is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        // `cat` ends with its standard input, so also when this test is killed.
        let mut holder = command
            .args(["--net", "sh", "-c", "echo ready; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare starts");
        let mut ready = [0; 6];
        let stdout = holder.stdout.as_mut().expect("stdout is piped");
        stdout
            .read_exact(&mut ready)
            .expect("a network namespace needs root, or a kernel that lets users have namespaces");
        Self { holder }
    }

    fn enter(&self) -> Command {
        let mut command = tool("nsenter");
        command.args(["--target", &self.holder.id().to_string(), "--net"]);
        if !is_root() {
            command.args(["--user", "--preserve-credentials"]);
        }
        command.arg("--");
        command
    }

    fn ip(&self, arguments: &[&str]) {
        let mut command = self.enter();
        let finished = run(command.arg(tool("ip").get_program()).args(arguments), b"", LIMIT);
        assert_eq!(finished.code, Some(0), "ip {arguments:?}: {}", finished.stderr);
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        self.holder.kill().ok();
        self.holder.wait().ok();
    }
}

/// `/proc/self` belongs to the effective user.
pub fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

fn curl(from: Command, url: &str, arguments: &[&str]) -> Fetched {
    try_curl(from, url, arguments).unwrap_or_else(|told| panic!("curl {url}: {told}"))
}

/// What curl got, or what it said.
fn try_curl(mut from: Command, url: &str, arguments: &[&str]) -> Result<Fetched, String> {
    from.arg(tool("curl").get_program());
    from.args(["--silent", "--show-error", "--max-time", "60", "--write-out", "\n%{http_code}"]);
    let Finished { stdout, stderr, .. } = run(from.args(arguments).arg(url), b"", LIMIT);
    let (text, code) = stdout.rsplit_once('\n').unwrap_or(("", stdout.as_str()));
    let status = code.parse().ok().filter(|status| *status != 0).ok_or(stderr)?;
    Ok(Fetched { status, text: text.to_owned() })
}
