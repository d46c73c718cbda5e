//! The servers side by side, all of them showing the one encoded stream:
//! livebox pushes it to nginx and node-media-server, and VLC plays it from nginx.

use std::net::SocketAddr;
use std::time::Duration;

use tempfile::TempDir;

use crate::common::clip::{Clips, Film, STEADY};
use crate::common::livebox::{Launch, Livebox};
use crate::common::receiver::Receiver;
use crate::common::tls::Pair;
use crate::common::{proc, wait};
use crate::floor::{self, Floor};
use crate::load::{Heard, Load};
use crate::motion::{self, Motion};
use crate::node::NodeMediaServer;
use crate::vlc::{self, Vlc};
use crate::{cost, glass, https};

const KEY: &str = "bench";
/// Near-black, as a camera is at night: hardly any bits.
const DARK: Film<'static> = Film { picture: "color=c=0x101010", kbps: 40, sound: false, ..STEADY };
const HLS: &str = "record off; hls on; hls_path @root@/hls; hls_fragment 1s; \
                   hls_playlist_length 6s; hls_cleanup on;";
const NODE_PATH: &str = "/live2/bench.flv";
const NGINX_PLAYLIST: &str = "/hls/bench.m3u8";
const START_LIMIT: Duration = Duration::from_secs(30);
/// For viewers to connect, and for buffers to come to rest.
pub(crate) const SETTLE: Duration = Duration::from_secs(4);

/// Who serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Server {
    Livebox = 0,
    Nginx = 1,
    Vlc = 2,
    Node = 3,
    /// livebox with a certificate.
    Secure = 4,
    Motion = 5,
    Floor = 6,
}

/// How viewers get the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Mp4,
    Floor,
    VideoOnly,
    Https,
    Rtsp,
    Hls,
    NginxRtmp,
    NginxHls,
    Ts,
    VlcTs,
    NodeFlv,
    Mjpeg,
    MotionMjpeg,
}

/// Everything that runs. Dropping it ends it.
pub(crate) struct Stage {
    pub(crate) livebox: Livebox,
    secure: Livebox,
    client: https::Client,
    nginx: Receiver,
    vlc: Option<Vlc>,
    node: Option<NodeMediaServer>,
    motion: Option<Motion>,
    floor: Floor,
    _pair: Pair,
    _docroot: TempDir,
}

/// The films, and the configuration that shows them. Both pass through, so
/// that no encoder counts.
pub(crate) struct Films {
    _clips: Clips,
    pub(crate) config: String,
}

impl Films {
    pub(crate) fn make() -> Self {
        let clips = Clips::new();
        let (camera, dark) = (clips.make("camera.mp4", STEADY), clips.make("dark.mp4", DARK));
        let config = format!(
            "feeds:\n  camera: {{file: {}}}\n  dark: {{file: {}}}\n\
             streams:\n  camera: {{bitrate: 2M}}\n  dark: {{}}\n",
            camera.display(),
            dark.display()
        );
        Self { _clips: clips, config }
    }
}

impl Films {
    /// The same with a certificate. Its camera runs always, as the other's does
    /// for nginx, so that what viewers add is the same.
    fn secure_config(&self, pair: &Pair) -> String {
        let (certificate, key) = (pair.certificate(), pair.key());
        let tls = format!(
            "server: {{tls: {{certificate: {}, key: {}}}}}\n",
            certificate.display(),
            key.display()
        );
        self.config.replacen("camera: {", "camera: {mode: continuous, ", 1) + &tls
    }
}

/// What viewers of one way cost and noticed.
pub(crate) struct Run {
    /// Of the server that served them.
    pub(crate) cores: f64,
    pub(crate) resident_kib: u64,
    /// Of what it has started.
    pub(crate) hosts_kib: u64,
    pub(crate) heard: Heard,
}

impl Stage {
    pub(crate) fn start(films: &Films) -> Self {
        let nginx = Receiver::with(HLS);
        let docroot = tempfile::tempdir().expect("there is room for a folder");
        glass::write_page(docroot.path());
        let node = NodeMediaServer::start();
        let mut pushes = "pushes:\n".to_owned();
        let others = node.as_ref().map(|node| ("node", node.url()));
        for (name, url) in [("near", nginx.url())].into_iter().chain(others) {
            pushes += &format!(
                "  {name}: {{stream: camera, url: \"{url}\", key: {KEY}, audio: feed, start: true}}\n"
            );
        }
        let livebox = Launch::with(&format!("{}{pushes}", films.config))
            .argument("--docroot")
            .argument(&docroot.path().display().to_string())
            .start();
        let pair = Pair::make();
        let secure = Livebox::start(&films.secure_config(&pair));
        let files = nginx.http();
        wait::until("nginx has three segments", START_LIMIT, || {
            let answer = files.request("GET", NGINX_PLAYLIST).try_answer().ok()?;
            (answer.text().matches("#EXTINF").count() >= 3).then_some(())
        });
        let vlc = Vlc::start(&format!("{}/{KEY}", nginx.url()));
        let client = https::Client::knowing(&pair);
        let motion = Motion::start(&livebox.rtsp_url("/camera"));
        let floor = Floor::start(livebox.http().address);
        if let Some(node) = &node {
            node.wait_for(NODE_PATH);
        }
        Self {
            livebox,
            secure,
            client,
            nginx,
            vlc,
            node,
            motion,
            floor,
            _pair: pair,
            _docroot: docroot,
        }
    }

    pub(crate) fn has(&self, server: Server) -> bool {
        self.pids()[server as usize].is_some()
    }

