//! Settings in the environment, kept from other programs.
//!
//! What a process was started with stays readable in `/proc/PID/environ` for
//! every program of its user, the commands of feeds among them. So the program
//! starts itself anew without its settings, and hands them to itself in a file
//! in memory.

use std::env;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, RawFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use nix::sys::memfd::{MFdFlags, memfd_create};

/// How the names of all settings begin.
pub const PREFIX: &str = "LIVEBOX_";

/// The number of the file in memory; no setting itself.
const HANDED_OVER: &str = "LIVEBOX_HANDED_OVER";

/// What the kernel calls that file.
const FILE: &str = "livebox-environment";

/// An environment is no longer: the kernel takes no more (execve(2)).
const LONGEST: u64 = 8 << 20;

/// The settings among the variables of the environment.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment(Vec<(String, String)>);

impl fmt::Debug for Environment {
    /// Stream keys are among them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Environment")
    }
}

impl Environment {
    /// Takes what was handed over, and what stands in the environment itself.
    /// Variables that are no text cannot be meant for this program.
    ///
    /// # Errors
    /// The file in memory cannot be read.
    pub fn take() -> io::Result<Self> {
        let mut all = handed_over()?;
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

    /// Starts this program anew, in the same process, without its settings in the
    /// environment. Returns if there are none, or if that cannot be done; to be
    /// called before anything else.
    ///
    /// # Errors
    /// The program is no longer where it was started from, or the kernel has no
    /// memory for the file.
    pub fn conceal(&self) -> io::Result<()> {
        if exposed().next().is_none() {
            return Ok(());
        }
        let mut again = Command::new(env::current_exe()?);
        let mut arguments = env::args_os();
        if let Some(name) = arguments.next() {
            again.arg0(name);
        }
        // Open until the program has begun again.
        let _file = self.hand_over(&mut again)?;
        Err(again.args(arguments).exec())
    }

    fn hand_over(&self, again: &mut Command) -> io::Result<File> {
        let mut file = File::from(memfd_create(FILE, MFdFlags::empty())?);
        for (name, value) in &self.0 {
            write!(file, "{name}={value}\0")?;
        }
        for (name, _) in exposed() {
            again.env_remove(name);
        }
        again.env(HANDED_OVER, file.as_raw_fd().to_string());
        Ok(file)
    }
}

/// The settings that stand in the environment itself.
fn exposed() -> impl Iterator<Item = (String, std::ffi::OsString)> {
    let named = env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
    named.filter(|(name, _)| name.starts_with(PREFIX) && name != HANDED_OVER)
}

fn handed_over() -> io::Result<Environment> {
    let number = env::var(HANDED_OVER).ok().and_then(|text| text.parse::<RawFd>().ok());
    let Some(number) = number else { return Ok(Environment::default()) };
    let path = format!("/proc/self/fd/{number}");
    // Children inherit the variable, and not the file.
    let is_ours = |link: std::path::PathBuf| link.to_string_lossy().contains(FILE);
    if !fs::read_link(&path).is_ok_and(is_ours) {
        return Ok(Environment::default());
    }
    let mut file = File::options().read(true).write(true).open(&path)?;
    let mut text = String::new();
    (&mut file).take(LONGEST).read_to_string(&mut text)?;
    // Nobody shall find the text among the open files of this process.
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
    fn what_is_handed_over_arrives_whole() {
        let all = [("LIVEBOX__A", "x=y\nz"), ("LIVEBOX_URL", "")];
        let all = Environment(all.map(|(name, value)| (name.into(), value.into())).to_vec());
        let mut file = all.hand_over(&mut Command::new("true")).unwrap();
        let mut text = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();

        assert_eq!(parse(&text), all);
        assert_eq!((all.get("LIVEBOX_URL"), all.get("LIVEBOX")), (Some(""), None));
        assert_eq!(format!("{all:?}"), "Environment");
    }
}
