//! Reverse proxies on the box that say nothing of themselves: whoever comes
//! through them looks like the box.

use std::fs;
use std::process::Command;

use tempfile::TempDir;

use crate::common::hosts::{Fetched, Hosts};
use crate::common::livebox::{API, CAMERA, Launch, Livebox, livebox};
use crate::common::ports;
use crate::common::process::Process;
use crate::common::tools::path_of;
use crate::common::wait::{self, TIMEOUT};

const CREDENTIALS: &str = "admin:correct horse";

/// What only operators may do, and how it is asked.
const OPERATIONS: &[(&str, &[&str])] = &[
    ("/api/livebox/v1/control", &[]),
    ("/api/livebox/v1/pushes", &[]),
    ("/api/livebox/v1/start", &["-X", "PUT"]),
    ("/api/livebox/v1/stop", &["-X", "PUT"]),
    ("/api/livebox/v1/reload", &["-d", ""]),
    ("/api/livebox/v1/streams/camera/restart", &["-d", ""]),
    ("/api/livebox/v1/streams/camera/record/start", &["-X", "PUT"]),
    ("/api/livebox/v1/recordings/camera_2026-01-01_00-00-00.mp4", &["-X", "DELETE"]),
    ("/dashboard", &[]),
    ("/dashboard/recordings", &[]),
];

#[test]
fn through_nginx_that_only_passes_on_the_password_is_asked_of_everybody() {
    let hosts = Hosts::new();
    let livebox = with_password(&hosts);
    let proxy = Proxy::nginx(&hosts, livebox.port());
    assert_everybody_is_asked(&hosts, &proxy);
}

#[test]
fn through_haproxy_the_password_is_asked_of_everybody() {
    let hosts = Hosts::new();
    let livebox = with_password(&hosts);
    for mode in ["http", "tcp"] {
        let proxy = Proxy::haproxy(&hosts, livebox.port(), mode);
        assert_everybody_is_asked(&hosts, &proxy);
    }
}

fn assert_everybody_is_asked(hosts: &Hosts, proxy: &Proxy) {
    for (path, arguments) in OPERATIONS {
        for host in [&[][..], &["-H", "Host: localhost"], &["-H", "Host: 127.0.0.1:8000"]] {
            let arguments = [*arguments, host].concat();
            let asked = hosts.curl_from_other(proxy.port, path, &arguments);
            assert_eq!(asked.status, 401, "{path} {arguments:?}: {}", asked.text);
        }
    }
    let control = format!("{API}/control");
    let known = hosts.curl_from_other(proxy.port, &control, &["-u", CREDENTIALS]);
    assert_eq!(known.status, 200, "{known:?}");
    // nginx passes it on in HTTP/1.0, and does not say that there is no body.
    let reload = format!("{API}/reload");
    let empty = hosts.curl_from_other(proxy.port, &reload, &["-u", CREDENTIALS, "-X", "POST"]);
    assert_eq!(empty.status, 200, "{empty:?}");
    assert_eq!(hosts.curl_from_other(proxy.port, "/camera/", &[]).status, 200);
}

fn with_password(hosts: &Hosts) -> Livebox {
    let hash = livebox(&["password"], "correct horse\n").stdout;
    let config = format!("{CAMERA}access: {{password: '{}'}}\n", hash.trim());
    let runner: Command = hosts.on_box();
    Launch::with(&config).run_by(runner).start()
}

/// A proxy on the box, open to the other host. Dropping it kills it.
struct Proxy {
    port: u16,
    _process: Process,
    _folder: TempDir,
}

impl Proxy {
    /// As the first answer on the web has it: nothing but where to pass to.
    fn nginx(hosts: &Hosts, to: u16) -> Self {
        let config = |folder: &str, port| {
            let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
                .map(|what| format!("{what}_temp_path {folder}/{what};"));
            format!(
                "daemon off;\nmaster_process off;\npid {folder}/pid;\nerror_log stderr;\nevents {{}}\n\
                 http {{\n{}\naccess_log off;\nserver {{ listen {port}; \
                 location / {{ proxy_pass http://127.0.0.1:{to}; }} }}\n}}\n",
                temporary.join(" ")
            )
        };
        Self::start(hosts, "nginx", config, &["-e", "stderr", "-c"])
    }

    fn haproxy(hosts: &Hosts, to: u16, mode: &str) -> Self {
        let config = |_: &str, port| {
            format!(
                "defaults\n  mode {mode}\n  timeout connect 10s\n  timeout client 60s\n  \
                 timeout server 60s\nlisten box\n  bind 0.0.0.0:{port}\n  server box 127.0.0.1:{to}\n"
            )
        };
        Self::start(hosts, "haproxy", config, &["-db", "-f"])
    }

    fn start(
        hosts: &Hosts,
        program: &'static str,
        config: impl FnOnce(&str, u16) -> String,
        arguments: &[&str],
    ) -> Self {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        let port = ports::free();
        let file = folder.path().join("proxy.conf");
        let text = config(&folder.path().display().to_string(), port);
        fs::write(&file, text).expect("the folder is writable");
        let mut command = hosts.on_box();
        command.arg(path_of(program)).args(arguments).arg(&file);
        let process = Process::start(program, &mut command);
        let status = || hosts.try_curl_on_box(port, "/").map(|Fetched { status, .. }| status);
        wait::until("the proxy passes on", TIMEOUT, || (status() == Some(200)).then_some(()));
        Self { port, _process: process, _folder: folder }
    }
}
