//! Sources that mean harm, or stop answering: the feed says what is wrong, the
//! service stays small, other streams go on, and what was attacked is back by
//! itself when its source is well.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::fs::OFlags;
use tempfile::TempDir;

use super::pipeline_hosts::{host_of, hosts_of};
use super::pulling::server;
use crate::common::clip::{Clips, Film, SHORT};
use crate::common::hanging::Disk;
use crate::common::hostile_camera::{Attack, Camera};
use crate::common::huge;
use crate::common::livebox::{Launch, Livebox};
use crate::common::process::run;
use crate::common::tools::tool;
use crate::common::viewer::Viewer;
use crate::common::{proc, wait};

const LIMIT: Duration = wait::TIMEOUT;

/// What an attack may cost the service itself.
const MORE_MEMORY_KIB: u64 = 64 << 10;

/// A stream that others watch meanwhile.
const PEACEFUL: &str = "peaceful: {test: clock, size: 320x180, fps: 25, audio: tone}";

#[test]
fn fragments_of_a_picture_that_never_ends_harm_only_their_own_feed() {
    survive(Attack::EndlessFragments);
}

#[test]
fn packets_of_thousands_of_units_harm_only_their_own_feed() {
    survive(Attack::ManyUnits);
}

#[test]
fn a_description_of_four_gigabytes_harms_only_its_own_feed() {
    survive(Attack::EndlessBody(u64::from(u32::MAX)));
}

#[test]
fn a_description_without_an_end_harms_only_its_own_feed() {
    survive(Attack::EndlessBody(400 << 20));
}

#[test]
fn header_lines_without_an_end_harm_only_their_own_feed() {
    survive(Attack::EndlessHeaders);
}

#[test]
fn a_server_that_falls_silent_in_the_midst_of_an_answer_harms_only_its_own_feed() {
    survive(Attack::Silence);
}

/// Has a camera attack a feed until it was tried again, and then answer as it should.
fn survive(attack: Attack) {
    let camera = Camera::start(attack);
    let port = camera.port();
    let livebox = Livebox::start(&format!(
        "feeds:\n  {PEACEFUL}\n  far: {{rtsp: \"rtsp://127.0.0.1:{port}/camera\", mode: continuous}}\n\
         streams:\n  peaceful: {{}}\n  near: {{feed: far}}\n"
    ));
    let peace = Peace::begin(&livebox);

    livebox.log().wait_for("feed far failed: ", LIMIT);
    let tried = camera.connections();
    wait::until("it is tried again", LIMIT, || (camera.connections() > tried).then_some(()));

    eprintln!("{attack:?}: {}", last_error(&livebox, "far"));
    peace.assert_kept(&livebox);
    drop(camera);
    let _well = server(port, "");
    Viewer::connect(livebox.http(), "/near.mp4").wait_for_more(25, LIMIT);
    peace.assert_kept(&livebox);
}

#[test]
fn a_microphone_that_hangs_does_not_stop_the_camera_and_is_heard_again() {
    let microphone = Microphone::new();
    let sound = microphone.sound();
    let livebox = microphone.livebox();
    let viewer = Viewer::connect(livebox.http(), "/both.mp4");
    viewer.wait("picture and sound", LIMIT, |seen| {
        seen.span(b"vide") > 1.0 && seen.span(b"soun") > 1.0
    });

    sound.hang(true);
    // The device opens, and gives nothing.
    livebox.log().wait_for("feed mic failed: nothing came out for 5 s", LIMIT);
    viewer.wait_for_more(25, LIMIT);
    let heard = viewer.seen().count(b"soun");
    livebox.log().wait_for("feed mic failed: nothing came out for 10 s", LIMIT);
    assert!(last_error(&livebox, "mic").contains("Nothing came out"));
    assert_eq!(hosts_of(&livebox, "feed camera").len(), 1);
    sound.hang(false);

    viewer.wait("the sound", LIMIT, |seen| seen.count(b"soun") > heard + 25);
    let seen = viewer.wait_for_more(25, LIMIT);
    seen.assert_time_goes_forward();
    let breaks = seen.breaks();
    let pictures: Vec<_> = breaks.iter().filter(|one| &one.handler == b"vide").collect();
    assert!(pictures.iter().all(|one| one.may_be_dropped_pictures()), "{pictures:?}");
}

#[test]
fn a_microphone_that_hangs_while_it_is_opened_does_not_keep_the_camera_from_viewers() {
    let microphone = Microphone::new();
    let livebox = microphone.livebox();
    let peace = Peace::begin(&livebox);
    // Nobody writes into the FIFO: opening it does not return.
    let viewer = Viewer::connect(livebox.http(), "/both.mp4");
    let seen = viewer.wait("the picture alone", LIMIT, |seen| seen.span(b"vide") > 1.0);
    assert_eq!(seen.tracks.len(), 1, "{:?}", seen.tracks);
    livebox.log().wait_for("feed mic failed: nothing came out for 10 s", LIMIT);
    assert!(last_error(&livebox, "mic").contains("Nothing came out"));
    viewer.wait_for_more(25, LIMIT).assert_time_goes_forward();

    let _sound = microphone.sound();
    wait::until("the sound is there, too", LIMIT, || {
        let viewer = Viewer::connect(livebox.http(), "/both.mp4");
        let seen = viewer.wait("a fragment", LIMIT, |seen| !seen.fragments.is_empty());
        (seen.tracks.len() == 2).then_some(())
    });
    peace.assert_kept(&livebox);
}

