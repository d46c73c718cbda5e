//! Recordings that the service makes: started, found, kept, and what is left
//! of them when something breaks.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use livebox::wire::answer::Done;
use livebox::wire::job::{FinishRecording, Job};
use livebox::wire::{self, FromHost, ToHost};
use serde_json::Value;
use tempfile::TempDir;

use crate::common::browser::{Browser, Scripts};
use crate::common::livebox::{API, CAMERA, Launch, Livebox, binary, host_binary};
use crate::common::process::{Process, run};
use crate::common::tools::tool;
use crate::common::{probe, proc, wait};

const LIMIT: Duration = wait::TIMEOUT;

#[test]
fn what_is_recorded_by_hand_becomes_a_plain_film_with_its_index_in_front() {
    let place = Place::new();
    let livebox = place.start("");
    assert_eq!(steer(&livebox, "start"), 200);
    assert_eq!(steer(&livebox, "start"), 400);
    let running = wait_for_first(&livebox, |one| one["duration_s"].as_f64() >= Some(5.0));
    assert_eq!(running["state"], "recording");
    assert_eq!(steer(&livebox, "stop"), 200);
    assert_eq!(steer(&livebox, "stop"), 400);

    let film = wait_for_first(&livebox, is_finished);

    let file = place.folder().join(name_of(&film));
    assert_eq!(files(place.folder()), std::slice::from_ref(&file));
    let boxes = boxes(&file);
    assert_eq!(boxes.last().map(String::as_str), Some("mdat"), "{boxes:?}");
    assert!(boxes.contains(&"moov".to_owned()) && !boxes.contains(&"moof".to_owned()), "{boxes:?}");
    let told = film["duration_s"].as_f64().expect("it is known");
    assert_is_whole(&file, told - 0.1);
    assert!(told >= 5.0, "{told} s");
    assert_eq!(film["bytes"].as_u64(), fs::metadata(&file).ok().map(|found| found.len()));
    let (picture, sound) = (span(&file, "v"), span(&file, "a"));
    assert!((picture.1 - picture.0 - told).abs() < 0.2, "{picture:?} in {told} s");
    assert!(
        (picture.0 - sound.0).abs() < 0.1 && (picture.1 - sound.1).abs() < 0.1,
        "{picture:?} {sound:?}"
    );
    let stat = livebox.get("/stat.json").json();
    assert!(stat["recordings"]["written_today_bytes"].as_u64() > film["bytes"].as_u64(), "{stat}");
    let metrics = livebox.get("/metrics").text();
    assert!(metrics.contains("livebox_recordings 1\n"), "{metrics}");
    assert!(livebox.get("/stat").text().contains("by hand"));
}

#[test]
fn little_of_a_finished_recording_is_unused_room_for_its_index() {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (part, film) = (path("part.mp4"), path("film.mp4"));
    let mut ffmpeg = tool("ffmpeg");
    ffmpeg.args(["-v", "error", "-f", "lavfi", "-i", "testsrc2=size=160x90:rate=30:duration=300"]);
    ffmpeg.args(["-f", "lavfi", "-i", "sine=sample_rate=48000:duration=300", "-c:a", "aac"]);
    ffmpeg.args(["-c:v", "libx264", "-preset", "ultrafast", "-bf", "0", "-g", "30"]);
    ffmpeg.args(["-movflags", "frag_every_frame+empty_moov+default_base_moof", &part]);
    assert_eq!(run(&mut ffmpeg, b"", LIMIT).code, Some(0));
    let frames = |kind| probe::packet_times(&part, kind).len();

    // As a recorder reckons: twelve bytes for a picture, four for a sound.
    let index = 12 * frames("v") + 4 * frames("a");
    let (from, to, through) = (part.into(), film.clone().into(), path("through.mp4").into());
    let expected = Some((Duration::from_secs(300), index as u64));
    let job = FinishRecording { from, to, through, expected };
    assert_eq!(answer_of_host(job.into()), FromHost::Answer(Done));

    let film = fs::read(film).expect("it was made");
    let (mut free, mut moov, mut at) = (0, 0, 0);
    while let Some((length, rest)) = film[at..].split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*length) as usize;
        free += if rest.starts_with(b"free") { length } else { 0 };
        moov += if rest.starts_with(b"moov") { length } else { 0 };
        at += length;
    }
    assert!(moov > 0 && free < 2 * moov, "{free} bytes beside an index of {moov}");
}

