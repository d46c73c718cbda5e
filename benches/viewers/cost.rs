//! What the servers use: CPU time of a window, and the cost of a viewer as the
//! difference between two windows.

use std::time::Duration;

use crate::common::{proc, wait};

/// The part of a core that each of `pids` uses with all that it has started, while
/// `span` passes.
pub(crate) fn cores(pids: &[u32], span: Duration) -> Vec<f64> {
    let begin = wait::now();
    let of_all = |pid: u32| family(pid).map(proc::cpu_seconds).sum::<f64>();
    let used = || pids.iter().copied().map(of_all).collect::<Vec<_>>();
    let before = used();
    std::thread::sleep(span);
    let after = used();
    let seconds = begin.elapsed().as_secs_f64();
    after.iter().zip(before).map(|(after, before)| (after - before) / seconds).collect()
}

/// The memory of what `pid` has started.
pub(crate) fn hosts_kib(pid: u32) -> u64 {
    proc::descendants(pid).into_iter().map(proc::resident_kib).sum()
}

fn family(pid: u32) -> impl Iterator<Item = u32> {
    std::iter::once(pid).chain(proc::descendants(pid))
}

/// CPU seconds for each minute that one of `viewers` watches, from the part of
/// a core that the server uses with and without them.
pub(crate) fn per_viewer_minute(with: f64, without: f64, viewers: usize) -> f64 {
    (with - without) * 60.0 / viewers as f64
}