#[test]
fn a_microphone_that_hangs_when_it_is_closed_keeps_nobody_from_a_picture() {
    let microphone = Microphone::new();
    let sound = microphone.sound();
    let livebox = microphone.livebox();
    let watch = || {
        let viewer = Viewer::connect(livebox.http(), "/both.mp4");
        viewer.wait("picture and sound", LIMIT, |seen| {
            seen.span(b"vide") > 1.0 && seen.span(b"soun") > 1.0
        });
    };
    watch();
    livebox.log().wait_for("feed mic is idle", LIMIT);
    let viewer = Viewer::connect(livebox.http(), "/both.mp4");
    viewer.wait("a sound", LIMIT, |seen| seen.span(b"soun") > 1.0);
    let host = host_of(&livebox, "feed mic");
    sound.hang(true);
    drop(viewer);
    wait::until("it is killed", LIMIT, || (!proc::is_alive(host)).then_some(()));
    sound.hang(false);
    watch();
}

/// A sound device that is a FIFO.
struct Microphone {
    home: TempDir,
}

impl Microphone {
    fn new() -> Self {
        let home = tempfile::tempdir().expect("there is room for a folder");
        let microphone = Self { home };
        let made = tool("mkfifo").arg(microphone.fifo()).status().expect("mkfifo runs");
        assert!(made.success());
        let device = format!(
            "pcm.fifo {{ type file slave.pcm \"null\" file \"/dev/null\" infile \"{}\" \
             format \"raw\" }}\n",
            microphone.fifo().display()
        );
        fs::write(microphone.home.path().join(".asoundrc"), device).expect("it is writable");
        microphone
    }

    fn fifo(&self) -> PathBuf {
        self.home.path().join("fifo")
    }

    /// Something to hear, while this lives.
    fn sound(&self) -> Sound {
        // Also open to be read, so that it has a reader between two lives of the host.
        let mut how = OpenOptions::new();
        how.read(true).write(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed());
        let mut fifo = how.open(self.fifo()).expect("it was made");
        let [is_over, is_quiet] = [(); 2].map(|()| Arc::<AtomicBool>::default());
        let thread = std::thread::spawn({
            let (is_over, is_quiet) = (Arc::clone(&is_over), Arc::clone(&is_quiet));
            move || {
                let mut due = wait::now();
                while !is_over.load(Ordering::Relaxed) {
                    if !is_quiet.load(Ordering::Relaxed) {
                        // It may be full; it takes less than a page whole or not at all.
                        fifo.write_all(&[0x10; PERIOD]).ok();
                    }
                    due += Duration::from_millis(10);
                    wait::within(due.saturating_duration_since(wait::now()), || None::<()>);
                }
            }
        });
        Sound { is_over, is_quiet, thread: Some(thread) }
    }

    fn livebox(&self) -> Livebox {
        let config = format!(
            "feeds:\n  {PEACEFUL}\n  camera: {{test: clock, size: 320x180, fps: 25}}\n  \
             mic: {{audio: {{alsa: fifo}}}}\n\
             streams:\n  peaceful: {{}}\n  \
             both: {{feeds: {{video: camera, audio: mic}}, bitrate: 300k}}\n"
        );
        Launch::with(&config).env("HOME", self.home.path()).start()
    }
}

/// Ten milliseconds of 48 kHz and two channels: what is read at once.
const PERIOD: usize = 480 * 4;