/// What a pipeline host answers that is given `job` as the service would.
fn answer_of_host(job: Job) -> FromHost<Done> {
    let (mut ours, theirs) = UnixStream::pair().expect("there are sockets");
    let mut command = Command::new(binary());
    command.args(["host", "recording"]);
    let _host = Process::start_with("host", &mut command, OwnedFd::from(theirs).into());
    // Which holds its side of the socket, too.
    drop(command);
    let message =
        wire::encode(&ToHost::Job { job, memory: None, began_ns: 0 }, 0).expect("it is short");
    ours.write_all(&message).expect("it reads");
    ours.set_read_timeout(Some(LIMIT)).expect("it is a socket");
    let mut decoder = wire::Decoder::default();
    loop {
        if let Some((answer, _)) = decoder.decode().expect("it speaks the protocol") {
            return answer;
        }
        let mut read = [0; 1024];
        let length = ours.read(&mut read).expect("it answers");
        assert_ne!(length, 0, "it has ended without an answer");
        decoder.buffer().extend_from_slice(&read[..length]);
    }
}

#[test]
fn a_recording_is_served_in_ranges_and_also_while_it_grows() {
    let place = Place::new();
    let livebox = place.start("");
    steer(&livebox, "start");
    let running = wait_for_first(&livebox, |one| one["bytes"].as_u64() > Some(100_000));
    let url = running["url"].as_str().expect("it has a URL").to_owned();
    let growing = livebox.get(&url);
    assert_eq!((growing.status(), growing.header("content-type")), (200, Some("video/mp4")));
    assert!(growing.body.len() > 100_000);
    steer(&livebox, "stop");
    wait_for_first(&livebox, is_finished);

    let whole = livebox.get(&url);
    let ask = |method: &str, range: &str| {
        livebox.http().request(method, &url).header("Range", range).answer()
    };
    let part = ask("GET", "bytes=100-199");
    assert_eq!((part.status(), part.body.as_slice()), (206, &whole.body[100..200]));
    let total = whole.body.len();
    assert_eq!(part.header("content-range"), Some(format!("bytes 100-199/{total}").as_str()));
    assert_eq!(part.header("content-type"), Some("video/mp4"));
    assert_eq!(ask("GET", &format!("bytes={total}-")).status(), 416);
    let head = livebox.http().request("HEAD", &url).answer();
    assert_eq!((head.status(), head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), Some(total.to_string().as_str()));
    assert_eq!(head.header("accept-ranges"), Some("bytes"));
    let tag = whole.header("etag").expect("it has one").to_owned();
    let same = livebox.http().request("GET", &url).header("If-None-Match", &tag).answer();
    assert_eq!(same.status(), 304);
}

#[test]
fn names_that_lead_elsewhere_lead_nowhere() {
    let place = Place::new();
    let secret = place.home.path().join("secret.mp4");
    fs::write(&secret, "precious").expect("the folder is writable");
    let link = "camera_2026-01-02_03-04-05.mp4";
    std::os::unix::fs::symlink(&secret, place.folder().join(link)).expect("links can be made");
    fs::write(place.folder().join("film.mp4"), "somebody's").expect("the folder is writable");
    let livebox = place.start("");
    livebox.log().wait_for("recordings are in", LIMIT);
    for path in [
        link,
        "film.mp4",
        "../secret.mp4",
        "..%2Fsecret.mp4",
        "%2e%2e%2fsecret.mp4",
        "..%5csecret.mp4",
        "%00",
        "camera_2026-01-02_03-04-06.mp4",
        "livebox.yaml",
    ] {
        for method in ["GET", "HEAD"] {
            let answer = livebox.http().request(method, &format!("/recordings/{path}")).answer();
            assert!([404, 400].contains(&answer.status()), "{method} {path}: {}", answer.status());
            assert!(!answer.text().contains("precious") && !answer.text().contains("somebody"));
        }
        let deleted =
            livebox.http().request("DELETE", &format!("{API}/recordings/{path}")).answer();
        assert!([404, 400, 405].contains(&deleted.status()), "{path}: {}", deleted.status());
    }
    assert_eq!(list(&livebox).len(), 0);
    assert!(secret.exists() && place.folder().join("film.mp4").exists());
}