    /// The part of a core that each server uses, in the order of [`Server`];
    /// one that is left out uses none.
    pub(crate) fn cores(&self, span: Duration) -> Vec<f64> {
        let pids = self.pids();
        let there: Vec<u32> = pids.iter().flatten().copied().collect();
        let mut used = cost::cores(&there, span).into_iter();
        pids.iter().map(|pid| pid.and_then(|_| used.next()).unwrap_or_default()).collect()
    }

    /// Lets `viewers` watch for `span`, and then `also` while they still do.
    pub(crate) fn run<T>(
        &self,
        way: Way,
        viewers: usize,
        span: Duration,
        also: impl FnOnce() -> T,
    ) -> (Run, T) {
        let load = self.load(way, viewers);
        std::thread::sleep(SETTLE);
        let server = way.server() as usize;
        let pid = self.pids()[server].expect("asked only where it runs");
        let used = || (self.cores(span)[server], proc::resident_kib(pid), cost::hosts_kib(pid));
        let (heard, (cores, resident_kib, hosts_kib), also) = load.measure(used, also);
        std::thread::sleep(SETTLE / 4);
        (Run { cores, resident_kib, hosts_kib, heard }, also)
    }

    fn load(&self, way: Way, viewers: usize) -> Load {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let (livebox, files) = (self.livebox.http().address, self.nginx.http().address);
        match way {
            Way::Mp4 => Load::http(viewers, livebox, "/camera.mp4?pad=0"),
            Way::Floor => Load::http(viewers, at(self.floor.port), floor::PATH),
            Way::VideoOnly => Load::http(viewers, livebox, "/camera.mp4?pad=0&audio=0"),
            Way::Https => {
                let address = self.secure.http().address;
                Load::https(viewers, address, "/camera.mp4?pad=0", self.client.clone())
            }
            Way::Rtsp => Load::rtsp(viewers, at(self.livebox.rtsp_port())),
            Way::Hls => Load::hls(viewers, livebox, "/camera/hls/live.m3u8"),
            Way::Ts => Load::http(viewers, livebox, "/camera.ts"),
            Way::NginxRtmp => Load::rtmp(viewers, at(self.nginx.rtmp_port()), KEY),
            Way::NginxHls => Load::hls(viewers, files, NGINX_PLAYLIST),
            Way::VlcTs => {
                let port = self.vlc.as_ref().expect("asked only where VLC runs").port;
                Load::http(viewers, at(port), vlc::PATH)
            }
            Way::Mjpeg => Load::http(viewers, livebox, "/camera.mjpeg"),
            Way::MotionMjpeg => {
                let port = self.motion.as_ref().expect("asked only where motion runs").port;
                Load::http(viewers, at(port), motion::PATH)
            }
            Way::NodeFlv => {
                let port = self.node.as_ref().expect("asked only where it runs").http_port;
                Load::http(viewers, at(port), NODE_PATH)
            }
        }
    }

    /// In the order of [`Server`].
    fn pids(&self) -> [Option<u32>; 7] {
        [
            Some(self.livebox.pid()),
            Some(self.nginx.nginx().pid()),
            self.vlc.as_ref().map(Vlc::pid),
            self.node.as_ref().map(NodeMediaServer::pid),
            Some(self.secure.pid()),
            self.motion.as_ref().map(Motion::pid),
            Some(self.floor.pid()),
        ]
    }
}

impl Way {
    pub(crate) fn server(self) -> Server {
        match self {
            Way::Mp4 | Way::VideoOnly | Way::Rtsp | Way::Ts | Way::Hls | Way::Mjpeg => {
                Server::Livebox
            }
            Way::Https => Server::Secure,
            Way::NginxRtmp | Way::NginxHls => Server::Nginx,
            Way::VlcTs => Server::Vlc,
            Way::NodeFlv => Server::Node,
            Way::MotionMjpeg => Server::Motion,
            Way::Floor => Server::Floor,
        }
    }

    pub(crate) fn title(self) -> &'static str {
        match self {
            Way::Mp4 => "**livebox** endless MP4",
            Way::Floor => "one `write` per viewer and MP4 chunk: the floor",
            Way::VideoOnly => "**livebox** endless MP4, `audio=0`",
            Way::Https => "**livebox** endless MP4 over HTTPS",
            Way::Rtsp => "**livebox** RTSP over TCP",
            Way::Hls => "**livebox** HLS",
            Way::NginxRtmp => "nginx-rtmp, RTMP",
            Way::NginxHls => "nginx, HLS from files",
            Way::Ts => "**livebox** MPEG-TS over HTTP",
            Way::VlcTs => "VLC, MPEG-TS over HTTP",
            Way::NodeFlv => "node-media-server, FLV over HTTP",
            Way::Mjpeg => "**livebox** Motion JPEG, 720p",
            Way::MotionMjpeg => "motion, Motion JPEG, 720p",
        }
    }

    /// livebox's way to which this one is compared.
    pub(crate) fn ours(self) -> Option<Way> {
        match self {
            Way::Mp4 | Way::VideoOnly | Way::Hls | Way::Mjpeg => None,
            Way::MotionMjpeg => Some(Way::Mjpeg),
            Way::NginxHls => Some(Way::Hls),
            Way::VlcTs => Some(Way::Ts),
            Way::Floor | Way::Https | Way::Rtsp | Way::Ts | Way::NginxRtmp | Way::NodeFlv => {
                Some(Way::Mp4)
            }
        }
    }
}
