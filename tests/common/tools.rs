//! The programs around livebox, each known with its Debian package.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Program and the Debian package that has it.
const PACKAGES: &[(&str, &str)] = &[
    ("timeout", "coreutils"),
    ("bindfs", "bindfs"),
    ("chromedriver", "chromium-driver"),
    ("chromium", "chromium"),
    ("curl", "curl"),
    ("date", "coreutils"),
    ("env", "coreutils"),
    ("ffmpeg", "ffmpeg"),
    ("ffplay", "ffmpeg"),
    ("ffprobe", "ffmpeg"),
    ("firefox-esr", "firefox-esr"),
    ("fusermount", "fuse"),
    ("fusermount3", "fuse3"),
    ("gst-launch-1.0", "gstreamer1.0-tools"),
    ("haproxy", "haproxy"),
    ("ip", "iproute2"),
    ("kill", "procps"),
    ("mkfifo", "coreutils"),
    ("motion", "motion"),
    ("mpv", "mpv"),
    ("nginx", "nginx-light"),
    ("npm", "npm"),
    ("nsenter", "util-linux"),
    ("openssl", "openssl"),
    ("perl", "perl-base"),
    ("pkg-config", "pkg-config"),
    ("prlimit", "util-linux"),
    ("setpriv", "util-linux"),
    ("sh", "dash"),
    ("taskset", "util-linux"),
    ("unshare", "util-linux"),
    ("vlc", "vlc-bin"),
];

/// Where Debian keeps programs that an ordinary user's PATH may lack.
const MORE_FOLDERS: &[&str] = &["/usr/sbin", "/sbin"];

/// The command for `program`; fails with the name of its package where it is missing.
pub fn tool(program: &str) -> Command {
    Command::new(path_of(program))
}

/// Where `program` is installed; fails with the name of its package where it is missing.
pub fn path_of(program: &str) -> PathBuf {
    let (_, package) = PACKAGES
        .iter()
        .find(|(known, _)| *known == program)
        .unwrap_or_else(|| panic!("{program:?} is not in the table of tools"));
    find(program)
        .unwrap_or_else(|| panic!("this test needs {program:?}: apt-get install {package}"))
}

/// The first of `programs` that is installed; fails with the package of the first where none is.
pub fn path_of_any(programs: &[&str]) -> PathBuf {
    programs.iter().find_map(|program| find(program)).unwrap_or_else(|| path_of(programs[0]))
}

/// A file that a package brings; fails with the package's name where it is missing.
pub fn file_of<'a>(path: &'a str, package: &str) -> &'a str {
    assert!(Path::new(path).exists(), "this test needs {path:?}: apt-get install {package}");
    path
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(MORE_FOLDERS.iter().map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
}
