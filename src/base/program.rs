//! This program as a child of itself: what may crash or hang runs in a process
//! of its own.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use super::environment::PREFIX;

/// The kernel's own reference to the file that this process runs. It stays
/// valid when an upgrade replaces or deletes the file, unlike its path, so a
/// child is always of the same version as its parent.
const RUNNING: &str = "/proc/self/exe";

/// Starts this program again, with the arguments that are added. Settings are
/// left out of its environment: they may hold a stream key.
pub fn again() -> Command {
    let mut command = Command::new(RUNNING);
    command.arg0("livebox");
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with(PREFIX) {
            command.env_remove(name);
        }
    }
    command
}
