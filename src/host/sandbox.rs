//! What a host that parses bytes of strangers can reach, once its libraries are
//! there: plugins, devices, and what its job is about; no other file, no TCP
//! connection, no other process. By Landlock, as far as the kernel has it
//! (files since 5.13, TCP since 6.7, signals since 6.12).

use std::env;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, RestrictionStatus, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetError, Scope, path_beneath_rules,
};

use crate::wire::Job;

/// The newest version whose rights are named here; of an older kernel those that it knows.
const RIGHTS: ABI = ABI::V6;

/// Libraries, plugins and their data. Not all of `/etc`: the configuration is there.
const LIBRARIES: [&str; 8] = [
    "/usr",
    "/lib",
    "/lib64",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/proc/cpuinfo",
    "/proc/self",
    "/sys/devices/system/cpu",
];

/// Where else GStreamer's plugins may be.
const PLUGIN_VARIABLES: [&str; 4] = [
    "GST_PLUGIN_PATH",
    "GST_PLUGIN_PATH_1_0",
    "GST_PLUGIN_SYSTEM_PATH",
    "GST_PLUGIN_SYSTEM_PATH_1_0",
];

/// Decoders of boards are devices.
const DEVICES: &str = "/dev";

/// Confines this thread, and all that it starts from now on, to what `job` is
/// about. A job that gets no bytes of strangers stays as it is.
pub(super) fn confine(job: &Job) {
    let folders = match job {
        Job::Picture { .. } | Job::Still { .. } | Job::Extract { .. } | Job::Mjpeg(_) => Vec::new(),
        Job::FinishRecording { from, to, through, .. } => {
            [from, to, through].into_iter().filter_map(|path| path.parent()).collect()
        }
        Job::TryEncoder { .. } | Job::EndCommands { .. } => return,
    };
    // A kernel or a container may refuse; then limits and privileges have to do.
    restrict(&folders).ok();
}

fn restrict(folders: &[&Path]) -> Result<RestrictionStatus, RulesetError> {
    let plugins = PLUGIN_VARIABLES.into_iter().filter_map(env::var_os);
    let plugins: Vec<PathBuf> =
        plugins.flat_map(|list| env::split_paths(&list).collect::<Vec<_>>()).collect();
    let device = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::ReadDir | AccessFs::IoctlDev;
    Ruleset::default()
        .handle_access(AccessFs::from_all(RIGHTS))?
        .handle_access(AccessNet::from_all(RIGHTS))?
        .scope(Scope::from_all(RIGHTS))?
        .create()?
        .add_rules(path_beneath_rules(LIBRARIES, AccessFs::from_read(RIGHTS)))?
        .add_rules(path_beneath_rules(plugins, AccessFs::from_read(RIGHTS)))?
        .add_rules(path_beneath_rules([DEVICES], device))?
        .add_rules(path_beneath_rules(folders, AccessFs::from_all(RIGHTS)))?
        .restrict_self()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{ErrorKind, Result};
    use std::net::{TcpListener, TcpStream};

    use landlock::RulesetStatus;

    use super::*;

    fn is_denied<T>(tried: Result<T>) -> bool {
        tried.is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
    }

    #[test]
    fn a_confined_thread_reaches_its_own_folder_and_nothing_else() {
        let (own, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(other.path().join("secret"), "key").unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let confined = std::thread::spawn(move || {
            let status = restrict(&[own.path()]).unwrap();
            assert!(is_denied(fs::read(other.path().join("secret"))));
            assert!(is_denied(fs::write(other.path().join("new"), "")));
            assert!(is_denied(fs::read("/etc/passwd")));
            fs::write(own.path().join("film.mp4"), "film").unwrap();
            assert_eq!(fs::read(own.path().join("film.mp4")).unwrap(), b"film");
            fs::read_dir("/usr/lib").unwrap();
            if status.ruleset == RulesetStatus::FullyEnforced {
                assert!(is_denied(TcpStream::connect(address)));
            }
        });
        confined.join().unwrap();
        TcpStream::connect(address).unwrap();
    }
}