#[test]
fn a_power_cut_costs_two_seconds_at_most_and_the_recording_goes_on() {
    let place = Place::new();
    let mut livebox = place.start("");
    steer(&livebox, "start");
    wait_for_first(&livebox, |one| one["duration_s"].as_f64() >= Some(4.0));
    let before = list(&livebox)[0]["duration_s"].as_f64().expect("it is known");
    livebox.process().kill();
    let part = files(place.folder()).pop().expect("there is a file");
    assert!(part.to_string_lossy().ends_with(".part.mp4"), "{part:?}");
    assert_is_whole(&part, before - 2.0);

    let livebox = place.start("");

    let old = wait::until("the old one is finished", LIMIT, || {
        list(&livebox).into_iter().rev().find(is_finished)
    });
    let whole = place.folder().join(name_of(&old));
    assert_is_whole(&whole, before - 2.0);
    assert!(!boxes(&whole).contains(&"moof".to_owned()));
    let goes_on = |one: &Value| one["state"] == "recording" && one["name"] != old["name"];
    wait_for_first(&livebox, goes_on);
}

#[test]
fn what_a_crash_left_half_done_is_cleared_away() {
    let place = Place::new();
    let stem = "camera_2026-01-02_03-04-05";
    let file = |ending: &str| place.folder().join(format!("{stem}{ending}"));
    for ending in [".mp4", ".part.mp4", ".new.mp4", ".tmp.mp4"] {
        fs::write(file(ending), ending).expect("the folder is writable");
    }
    let livebox = place.start("");
    livebox.log().wait_for("1 recordings are in", LIMIT);
    assert_eq!(files(place.folder()), [file(".mp4")]);
}

#[test]
fn a_stream_that_is_always_recorded_is_cut_at_key_frames_and_nothing_is_missing() {
    let place = Place::new();
    let livebox = place.start_with("recordings: {split: 10s, ", ", record: always");
    wait::until("three files", LIMIT, || (list(&livebox).len() >= 3).then_some(()));
    wait::until("two are finished", LIMIT, || {
        (list(&livebox).iter().filter(|one| is_finished(one)).count() >= 2).then_some(())
    });
    let mut films = list(&livebox);
    films.reverse();
    for film in &films[..2] {
        // Ten seconds of the clock; an encoder that is late has less in them.
        assert!(film["duration_s"].as_f64() >= Some(5.0), "{film}");
        assert_is_whole(&place.folder().join(name_of(film)), 5.0);
    }
    let page = livebox.get("/recordings");
    assert_eq!(page.status(), 200);
    assert!(page.text().contains("always") && !page.text().contains("token"));
}

#[test]
fn a_camera_that_restarts_goes_on_in_the_same_file() {
    let place = Place::new();
    let livebox = place.start("");
    steer(&livebox, "start");
    wait_for_first(&livebox, |one| one["duration_s"].as_f64() >= Some(2.0));
    let restarted = livebox.http().post(&format!("{API}/streams/camera/restart"), &Value::Null);
    assert_eq!(restarted.status(), 200);
    livebox.log().wait_for("restarted by an operator", LIMIT);
    wait_for_first(&livebox, |one| one["duration_s"].as_f64() >= Some(6.0));
    steer(&livebox, "stop");
    let film = wait_for_first(&livebox, is_finished);
    assert_eq!(list(&livebox).len(), 1);
    let file = place.folder().join(name_of(&film));
    // Behind the gap pictures stand off the grid of 25 a second, in which ffmpeg counts otherwise.
    let mut command = tool("ffmpeg");
    command.args(["-v", "error", "-xerror", "-i"]).arg(&file);
    let decoded = run(command.args(["-enc_time_base:v", "1:90000", "-f", "null", "-"]), b"", LIMIT);
    assert_eq!((decoded.code, decoded.stderr.as_str()), (Some(0), ""));
    let (picture, sound) = (span(&file, "v"), span(&file, "a"));
    assert!((picture.1 - sound.1).abs() < 0.2, "{picture:?} {sound:?}");
}

