//! Rewrites recordings as plain MP4, each in a host of its own with low priority: a
//! damaged file crashes nothing else.

use std::path::PathBuf;
use std::time::Duration;

use super::host::Host;
use crate::model::failure::Failure;
use crate::wire::job::FinishRecording;

/// Time limit of a rewrite, plus the limit per megabyte: slow SD cards write two
/// megabytes per second.
const FINISH_TIMEOUT: Duration = Duration::from_secs(60);
const FINISH_TIMEOUT_PER_MEGABYTE: Duration = Duration::from_secs(2);

/// The files and properties of one rewrite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remux {
    pub from: PathBuf,
    pub to: PathBuf,
    /// A temporary file, which may be left behind.
    pub through: PathBuf,
    /// The size of `from`.
    pub bytes: u64,
    /// Its duration and the bytes of its frames in the index, if known.
    pub expected: Option<(Duration, u64)>,
}

/// Rewrites a fragmented file as one with its index in front.
///
/// # Errors
/// [`Failure::Disk`] if the disk is the cause, any other if the file is.
pub async fn finish_recording(remux: Remux) -> Result<(), Failure> {
    let Remux { from, to, through, bytes, expected } = remux;
    let megabytes = u32::try_from(bytes >> 20).unwrap_or(u32::MAX);
    let limit = FINISH_TIMEOUT + FINISH_TIMEOUT_PER_MEGABYTE.saturating_mul(megabytes);
    let job = FinishRecording { from, to, through, expected };
    let late = Failure::Late { after: limit };
    Host::run("recording", job, Vec::new(), limit, late).await.map(drop)
}
