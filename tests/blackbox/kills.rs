//! Pipeline hosts and commands are killed at random under fifty viewers of every
//! way out. None of them is disconnected, another stream goes on as ever, and
//! nothing is left behind.
//!
//! `KILLS_SECONDS` (12) and `KILLS_SEED` (1) change the size.

mod audience;

use std::time::{Duration, Instant};

use self::audience::Audience;
use super::bytes::{COUNTER, running, wait_for_running};
use super::pipeline_hosts::{crash, hosts, hosts_of};
use super::soak::{
    Dice, MORE_FILES, MORE_THREADS, Sample, assert_nothing_grows, memory_in_tenths, number,
};
use crate::common::livebox::{API, Livebox};
use crate::common::receiver::Receiver;
use crate::common::viewer::Viewer;
use crate::common::{proc, wait};

const LIMIT: Duration = wait::TIMEOUT;

/// What is killed again and again waits for five seconds at most; a stream's
/// command may do so after its feed has, and that again and again.
const LONGEST_SILENCE: Duration = Duration::from_secs(30);

/// What a stream that is left alone may pause, on a machine that does much else;
/// the figures that are printed tell more.
const LONGEST_GAP: Duration = Duration::from_secs(5);

/// So long everything goes on before the first kill, for comparison.
const PEACE: Duration = Duration::from_secs(3);

/// Earlier failures of what has run for so long do not delay the next attempt.
const FORGIVEN: Duration = Duration::from_secs(12);

/// What may be killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    /// Not by a signal: the camera's pipeline is restarted by an operator.
    Restart,
    /// The host of the camera's feed family.
    Camera,
    /// The host that makes Motion JPEG of it.
    MotionJpeg,
    /// The host that pushes it, where a push has one.
    Push,
    /// A host that makes a picture.
    Picture,
    /// The command that is a feed.
    Feed,
    /// The command of a stream.
    Command,
}

const VICTIMS: [Victim; 7] = [
    Victim::Restart,
    Victim::Camera,
    Victim::MotionJpeg,
    Victim::Push,
    Victim::Picture,
    Victim::Feed,
    Victim::Command,
];

const SIGNALS: [&str; 4] = ["KILL", "SEGV", "STOP", "ABRT"];

struct Kill {
    victim: Victim,
    at: Instant,
}

#[test]
fn nobody_is_disconnected_and_nothing_is_left_behind_while_hosts_are_killed_at_random() {
    let (span, seed) = (number("KILLS_SECONDS", 12), number("KILLS_SEED", 1));
    eprintln!("KILLS_SEED={seed} KILLS_SECONDS={span}");
    let receiver = Receiver::with("record off;");
    let livebox = Livebox::start(&config(&receiver));
    livebox.wait_for_state("streaming", LIMIT);
    let audience = Audience::connect(&livebox);
    audience.wait_for_all("everybody sees something");
    let other = Viewer::connect(livebox.http(), "/other.mp4");
    other.wait_for_more(10, LIMIT);
    wait_for_running(&livebox, "", 2);
    let (before, hosts_before) = (Sample::take(&livebox, wait::now()), hosts(&livebox).len());
    let began = wait::now();
    wait::within(PEACE, || None::<()>);

    let (samples, kills) = kill_at_random(&livebox, Duration::from_secs(span), seed);

    audience.wait_for_all("everybody goes on");
    livebox.wait_for_state("streaming", LIMIT);
    let longest = audience.longest_silence();
    let gap = report(&kills, &audience, &other, began);
    eprintln!("longest silence {longest:?}; {before:?}, then {:?}", samples.last());
    eprintln!("memory KiB in each tenth: {:?}", memory_in_tenths(&samples));
    assert!(kills.len() as u64 >= span / 4, "{} kills in {span} s", kills.len());
    assert_eq!(audience.lost(), Vec::<String>::new());
    assert!(longest < LONGEST_SILENCE, "a silence of {longest:?}");
    assert!(gap < LONGEST_GAP, "a stream that was left alone paused for {gap:?}");
    other.seen().assert_time_goes_forward();
    assert_eq!(other.seen().ended, None);
    // It was never begun anew; a busy machine may have been too slow for some of its pictures.
    assert_eq!(livebox.log().count("stream other is live"), 1);
    wait_for_running(&livebox, "", 2);
    wait::until("nothing is left behind", LIMIT, || {
        let now = Sample::take(&livebox, wait::now());
        let is_back = now.files <= before.files + MORE_FILES
            && now.threads <= before.threads + MORE_THREADS
            && proc::zombies(livebox.pid()).is_empty()
            && hosts(&livebox).len() == hosts_before;
        is_back.then_some(())
    });
    assert_nothing_grows(&samples);
    drop((audience, other));
    wait_for_running(&livebox, "", 0);
    wait::until("only the hosts of the push are left", LIMIT, || {
        let unwatched = ["feed other", "mjpeg", "picture"];
        unwatched.iter().all(|job| hosts_of(&livebox, job).is_empty()).then_some(())
    });
}

