//! What the kernel says about a process: `/proc/PID`.

use std::fs;
use std::time::Duration;

use super::tools::tool;
use super::wait;

/// How long ending may take on a busy machine.
const LET_GO: Duration = Duration::from_secs(5);

/// CPU time is counted in clock ticks, of which Linux gives a program 100 a second.
const TICKS_PER_SECOND: f64 = 100.0;

/// Open files, sockets and pipes.
pub fn open_files(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).expect("the process runs and is ours").count()
}

/// Resident memory in KiB.
pub fn resident_kib(pid: u32) -> u64 {
    number_in_status(pid, "VmRSS:")
}

/// The most memory that was ever resident, in KiB.
pub fn most_resident_kib(pid: u32) -> u64 {
    number_in_status(pid, "VmHWM:")
}

pub fn threads(pid: u32) -> u64 {
    number_in_status(pid, "Threads:")
}

/// CPU time used so far, user and system, in seconds.
pub fn cpu_seconds(pid: u32) -> f64 {
    let stat = read(pid, "stat");
    let after_name = &stat[stat.rfind(')').expect("the name is in parentheses") + 1..];
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks = |n: usize| fields[n].parse::<f64>().expect("times are numbers");
    (ticks(11) + ticks(12)) / TICKS_PER_SECOND
}

/// The processes begun by `pid` and their own, as deep as they go.
pub fn descendants(pid: u32) -> Vec<u32> {
    let mut found = Vec::new();
    let mut todo = vec![pid];
    while let Some(parent) = todo.pop() {
        let children = children(parent);
        todo.extend(&children);
        found.extend(children);
    }
    found
}

/// Waits a little for processes that were told to end, or whose owner was.
pub fn wait_for_ends(pids: &[u32]) {
    wait::within(LET_GO, || (!pids.iter().any(|pid| is_alive(*pid))).then_some(()));
}

/// Sends a signal by its name: `TERM`, `STOP`.
pub fn signal(pid: u32, name: &str) {
    let sent = tool("kill").args([format!("-{name}"), pid.to_string()]).status();
    assert!(sent.is_ok_and(|status| status.success()), "{name} to {pid}");
}

/// The argument list as `ps` shows it.
pub fn command_line(pid: u32) -> String {
    let raw = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&raw).replace('\0', " ")
}

/// Whether there is such a process, dead ones that wait for their parent aside.
pub fn is_alive(pid: u32) -> bool {
    state(pid).is_some_and(|state| state != 'Z')
}

/// Children of `pid` that have ended and that it has not waited for.
pub fn zombies(pid: u32) -> Vec<u32> {
    children(pid).into_iter().filter(|child| state(*child) == Some('Z')).collect()
}

/// Whether it stands still after SIGSTOP.
pub fn is_stopped(pid: u32) -> bool {
    state(pid) == Some('T')
}

/// Whether it waits in the kernel for a device, and cannot even be killed.
pub fn is_uninterruptible(pid: u32) -> bool {
    state(pid) == Some('D')
}

/// As proc(5) has it: `R`, `S`, `D`, `T`, `Z`; nothing where there is no such process.
fn state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat[stat.rfind(')')?..].chars().nth(2)
}

/// The processes begun by `pid` itself. Every thread may have some of its own.
pub fn children(pid: u32) -> Vec<u32> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    tasks
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|list| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        .filter_map(|child| child.parse().ok())
        .collect()
}

fn number_in_status(pid: u32, name: &str) -> u64 {
    let status = read(pid, "status");
    let line = status.lines().find(|line| line.starts_with(name)).expect("it is in every status");
    line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("it is a number")
}

fn read(pid: u32, file: &str) -> String {
    fs::read_to_string(format!("/proc/{pid}/{file}")).expect("the process runs")
}