#[test]
fn bytes_of_a_command_are_recorded_as_they_come() {
    let place = Place::new();
    let clip = "ffmpeg -v error -re -f lavfi -i testsrc=size=320x240:rate=25 -c:v libx264 -g 25 \
        -preset ultrafast -f mpegts -";
    let config = format!(
        "feeds: {{clip: {{command: \"{clip}\"}}}}\nstreams: {{raw: {{feed: clip, type: video/mp2t, \
         url: /raw.ts, record: always}}}}\nrecordings: {{folder: {}, split: 10s}}\n",
        place.folder().display()
    );
    let livebox = Launch::with(&config).start();
    let film =
        wait::until("one is finished", LIMIT, || list(&livebox).into_iter().find(is_finished));
    let file = place.folder().join(name_of(&film));
    assert!(name_of(&film).ends_with(".ts"));
    assert_eq!(
        livebox.get(&format!("/recordings/{}", name_of(&film))).header("content-type"),
        Some("video/mp2t")
    );
    probe::decode(&file.display().to_string(), 20);
}

#[test]
fn an_operator_records_stops_and_deletes_on_a_page_without_scripts() {
    let place = Place::new();
    let livebox = place.start("");
    let desk = || livebox.get("/dashboard/recordings").text();
    let token = |page: &str| {
        let (_, rest) = page.split_once("name=\"token\" value=\"").expect("there is a form");
        rest.split('"').next().expect("a split has a first piece").to_owned()
    };
    let form = |path: &str, token: &str| {
        let request = livebox.http().request("POST", &format!("/dashboard/{path}"));
        request.form(&format!("token={token}")).answer().status()
    };
    let ours = token(&desk());
    assert_eq!(form("streams/camera/record/start", "wrong"), 403);
    assert_eq!(form("streams/camera/record/start", &ours), 303);
    wait_for_first(&livebox, |one| one["bytes"].as_u64() > Some(10_000));
    let running = list(&livebox)[0].clone();
    let api =
        |name: &str| livebox.http().request("DELETE", &format!("{API}/recordings/{name}")).answer();
    assert_eq!(api(name_of(&running)).status(), 409);
    assert_eq!(form("streams/camera/record/stop", &ours), 303);
    let film = wait_for_first(&livebox, is_finished);
    let page = desk();
    assert!(page.contains("<video") && page.contains(name_of(&film)));
    let (_, question) = page.split_once("<details class=\"ask\">").expect("it is asked first");
    assert!(question.find("/delete\"") < question.find("</details>"), "{page}");
    assert_eq!(form(&format!("recordings/{}/delete", name_of(&film)), &ours), 303);
    assert!(list(&livebox).is_empty() && files(place.folder()).is_empty());
}

#[test]
fn the_page_shows_what_is_recorded_by_itself_and_lets_a_question_stand() {
    let place = Place::new();
    place.recent(2);
    let livebox = place.start("");
    livebox.log().wait_for("1 recordings are in", LIMIT);
    wait_for_first(&livebox, is_finished);
    let browser = Browser::start(Scripts::Allowed);
    browser.open(&livebox.url("/dashboard/recordings"));
    steer(&livebox, "start");
    let shows_new = "return document.querySelector('td .state.preparing') !== null";
    wait::until("the page shows the new one", LIMIT, || {
        (browser.evaluate(shows_new) == true).then_some(())
    });
    browser.click("details.ask summary");
    steer(&livebox, "stop");
    wait_for_first(&livebox, is_finished);
    browser.click("details.ask button");
    wait::until("it is deleted", LIMIT, || (list(&livebox).len() == 1).then_some(()));
}

