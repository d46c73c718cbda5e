//! Which recordings go: the oldest, when there are too many, and none by a clock
//! that may be wrong.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::disks::problems;
use super::recordings::{Place, files, list, name_of, steer, wait_for_first};
use crate::common::livebox::{CAMERA, Launch};
use crate::common::tools::tool;
use crate::common::{hosts, proc, wait};

const LIMIT: Duration = wait::TIMEOUT;

#[test]
fn the_oldest_go_when_there_are_too_many_and_nobody_elses() {
    let place = Place::new();
    for day in 1..=9 {
        let file = place.folder().join(format!("camera_2026-01-0{day}_00-00-00.mp4"));
        fs::write(file, vec![0; 1 << 20]).expect("the folder is writable");
    }
    fs::write(place.folder().join("a.mp4"), vec![0; 1 << 20]).expect("the folder is writable");
    let livebox = place.start_with("recordings: {keep: {size: 4M, free: 0}, ", "");
    wait::until("four are left", LIMIT, || (list(&livebox).len() == 4).then_some(()));
    assert_eq!(files(place.folder()).len(), 5);
    assert_eq!(name_of(&list(&livebox)[3]), "camera_2026-01-06_00-00-00.mp4");
    let old = "{keep: {days: 30, free: 0, clock: any}, ";
    drop(livebox);
    // Beside a recent one the clock is believed.
    let recent = place.recent(0);
    let livebox = place.start_with(&format!("recordings: {old}"), "");
    wait::until("the old ones are gone", LIMIT, || {
        (files(place.folder()) == [place.folder().join("a.mp4"), recent.clone()]).then_some(())
    });
    assert_eq!(list(&livebox).len(), 1);
}

#[test]
fn a_full_disk_takes_the_oldest_first_and_recording_goes_on_by_itself() {
    let home = tempfile::tempdir().expect("there is room for a folder");
    let disk = home.path().join("disk");
    fs::create_dir(&disk).expect("the folder is writable");
    // A disk of its own, of 5 MiB, that nobody else sees; this test looks through the process.
    let mut runner = tool("unshare");
    if !hosts::is_root() {
        runner.args(["--user", "--map-root-user"]);
    }
    let script = "mount -t tmpfs -o size=5m none \"$0\" && head -c 3m /dev/zero \
        > \"$0/camera_2026-01-01_00-00-00.mp4\" && head -c 200k /dev/zero > \"$0/mine\" && exec \"$@\"";
    runner.args(["--mount", "sh", "-c", script]).arg(&disk);
    let config =
        format!("{CAMERA}recordings: {{folder: {}, keep: {{free: 2M}}}}\n", disk.display());
    let livebox = Launch::with(&config).run_by(runner).start();
    let inside = PathBuf::from(format!("/proc/{}/root{}", livebox.pid(), disk.display()));
    steer(&livebox, "start");

    wait::until("the oldest is gone", LIMIT, || {
        (!inside.join("camera_2026-01-01_00-00-00.mp4").exists()).then_some(())
    });
    // Then somebody else fills the disk: it stops, and says why.
    let filler = inside.join("filler");
    wait_for_first(&livebox, |one| one["state"] == "recording");
    assert!(problems(&livebox).is_empty());
    fs::write(&filler, vec![0; 2_500_000]).ok();
    let state = || livebox.get("/stat.json").json()["recordings"]["streams"][0].clone();
    let stopped =
        wait::until("it waits", LIMIT, || Some(state()).filter(|now| now["state"] == "waiting"));
    let why = stopped["last_error"].as_str().unwrap_or_default();
    assert!(why.contains("disk"), "{stopped}");
    let told = problems(&livebox);
    assert!(matches!(&told[..], [one] if one.starts_with("recordings.folder: ")), "{told:?}");
    fs::remove_file(&filler).expect("it is there");
    wait::until("it goes on", LIMIT, || Some(state()).filter(|now| now["state"] == "live"));
    assert!(inside.join("mine").exists());
    wait::until("nothing is wrong", LIMIT, || problems(&livebox).is_empty().then_some(()));
}