fn config(receiver: &Receiver) -> String {
    // What is kept of a stream of bytes grows as long as these tests last; it is to be little.
    let counter = COUNTER.replace("0.02", "1");
    format!(
        "feeds:\n  camera: {{test: clock, size: 320x180, fps: 25, audio: tone}}\n  \
         other: {{test: clock, size: 320x180, fps: 25, audio: tone}}\n  \
         count: {{command: {counter:?}}}\n  \
         quiet: {{command: \"sh -c 'yes | head -c 100; sleep 600'\"}}\n\
         streams:\n  camera: {{bitrate: 400k}}\n  other: {{bitrate: 400k}}\n  \
         plain: {{feed: count}}\n  through: {{feed: count, command: cat}}\n  quiet: {{}}\n\
         pushes: {{far: {{stream: camera, url: \"{}\", key: k, audio: feed, start: true}}}}\n",
        receiver.url()
    )
}

/// What livebox holds meanwhile, and what was killed.
fn kill_at_random(livebox: &Livebox, span: Duration, seed: u64) -> (Vec<Sample>, Vec<Kill>) {
    let mut dice = Dice::new(seed, 0);
    let (mut samples, mut kills, mut left) = (Vec::new(), Vec::new(), Vec::new());
    let end = wait::now() + span;
    let mut next = wait::now();
    wait::within(span, || {
        samples.push(Sample::take(livebox, wait::now()));
        if wait::now() >= next {
            if left.is_empty() {
                left = VICTIMS.to_vec();
            }
            let victim = left.swap_remove(dice.below(left.len() as u64) as usize);
            let signal = SIGNALS[dice.below(SIGNALS.len() as u64) as usize];
            kills.extend(victim.kill(livebox, signal).map(|at| Kill { victim, at }));
            next = wait::now() + Duration::from_millis(300) + dice.up_to(Duration::from_secs(3));
        }
        (wait::now() >= end).then_some(())
    });
    (samples, kills)
}

impl Victim {
    /// Kills it; returns when. It may be between two lives.
    fn kill(self, livebox: &Livebox, signal: &str) -> Option<Instant> {
        let pids = match self {
            Self::Restart => {
                let restart = format!("{API}/streams/camera/restart");
                assert_eq!(livebox.http().request("POST", &restart).answer().status(), 200);
                return Some(wait::now());
            }
            Self::Picture => return Some(kill_a_picture(livebox, signal)),
            Self::Camera => hosts_of(livebox, "feed camera"),
            Self::MotionJpeg => hosts_of(livebox, "mjpeg"),
            Self::Push => hosts_of(livebox, "push"),
            Self::Feed => running(livebox, "while :"),
            Self::Command => running(livebox, "cat"),
        };
        // A command that stands still is its own affair.
        let is_command = matches!(self, Self::Feed | Self::Command);
        let signal = if is_command { "KILL" } else { signal };
        let at = wait::now();
        pids.iter().for_each(|pid| crash(*pid, signal));
        (!pids.is_empty()).then_some(at)
    }

    /// Which of those that are watched it interrupts; where it is seen first when it is back.
    fn interrupts(self) -> &'static [&'static str] {
        match self {
            Self::Restart | Self::Camera => &["/camera.mp4", "/camera.mjpeg"],
            Self::MotionJpeg => &["/camera.mjpeg"],
            Self::Feed => &["/plain", "/through"],
            Self::Command => &["/through"],
            Self::Push | Self::Picture => &[],
        }
    }
}

/// There is no picture in these bytes, so that the host waits for more of them.
fn kill_a_picture(livebox: &Livebox, signal: &str) -> Instant {
    let http = livebox.http();
    let asked = std::thread::spawn(move || http.get("/quiet/pic"));
    let host = wait::until("a host", LIMIT, || hosts_of(livebox, "picture").into_iter().next());
    let at = wait::now();
    crash(host, signal);
    let answer = asked.join().expect("it asks");
    assert_eq!(answer.status(), 503, "{}", answer.text());
    at
}

/// Prints how long everything took to come back, and how long the stream paused
/// that was left alone; returns the latter.
fn report(kills: &[Kill], audience: &Audience, other: &Viewer, began: Instant) -> Duration {
    for victim in VICTIMS {
        let Some(path) = victim.interrupts().first() else { continue };
        let (mut all, mut rested) = (Vec::new(), Vec::new());
        let mut interrupted = began;
        for kill in kills {
            if kill.victim == victim
                && let Some(back) = audience.back_after(path, kill.at)
            {
                all.push(back);
                let is_rested = interrupted == began || kill.at - interrupted > FORGIVEN;
                rested.extend(is_rested.then_some(back));
            }
            if kill.victim.interrupts().contains(path) {
                interrupted = kill.at;
            }
        }
        let [all, rested] = [all, rested].map(told);
        eprintln!("{victim:?}: back after {all}; where it had run for long: {rested}");
    }
    let first = kills.first().map_or(began, |kill| kill.at);
    let arrivals: Vec<_> = other.seen().fragments.iter().map(|one| one.arrived).collect();
    let worst = |is_meant: &dyn Fn(Instant) -> bool| {
        let meant = arrivals.windows(2).filter(|pair| pair[0] >= began && is_meant(pair[0]));
        meant.map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    };
    let (before, meanwhile) = (worst(&|at| at < first), worst(&|at| at >= first));
    eprintln!("the stream left alone: worst gap {meanwhile:?}, before the kills {before:?}");
    meanwhile
}

fn told(mut spans: Vec<Duration>) -> String {
    spans.sort_unstable();
    match (spans.get(spans.len() / 2), spans.last()) {
        (Some(median), Some(worst)) => {
            format!("{median:.0?} (median of {}), {worst:.0?} (worst)", spans.len())
        }
        _ => "nothing measured".to_owned(),
    }
}
