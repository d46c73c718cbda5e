//! Playing combinations of client, way and case, some at a time, and judging them.

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::client::{Client, exists};
use crate::common::livebox::Livebox;
use crate::common::viewer::Viewer;
use crate::common::wait;
use crate::made::{Made, Recording};
use crate::measure::{self, Seen};
use crate::player::now_ms;
use crate::programs::Task;
use crate::way::{Case, PASSWORD, Served, USER, Way};
use crate::{browser, film, processors};

/// How many are played at once, on at least one processor each; another number by the environment
/// variable `CLIENTS_AT_ONCE`.
const AT_ONCE: usize = 2;
const LIMIT: Duration = Duration::from_secs(30);
/// What the viewer before a rest sees.
const BEFORE_REST: usize = 60;
/// What a playlist has when its stream has been running for a while.
const SEGMENTS: usize = 5;

/// One client on one way to one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Combination {
    pub(crate) client: Client,
    pub(crate) way: Way,
    pub(crate) case: Case,
}

/// What came of it.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) of: Combination,
    pub(crate) seen: Result<Seen, String>,
}

impl Combination {
    /// All that are possible, in the order of the table.
    pub(crate) fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for client in Client::ALL {
            for way in Way::ALL {
                let cases = Case::ALL.into_iter().map(|case| Self { client, way, case });
                all.extend(cases.filter(|one| one.is_possible()));
            }
        }
        all
    }

    /// Whether there is such a stream and the client can show it.
    pub(crate) fn is_possible(self) -> bool {
        exists(self.way, self.case) && self.client.limit(self.way, self.case).is_none()
    }

    /// Each client on its usual way.
    pub(crate) fn usual() -> Vec<Self> {
        let usual = |client: Client| Self { client, way: client.usual(), case: Case::Running };
        Client::ALL.map(usual).to_vec()
    }

    pub(crate) fn title(self) -> String {
        format!("{} | {} | {}", self.client.title(), self.way.title(), self.case.title())
    }
}

impl Outcome {
    /// Plays the combination on these processors, where this thread is.
    fn of(of: Combination, film: &Path, docroot: &Path, share: &[usize]) -> Self {
        let (begin_ms, free_s) = (now_ms(), processors::free_seconds(share));
        let outcome = Self { of, seen: apart(of, film, docroot) };
        let free = (processors::free_seconds(share) - free_s) * 1000.0 / (now_ms() - begin_ms);
        let title = format!("{} (processors {:.0} % free)", of.title(), 100.0 * free);
        match (&outcome.seen, outcome.fault()) {
            (Ok(seen), None) => eprintln!("{title}: {seen}"),
            (Ok(seen), Some(fault)) => eprintln!("{title}: {seen} FAILS: {fault}"),
            (Err(why), _) => eprintln!("{title}: FAILS: {why}"),
        }
        outcome
    }

    /// Why the combination does not do, if so.
    pub(crate) fn fault(&self) -> Option<String> {
        match &self.seen {
            Ok(seen) => seen.fault(),
            Err(why) => Some(why.clone()),
        }
    }

    /// What the test says of it, if anything.
    pub(crate) fn complaint(&self) -> Option<String> {
        self.fault().map(|fault| format!("{}: {fault}", self.of.title()))
    }
}

/// Plays all of them, some at a time; the outcomes are in their order.
pub(crate) fn play(combinations: &[Combination]) -> Vec<Outcome> {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let film = film::make(folder.path());
    let docroot = folder.path().join("web");
    std::fs::create_dir(&docroot).expect("the folder is writable");
    browser::write_page(&docroot);
    let waiting = Mutex::new(combinations.iter().copied().enumerate());
    let outcomes = Mutex::new(Vec::new());
    let play_all = |share: Vec<usize>| {
        processors::keep_to(&share);
        while let Some((index, of)) = next(&waiting) {
            let outcome = Outcome::of(of, &film, &docroot, &share);
            outcomes.lock().expect("no worker panics").push((index, outcome));
        }
    };
    std::thread::scope(|scope| {
        for share in processors::shares(at_once()) {
            scope.spawn(|| play_all(share));
        }
    });
    let mut outcomes = outcomes.into_inner().expect("no worker panics");
    outcomes.sort_by_key(|(index, _)| *index);
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}

fn at_once() -> usize {
    let wanted = std::env::var("CLIENTS_AT_ONCE").ok();
    wanted.map_or(AT_ONCE, |wanted| wanted.parse().expect("CLIENTS_AT_ONCE is a number"))
}

fn next<T>(waiting: &Mutex<impl Iterator<Item = T>>) -> Option<T> {
    waiting.lock().expect("no worker panics").next()
}

/// Plays one on a thread of its own, whose panic is an outcome like any other.
fn apart(of: Combination, film: &Path, docroot: &Path) -> Result<Seen, String> {
    std::thread::scope(|scope| {
        let played = scope.spawn(|| of.play(film, docroot)).join();
        played.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            Err(text.unwrap_or("it panicked").to_owned())
        })
    })
}

impl Combination {
    fn play(self, film: &Path, docroot: &Path) -> Result<Seen, String> {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        let served = Served::start(self.case, film, docroot);
        let task = Task { served: &served, way: self.way, folder: folder.path() };
        let start = self.client.prepare(&task);
        match self.case {
            Case::Resting => let_rest(&served.livebox),
            Case::Running | Case::Password | Case::Silent if self.way == Way::Hls => {
                fill_playlist(&served);
            }
            Case::Running | Case::Password | Case::Silent => {
                show_first(&served.livebox, self.case.open_stream());
            }
        }
        let http = served.livebox.http();
        let place = folder.path().to_owned();
        let path = format!("{}.mp4", self.case.open_stream());
        let is_read = self.case.is_encoded() && !self.way.is_sound();
        let recording = is_read.then(|| Recording::start(http, &path, &place));
        let started_ms = now_ms();
        let mut player = start();
        if self.way.is_sound() {
            return measure::sound(player.as_mut(), started_ms);
        }
        let look = move || Made::look(http, &path, &place);
        measure::pictures(player.as_mut(), started_ms, look, recording)
    }
}

/// Waits until a stream shows a picture.
fn show_first(livebox: &Livebox, stream: &str) {
    let viewer = Viewer::connect(livebox.http(), &format!("{stream}.mp4"));
    viewer.wait_for_more(1, LIMIT);
}

/// Waits until the stream has been running for as long as its playlist goes back.
fn fill_playlist(served: &Served) {
    let basic = BASE64_STANDARD.encode(format!("{USER}:{PASSWORD}"));
    wait::until("the playlist has its segments", LIMIT, || {
        let request = served.livebox.http().request("GET", "/camera/hls/live.m3u8");
        let request = request.header("Authorization", &format!("Basic {basic}"));
        let playlist = request.try_answer().ok()?.text();
        (playlist.matches("#EXTINF").count() >= SEGMENTS).then_some(())
    });
}

/// Has the stream watched, and then waits until its feed rests.
fn let_rest(livebox: &Livebox) {
    let viewer = Viewer::connect(livebox.http(), "/camera.mp4");
    viewer.wait_for_more(BEFORE_REST, LIMIT);
    drop(viewer);
    wait::until("the feed rests", LIMIT, || {
        let feeds = livebox.get("/stat.json").json();
        (feeds["feeds"][0]["state"] == "idle").then_some(())
    });
}
