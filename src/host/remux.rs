//! Rewrites a fragmented MP4 as one with its index in front.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::running::Running;
use crate::engine::plan::{RemuxPlan, remux_line};
use crate::model::failure::Failure;

/// The `moov` box of a recording is within these first bytes.
const HEAD_BYTES: u64 = 64 << 10;

/// Rewrites `from` as `to`. `through` is a temporary file, which may be left behind.
/// `expected`: the duration of the recording and the bytes of its frames in the index,
/// if known.
///
/// # Errors
/// [`Failure::Disk`] if the new file cannot be written, anything else if the
/// old one cannot be read.
pub(super) async fn remux(
    from: PathBuf,
    to: PathBuf,
    through: PathBuf,
    expected: Option<(Duration, u64)>,
) -> Result<(), Failure> {
    let head = head(&from).map_err(|error| Failure::File(error.to_string()))?;
    let has = |kind: &[u8]| head.windows(kind.len()).any(|bytes| bytes == kind);
    let (has_video, has_audio) = (has(b"vide"), has(b"soun"));
    let plan = RemuxPlan { from, to, has_video, has_audio, through, expected };
    if plan.expected.is_some() && run(&plan).await.is_ok() {
        return Ok(());
    }
    match run(&RemuxPlan { expected: None, ..plan }).await {
        Err(Failure::Element { element, message }) if element == "filesink" => {
            Err(Failure::Disk(message))
        }
        result => result,
    }
}

async fn run(plan: &RemuxPlan) -> Result<(), Failure> {
    let line = remux_line(plan)?;
    let mut running = Running::build(&line, Vec::new())?;
    let ended = match running.play() {
        Ok(()) => running.ended().await,
        Err(failure) => failure,
    };
    running.close().await;
    if ended == Failure::Ended { Ok(()) } else { Err(ended) }
}

fn head(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut head = Vec::new();
    File::open(path)?.take(HEAD_BYTES).read_to_end(&mut head)?;
    Ok(head)
}
