//! Fifty viewers, of every way out: what each of them got, and when.

use std::io::Read as _;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::LIMIT;
use crate::common::http::Http;
use crate::common::livebox::Livebox;
use crate::common::rtsp::{Client, Playing};
use crate::common::wait;

/// How many watch what.
const OVER_HTTP: &[(&str, usize)] = &[
    ("/camera.mp4", 8),
    ("/camera.ts", 6),
    ("/camera.h264", 3),
    ("/camera.aac", 3),
    ("/camera.mjpeg", 4),
    ("/plain", 7),
    ("/through", 7),
];
const OVER_RTSP: usize = 8;
const OVER_HLS: usize = 4;

/// What was on its way when something was killed arrives within this.
const ON_ITS_WAY: Duration = Duration::from_millis(20);

/// All viewers.
pub(super) struct Audience {
    http: Vec<Watching>,
    rtsp: Vec<Playing>,
}

/// A viewer that takes what comes and remembers how much and when.
struct Watching {
    path: &'static str,
    socket: Option<TcpStream>,
    taken: Arc<Taken>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Taken {
    bytes: AtomicU64,
    is_over: AtomicBool,
    log: Mutex<Log>,
}

#[derive(Default)]
struct Log {
    arrivals: Vec<Instant>,
    lost: Option<String>,
}

impl Audience {
    pub(super) fn connect(livebox: &Livebox) -> Self {
        let endless = OVER_HTTP.iter().flat_map(|(path, count)| vec![*path; *count]);
        let mut http: Vec<_> =
            endless.map(|path| Watching::endless(livebox.http(), path)).collect();
        http.extend((0..OVER_HLS).map(|_| Watching::hls(livebox.http())));
        let play = |_| Client::connect(livebox.rtsp_port(), "/camera").play();
        Self { http, rtsp: (0..OVER_RTSP).map(play).collect() }
    }

    /// Waits until each of them has got more.
    pub(super) fn wait_for_all(&self, what: &str) {
        let before = self.counts();
        let still = || {
            let all = before.iter().zip(self.counts());
            let still = all.filter(|((_, before), (_, now))| before == now);
            still.map(|((who, _), _)| *who).collect::<Vec<_>>()
        };
        if wait::within(LIMIT, || still().is_empty().then_some(())).is_none() {
            panic!("{what}: not {:?}; lost: {:?}", still(), self.lost());
        }
    }

    fn counts(&self) -> Vec<(&'static str, u64)> {
        let of = |one: &Watching| (one.path, one.taken.bytes.load(Ordering::Relaxed));
        let packets = self.rtsp.iter().map(|one| ("RTSP", one.packets()));
        self.http.iter().map(of).chain(packets).collect()
    }

    /// The longest time in which a viewer of an endless answer got nothing.
    pub(super) fn longest_silence(&self) -> Duration {
        let silences = self.http.iter().filter_map(|one| {
            let log = one.taken.log();
            log.arrivals.windows(2).map(|pair| pair[1] - pair[0]).max()
        });
        silences.max().unwrap_or_default()
    }

    /// How long after `killed` a viewer of `path` got something again; nothing
    /// where it has not.
    pub(super) fn back_after(&self, path: &str, killed: Instant) -> Option<Duration> {
        let viewer = self.http.iter().find(|one| one.path == path)?;
        let log = viewer.taken.log();
        let earlier = log.arrivals.partition_point(|arrival| *arrival < killed + ON_ITS_WAY);
        log.arrivals.get(earlier).map(|arrival| *arrival - killed)
    }

    /// Who was disconnected, and why.
    pub(super) fn lost(&self) -> Vec<String> {
        let http = self.http.iter().filter_map(|one| {
            one.taken.log().lost.as_ref().map(|why| format!("{}: {why}", one.path))
        });
        let rtsp = self.rtsp.iter().filter(|one| one.is_over()).map(|_| "RTSP".to_owned());
        http.chain(rtsp).collect()
    }
}

impl Watching {
    fn endless(http: Http, path: &'static str) -> Self {
        let (_, mut body) = http.open(path);
        let (socket, taken) = (body.socket(), Arc::<Taken>::default());
        // Only the server may end it.
        socket.set_read_timeout(Some(LIMIT)).expect("a limit can be set");
        let thread = std::thread::spawn({
            let taken = Arc::clone(&taken);
            move || {
                let mut buffer = [0; 8192];
                loop {
                    match body.read(&mut buffer) {
                        Ok(count @ 1..) => taken.take(count),
                        ended => return taken.lose(format!("{ended:?}")),
                    }
                }
            }
        });
        Self { path, socket: Some(socket), taken, thread: Some(thread) }
    }

    /// The playlist every second, and each newest segment.
    fn hls(http: Http) -> Self {
        let taken = Arc::<Taken>::default();
        let thread = std::thread::spawn({
            let taken = Arc::clone(&taken);
            move || {
                let mut had = String::new();
                while !taken.is_over.load(Ordering::Relaxed) {
                    let playlist = http.get("/camera/hls/live.m3u8");
                    let text = playlist.text();
                    let newest = text.lines().rfind(|line| !line.starts_with('#'));
                    let newest = newest.unwrap_or_default();
                    if newest != had {
                        let segment = http.get(&format!("/camera/hls/{newest}"));
                        if (playlist.status(), segment.status()) != (200, 200) {
                            return taken.lose(format!("{newest:?} is {}", segment.status()));
                        }
                        taken.take(segment.body.len());
                        newest.clone_into(&mut had);
                    }
                    wait::within(Duration::from_secs(1), || {
                        taken.is_over.load(Ordering::Relaxed).then_some(())
                    });
                }
            }
        });
        Self { path: "HLS", socket: None, taken, thread: Some(thread) }
    }
}

impl Taken {
    fn take(&self, count: usize) {
        self.bytes.fetch_add(count as u64, Ordering::Relaxed);
        self.log().arrivals.push(wait::now());
    }

    fn lose(&self, why: String) {
        self.log().lost = Some(why);
    }

    fn log(&self) -> std::sync::MutexGuard<'_, Log> {
        self.log.lock().expect("nobody panics with it")
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.taken.is_over.store(true, Ordering::Relaxed);
        if let Some(socket) = &self.socket {
            socket.shutdown(Shutdown::Both).ok();
        }
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}
