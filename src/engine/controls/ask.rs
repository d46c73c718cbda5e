//! Asks a device for its controls, by way of `v4l2-ctl`: the crates that speak to
//! the kernel themselves need a C compiler's parser to be built.

use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;

use super::{Offered, parse};

/// A driver that has not answered after this long does not.
const PATIENCE: Duration = Duration::from_secs(5);

/// More is no list of controls.
const LONGEST: u64 = 256 * 1024;

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
    // What v4l2src has open is not marked as ours alone.
    close_fds::CloseFdsBuilder::new().cloexecfrom(3);
    let mut command = Command::new("v4l2-ctl");
    command.arg("--device").arg(device).arg("--list-ctrls-menus").kill_on_drop(true);
    command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let is_missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    let mut child = match command.spawn() {
        Err(error) if is_missing(&error) => return Err(Unlisted::NotInstalled),
        spawned => spawned.map_err(Unlisted::NotStarted)?,
    };
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let all = async {
        let (said, complained) = tokio::join!(text(out), text(err));
        (said, complained, child.wait().await)
    };
    let ended = tokio::time::timeout(PATIENCE, all).await.map_err(|_| Unlisted::Hangs)?;
    match ended {
        (said, _, Ok(status)) if status.success() => Ok(parse(&said)),
        (_, complained, Ok(status)) => {
            let line = complained.lines().next().map(str::trim).unwrap_or_default();
            let why = if line.is_empty() { status.to_string() } else { line.to_owned() };
            Err(Unlisted::Refused(why))
        }
        (_, _, Err(error)) => Err(Unlisted::NotStarted(error)),
    }
}

async fn text(from: Option<impl AsyncRead + Unpin>) -> String {
    let mut bytes = Vec::new();
    if let Some(from) = from {
        from.take(LONGEST).read_to_end(&mut bytes).await.ok();
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
