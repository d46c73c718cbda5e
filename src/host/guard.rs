//! What a host may do, and when it ends.

use std::fs;
use std::io::{self, Write as _};
use std::num::NonZero;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::thread;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{Signal, raise};
use nix::unistd::alarm;
use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

use super::commands;
use crate::base::system;

/// What may be reserved besides without ever being written to, which the kernel's
/// limit counts as well: stacks, heaps, and buffers for each processor. x264 with
/// 32 threads reserves 190 MiB for 1080p, and 1200 MiB for 4096×2160.
const RESERVED: u64 = 256 << 20;
const RESERVED_PER_PROCESSOR: u64 = 32 << 20;

/// How often the memory that is in use is looked at, in milliseconds; in between, the kernel's limit holds.
const LOOK_EVERY: u16 = 1000;

/// A host that cannot say within so many seconds why it ends does without.
const SAYING: u32 = 1;

/// Stacks of the threads that libraries start. musl gives them 128 KiB, macOS
/// 512 KiB, and the same libraries work there.
const STACK: usize = 1 << 20;

/// Files that a host may have open: pipelines have few, GStreamer's a dozen.
const FILES: u64 = 256;

/// The kernel ends a host before the service, where memory runs out.
const OOM_SCORE: &str = "500";

/// Gives up what no host needs: more privileges, core dumps, many files. What
/// the system does not have is left as it is.
pub(super) fn lock_down() {
    prctl::set_no_new_privs().ok();
    limit(Resource::Core, 0);
    limit(Resource::Nofile, FILES);
    fs::write("/proc/self/oom_score_adj", OOM_SCORE).ok();
}

/// Gives up privileges but for those over files: a service of root may have its
/// recordings in a folder of another user. To be called before there are other
/// threads.
pub(super) fn give_up_privileges() {
    let Ok(has) = capabilities(None) else { return };
    let kept = has.permitted & (CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH);
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: none };
    set_capabilities(None, sets).ok();
}

/// Has the kernel refuse more than `memory` bytes, and what is reserved besides.
/// A library that gets no more mostly aborts, and that is what the service is told.
pub(super) fn limit_memory(memory: u64) {
    let processors = thread::available_parallelism().map_or(1, NonZero::get) as u64;
    let data = memory.saturating_add(RESERVED + processors * RESERVED_PER_PROCESSOR);
    limit(Resource::Data, data);
    shrink_stacks();
}

/// Of rustix, as other types of limits have 32 bits on armhf.
fn limit(resource: Resource, most: u64) {
    // Refused where there is less already.
    setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) }).ok();
}

/// As they come, stacks are as large as the main thread's may grow, mostly 8 MiB
/// each, which the kernel counts as data.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "nothing wraps this call, and RLIMIT_STACK is read before main")]
fn shrink_stacks() {
    use std::mem::MaybeUninit;

    unsafe extern "C" {
        safe fn pthread_setattr_default_np(attributes: &libc::pthread_attr_t) -> libc::c_int;
    }
    let mut attributes = MaybeUninit::uninit();
    // SAFETY: the first call initialises what the others use, and cannot fail on Linux.
    let attributes = unsafe {
        libc::pthread_attr_init(attributes.as_mut_ptr());
        libc::pthread_attr_setstacksize(attributes.as_mut_ptr(), STACK);
        attributes.assume_init()
    };
    // Where it is refused, stacks stay as they are.
    pthread_setattr_default_np(&attributes);
}

/// Other C libraries have small ones.
#[cfg(not(target_env = "gnu"))]
fn shrink_stacks() {}

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
/// What has the mark `marked` is killed before. Ends it as well when it takes
/// more than `memory` bytes, and says so.
///
/// # Errors
/// There is no thread.
pub(super) fn end_with(socket: UnixStream, marked: Option<String>, memory: u64) -> io::Result<()> {
    let watch = move || {
        loop {
            // That the other side is closed is told unasked.
            let mut events = [PollFd::new(socket.as_fd(), PollFlags::empty())];
            let is_closed =
                poll(&mut events, PollTimeout::from(LOOK_EVERY)).is_ok_and(|events| events > 0);
            if is_closed {
                marked.as_deref().inspect(|mark| commands::end(mark));
            } else if system::own_memory() > memory {
                // Ends the process where nobody reads what it says.
                alarm::set(SAYING);
                let told =
                    format!("it takes more than {} MiB of memory (limits.memory)", memory >> 20);
                writeln!(io::stderr(), "{told}").ok();
            } else {
                continue;
            }
            // Not by exit(3), which runs what libraries have registered.
            raise(Signal::SIGKILL).ok();
        }
    };
    thread::Builder::new().name("end".to_owned()).spawn(watch).map(|_| ())
}
