//! Certificates made by openssl, and a TLS front before a receiver, as a
//! platform has one: nginx with a certificate that nobody knows, unless a
//! service is run by [`TlsFront::trusting`].

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::process::{Process, run};
use super::tools::{file_of, tool};
use super::{ports, wait};

const MODULE: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";
const MODULE_PACKAGE: &str = "libnginx-mod-stream";
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";
const LIMIT: Duration = Duration::from_secs(15);

/// A certificate for 127.0.0.1 that is its own authority, and its key, in files.
#[derive(Debug)]
pub struct Pair(TempDir);

/// Takes TLS off and passes on. Dropping it ends it.
#[derive(Debug)]
pub struct TlsFront {
    pair: Pair,
    port: u16,
    _nginx: Process,
}

impl TlsFront {
    /// Passes everything on to `to`, a loopback port.
    pub fn start(to: u16) -> Self {
        let pair = Pair::make();
        let root = pair.0.path().display().to_string();
        let port = ports::free();
        let config = CONFIG
            .replace("@module@", file_of(MODULE, MODULE_PACKAGE))
            .replace("@root@", &root)
            .replace("@port@", &port.to_string())
            .replace("@to@", &to.to_string());
        fs::write(pair.0.path().join("nginx.conf"), config).expect("the folder is writable");
        let mut command = tool("nginx");
        command.args(["-p", &root, "-c", &format!("{root}/nginx.conf")]);
        command.args(["-e", &format!("{root}/error.log")]);
        let nginx = Process::start("nginx with TLS", &mut command);
        wait::until("the TLS front listens", LIMIT, || {
            std::net::TcpStream::connect(("127.0.0.1", port)).ok()
        });
        Self { pair, port, _nginx: nginx }
    }

    /// The URL of the application behind it.
    pub fn url(&self) -> String {
        format!("rtmps://127.0.0.1:{}/live2", self.port)
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
        command.args(["--mount", "sh", "-c", &swap]).arg(self.pair.certificate());
        command
    }
}

impl Pair {
    pub fn make() -> Self {
        let pair = Self(tempfile::tempdir().expect("there is room for a folder"));
        pair.renew();
        pair
    }

    pub fn certificate(&self) -> PathBuf {
        self.0.path().join("cert.pem")
    }

    pub fn key(&self) -> PathBuf {
        self.0.path().join("key.pem")
    }

    /// Puts another pair into the same files.
    pub fn renew(&self) {
        let mut command = tool("openssl");
        command.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]);
        command.args(["-subj", "/CN=receiver", "-addext", "subjectAltName=IP:127.0.0.1"]);
        command.arg("-keyout").arg(self.key()).arg("-out").arg(self.certificate());
        let finished = run(&mut command, b"", LIMIT);
        assert_eq!(finished.code, Some(0), "openssl: {}", finished.stderr);
    }
}

/// Names the certificate that a loopback port shows.
pub fn fingerprint(port: u16) -> String {
    let mut command = tool("openssl");
    command.args(["s_client", "-connect", &format!("127.0.0.1:{port}")]);
    let shown = run(&mut command, b"", LIMIT);
    let named = run(
        tool("openssl").args(["x509", "-noout", "-fingerprint", "-sha256"]),
        shown.stdout.as_bytes(),
        LIMIT,
    );
    assert_eq!(named.code, Some(0), "no certificate: {shown:?}");
    named.stdout
}

const CONFIG: &str = "\
load_module @module@;
daemon off;
master_process off;
pid @root@/nginx.pid;
error_log @root@/error.log notice;
events { worker_connections 64; }
stream {
  server {
    listen 127.0.0.1:@port@ ssl;
    ssl_certificate @root@/cert.pem;
    ssl_certificate_key @root@/key.pem;
    proxy_pass 127.0.0.1:@to@;
  }
}
";
