//! An RTMP server that livebox pushes to: nginx with its RTMP module, on
//! loopback, writing what it receives to a folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::http::Http;
use super::nginx::{Nginx, RTMP};
use super::process::Process;
use super::tools::tool;
use super::{ports, wait};

/// A receiver. Dropping it kills it.
#[derive(Debug)]
pub struct Receiver {
    rtmp_port: u16,
    nginx: Nginx,
}

impl Receiver {
    /// Starts a receiver with an application `live2` that records everything.
    pub fn start() -> Self {
        Self::with("record all; record_unique on;")
    }

    /// Starts a receiver whose application `live2` also has `directives`, in
    /// which `@root@` is its folder; files below `@root@/hls/` are served at `/hls/`.
    pub fn with(directives: &str) -> Self {
        let rtmp_port = ports::free();
        let config =
            CONFIG.replace("@directives@", directives).replace("@rtmp@", &rtmp_port.to_string());
        let nginx = Nginx::start(RTMP, &config, ports::free(), |folder| {
            fs::create_dir(folder.join("flv")).expect("the folder is new");
        });
        Self { rtmp_port, nginx }
    }

    /// The URL of the application, to which a stream key is joined.
    pub fn url(&self) -> String {
        format!("rtmp://127.0.0.1:{}/live2", self.rtmp_port())
    }

    pub fn rtmp_port(&self) -> u16 {
        self.rtmp_port
    }

    /// Has a player write what it is sent of the stream `key` to `file`, as FLV.
    pub fn play_into(&self, key: &str, file: &Path) -> Process {
        let mut command = tool("gst-launch-1.0");
        command.args(["-q", "rtmp2src", &format!("location={}/{key}", self.url())]);
        command.args(["!", "filesink", "buffer-mode=unbuffered"]);
        command.arg(format!("location={}", file.display()));
        Process::start("the player", &mut command)
    }

    /// Its web server.
    pub fn http(&self) -> Http {
        Http::local(self.nginx.port())
    }

    /// The port of its web server.
    pub fn http_port(&self) -> u16 {
        self.nginx.port()
    }

    pub fn nginx(&self) -> &Process {
        self.nginx.process()
    }

    /// Ends it at once, as a crash would: nothing is closed or said.
    pub fn crash(&mut self) {
        self.nginx.crash();
    }

    /// Starts it again on the same port.
    pub fn come_back(&mut self) {
        self.nginx.come_back();
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
        let folder = fs::read_dir(self.nginx.folder().join("flv")).expect("the folder is there");
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

const CONFIG: &str = "\
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
    listen 127.0.0.1:@port@;
    location /stat { rtmp_stat all; }
    location /hls/ { root @root@; }
  }
}
";
