//! Everything at once for a while: viewers who come and go, HLS players, a push
//! whose receiver dies and freezes, a feed that is torn down. Nothing may grow,
//! and nobody is lost.
//!
//! `SOAK_SECONDS` (30), `SOAK_VIEWERS` (40) and `SOAK_SEED` change the size.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::common::livebox::{API, Livebox};
use crate::common::receiver::Receiver;
use crate::common::viewer::Viewer;
use crate::common::{proc, wait};

const PICTURE: &str = "\
feeds:
  camera: {test: clock, size: 320x180, fps: 25, audio: tone, mode: continuous}
streams:
  camera: {feed: camera, bitrate: 500k}
";
const PATHS: &[&str] =
    &["/camera.mp4", "/camera.mp4?pad=0", "/camera.mp4?audio=0", "/camera.mp4?stamp=1"];
const LIMIT: Duration = wait::TIMEOUT;
/// Buffers and threads come into being with the first viewers.
const WARM_UP: f64 = 0.25;

/// What the second half may have more than the first: a pool's ups and downs.
/// Measured over ten minutes: 0.1 MiB, and 2.5 from the first minute to the last.
const MORE_MEMORY_KIB: f64 = 4.0 * 1024.0;
pub(super) const MORE_THREADS: f64 = 8.0;
/// A tenth of the viewers may happen to be there, or not, when it is looked at.
pub(super) const MORE_FILES: f64 = 8.0;

/// A feed that is torn down is back within this, on a machine that does much else.
const LONGEST_GAP: Duration = Duration::from_secs(8);

#[test]
fn nothing_grows_and_nobody_is_lost_while_everything_comes_goes_and_breaks() {
    let soak = Soak::from_environment();
    let receiver = Receiver::with("record off;");
    let livebox = Livebox::start(&format!(
        "{PICTURE}pushes: {{far: {{stream: camera, url: \"{}\", key: soak, audio: feed, start: true}}}}\n",
        receiver.url()
    ));
    livebox.wait_for_state("streaming", LIMIT);
    let empty = Sample::take(&livebox, wait::now());

    let samples = soak.run(&livebox, receiver);

    let told = soak.told.lock().expect("nobody panics while telling");
    eprintln!("{}", report(&samples, &told, &empty));
    assert!(told.lost.is_empty(), "lost: {:?}", told.lost);
    assert!(told.longest_gap < LONGEST_GAP, "a gap of {:?}", told.longest_gap);
    assert_nothing_grows(&samples);
    let more = empty.files + MORE_FILES;
    wait::until("the files of those who left are closed", LIMIT, || {
        (Sample::take(&livebox, wait::now()).files <= more).then_some(())
    });
}

struct Soak {
    span: Duration,
    viewers: u64,
    seed: u64,
    over: AtomicBool,
    told: Mutex<Told>,
}

/// A whole number of the environment.
pub(super) fn number(name: &str, default: u64) -> u64 {
    let Ok(text) = std::env::var(name) else { return default };
    text.parse().unwrap_or_else(|_| panic!("{name}={text:?} is not a whole number"))
}

/// What all who watched had to tell.
#[derive(Default)]
struct Told {
    visits: usize,
    segments: usize,
    restarts: usize,
    outages: usize,
    /// Why someone was lost, or saw nothing.
    lost: Vec<String>,
    longest_gap: Duration,
}

/// What livebox holds at one time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    at: Instant,
    pub(super) memory_kib: f64,
    pub(super) files: f64,
    pub(super) threads: f64,
    /// CPU time used since its start.
    cpu_seconds: f64,
}

/// A row of numbers that looks like chance and is the same every time.
pub(super) struct Dice(u64);

impl Soak {
    fn from_environment() -> Self {
        Self {
            span: Duration::from_secs(number("SOAK_SECONDS", 30)),
            viewers: number("SOAK_VIEWERS", 40),
            seed: number("SOAK_SEED", 1),
            over: AtomicBool::new(false),
            told: Mutex::default(),
        }
    }