/// What a [`Microphone`] hears.
struct Sound {
    is_over: Arc<AtomicBool>,
    is_quiet: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Sound {
    /// From now on reading it hangs, or no more.
    fn hang(&self, hangs: bool) {
        self.is_quiet.store(hangs, Ordering::Relaxed);
    }
}

impl Drop for Sound {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

#[test]
fn a_film_on_a_disk_that_hangs_harms_nobody_else_and_goes_on_when_the_disk_answers() {
    let disk = Disk::new();
    let livebox = with_film_on(&disk);
    let _answering = disk.answering_at_the_end();
    let peace = Peace::begin(&livebox);
    let viewer = Viewer::connect(livebox.http(), "/film.mp4");
    viewer.wait_for_more(25, LIMIT);

    disk.hang();
    livebox.log().wait_for("stream film failed: ", LIMIT);
    // It is tried again, and does not begin.
    livebox.log().wait_for("stream film failed: nothing came out for 10 s", LIMIT);
    assert!(last_error(&livebox, "film").contains("Nothing came out"));
    peace.assert_kept(&livebox);

    disk.answer();
    viewer.wait_for_more(100, LIMIT).assert_time_goes_forward();
    wait::until("one host plays it", LIMIT, || {
        (hosts_of(&livebox, "feed film").len() == 1).then_some(())
    });
    peace.assert_kept(&livebox);
}

#[test]
fn a_service_whose_film_hangs_ends_all_the_same_and_leaves_nothing_behind() {
    let disk = Disk::new();
    let mut livebox = with_film_on(&disk);
    let _answering = disk.answering_at_the_end();
    let viewer = Viewer::connect(livebox.http(), "/film.mp4");
    viewer.wait_for_more(25, LIMIT);
    disk.hang();
    livebox.log().wait_for("stream film failed: ", LIMIT);
    let host = host_of(&livebox, "feed film");

    let asked = wait::now();
    livebox.process().signal("TERM");
    let ended = livebox.process().wait(LIMIT);
    eprintln!("it ended after {:?}", wait::now() - asked);
    assert!(ended.success(), "{ended}");
    wait::until("the host is gone, or waits for the disk in the kernel", LIMIT, || {
        (!proc::is_alive(host) || proc::is_uninterruptible(host)).then_some(())
    });

    disk.answer();
    wait::until("the host is gone", LIMIT, || (!proc::is_alive(host)).then_some(()));
}

/// A film on a disk, and a stream that others watch.
fn with_film_on(disk: &Disk) -> Livebox {
    let clips = Clips::new();
    let film = disk.folder("films").join("film.mp4");
    fs::copy(clips.make("film.mp4", Film { sound: false, ..SHORT }), &film)
        .expect("the disk answers");
    Livebox::start(&format!(
        "feeds:\n  {PEACEFUL}\n  film: {{file: {}, mode: continuous}}\n\
         streams:\n  peaceful: {{}}\n  film: {{}}\n",
        film.display()
    ))
}

#[test]
fn a_picture_of_sixteen_thousand_by_eight_thousand_harms_nobody() {
    let clips = Clips::new();
    let (plain, film) = (clips.folder().join("huge.h264"), clips.folder().join("huge.mp4"));
    fs::write(&plain, huge::h264(2)).expect("the folder is writable");
    let mut command = tool("ffmpeg");
    command.args(["-v", "error", "-r", "2", "-f", "h264", "-i"]).arg(&plain);
    let finished = run(command.args(["-c", "copy"]).arg(&film), b"", LIMIT);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let play = format!("sh -c 'while cat {}; do sleep 1; done'", plain.display());
    let livebox = Livebox::start(&format!(
        "feeds:\n  {PEACEFUL}\n  bytes: {{command: {play:?}}}\n  cam: {{feed: bytes}}\n  \
         film: {{file: {}}}\n\
         streams:\n  peaceful: {{}}\n  bytes: {{url: /bytes.h264}}\n  cam: {{}}\n  \
         small: {{feed: cam, size: 320x180, fps: 5}}\n  film: {{size: 320x180, fps: 5}}\n",
        film.display()
    ));
    let peace = Peace::begin(&livebox);
    let passed = Viewer::connect(livebox.http(), "/cam.mp4");
    passed.wait_for_more(5, LIMIT);
    for path in ["/bytes.h264/pic?width=320", "/cam/pic", "/small.mp4", "/film.mp4"] {
        let answer = livebox.get(path);
        eprintln!("{path}: {} {}", answer.status(), answer.text());
        assert!(matches!(answer.status(), 415 | 503), "{path}: {}", answer.status());
        peace.assert_kept(&livebox);
    }
    passed.wait_for_more(5, LIMIT);
    for feed in ["film", "cam"] {
        eprintln!("{feed}: {}", last_error(&livebox, feed));
    }

    fs::copy(clips.make("film.mp4", Film { sound: false, ..SHORT }), &film)
        .expect("the folder is writable");
    Viewer::connect(livebox.http(), "/film.mp4").wait_for_more(25, LIMIT);
    peace.assert_kept(&livebox);
}

/// What must not change while another feed is attacked.
struct Peace {
    viewer: Viewer,
    memory_kib: u64,
}

impl Peace {
    fn begin(livebox: &Livebox) -> Self {
        let viewer = Viewer::connect(livebox.http(), "/peaceful.mp4");
        viewer.wait_for_more(25, LIMIT);
        Self { viewer, memory_kib: proc::most_resident_kib(livebox.pid()) }
    }

    /// The viewer has missed nothing and gets more, and the service has never been large.
    fn assert_kept(&self, livebox: &Livebox) {
        self.viewer.wait_for_more(25, LIMIT).assert_nothing_is_missing();
        let most = proc::most_resident_kib(livebox.pid());
        eprintln!("most memory {} KiB, then {most} KiB", self.memory_kib);
        assert!(most <= self.memory_kib + MORE_MEMORY_KIB, "{} KiB, then {most}", self.memory_kib);
    }
}

/// Why the feed went down last, as `/stat.json` tells it.
fn last_error(livebox: &Livebox, feed: &str) -> String {
    let stat = livebox.get("/stat.json").json();
    let feeds = stat["feeds"].as_array().expect("there are feeds");
    let found = feeds.iter().find(|one| one["name"] == feed).expect("it is one of them");
    found["last_error"].as_str().unwrap_or_default().to_owned()
}