#[test]
fn a_clock_that_jumps_deletes_nothing_by_age_and_is_told() {
    let place = Place::new();
    let films = [place.recent(0), place.recent(2)];
    let shift = place.home.path().join("shift");
    fs::write(&shift, "+0").expect("the folder is writable");
    let config = place.config("recordings: {keep: {days: 30, free: 0, clock: any}, ", "");
    let livebox = Launch::with(&config)
        .env("LD_PRELOAD", faketime())
        .env("FAKETIME_TIMESTAMP_FILE", &shift)
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .start();
    livebox.log().wait_for("2 recordings are in", LIMIT);
    // The first look has been: the next one sees the step.
    wait::until("the room is known", LIMIT, || {
        livebox.get("/stat.json").json()["recordings"]["free_bytes"].as_u64()
    });
    fs::write(&shift, "+400d").expect("the folder is writable");
    livebox.log().wait_for("no recording is deleted by its age for a day", LIMIT);
    // Nothing is recorded before there was another look at what may go.
    steer(&livebox, "start");
    wait_for_first(&livebox, |one| one["bytes"].as_u64() > Some(50_000));
    assert!(films.iter().all(|film| film.exists()));
    assert_eq!(livebox.log().count("the clock jumped by"), 1);

    // A start with such a clock, which has no earlier time to compare with.
    drop(livebox);
    let livebox = Launch::with(&config)
        .env("LD_PRELOAD", faketime())
        .env("FAKETIME", "+400d")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .start();
    livebox.log().wait_for("days from the newest recording", LIMIT);
    livebox.log().wait_for("3 recordings are in", LIMIT);
    assert!(films.iter().all(|film| film.exists()));
}

#[test]
fn nothing_is_deleted_by_its_age_before_the_clock_is_set_and_names_tell_so() {
    let place = Place::new();
    let (old, recent) = (place.recent(40), place.recent(0));
    let answer = place.home.path().join("answer");
    fs::write(&answer, "no").expect("the folder is writable");
    let path = with_timedatectl(&place, &format!("cat {}", answer.display()));
    let config = place.config("recordings: {keep: {days: 30, free: 0}, ", "");
    let start = || Launch::with(&config).env("PATH", &path).start();

    let livebox = start();
    livebox.log().wait_for("the network has not set the clock yet", LIMIT);
    steer(&livebox, "start");
    // The recent one may have begun in the same second.
    let is_it = |one: &Value| name_of(one).ends_with("_unset-clock.mp4");
    wait::until("it is recorded under a name that tells so", LIMIT, || {
        list(&livebox).into_iter().find(|one| is_it(one) && one["bytes"].as_u64() > Some(50_000))
    });
    assert!(old.exists() && recent.exists());
    drop(livebox);

    fs::write(&answer, "yes").expect("the folder is writable");
    let _livebox = start();
    wait::until("the old one is gone", LIMIT, || (!old.exists()).then_some(()));
    assert!(recent.exists());
}

#[test]
fn a_flood_from_the_program_that_knows_the_clock_takes_no_memory() {
    let place = Place::new();
    let (old, _recent) = (place.recent(40), place.recent(0));
    let path = with_timedatectl(&place, "exec head -c 256M /dev/zero");
    let config = place.config("recordings: {keep: {days: 30, free: 0}, ", "");

    let livebox = Launch::with(&config).env("PATH", &path).start();
    // A clock of which nothing is known is believed.
    wait::until("the old one is gone", LIMIT, || (!old.exists()).then_some(()));
    let most = proc::most_resident_kib(livebox.pid());
    assert!(most < 128 << 10, "{most} KiB");
}

/// A search path with a program in the place of systemd's own, which says what
/// the kernel knows of the clock.
fn with_timedatectl(place: &Place, script: &str) -> String {
    let programs = place.home.path().join("bin");
    fs::create_dir(&programs).expect("the folder is writable");
    let program = programs.join("timedatectl");
    fs::write(&program, format!("#!/bin/sh\n{script}\n")).expect("it is writable");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("it is ours");
    format!("{}:{}", programs.display(), env!("PATH"))
}

/// The library that shows a program another time.
fn faketime() -> PathBuf {
    let folders = fs::read_dir("/usr/lib").expect("it is there").flatten();
    let library = |folder: fs::DirEntry| folder.path().join("faketime/libfaketime.so.1");
    let found = folders.map(library).find(|library| library.exists());
    found.expect("this test needs libfaketime: apt-get install faketime")
}
