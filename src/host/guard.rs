//! Resource limits and privileges of a host, and its end.

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

/// Memory that is reserved without being written to, which the kernel's limit counts as
/// well: stacks, heaps, and buffers for each processor. x264 with 32 threads reserves
/// 190 MiB for 1080p, and 1200 MiB for 4096×2160.
const RESERVED: u64 = 256 << 20;
const RESERVED_PER_PROCESSOR: u64 = 32 << 20;

/// How often the memory in use is polled, in milliseconds; in between, the kernel's limit
/// holds.
const POLL_INTERVAL_MS: u16 = 1000;

/// Time limit in seconds for writing the reason of the end.
const WRITE_TIMEOUT_S: u32 = 1;

/// The stack size of threads that libraries start. musl's default is 128 KiB, macOS's
/// 512 KiB, and the same libraries work there.
const STACK_BYTES: usize = 1 << 20;

/// Limit of open files: a pipeline has about a dozen.
const MAX_OPEN_FILES: u64 = 256;

/// Out of memory, the kernel kills a host before the service.
const OOM_SCORE: &str = "500";

/// Sets the name that `top` and the kernel show. Otherwise it is the number of the
/// descriptor by which the service executes the program.
pub(super) fn set_name() {
    prctl::set_name(c"livebox-host").ok();
}

/// Disables what no host needs: new privileges, core dumps, many files. Failures are
/// ignored.
pub(super) fn lock_down() {
    prctl::set_no_new_privs().ok();
    limit(Resource::Core, 0);
    limit(Resource::Nofile, MAX_OPEN_FILES);
    fs::write("/proc/self/oom_score_adj", OOM_SCORE).ok();
}

/// Drops all capabilities but those over files: a service of root may have its
/// recordings in a folder of another user. To be called before there are other
/// threads.
pub(super) fn drop_privileges() {
    let Ok(has) = capabilities(None) else { return };
    let kept = has.permitted & (CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH);
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: none };
    set_capabilities(None, sets).ok();
}

/// Limits the data segment to `memory` bytes plus reserved memory. A library that gets no
/// more memory usually aborts, which the service reports.
pub(super) fn limit_memory(memory: u64) {
    let processors = thread::available_parallelism().map_or(1, NonZero::get) as u64;
    let data = memory.saturating_add(RESERVED + processors * RESERVED_PER_PROCESSOR);
    limit(Resource::Data, data);
    shrink_stacks();
}

/// Uses rustix, as limits of other crates have 32 bits on armhf.
fn limit(resource: Resource, max: u64) {
    // Fails if the limit is lower already.
    setrlimit(resource, Rlimit { current: Some(max), maximum: Some(max) }).ok();
}

/// By default stacks are as large as the limit of the main thread's, usually 8 MiB each,
/// which the kernel counts as data.
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
        libc::pthread_attr_setstacksize(attributes.as_mut_ptr(), STACK_BYTES);
        attributes.assume_init()
    };
    // If it fails, stacks keep their size.
    pthread_setattr_default_np(&attributes);
}

/// Other C libraries have small stacks.
#[cfg(not(target_env = "gnu"))]
fn shrink_stacks() {}

/// Lower priority than anything else on the machine.
const NICENESS: i32 = 15;

/// Lowers the priority of this process, and makes its new files private. To be called
/// before there are other working threads: each inherits the niceness of its creator.
pub(super) fn lower_priority() {
    // Fails only if the priority of the service is lower already.
    system::set_priority(NICENESS).ok();
    system::restrict_new_files();
}

/// Ends this process when the other side of `socket` is closed, also while a plugin
/// hangs: no host outlives the service. Processes with the mark `marked` are killed
/// before. Ends it as well when it uses more than `memory` bytes, with a message.
///
/// # Errors
/// The thread cannot be started.
pub(super) fn end_with(socket: UnixStream, marked: Option<String>, memory: u64) -> io::Result<()> {
    let watch = move || {
        loop {
            // POLLHUP is reported without being requested.
            let mut events = [PollFd::new(socket.as_fd(), PollFlags::empty())];
            let is_closed = poll(&mut events, PollTimeout::from(POLL_INTERVAL_MS))
                .is_ok_and(|events| events > 0);
            if is_closed {
                marked.as_deref().inspect(|mark| commands::end(mark));
            } else if system::own_memory() > memory {
                // Ends the process if standard error is not read.
                alarm::set(WRITE_TIMEOUT_S);
                let message =
                    format!("it takes more than {} MiB of memory (limits.memory)", memory >> 20);
                writeln!(io::stderr(), "{message}").ok();
            } else {
                continue;
            }
            // Not exit(3), which runs handlers of libraries.
            raise(Signal::SIGKILL).ok();
        }
    };
    thread::Builder::new().name("end".to_owned()).spawn(watch).map(|_| ())
}
