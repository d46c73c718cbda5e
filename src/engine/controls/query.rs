//! Lists the controls of a device with `v4l2-ctl`: crates that call the kernel
//! themselves need libclang to build.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::{DriverControl, parse};
use crate::base::program;

/// How long a driver may take to answer.
const DRIVER_TIMEOUT: Duration = Duration::from_secs(5);

/// Why the controls of a device cannot be listed.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    #[error("the program v4l2-ctl is missing; the Debian package v4l-utils has it")]
    NotInstalled,
    #[error("cannot start v4l2-ctl: {0}")]
    NotStarted(io::Error),
    #[error("the device did not list its controls within {} s", DRIVER_TIMEOUT.as_secs())]
    Hangs,
    #[error("v4l2-ctl: {0}")]
    Refused(String),
}

/// The controls of a device, in the order of its driver.
///
/// # Errors
/// The program is missing, does not start or times out, or the device refuses.
pub async fn query(device: &Path) -> Result<Vec<DriverControl>, QueryError> {
    let mut command = Command::new("v4l2-ctl");
    command.arg("--device").arg(device).arg("--list-ctrls-menus").stderr(Stdio::piped());
    command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    let output = match program::output(command, DRIVER_TIMEOUT).await {
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(QueryError::NotInstalled),
        Err(error) if error.kind() == ErrorKind::TimedOut => return Err(QueryError::Hangs),
        output => output.map_err(QueryError::NotStarted)?,
    };
    if output.status.success() {
        return Ok(parse(&String::from_utf8_lossy(&output.stdout)));
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    let line = errors.lines().next().map(str::trim).unwrap_or_default();
    let why = if line.is_empty() { output.status.to_string() } else { line.to_owned() };
    Err(QueryError::Refused(why))
}
