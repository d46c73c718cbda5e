//! A TLS front before a receiver, as a platform has one: nginx with a
//! certificate that nobody knows, unless a service is run by [`TlsFront::trusting`].

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::nginx::{Nginx, STREAM};
use super::ports;
use super::process::run;
use super::tools::{file_of, tool};

const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";
const LIMIT: Duration = Duration::from_secs(15);

/// Takes TLS off and passes on. Dropping it ends it.
#[derive(Debug)]
pub struct TlsFront(Nginx);

impl TlsFront {
    /// Passes everything on to `to`, a loopback port.
    pub fn start(to: u16) -> Self {
        let config = CONFIG.replace("@to@", &to.to_string());
        Self(Nginx::start(STREAM, &config, ports::free(), make_certificate))
    }

    /// The URL of the application behind it.
    pub fn url(&self) -> String {
        format!("rtmps://127.0.0.1:{}/live2", self.0.port())
    }

    /// The prefix of a command that takes this front's certificate for a known
    /// one: the command sees another list of authorities, nobody else does.
    pub fn trusting(&self) -> Command {
        let list = file_of(AUTHORITIES, "ca-certificates");
        let swap = format!("mount --bind \"$0\" {list} && exec \"$@\"");
        let mut command = tool("unshare");
        if !super::hosts::is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        command.args(["--mount", "sh", "-c", &swap]).arg(self.0.folder().join("cert.pem"));
        command
    }
}

fn make_certificate(folder: &Path) {
    let (key, certificate) = (folder.join("key.pem"), folder.join("cert.pem"));
    let mut command = tool("openssl");
    command.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]);
    command.args(["-subj", "/CN=receiver", "-addext", "subjectAltName=IP:127.0.0.1"]);
    command.arg("-keyout").arg(&key).arg("-out").arg(&certificate);
    let finished = run(&mut command, b"", LIMIT);
    assert!(certificate.exists(), "openssl: {}", finished.stderr);
}

const CONFIG: &str = "\
stream {
  server {
    listen 127.0.0.1:@port@ ssl;
    ssl_certificate @root@/cert.pem;
    ssl_certificate_key @root@/key.pem;
    proxy_pass 127.0.0.1:@to@;
  }
}
";
