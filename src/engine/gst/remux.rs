//! A file of fragments becomes one with its index in front.
//!
//! In a child process, the least urgent of all: threads of GStreamer serve
//! cameras afterwards and would stay as slow as they were made, and a damaged
//! file must take nothing down.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::running::Running;
use crate::base::program;
use crate::engine::plan::{RemuxPlan, remux_line};
use crate::model::status::Failure;

/// A file takes no longer than this, and this much more for each megabyte: slow
/// cards write two megabytes a second.
const PATIENCE: Duration = Duration::from_secs(60);
const PATIENCE_PER_MEGABYTE: Duration = Duration::from_secs(2);

/// The tracks stand within the first bytes of a file.
const HEAD: u64 = 64 << 10;

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remux {
    pub from: PathBuf,
    pub to: PathBuf,
    /// A file for in between; may be left behind.
    pub through: PathBuf,
    /// How large it is.
    pub bytes: u64,
    /// How long it is, and the bytes of its frames in an index, where that is known.
    pub expected: Option<(Duration, u64)>,
}

/// Does it in a child process.
///
/// # Errors
/// [`Failure::Disk`] if the disk is to blame, anything else if the file is.
pub async fn remux_in_child(job: &Remux) -> Result<(), Failure> {
    let failed = |what: String| Failure::Build(what);
    let mut command = Command::from(program::again());
    command.arg("finish-recording").args([&job.from, &job.to, &job.through]);
    if let Some((span, index)) = job.expected {
        command.args([span.as_millis().to_string(), index.to_string()]);
    }
    command.stderr(Stdio::null());
    let megabytes = u32::try_from(job.bytes >> 20).unwrap_or(u32::MAX);
    let limit = PATIENCE + PATIENCE_PER_MEGABYTE.saturating_mul(megabytes);
    match program::output(command, limit).await {
        Err(error) if error.kind() == ErrorKind::TimedOut => {
            Err(failed("it cannot be finished: that hangs".to_owned()))
        }
        Err(error) => Err(failed(error.to_string())),
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let told = String::from_utf8_lossy(&output.stdout);
            let why = told.lines().next().unwrap_or_default();
            match why.strip_prefix("filesink: ") {
                Some(why) => Err(Failure::Disk(why.to_owned())),
                None if why.is_empty() => Err(failed(output.status.to_string())),
                None => Err(failed(why.to_owned())),
            }
        }
    }
}

/// Does it in this process.
///
/// # Errors
/// The file cannot be read, or the new one not be written.
pub async fn remux(job: &Remux) -> Result<(), Failure> {
    let head = head(&job.from).map_err(|error| Failure::File(error.to_string()))?;
    let has = |kind: &[u8]| head.windows(kind.len()).any(|bytes| bytes == kind);
    let plan = RemuxPlan {
        from: job.from.clone(),
        to: job.to.clone(),
        has_video: has(b"vide"),
        has_audio: has(b"soun"),
        through: job.through.clone(),
        expected: job.expected,
    };
    if plan.expected.is_some() && run(&plan).await.is_ok() {
        return Ok(());
    }
    run(&RemuxPlan { expected: None, ..plan }).await
}

async fn run(plan: &RemuxPlan) -> Result<(), Failure> {
    let line = remux_line(plan).map_err(|error| Failure::Build(error.to_string()))?;
    let mut running = Running::build(&line, Vec::new())?;
    let ended = match running.play() {
        Ok(()) => running.ended().await,
        Err(failure) => failure,
    };
    running.close("a recording").await;
    if ended == Failure::Ended { Ok(()) } else { Err(ended) }
}

fn head(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut head = Vec::new();
    File::open(path)?.take(HEAD).read_to_end(&mut head)?;
    Ok(head)
}
