//! A disk that stops answering when a test says so: a folder that another
//! process (bindfs) serves through FUSE. While that process stands still, so
//! does every call into the folder.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::process::{Process, run};
use super::tools::{path_of, path_of_any, tool};
use super::{proc, wait};

/// The disk. Dropping it, also by a panic, lets all calls go that hang.
#[derive(Debug)]
pub struct Disk {
    mount: PathBuf,
    server: Process,
    _home: TempDir,
}

impl Disk {
    /// A disk with nothing on it, which answers.
    pub fn new() -> Self {
        let home = tempfile::tempdir().expect("there is room for a folder");
        let [source, mount] = ["source", "mount"].map(|name| home.path().join(name));
        for folder in [&source, &mount] {
            std::fs::create_dir(folder).expect("the folder is writable");
        }
        let mut command = Command::new(path_of("bindfs"));
        let server = Process::start("bindfs", command.arg("-f").args([&source, &mount]));
        let disk = Self { mount, server, _home: home };
        wait::until("the disk is mounted", wait::TIMEOUT, || disk.is_mounted().then_some(()));
        disk
    }

    /// A folder on the disk, which is made.
    pub fn folder(&self, name: &str) -> PathBuf {
        let folder = self.mount.join(name);
        std::fs::create_dir(&folder).expect("the disk answers");
        folder
    }

    /// From now on nothing on the disk answers.
    pub fn hang(&self) {
        self.server.signal("STOP");
        let pid = self.server.pid();
        wait::until("it stands still", wait::TIMEOUT, || proc::is_stopped(pid).then_some(()));
    }

    /// Answers again, also what was asked meanwhile.
    pub fn answer(&self) {
        self.server.signal("CONT");
    }

    /// As [`Disk::answer`], also while a panic is under way.
    fn go_on(&self) {
        let arguments = ["-CONT".to_owned(), self.server.pid().to_string()];
        tool("kill").args(arguments).status().ok();
    }

    /// Lets the disk answer when it is dropped, so that a service that is dropped
    /// later can end: a process that waits for a disk cannot even be killed.
    pub fn answering_at_the_end(&self) -> Answering<'_> {
        Answering(self)
    }

    fn is_mounted(&self) -> bool {
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        mounts.lines().any(|line| line.split(' ').nth(1).map(Path::new) == Some(&self.mount))
    }
}

/// See [`Disk::answering_at_the_end`].
#[derive(Debug)]
pub struct Answering<'a>(&'a Disk);

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        self.0.go_on();
    }
}

impl Default for Disk {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let program = path_of_any(&["fusermount3", "fusermount"]);
        let mut unmount = Command::new(program);
        run(unmount.args(["-u", "-z"]).arg(&self.mount), b"", wait::TIMEOUT);
        self.go_on();
        self.server.kill();
    }
}