    /// Lets everything happen, and looks at livebox all the while.
    fn run(&self, livebox: &Livebox, receiver: Receiver) -> Vec<Sample> {
        std::thread::scope(|scope| {
            for number in 0..self.viewers {
                let dice = Dice::new(self.seed, number);
                scope.spawn(move || self.visit_again_and_again(livebox, dice));
            }
            for number in 0..=self.viewers / 10 {
                let dice = Dice::new(self.seed, 1_000 + number);
                scope.spawn(move || self.play_hls(livebox, dice));
            }
            scope.spawn(|| self.harm(receiver, Dice::new(self.seed, 2_000)));
            scope.spawn(|| self.restart_feeds(livebox, Dice::new(self.seed, 3_000)));
            let end = wait::now() + self.span;
            let mut samples = Vec::new();
            while wait::now() < end {
                samples.push(Sample::take(livebox, wait::now()));
                self.pause(Duration::from_millis(500));
            }
            self.over.store(true, Ordering::Relaxed);
            samples
        })
    }

    fn visit_again_and_again(&self, livebox: &Livebox, mut dice: Dice) {
        self.pause(dice.up_to(Duration::from_secs(5)));
        while !self.is_over() {
            let path = PATHS[dice.below(PATHS.len() as u64) as usize];
            let stay = Duration::from_secs(1) + dice.up_to(Duration::from_secs(9));
            self.visit(livebox, path, stay);
            self.pause(dice.up_to(Duration::from_secs(1)));
        }
    }

    fn visit(&self, livebox: &Livebox, path: &str, stay: Duration) {
        let began = wait::now();
        let viewer = Viewer::connect(livebox.http(), path);
        let has_video = || viewer.seen().span(b"vide") > 0.0;
        let saw = wait::within(LIMIT, || (has_video() || self.is_over()).then(has_video));
        self.pause(stay);
        let seen = viewer.seen();
        let left = wait::now();
        let times = seen.fragments.iter().map(|one| one.arrived);
        let times: Vec<_> = [began].into_iter().chain(times).chain([left]).collect();
        let gap = times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default();
        self.tell(|told| {
            told.visits += 1;
            told.longest_gap = told.longest_gap.max(gap);
            if let Some(why) = &seen.ended {
                told.lost.push(format!("{path} ended: {why}"));
            } else if saw.is_none() {
                told.lost.push(format!("{path} showed nothing"));
            }
        });
    }

    /// The playlist every second, and each newest segment.
    fn play_hls(&self, livebox: &Livebox, mut dice: Dice) {
        self.pause(dice.up_to(Duration::from_secs(1)));
        let mut had = String::new();
        while !self.is_over() {
            let text = livebox.get("/camera/hls/live.m3u8").text();
            let newest = text.lines().rfind(|line| !line.starts_with('#')).unwrap_or_default();
            if newest != had {
                let segment = livebox.get(&format!("/camera/hls/{newest}"));
                self.tell(|told| {
                    told.segments += 1;
                    if segment.status() != 200 || segment.body.is_empty() {
                        told.lost.push(format!("segment {newest:?} is {}", segment.status()));
                    }
                });
                newest.clone_into(&mut had);
            }
            self.pause(Duration::from_secs(1));
        }
    }

    /// Kills the receiver, or lets it stand still, again and again.
    fn harm(&self, mut receiver: Receiver, mut dice: Dice) {
        while !self.is_over() {
            self.pause(Duration::from_secs(3) + dice.up_to(Duration::from_secs(6)));
            let outage = dice.up_to(Duration::from_secs(8));
            match dice.below(2) {
                0 => {
                    receiver.crash();
                    self.pause(outage);
                    receiver.come_back();
                }
                _ => {
                    receiver.freeze();
                    self.pause(outage);
                    receiver.thaw();
                }
            }
            self.tell(|told| told.outages += 1);
        }
    }

