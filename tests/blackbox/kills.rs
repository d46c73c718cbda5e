//! Feeds and commands are killed at random while fifty watch, in every way
//! there is. Nobody is disconnected, and nothing is left behind.
//!
//! `KILLS_SECONDS` (12) and `KILLS_SEED` (1) change the size.

use std::io::Read as _;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::bytes::{COUNTER, running, wait_for_running};
use super::soak::{Dice, MORE_FILES, MORE_THREADS, Sample, assert_nothing_grows, number};
use crate::common::http::Http;
use crate::common::livebox::{API, Livebox};
use crate::common::receiver::Receiver;
use crate::common::rtsp::{Client, Playing};
use crate::common::tools::tool;
use crate::common::wait;

const LIMIT: Duration = wait::PATIENCE;

/// Who watches what: fifty in all.
const OVER_HTTP: &[(&str, usize)] = &[
    ("/camera.mp4", 10),
    ("/camera.ts", 8),
    ("/camera.h264", 3),
    ("/camera.aac", 3),
    ("/plain", 7),
    ("/through", 7),
];
const OVER_RTSP: usize = 8;
const OVER_HLS: usize = 4;

/// What is killed again and again waits for five seconds at most; a stream's
/// command may do so after its feed has, and that again and again.
const LONGEST_SILENCE: Duration = Duration::from_secs(30);

/// What may be killed.
#[derive(Clone, Copy, Debug)]
enum Victim {
    /// The pipeline of the camera.
    Camera,
    /// The command that is a feed.
    Feed,
    /// The command of a stream.
    Command,
}

const VICTIMS: [Victim; 3] = [Victim::Camera, Victim::Feed, Victim::Command];

#[test]
fn nobody_is_disconnected_and_nothing_is_left_behind_while_feeds_are_killed_at_random() {
    let (span, seed) = (number("KILLS_SECONDS", 12), number("KILLS_SEED", 1));
    eprintln!("KILLS_SEED={seed} KILLS_SECONDS={span}");
    let receiver = Receiver::with("record off;");
    let livebox = Livebox::start(&config(&receiver));
    livebox.wait_for_state("streaming", LIMIT);
    let audience = Audience::come(&livebox);
    audience.wait_for_all("everybody sees something");
    wait_for_running(&livebox, "", 2);
    let before = Sample::take(&livebox, wait::now());

    let (samples, kills) = kill_at_random(&livebox, Duration::from_secs(span), seed);

    let longest = audience.longest_silence();
    let after = Sample::take(&livebox, wait::now());
    eprintln!("{kills:?}; longest silence {longest:?}; {before:?}, then {after:?}");
    assert!(kills.iter().sum::<usize>() as u64 >= span / 4, "{kills:?} killed in {span} s");
    audience.wait_for_all("everybody goes on");
    livebox.wait_for_state("streaming", LIMIT);
    assert_eq!(audience.lost(), Vec::<String>::new());
    assert!(longest < LONGEST_SILENCE, "a silence of {longest:?}");
    wait_for_running(&livebox, "", 2);
    wait::until("no file and no thread is left behind", LIMIT, || {
        let now = Sample::take(&livebox, wait::now());
        let is_back =
            now.files <= before.files + MORE_FILES && now.threads <= before.threads + MORE_THREADS;
        is_back.then_some(())
    });
    assert_nothing_grows(&samples);
    drop(audience);
    wait_for_running(&livebox, "", 0);
}

fn config(receiver: &Receiver) -> String {
    format!(
        "feeds:\n  camera: {{test: clock, size: 320x180, fps: 25, audio: tone}}\n  \
         count: {{command: {COUNTER:?}}}\n\
         streams:\n  camera: {{bitrate: 400k}}\n  plain: {{feed: count}}\n  \
         through: {{feed: count, command: cat}}\n\
         pushes: {{far: {{stream: camera, url: \"{}\", key: k, audio: feed, start: true}}}}\n",
        receiver.url()
    )
}

/// What livebox holds meanwhile, and how often each victim was killed.
fn kill_at_random(livebox: &Livebox, span: Duration, seed: u64) -> (Vec<Sample>, [usize; 3]) {
    let mut dice = Dice::new(seed, 0);
    let (mut samples, mut kills) = (Vec::new(), [0; 3]);
    let end = wait::now() + span;
    let mut next = wait::now();
    wait::within(span, || {
        samples.push(Sample::take(livebox, wait::now()));
        if wait::now() >= next {
            let index = dice.below(VICTIMS.len() as u64) as usize;
            kill(livebox, VICTIMS[index]);
            kills[index] += 1;
            next = wait::now() + Duration::from_millis(500) + dice.up_to(Duration::from_secs(3));
        }
        (wait::now() >= end).then_some(())
    });
    (samples, kills)
}

fn kill(livebox: &Livebox, victim: Victim) {
    let mark = match victim {
        Victim::Camera => {
            let restart = format!("{API}/streams/camera/restart");
            assert_eq!(livebox.http().request("POST", &restart).answer().status(), 200);
            return;
        }
        Victim::Feed => "while :",
        Victim::Command => "cat",
    };
    // It may be between two lives.
    for pid in running(livebox, mark) {
        tool("kill").args(["-9", &pid.to_string()]).status().expect("kill runs");
    }
}

/// Everybody who watches.
struct Audience {
    http: Vec<Watching>,
    rtsp: Vec<Playing>,
}

/// One who takes what comes and remembers how much and when.
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
    last: Option<Instant>,
    longest: Duration,
    lost: Option<String>,
}

impl Audience {
    fn come(livebox: &Livebox) -> Self {
        let endless = OVER_HTTP.iter().flat_map(|(path, count)| vec![*path; *count]);
        let mut http: Vec<_> =
            endless.map(|path| Watching::endless(livebox.http(), path)).collect();
        http.extend((0..OVER_HLS).map(|_| Watching::hls(livebox.http())));
        let play = |_| Client::connect(livebox.rtsp_port(), "/camera").play();
        Self { http, rtsp: (0..OVER_RTSP).map(play).collect() }
    }

    /// Waits until each of them has got more.
    fn wait_for_all(&self, what: &str) {
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

    /// Of those whose stream never ends.
    fn longest_silence(&self) -> Duration {
        let all = self.http.iter().map(|one| one.taken.log().longest);
        all.max().unwrap_or_default()
    }

    /// Who was disconnected, and why.
    fn lost(&self) -> Vec<String> {
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
        socket.set_read_timeout(Some(Duration::from_secs(60))).expect("a limit can be set");
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
        let (mut log, now) = (self.log(), wait::now());
        let silence = log.last.map_or(Duration::ZERO, |last| now - last);
        log.longest = log.longest.max(silence);
        log.last = Some(now);
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