#[test]
fn a_recording_has_the_password_of_its_stream() {
    let place = Place::new();
    fs::write(place.folder().join("camera_2026-01-01_00-00-00.mp4"), "film")
        .expect("it is writable");
    let hash = crate::common::livebox::livebox(&["password"], "woodpecker\nwoodpecker\n").stdout;
    let livebox = place.start_with("recordings: {", &format!(", password: '{}'", hash.trim()));
    livebox.log().wait_for("1 recordings are in", LIMIT);
    let url = "/recordings/camera_2026-01-01_00-00-00.mp4";
    assert_eq!(livebox.get(url).status(), 401);
    assert!(list(&livebox).is_empty());
    let curl = |path: &str| {
        let mut curl = tool("curl");
        curl.args(["-s", "-u", "me:woodpecker", &livebox.url(path)]);
        run(&mut curl, b"", LIMIT).stdout
    };
    assert_eq!(curl(url), "film");
    // Nor does anybody else learn how many there are, and how large.
    assert!(livebox.get("/recordings").text().contains("<p>0 recordings, 0 "));
    assert!(curl("/recordings").contains("<p>1 recording, 4 "), "{}", curl("/recordings"));
    let sums = |stat: &str| {
        let stat: Value = serde_json::from_str(stat).expect("it is JSON");
        (stat["recordings"]["count"].as_u64(), stat["recordings"]["bytes"].as_u64())
    };
    assert_eq!(sums(&livebox.get("/stat.json").text()), (Some(0), Some(0)));
    assert_eq!(sums(&curl("/stat.json")), (Some(1), Some(4)));
    let metrics = livebox.get("/metrics").text();
    assert!(metrics.contains("livebox_recordings_bytes 0\n"), "{metrics}");
}

#[test]
fn a_folder_that_cannot_be_written_is_told_at_the_start() {
    let ended = Launch::with(&format!("{CAMERA}recordings: {{folder: /proc}}\n")).finish();
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("recordings.folder"), "{}", ended.stderr);
}

#[test]
fn what_puts_the_index_in_front_is_the_least_urgent_and_ends_with_its_work() {
    let place = Place::new();
    let livebox = place.start("");
    steer(&livebox, "start");
    wait_for_first(&livebox, |one| one["bytes"].as_u64() > Some(50_000));
    steer(&livebox, "stop");
    wait_for_first(&livebox, is_finished);
    let pid = livebox.pid();
    wait::until("nothing is left of it", LIMIT, || proc::children(pid).is_empty().then_some(()));
}

#[test]
fn a_recording_follows_the_configuration_when_that_is_read_again() {
    let place = Place::new();
    let livebox = place.start("");
    let mut watching = livebox.http().open("/camera.mp4").1;
    livebox.reload(&place.config("recordings: {", ", record: always"));
    wait_for_first(&livebox, |one| one["bytes"].as_u64() > Some(50_000));
    livebox.reload(&place.config("recordings: {", ""));
    wait_for_first(&livebox, is_finished);
    watching.take_bytes(200_000).expect("who watches notices nothing");
}

#[test]
fn a_reload_that_changes_nothing_cuts_no_recording_of_bytes() {
    let place = Place::new();
    let count = "sh -c 'while :; do echo yes; sleep 0.05; done'";
    let config = format!(
        "feeds: {{count: {{command: {count:?}}}}}\nstreams: {{raw: {{feed: count, type: text/plain, \
         record: always}}, cooked: {{feed: count, command: cat, type: text/plain, record: always}}}}\n\
         recordings: {{folder: {}}}\n",
        place.folder().display()
    );
    let livebox = Launch::with(&config).start();
    let bytes = || list(&livebox).iter().map(|one| one["bytes"].as_u64()).collect::<Vec<_>>();
    wait::until("both are recorded", LIMIT, || {
        (bytes().len() == 2 && bytes().iter().all(|bytes| *bytes > Some(0))).then_some(())
    });
    let before = bytes();
    for _ in 0..20 {
        livebox.reload(&config);
    }
    wait::until("both go on", LIMIT, || {
        bytes().iter().zip(&before).all(|(now, before)| now > before).then_some(())
    });
    assert_eq!(files(place.folder()).len(), 2, "{:?}", files(place.folder()));
    assert!(list(&livebox).iter().all(|one| one["state"] == "recording"));
}

#[test]
fn a_recording_is_finished_although_an_upgrade_has_deleted_the_programs_that_run() {
    let place = Place::new();
    let program = place.home.path().join("livebox");
    let host_program = place.home.path().join("livebox-host");
    fs::copy(binary(), &program).expect("there is room for it");
    fs::copy(host_binary(), &host_program).expect("there is room for it");
    let config = place.config("recordings: {", "");
    let livebox = Launch::with(&config).copy(&program).start();
    steer(&livebox, "start");
    wait_for_first(&livebox, |one| one["bytes"].as_u64() > Some(50_000));
    // As dpkg does it: another file takes the name, and nothing is left of the first.
    let other = place.home.path().join("livebox.new");
    for replaced in [&program, &host_program] {
        fs::write(&other, "#!/bin/sh\nexit 1\n").expect("the folder is writable");
        fs::rename(&other, replaced).expect("the folder is writable");
    }
    steer(&livebox, "stop");
    let film = wait_for_first(&livebox, is_finished);
    let boxes = boxes(&place.folder().join(name_of(&film)));
    assert!(!boxes.contains(&"moof".to_owned()), "it stays in fragments: {boxes:?}");
}

