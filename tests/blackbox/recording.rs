//! `livebox stream --output`: what is sent, as a file.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::common::livebox::{binary, livebox};
use crate::common::process::{Process, run};
use crate::common::receiver::Receiver;
use crate::common::tools::tool;
use crate::common::{hosts, probe, wait};

const LIMIT: Duration = wait::TIMEOUT;

#[test]
fn a_recording_needs_no_receiver_and_ends_in_order() {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let file = folder.path().join("a film.mp4");
    let mut process = record(&file, &["--audio", "1kHz"]);
    wait_for(&file, 200_000);
    process.signal("INT");
    assert_eq!(process.wait(LIMIT).code(), Some(0), "{}", process.output().text());
    assert_is_whole(&file);
    let sound = probe::listen(&file.display().to_string(), 1);
    assert!((990.0..=1010.0).contains(&sound.pitch), "{sound:?}");
}

#[test]
fn a_recording_plays_up_to_where_it_was_cut_off() {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let file = folder.path().join("cut.mp4");
    let mut process = record(&file, &["--audio", "silence"]);
    wait_for(&file, 200_000);
    process.kill();
    assert_is_whole(&file);
}

#[test]
fn what_is_sent_is_recorded_at_the_same_time() {
    let receiver = Receiver::start();
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let file = folder.path().join("both.mp4");
    let mut process = record(&file, &[&format!("{}/quiet-otter", receiver.url())]);
    receiver.wait_for_more(100_000, LIMIT);
    wait_for(&file, 100_000);
    process.signal("TERM");
    assert_eq!(process.wait(LIMIT).code(), Some(0), "{}", process.output().text());
    assert_is_whole(&file);
    let sent = probe::streams(&receiver.recordings()[0].display().to_string(), None);
    assert_eq!(sent.first("audio")["codec_name"], "aac");
}

#[test]
fn a_missing_folder_and_a_file_that_is_there_are_told_at_once() {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let (there, lost) = (folder.path().join("there.mp4"), folder.path().join("lost/a.mp4"));
    fs::write(&there, "precious").expect("the folder is writable");
    for (file, why) in [(&there, "exists already"), (&lost, "there is no folder")] {
        let ended = livebox(&["stream", "--output", &file.display().to_string()], "");
        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        assert!(ended.stderr.contains(why), "{}", ended.stderr);
    }
    assert_eq!(fs::read(&there).expect("it is still there"), b"precious");
}

#[test]
fn a_full_disk_ends_the_recording_with_a_word_and_what_fits_can_be_played() {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let kept = folder.path().join("kept.mp4");
    // A disk of its own, of 300 KiB, that nobody else sees.
    let mut command = tool("unshare");
    if !hosts::is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    let script = "mkdir \"$0/disk\" && mount -t tmpfs -o size=300k none \"$0/disk\" && \
        { \"$1\" stream --output \"$0/disk/a.mp4\"; code=$?; cp \"$0/disk/a.mp4\" \"$2\"; exit $code; }";
    command.args(["--mount", "sh", "-c", script]).arg(folder.path()).arg(binary()).arg(&kept);
    let ended = run(&mut command, b"", LIMIT);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("the disk is full"), "{}", ended.stderr);
    assert_is_whole(&kept);
}

fn record(file: &Path, arguments: &[&str]) -> Process {
    let mut command = Command::new(binary());
    command.args(["stream", "--resolution", "240p", "--bitrate", "800k", "--output"]);
    command.arg(file).args(arguments);
    Process::start("livebox stream", &mut command)
}

fn wait_for(file: &Path, bytes: u64) {
    let length = || fs::metadata(file).map_or(0, |found| found.len());
    wait::until("something is recorded", LIMIT, || (length() >= bytes).then_some(()));
}

/// Video and sound are there, and every picture decodes.
fn assert_is_whole(file: &Path) {
    let name = file.display().to_string();
    assert_eq!(probe::streams(&name, None).codecs(), ["h264", "aac"]);
    let mut command = tool("ffmpeg");
    command.args(["-v", "error", "-xerror", "-i", &name, "-f", "null", "-"]);
    let decoded = run(&mut command, b"", LIMIT);
    assert_eq!((decoded.code, decoded.stderr.as_str()), (Some(0), ""));
    let times = probe::packet_times(&name, "v");
    assert!(times.len() > 20, "{} pictures", times.len());
    let longest = times.windows(2).map(|two| two[1] - two[0]).fold(0.0, f64::max);
    assert!(longest < 0.5, "a gap of {longest} s");
}
