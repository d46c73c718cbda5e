//! Refuses system calls that no pipeline needs, in hosts that parse untrusted media: calls
//! that start programs, access other processes, or open further parts of the kernel. They
//! fail with EPERM.
//!
//! Uses seccomp, on processors that `seccompiler` supports.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, apply_filter_all_threads,
};

use super::needs::Network;

/// Refused with all arguments.
const REFUSED: [libc::c_long; 41] = [
    // Other programs.
    libc::SYS_execve,
    libc::SYS_execveat,
    // Other processes.
    libc::SYS_kcmp,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_tkill,
    // Another view of the file system.
    libc::SYS_chroot,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_pivot_root,
    libc::SYS_setns,
    libc::SYS_umount2,
    libc::SYS_unshare,
    // Parts of the kernel with a history of vulnerabilities.
    libc::SYS_add_key,
    libc::SYS_bpf,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    libc::SYS_keyctl,
    libc::SYS_perf_event_open,
    libc::SYS_personality,
    libc::SYS_request_key,
    libc::SYS_userfaultfd,
    // The machine.
    libc::SYS_delete_module,
    libc::SYS_finit_module,
    libc::SYS_init_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_swapoff,
    libc::SYS_swapon,
];

/// Calls whose first argument is a process id, which must be that of this process.
const OWN_PROCESS_ONLY: [libc::c_long; 4] =
    [libc::SYS_kill, libc::SYS_rt_sigqueueinfo, libc::SYS_rt_tgsigqueueinfo, libc::SYS_tgkill];

/// Refuses them to all threads, and sockets beyond `network`.
///
/// # Errors
/// The kernel has no seccomp, or may not use it here.
pub(super) fn refuse(network: Network) -> Result<(), Error> {
    filters(network)?.iter().try_for_each(|filter| apply_filter_all_threads(filter))
}

fn filters(network: Network) -> Result<[BpfProgram; 2], Error> {
    let mut rules: BTreeMap<_, _> = REFUSED.map(|call| (call, Vec::new())).into();
    let own = u64::from(std::process::id());
    let foreign = || argument(0, SeccompCmpOp::Ne, own);
    for call in OWN_PROCESS_ONLY {
        rules.insert(call, vec![rule([foreign()?])?]);
    }
    // 0 means this process as well.
    let limits = rule([foreign()?, argument(0, SeccompCmpOp::Ne, 0)?])?;
    rules.insert(libc::SYS_prlimit64, vec![limits]);
    // Threads are allowed, processes are not.
    let thread = libc::CLONE_THREAD as u64;
    let process = argument(0, SeccompCmpOp::MaskedEq(thread), 0)?;
    rules.insert(libc::SYS_clone, vec![rule([process])?]);
    #[cfg(target_arch = "x86_64")]
    rules.extend([(libc::SYS_fork, Vec::new()), (libc::SYS_vfork, Vec::new())]);
    if network == Network::None {
        let other = argument(0, SeccompCmpOp::Ne, libc::AF_UNIX as u64)?;
        rules.insert(libc::SYS_socket, vec![rule([other])?]);
        // Landlock does not cover Unix sockets, and the service has one without a password.
        rules.insert(libc::SYS_connect, Vec::new());
    }
    // Its flags are in memory, which a filter cannot read; C libraries fall back to clone(2).
    let clone3 = [(libc::SYS_clone3, Vec::new())].into();
    Ok([filter(rules, libc::EPERM)?, filter(clone3, libc::ENOSYS)?])
}

fn filter(
    rules: BTreeMap<libc::c_long, Vec<SeccompRule>>,
    error: libc::c_int,
) -> Result<BpfProgram, Error> {
    let refuse = SeccompAction::Errno(error as u32);
    let machine = std::env::consts::ARCH.try_into()?;
    Ok(SeccompFilter::new(rules, SeccompAction::Allow, refuse, machine)?.try_into()?)
}

/// A rule that matches if all `conditions` do.
fn rule<const N: usize>(conditions: [SeccompCondition; N]) -> Result<SeccompRule, Error> {
    Ok(SeccompRule::new(conditions.into())?)
}

/// Compares the lower half of the argument at `index`: they are C's `int`.
fn argument(index: u8, comparison: SeccompCmpOp, with: u64) -> Result<SeccompCondition, Error> {
    Ok(SeccompCondition::new(index, SeccompCmpArgLen::Dword, comparison, with)?)
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;
    use std::io::{ErrorKind, Result};
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::process::Command;
    use std::thread;

    use nix::errno::Errno;
    use nix::sys::signal::kill;
    use nix::unistd::{Pid, execv};
    use seccompiler::apply_filter;

    use super::*;

    fn is_refused<T>(tried: Result<T>) -> bool {
        tried.is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
    }

    /// Runs on a thread of its own, as a filter cannot be removed.
    fn confined(network: Network, tried: impl FnOnce() + Send + 'static) {
        let confined = thread::spawn(move || {
            filters(network).unwrap().iter().for_each(|filter| apply_filter(filter).unwrap());
            tried();
        });
        confined.join().unwrap();
    }

    #[test]
    fn no_program_and_no_process_is_started_but_threads_are() {
        confined(Network::Client, || {
            let program = CString::new("/bin/false").unwrap();
            assert_eq!(execv(&program, &[&program]), Err(Errno::EPERM));
            assert!(is_refused(Command::new("/bin/true").status()));
            assert_eq!(thread::spawn(|| 1).join().unwrap(), 1);
        });
    }

    #[test]
    fn other_processes_cannot_be_signalled() {
        confined(Network::None, || {
            assert_eq!(kill(Pid::parent(), None), Err(Errno::EPERM));
            assert_eq!(kill(Pid::this(), None), Ok(()));
        });
    }

    #[test]
    fn without_network_no_connection_is_possible() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let _listener = UnixListener::bind(&path).unwrap();
        confined(Network::None, move || {
            assert!(is_refused(UdpSocket::bind("127.0.0.1:0")));
            assert!(is_refused(TcpListener::bind("127.0.0.1:0")));
            assert!(is_refused(UnixStream::connect(path)));
            UnixStream::pair().unwrap();
        });
    }

    #[test]
    fn a_client_of_the_network_connects() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        confined(Network::Client, move || drop(TcpStream::connect(address).unwrap()));
    }
}
