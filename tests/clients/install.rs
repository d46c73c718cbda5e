//! Players that Debian does not have: from PyPI and npm, at fixed versions,
//! installed once into the user's cache.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use crate::common::process::run;
use crate::common::tools::{file_of, tool};

const HERE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients");
const LIMIT: Duration = Duration::from_secs(300);
/// Written when everything is installed: what was asked for.
const STAMP: &str = "installed";

/// Python with OpenCV and PyAV.
pub(crate) fn python() -> &'static Path {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        let wanted = Path::new(HERE).join("python/requirements.txt");
        let folder = installed("python", &[&wanted], |folder| {
            let mut make = Command::new(file_of("/usr/bin/python3", "python3"));
            must(make.args(["-m", "venv", "--clear"]).arg(folder));
            let mut pip = Command::new(folder.join("bin/pip"));
            must(pip.args(["install", "--quiet", "--only-binary", ":all:", "-r"]).arg(&wanted));
        });
        folder.join("bin/python")
    })
}

/// hls.js and Shaka.
pub(crate) fn node_modules() -> PathBuf {
    let wanted =
        ["package.json", "package-lock.json"].map(|name| Path::new(HERE).join("web").join(name));
    let folder = installed("node", &[&wanted[0], &wanted[1]], |folder| {
        std::fs::create_dir_all(folder).expect("the cache is writable");
        for file in &wanted {
            let name = file.file_name().expect("each is a file");
            std::fs::copy(file, folder.join(name)).expect("the cache is writable");
        }
        let mut npm = tool("npm");
        must(npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(folder));
    });
    folder.join("node_modules")
}

/// A folder of the cache, which `install` fills when something else is wanted than last time.
fn installed(name: &str, wanted: &[&Path], install: impl FnOnce(&Path)) -> PathBuf {
    let texts =
        wanted.iter().map(|file| std::fs::read_to_string(file).expect("it is in the repository"));
    let wanted: String = texts.collect();
    let folder = cache().join(name);
    let stamp = folder.join(STAMP);
    if std::fs::read_to_string(&stamp).ok().as_ref() != Some(&wanted) {
        install(&folder);
        std::fs::write(stamp, wanted).expect("the cache is writable");
    }
    folder
}

fn cache() -> PathBuf {
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home =
        || PathBuf::from(std::env::var_os("HOME").expect("users have a home")).join(".cache");
    base.unwrap_or_else(home).join("livebox/clients")
}

fn must(command: &mut Command) {
    let finished = run(command, b"", LIMIT);
    assert_eq!(finished.code, Some(0), "{command:?}: {}", finished.stderr);
}