/// A folder for recordings, and one for the state, over several starts.
pub(super) struct Place {
    pub(super) home: TempDir,
    folder: PathBuf,
}

impl Place {
    pub(super) fn new() -> Self {
        let home = tempfile::tempdir().expect("there is room for a folder");
        let folder = home.path().join("films");
        fs::create_dir(&folder).expect("the folder is writable");
        Self { home, folder }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A file of a recording that was made so many days ago.
    pub(super) fn recent(&self, days: u64) -> PathBuf {
        let mut date = tool("date");
        date.args([&format!("--date={days} days ago"), "+camera_%Y-%m-%d_%H-%M-%S.mp4"]);
        let file = self.folder.join(run(&mut date, b"", LIMIT).stdout.trim());
        fs::write(&file, "film").expect("the folder is writable");
        file
    }

    pub(super) fn start(&self, stream: &str) -> Livebox {
        self.start_with("recordings: {", stream)
    }

    pub(super) fn start_with(&self, recordings: &str, stream: &str) -> Livebox {
        Livebox::start(&self.config(recordings, stream))
    }

    pub(super) fn config(&self, recordings: &str, stream: &str) -> String {
        format!(
            "{}server: {{state: {}}}\n{recordings}folder: {}}}\n",
            CAMERA.replace("bitrate: 750k", &format!("bitrate: 750k{stream}")),
            self.home.path().display(),
            self.folder.display()
        )
    }
}

pub(super) fn steer(livebox: &Livebox, what: &str) -> u16 {
    livebox.http().put(&format!("{API}/streams/camera/record/{what}")).status()
}

/// All recordings, the newest first.
pub(super) fn list(livebox: &Livebox) -> Vec<Value> {
    let answer = livebox.get(&format!("{API}/recordings")).json();
    answer["recordings"].as_array().expect("it is a list").clone()
}

pub(super) fn wait_for_first(livebox: &Livebox, is_it: impl Fn(&Value) -> bool) -> Value {
    wait::until("the newest recording is so", LIMIT, || {
        list(livebox).into_iter().next().filter(&is_it)
    })
}

pub(super) fn is_finished(one: &Value) -> bool {
    one["state"] == "finished"
}

pub(super) fn name_of(one: &Value) -> &str {
    one["name"].as_str().expect("it has a name")
}

pub(super) fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the folder is there");
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    files
}

/// The boxes of a file, the outermost ones.
fn boxes(file: &Path) -> Vec<String> {
    let bytes = fs::read(file).expect("it is there");
    let (mut kinds, mut at) = (Vec::new(), 0);
    while at + 8 <= bytes.len() {
        let number =
            |from: usize| u32::from_be_bytes(bytes[from..from + 4].try_into().expect("four"));
        kinds.push(String::from_utf8_lossy(&bytes[at + 4..at + 8]).into_owned());
        at += match number(at) {
            0 => break,
            1 => number(at + 12) as usize,
            length => length as usize,
        };
    }
    kinds
}

/// Every picture and sound decodes, no picture is missing, and there are
/// `seconds` of them.
fn assert_is_whole(file: &Path, seconds: f64) {
    let name = file.display().to_string();
    assert_eq!(probe::streams(&name, None).codecs(), ["h264", "aac"]);
    probe::decode(&name, 1000);
    let times = probe::packet_times(&name, "v");
    let longest = times.windows(2).map(|two| two[1] - two[0]).fold(0.0, f64::max);
    assert!(longest < 0.2, "a gap of {longest} s");
    let span = times.last().expect("there are pictures") - times[0];
    assert!(span >= seconds - 0.1, "{span} s instead of {seconds} s");
}

/// When the first and the last packet of a kind are shown.
fn span(file: &Path, kind: &str) -> (f64, f64) {
    let times = probe::packet_times(&file.display().to_string(), kind);
    (times[0], *times.last().expect("there are packets"))
}
