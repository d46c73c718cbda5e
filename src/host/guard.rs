//! What a host may do, and when it ends.

use std::fs;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{Signal, raise};

use super::commands;
use crate::base::system;
use crate::wire::Job;

/// Memory of its own that a host with a pipeline may take: a picture of 4096×4096 is decoded in
/// 150 MiB, and the threads of a decoder have stacks.
const MEMORY: u64 = 512 << 20;

/// What a recording's index may take: that of a day, twice.
const MEMORY_OF_INDEX: u64 = 1 << 30;

/// What a host without a pipeline needs.
const LITTLE_MEMORY: u64 = 64 << 20;

/// Files that a host may have open: pipelines have few, GStreamer's a dozen.
const FILES: u64 = 256;

/// The kernel ends a host before the service, where memory runs out.
const OOM_SCORE: &str = "500";

/// Gives up what no host needs: more privileges, core dumps, many files. What
/// the system does not have is left as it is.
pub(super) fn lock_down() {
    prctl::set_no_new_privs().ok();
    setrlimit(Resource::RLIMIT_CORE, 0, 0).ok();
    setrlimit(Resource::RLIMIT_NOFILE, FILES, FILES).ok();
    fs::write("/proc/self/oom_score_adj", OOM_SCORE).ok();
}

/// Limits the memory, from when it is known what the host is for. A library
/// that gets no more mostly aborts, and that is what the service is told.
pub(super) fn limit_memory(job: &Job) {
    let limit = match job {
        Job::Picture { .. }
        | Job::Still { .. }
        | Job::Extract { .. }
        | Job::Mjpeg(_)
        | Job::TryEncoder { .. } => MEMORY,
        Job::FinishRecording { .. } => MEMORY_OF_INDEX,
        Job::EndCommands { .. } => LITTLE_MEMORY,
    };
    setrlimit(Resource::RLIMIT_DATA, limit, limit).ok();
}

/// Less urgent than anything else on the machine.
const NICENESS: i32 = 15;

/// Makes this process one that may take its time, and its files its own. To be
/// called before it has other threads that work: each begins with its maker's
/// niceness.
pub(super) fn yield_to_others() {
    // The system refuses only where the service is less urgent already.
    system::set_priority(NICENESS).ok();
    system::keep_new_files_from_others();
}

/// Ends this process when the other side of `socket` is closed, also while a
/// plugin hangs: no host is left when the service is gone, however that went.
/// What has the mark `marked` is killed before.
///
/// # Errors
/// There is no thread.
pub(super) fn end_with(socket: UnixStream, marked: Option<String>) -> io::Result<()> {
    let watch = move || {
        loop {
            // That the other side is closed is told unasked.
            let mut events = [PollFd::new(socket.as_fd(), PollFlags::empty())];
            if poll(&mut events, PollTimeout::NONE).is_ok_and(|events| events > 0) {
                marked.as_deref().inspect(|mark| commands::end(mark));
                // Not by exit(3), which runs what libraries have registered.
                raise(Signal::SIGKILL).ok();
            }
        }
    };
    std::thread::Builder::new().name("end".to_owned()).spawn(watch).map(|_| ())
}
