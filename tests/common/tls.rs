//! Certificates made by openssl, and a TLS front before a receiver, as a
//! platform has one: nginx with a certificate that nobody knows, unless a
//! service is run by [`TlsFront::trusting`].

use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tempfile::TempDir;

use super::nginx::{Nginx, STREAM};
use super::ports;
use super::process::run;
use super::tools::{file_of, tool};

const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";
const LIMIT: Duration = super::wait::TIMEOUT;

/// A certificate for 127.0.0.1 that is its own authority, and its key, in files.
#[derive(Debug)]
pub struct Pair(TempDir);

/// A certificate that signs others, and its key, in files.
#[derive(Debug)]
pub struct Authority(TempDir);

/// Takes TLS off and passes on. Dropping it ends it.
#[derive(Debug)]
pub struct TlsFront {
    pair: Pair,
    nginx: Nginx,
}

impl TlsFront {
    /// Passes everything on to `to`, a loopback port.
    pub fn start(to: u16) -> Self {
        Self::with(Pair::make(), to)
    }

    /// As [`TlsFront::start`], with a certificate of one's choice.
    pub fn with(pair: Pair, to: u16) -> Self {
        let config = CONFIG
            .replace("@certificate@", &pair.certificate().display().to_string())
            .replace("@key@", &pair.key().display().to_string())
            .replace("@to@", &to.to_string());
        let nginx = Nginx::start(STREAM, &config, ports::free(), |_| {});
        Self { pair, nginx }
    }

    /// The URL of the application behind it.
    pub fn url(&self) -> String {
        format!("rtmps://127.0.0.1:{}/live2", self.nginx.port())
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

impl Authority {
    pub fn make() -> Self {
        let authority = Self(tempfile::tempdir().expect("there is room for a folder"));
        let mut command = tool("openssl");
        command.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]);
        command.args(["-subj", "/CN=authority"]);
        command.arg("-keyout").arg(authority.key()).arg("-out").arg(authority.certificate());
        succeed(&mut command);
        authority
    }

    pub fn certificate(&self) -> PathBuf {
        self.0.path().join("ca.pem")
    }

    fn key(&self) -> PathBuf {
        self.0.path().join("ca-key.pem")
    }

    /// A connection to a loopback port whose certificate it has signed. Reads do not wait.
    pub fn connect(&self, port: u16) -> StreamOwned<ClientConnection, TcpStream> {
        let mut roots = RootCertStore::empty();
        let own = CertificateDer::from_pem_file(self.certificate()).expect("openssl has made it");
        roots.add(own).expect("it is an authority");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider);
        let config = config.with_safe_default_protocol_versions().expect("ring knows them");
        let config = Arc::new(config.with_root_certificates(roots).with_no_client_auth());
        let host = ServerName::from(IpAddr::from(Ipv4Addr::LOCALHOST));
        let mut tls = ClientConnection::new(config, host).expect("an address is a name");
        let mut socket = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
        socket.set_read_timeout(Some(LIMIT)).expect("it can be set");
        while tls.is_handshaking() {
            tls.complete_io(&mut socket).expect("the certificate is accepted");
        }
        socket.set_nonblocking(true).expect("it can be set");
        StreamOwned::new(tls, socket)
    }

    /// A pair that it has signed, for a host such as `IP:127.0.0.1` or `DNS:a.example`.
    pub fn sign(&self, host: &str) -> Pair {
        let pair = Pair(tempfile::tempdir().expect("there is room for a folder"));
        let mut command = tool("openssl");
        command.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]);
        command.args(["-subj", "/CN=receiver", "-addext", &format!("subjectAltName={host}")]);
        command.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
        command.arg("-CA").arg(self.certificate()).arg("-CAkey").arg(self.key());
        command.arg("-keyout").arg(pair.key()).arg("-out").arg(pair.certificate());
        succeed(&mut command);
        pair
    }
}

fn succeed(command: &mut Command) {
    let finished = run(command, b"", LIMIT);
    assert_eq!(finished.code, Some(0), "openssl: {}", finished.stderr);
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
        succeed(&mut command);
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
stream {
  server {
    listen 127.0.0.1:@port@ ssl;
    ssl_certificate @certificate@;
    ssl_certificate_key @key@;
    proxy_pass 127.0.0.1:@to@;
  }
}
";