    fn restart_feeds(&self, livebox: &Livebox, mut dice: Dice) {
        let path = format!("{API}/streams/camera/restart");
        while !self.is_over() {
            self.pause(Duration::from_secs(5) + dice.up_to(Duration::from_secs(10)));
            let answer = livebox.http().request("POST", &path).answer();
            self.tell(|told| {
                told.restarts += 1;
                if answer.status() != 200 {
                    told.lost.push(format!("restart: {}", answer.text()));
                }
            });
        }
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Waits so long, or until it is over.
    fn pause(&self, length: Duration) {
        wait::within(length, || self.is_over().then_some(()));
    }

    fn tell(&self, what: impl FnOnce(&mut Told)) {
        what(&mut self.told.lock().expect("nobody panics while telling"));
    }
}

impl Sample {
    pub(super) fn take(livebox: &Livebox, at: Instant) -> Self {
        let pid = livebox.pid();
        Self {
            at,
            memory_kib: proc::resident_kib(pid) as f64,
            files: proc::open_files(pid) as f64,
            threads: proc::threads(pid) as f64,
            cpu_seconds: proc::cpu_seconds(pid),
        }
    }
}

impl Dice {
    pub(super) fn new(seed: u64, player: u64) -> Self {
        let mut dice = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (player + 1));
        // The first throws of neighbours resemble each other.
        for _ in 0..16 {
            dice.throw();
        }
        dice
    }

    /// Marsaglia's xorshift.
    fn throw(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(super) fn below(&mut self, sides: u64) -> u64 {
        self.throw() % sides
    }

    pub(super) fn up_to(&mut self, longest: Duration) -> Duration {
        Duration::from_millis(self.below(longest.as_millis() as u64 + 1))
    }
}

/// Compares the middle of the first half with that of the second.
pub(super) fn assert_nothing_grows(samples: &[Sample]) {
    let (first, second) = halves(samples);
    for (what, value, more) in [
        ("KiB of memory", (|one| one.memory_kib) as fn(&Sample) -> f64, MORE_MEMORY_KIB),
        ("threads", |one| one.threads, MORE_THREADS),
        ("open files", |one| one.files, MORE_FILES + middle(first, |one| one.files) / 10.0),
    ] {
        let (before, after) = (middle(first, value), middle(second, value));
        assert!(after <= before + more, "{what} grow: {before}, then {after}");
    }
}

/// In KiB, the middle of each tenth of the time.
pub(super) fn memory_in_tenths(samples: &[Sample]) -> Vec<f64> {
    let tenths = samples.chunks(samples.len().div_ceil(10));
    tenths.map(|tenth| middle(tenth, |one| one.memory_kib)).collect()
}

/// Without the time in which it warms up.
fn halves(samples: &[Sample]) -> (&[Sample], &[Sample]) {
    let warm = &samples[(samples.len() as f64 * WARM_UP) as usize..];
    warm.split_at(warm.len() / 2)
}

fn middle(samples: &[Sample], value: impl Fn(&Sample) -> f64) -> f64 {
    let mut values: Vec<f64> = samples.iter().map(value).collect();
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

/// By least squares, per minute.
fn slope(samples: &[Sample], value: impl Fn(&Sample) -> f64) -> f64 {
    let start = samples[0].at;
    let minutes = |one: &Sample| (one.at - start).as_secs_f64() / 60.0;
    let count = samples.len() as f64;
    let mean_x = samples.iter().map(minutes).sum::<f64>() / count;
    let mean_y = samples.iter().map(&value).sum::<f64>() / count;
    let covariance: f64 =
        samples.iter().map(|one| (minutes(one) - mean_x) * (value(one) - mean_y)).sum();
    let variance: f64 = samples.iter().map(|one| (minutes(one) - mean_x).powi(2)).sum();
    covariance / variance
}

fn report(samples: &[Sample], told: &Told, empty: &Sample) -> String {
    let (first, second) = halves(samples);
    let warm = &samples[samples.len() - first.len() - second.len()..];
    let mut text = format!(
        "{} visits, {} segments, {} restarts of the feed, {} outages of the receiver; \
         {} lost, longest gap {:.2} s\n",
        told.visits,
        told.segments,
        told.restarts,
        told.outages,
        told.lost.len(),
        told.longest_gap.as_secs_f64()
    );
    text += &format!("memory KiB in each tenth: {:?}\n", memory_in_tenths(samples));
    for (what, value) in [
        ("memory KiB", (|one| one.memory_kib) as fn(&Sample) -> f64),
        ("open files", |one| one.files),
        ("threads", |one| one.threads),
        ("CPU seconds", |one| one.cpu_seconds),
    ] {
        text += &format!(
            "{what}: {} without viewers, {} in the first half, {} in the second, {:+.1} a minute\n",
            value(empty),
            middle(first, value),
            middle(second, value),
            slope(warm, value)
        );
    }
    text
}
