//! What was recorded becomes a plain MP4, in a host of its own: a damaged file
//! takes nothing down, and the host is less urgent than all else.

use std::path::PathBuf;
use std::time::Duration;

use super::host::Host;
use crate::model::status::Failure;
use crate::wire::job::FinishRecording;

/// A file takes no longer than this, and this much more for each megabyte: slow
/// cards write two megabytes a second.
const FINISH_TIMEOUT: Duration = Duration::from_secs(60);
const FINISH_TIMEOUT_PER_MEGABYTE: Duration = Duration::from_secs(2);

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

/// Makes a file of fragments one with its index in front.
///
/// # Errors
/// [`Failure::Disk`] if the disk is to blame, anything else if the file is.
pub async fn finish_recording(remux: Remux) -> Result<(), Failure> {
    let Remux { from, to, through, bytes, expected } = remux;
    let megabytes = u32::try_from(bytes >> 20).unwrap_or(u32::MAX);
    let limit = FINISH_TIMEOUT + FINISH_TIMEOUT_PER_MEGABYTE.saturating_mul(megabytes);
    let job = FinishRecording { from, to, through, expected };
    let late = Failure::Build("it cannot be finished: that hangs".to_owned());
    Host::run("recording", job, Vec::new(), limit, late).await.map(drop)
}
