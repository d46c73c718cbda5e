//! What the servers use: CPU time of a window, and the cost of a viewer as the
//! difference between two windows.

use std::time::Duration;

use crate::common::wait;

/// CPU time is counted in clock ticks, of which Linux gives a program 100 a second.
const TICKS_PER_SECOND: f64 = 100.0;

/// The part of a core that each of `pids` uses while `span` passes.
pub(crate) fn cores(pids: &[u32], span: Duration) -> Vec<f64> {
    let begin = wait::now();
    let used = || pids.iter().map(|pid| cpu_seconds(*pid)).collect::<Vec<_>>();
    let before = used();
    std::thread::sleep(span);
    let after = used();
    let seconds = begin.elapsed().as_secs_f64();
    after.iter().zip(before).map(|(after, before)| (after - before) / seconds).collect()
}

/// CPU seconds for each minute that one of `viewers` watches, from the part of
/// a core that the server uses with and without them.
pub(crate) fn per_viewer_minute(with: f64, without: f64, viewers: usize) -> f64 {
    (with - without) * 60.0 / viewers as f64
}

/// CPU time used so far, user and system, in seconds.
fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the server runs");
    let after_name = &stat[stat.rfind(')').expect("the name is in parentheses") + 1..];
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks = |n: usize| fields[n].parse::<f64>().expect("times are numbers");
    (ticks(11) + ticks(12)) / TICKS_PER_SECOND
}
