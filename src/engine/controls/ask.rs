//! Asks a device for its controls, by way of `v4l2-ctl`: the crates that speak to
//! the kernel themselves need a C compiler's parser to be built.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::{Offered, parse};
use crate::base::program;

/// A driver that has not answered after this long does not.
const DRIVER_TIMEOUT: Duration = Duration::from_secs(5);

/// Why there is no list.
#[derive(Debug, thiserror::Error)]
pub enum Unlisted {
    #[error("the program v4l2-ctl is missing; the Debian package v4l-utils has it")]
    NotInstalled,
    #[error("v4l2-ctl does not start: {0}")]
    NotStarted(io::Error),
    #[error("the device does not say in time what it offers")]
    Hangs,
    #[error("v4l2-ctl: {0}")]
    Refused(String),
}

/// The controls of a device, in the order of its driver.
///
/// # Errors
/// They cannot be listed; says why.
pub async fn ask(device: &Path) -> Result<Vec<Offered>, Unlisted> {
    let mut command = Command::new("v4l2-ctl");
    command.arg("--device").arg(device).arg("--list-ctrls-menus").stderr(Stdio::piped());
    command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    let output = match program::output(command, DRIVER_TIMEOUT).await {
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(Unlisted::NotInstalled),
        Err(error) if error.kind() == ErrorKind::TimedOut => return Err(Unlisted::Hangs),
        output => output.map_err(Unlisted::NotStarted)?,
    };
    if output.status.success() {
        return Ok(parse(&String::from_utf8_lossy(&output.stdout)));
    }
    let complained = String::from_utf8_lossy(&output.stderr);
    let line = complained.lines().next().map(str::trim).unwrap_or_default();
    let why = if line.is_empty() { output.status.to_string() } else { line.to_owned() };
    Err(Unlisted::Refused(why))
}
