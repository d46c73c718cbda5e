//! An RTMP server that livebox pushes to: nginx with its RTMP module, on
//! loopback, writing what it receives to a folder.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use super::http::Http;
use super::ports;
use super::process::Process;
use super::tools::{file_of, tool};
use super::wait;

const MODULE: &str = "/usr/lib/nginx/modules/ngx_rtmp_module.so";
const MODULE_PACKAGE: &str = "libnginx-mod-rtmp";
const START_LIMIT: Duration = Duration::from_secs(10);

/// A receiver. Dropping it kills it.
#[derive(Debug)]
pub struct Receiver {
    folder: TempDir,
    rtmp_port: u16,
    http_port: u16,
    nginx: Process,
}

impl Receiver {
    /// Starts a receiver with an application `live2` that records everything.
    pub fn start() -> Self {
        Self::with("record all; record_unique on;")
    }

    /// Starts a receiver whose application `live2` also has `directives`, in
    /// which `@root@` is its folder; files below `@root@/hls/` are served at `/hls/`.
    pub fn with(directives: &str) -> Self {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        let (rtmp_port, http_port) = (ports::free(), ports::free());
        let root = folder.path().display().to_string();
        fs::create_dir(folder.path().join("flv")).expect("the folder is new");
        let config = CONFIG
            .replace("@directives@", directives)
            .replace("@module@", file_of(MODULE, MODULE_PACKAGE))
            .replace("@root@", &root)
            .replace("@rtmp@", &rtmp_port.to_string())
            .replace("@http@", &http_port.to_string());
        fs::write(folder.path().join("nginx.conf"), config).expect("the folder is writable");
        let nginx = start_nginx(&root, http_port);
        Self { folder, rtmp_port, http_port, nginx }
    }

    /// The URL of the application, to which a stream key is joined.
    pub fn url(&self) -> String {
        format!("rtmp://127.0.0.1:{}/live2", self.rtmp_port())
    }

    pub fn rtmp_port(&self) -> u16 {
        self.rtmp_port
    }

    /// Its web server.
    pub fn http(&self) -> Http {
        Http::local(self.http_port)
    }

    pub fn nginx(&self) -> &Process {
        &self.nginx
    }

    /// Ends it at once, as a crash would: nothing is closed or said.
    pub fn crash(&mut self) {
        self.nginx.kill();
    }

    /// Starts it again on the same port.
    pub fn come_back(&mut self) {
        self.nginx = start_nginx(&self.folder.path().display().to_string(), self.http_port);
    }

    /// Lets it stand still with all its connections open.
    pub fn freeze(&self) {
        self.nginx().signal("STOP");
    }

    pub fn thaw(&self) {
        self.nginx().signal("CONT");
    }

    /// Whether somebody publishes.
    pub fn is_receiving(&self) -> bool {
        self.http().get("/stat").text().contains("<publishing/>")
    }

    /// The recordings, oldest first.
    pub fn recordings(&self) -> Vec<PathBuf> {
        let folder = fs::read_dir(self.folder.path().join("flv")).expect("the folder is there");
        let mut found: Vec<PathBuf> = folder.flatten().map(|entry| entry.path()).collect();
        found.sort_by_key(|path| fs::metadata(path).and_then(|m| m.created()).ok());
        found
    }

    /// Bytes recorded so far.
    pub fn recorded(&self) -> u64 {
        self.recordings().iter().filter_map(|path| fs::metadata(path).ok()).map(|m| m.len()).sum()
    }

    /// Waits until `bytes` more have been recorded.
    pub fn wait_for_more(&self, bytes: u64, limit: Duration) {
        let before = self.recorded();
        let what = format!("{bytes} more bytes recorded");
        wait::until(&what, limit, || (self.recorded() >= before + bytes).then_some(()));
    }
}

fn start_nginx(root: &str, http_port: u16) -> Process {
    let config = format!("{root}/nginx.conf");
    let mut command = tool("nginx");
    command.args(["-p", root, "-c", &config, "-e", &format!("{root}/error.log")]);
    let nginx = Process::start("nginx", &mut command);
    wait::until("nginx answers", START_LIMIT, || {
        Http::local(http_port).request("GET", "/stat").try_answer().ok()
    });
    nginx
}

const CONFIG: &str = "\
load_module @module@;
daemon off;
master_process off;
pid @root@/nginx.pid;
error_log @root@/error.log notice;
worker_rlimit_nofile 4096;
events { worker_connections 2048; }
rtmp {
  access_log off;
  server {
    listen 127.0.0.1:@rtmp@;
    chunk_size 4096;
    application live2 { live on; record_path @root@/flv; @directives@ }
  }
}
http {
  access_log off;
  client_body_temp_path @root@/body;
  proxy_temp_path @root@/proxy;
  fastcgi_temp_path @root@/fastcgi;
  uwsgi_temp_path @root@/uwsgi;
  scgi_temp_path @root@/scgi;
  sendfile on;
  tcp_nopush on;
  server {
    listen 127.0.0.1:@http@;
    location /stat { rtmp_stat all; }
    location /hls/ { root @root@; }
  }
}
";
