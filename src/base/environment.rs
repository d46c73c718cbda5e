//! Settings from the environment, hidden from other programs.
//!
//! The initial environment of a process stays readable in `/proc/PID/environ`
//! for every program of its user, including the commands of feeds. Therefore
//! the program executes itself again without its settings in the environment,
//! and passes them in a memory file.

use std::env;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, RawFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use nix::sys::memfd::{MFdFlags, memfd_create};

/// Prefix of the names of all settings.
pub const PREFIX: &str = "LIVEBOX_";

/// Variable with the descriptor of the memory file; not a setting.
const DESCRIPTOR: &str = "LIVEBOX_HANDED_OVER";

/// The kernel's name of the memory file.
const FILE: &str = "livebox-environment";

/// Maximum size of an environment (the kernel's limit, execve(2)).
const MAX_BYTES: u64 = 8 << 20;

/// The settings from the environment.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment(Vec<(String, String)>);

impl fmt::Debug for Environment {
    /// Without the variables: they include stream keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Environment")
    }
}

impl Environment {
    /// Reads the memory file, if there is one, and the environment itself.
    /// Variables that are not UTF-8 are ignored.
    ///
    /// # Errors
    /// The memory file cannot be read.
    pub fn take() -> io::Result<Self> {
        let mut all = read_memory_file()?;
        let text = |(name, value): (_, std::ffi::OsString)| Some((name, value.into_string().ok()?));
        all.0.extend(exposed().filter_map(text));
        Ok(all)
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Names and values.
    pub fn variables(&self) -> impl Iterator<Item = (String, String)> + use<> {
        self.0.clone().into_iter()
    }

    /// Executes this program again, in the same process, without its settings in
    /// the environment. Returns only if there are none, or on an error. To be
    /// called before anything else.
    ///
    /// # Errors
    /// The executable file is gone, or the memory file cannot be made.
    pub fn conceal(&self) -> io::Result<()> {
        if exposed().next().is_none() {
            return Ok(());
        }
        let mut again = Command::new(env::current_exe()?);
        let mut arguments = env::args_os();
        if let Some(name) = arguments.next() {
            again.arg0(name);
        }
        // Must stay open until `exec`.
        let _file = self.write_memory_file(&mut again)?;
        Err(again.args(arguments).exec())
    }

    fn write_memory_file(&self, again: &mut Command) -> io::Result<File> {
        let mut file = File::from(memfd_create(FILE, MFdFlags::empty())?);
        for (name, value) in &self.0 {
            write!(file, "{name}={value}\0")?;
        }
        for (name, _) in exposed() {
            again.env_remove(name);
        }
        again.env(DESCRIPTOR, file.as_raw_fd().to_string());
        Ok(file)
    }
}

/// The settings in the environment itself.
fn exposed() -> impl Iterator<Item = (String, std::ffi::OsString)> {
    let named = env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
    named.filter(|(name, _)| name.starts_with(PREFIX) && name != DESCRIPTOR)
}

fn read_memory_file() -> io::Result<Environment> {
    let number = env::var(DESCRIPTOR).ok().and_then(|text| text.parse::<RawFd>().ok());
    let Some(number) = number else { return Ok(Environment::default()) };
    let path = format!("/proc/self/fd/{number}");
    // Children inherit the variable, but not the file.
    let is_ours = |link: std::path::PathBuf| link.to_string_lossy().contains(FILE);
    if !fs::read_link(&path).is_ok_and(is_ours) {
        return Ok(Environment::default());
    }
    let mut file = File::options().read(true).write(true).open(&path)?;
    let mut text = String::new();
    (&mut file).take(MAX_BYTES).read_to_string(&mut text)?;
    // Other programs of the user could read the file through /proc.
    file.set_len(0)?;
    nix::unistd::close(number)?;
    Ok(parse(&text))
}

fn parse(text: &str) -> Environment {
    let pairs = text.split_terminator('\0').filter_map(|pair| pair.split_once('='));
    Environment(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

#[cfg(test)]
mod tests {
    use std::io::Seek as _;

    use super::*;

    #[test]
    fn variables_are_passed_in_the_memory_file_unchanged() {
        let all = [("LIVEBOX__A", "x=y\nz"), ("LIVEBOX_URL", "")];
        let all = Environment(all.map(|(name, value)| (name.into(), value.into())).to_vec());
        let mut file = all.write_memory_file(&mut Command::new("true")).unwrap();
        let mut text = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();

        assert_eq!(parse(&text), all);
        assert_eq!((all.get("LIVEBOX_URL"), all.get("LIVEBOX")), (Some(""), None));
        assert_eq!(format!("{all:?}"), "Environment");
    }
}
