//! Divides the processors of the machine among combinations that are played
//! at once.
//!
//! A browser that starts takes every processor it can get, and a player beside
//! it then drops pictures, as players do that have no time to show them. With
//! processors of its own, a combination is played as if it were alone.

use std::fs;
use std::time::Duration;

use crate::common::process::run;
use crate::common::tools::tool;

const LIMIT: Duration = Duration::from_secs(10);
/// Their places among the times of a processor in `/proc/stat`, which are counted in ticks.
const NICE: usize = 1;
const IDLE: usize = 3;
const TICKS_PER_SECOND: f64 = 100.0;

/// Divides the processors that this thread may use into at most `most` shares of the same size.
pub(crate) fn shares(most: usize) -> Vec<Vec<usize>> {
    let status = fs::read_to_string("/proc/thread-self/status").expect("this is Linux");
    divide(&allowed(&status), most)
}

/// Keeps this thread, and all that it starts from now on, on these processors.
pub(crate) fn keep_to(share: &[usize]) {
    let path = fs::read_link("/proc/thread-self").expect("this is Linux");
    let thread = path.file_name().expect("it ends with the thread");
    let list: Vec<String> = share.iter().map(usize::to_string).collect();
    let mut taskset = tool("taskset");
    taskset.args(["--cpu-list", "--pid", &list.join(",")]).arg(thread);
    let kept = run(&mut taskset, b"", LIMIT);
    assert_eq!(kept.code, Some(0), "taskset: {}", kept.stderr);
}

/// For how many seconds these processors have been free since the machine started, on average: idle,
/// or at work for what makes room for everything else (`nice`).
pub(crate) fn free_seconds(share: &[usize]) -> f64 {
    let stat = fs::read_to_string("/proc/stat").expect("this is Linux");
    stat.lines().filter_map(|line| free_ticks(line, share)).sum::<f64>()
        / TICKS_PER_SECOND
        / share.len() as f64
}

/// From a line of `/proc/stat`: `cpu0 user nice system idle …`.
fn free_ticks(line: &str, share: &[usize]) -> Option<f64> {
    let (number, times) = line.strip_prefix("cpu")?.split_once(' ')?;
    if !share.contains(&number.parse().ok()?) {
        return None;
    }
    let ticks: Vec<f64> = times.split_whitespace().map_while(|time| time.parse().ok()).collect();
    Some(ticks.get(NICE)? + ticks.get(IDLE)?)
}

/// The processors that a thread with this status may use.
fn allowed(status: &str) -> Vec<usize> {
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    processors(list.expect("the kernel tells the processors"))
}

fn divide(processors: &[usize], most: usize) -> Vec<Vec<usize>> {
    let shares = most.clamp(1, processors.len());
    processors.chunks_exact(processors.len() / shares).take(shares).map(<[_]>::to_vec).collect()
}

/// The numbers in a list of the kernel, such as `0-2,4`.
fn processors(list: &str) -> Vec<usize> {
    let number = |text: &str| text.trim().parse::<usize>().expect("processors have numbers");
    let range = |text: &str| {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        number(first)..=number(last)
    };
    list.split(',').flat_map(range).collect()
}

#[test]
fn processors_are_divided_evenly_and_a_machine_with_one_plays_one_at_a_time() {
    assert_eq!(processors("\t0-2,4\n"), [0, 1, 2, 4]);
    assert_eq!(divide(&[0, 1, 2, 4], 2), [[0, 1], [2, 4]]);
    assert_eq!(divide(&[0, 1, 2], 2), [[0], [1]]);
    assert_eq!(divide(&[3], 2), [[3]]);
}

#[test]
fn programs_that_a_thread_starts_keep_to_its_share() {
    let share = shares(usize::MAX).pop().expect("there is a processor");
    let asked = share.clone();
    let seen = std::thread::spawn(move || {
        keep_to(&asked);
        run(tool("sh").args(["-c", "cat /proc/self/status"]), b"", LIMIT).stdout
    });
    let seen = seen.join().expect("taskset works");
    assert_eq!(allowed(&seen), share);
}

#[test]
fn what_is_idle_or_nice_is_free_and_other_processors_do_not_count() {
    assert_eq!(free_ticks("cpu1 10 20 30 400 5 0 6 0 0 0", &[1]), Some(420.0));
    assert_eq!(free_ticks("cpu1 10 20 30 400 5 0 6 0 0 0", &[0]), None);
    assert_eq!(free_ticks("cpu  10 20 30 400 5 0 6 0 0 0", &[10]), None);
    assert_eq!(free_ticks("intr 10 20", &[10]), None);
}
