//! The program of pipeline hosts, `livebox-host`, which is installed beside this one.
//!
//! It alone links GStreamer. The service opens it once, at the start: an upgrade replaces
//! or deletes the file, but an open one stays. A host is therefore always of the same
//! version as its service.

use std::env;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::OnceLock;

const NAME: &str = "livebox-host";

/// The open program. A static, as there is one service per process and hosts are started
/// in many places.
static PROGRAM: OnceLock<File> = OnceLock::new();

/// `livebox-host` cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot open {path:?}, which runs the pipelines and belongs beside this program")]
pub struct NoHostProgram {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// The path of the program.
///
/// # Errors
/// The path of this program is unknown.
pub fn host_program() -> io::Result<PathBuf> {
    Ok(env::current_exe()?.with_file_name(NAME))
}

/// Opens the program; without effect if it is open. To be called before a host is
/// started.
///
/// # Errors
/// It is not installed beside this program.
pub fn open_host_program() -> Result<(), NoHostProgram> {
    let open = |path: &PathBuf| {
        // A descriptor that can only be executed.
        File::options().read(true).custom_flags(libc::O_PATH).open(path)
    };
    let path = host_program().map_err(|source| NoHostProgram { path: NAME.into(), source })?;
    let file = open(&path).map_err(|source| NoHostProgram { path, source })?;
    PROGRAM.get_or_init(|| file);
    Ok(())
}

/// The path that leads to the open program in a child, until it executes that.
///
/// # Errors
/// The program was not opened.
pub(super) fn opened() -> io::Result<PathBuf> {
    let not_opened = || io::Error::other(format!("{NAME} was not opened at the start"));
    let file = PROGRAM.get().ok_or_else(not_opened)?;
    Ok(format!("/proc/self/fd/{}", file.as_raw_fd()).into())
}
