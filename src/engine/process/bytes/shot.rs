//! Shots: a command runs for one request, and its whole output is the response.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::run::{feed_process, input_of};
use super::{Producer, Stream, TooManyViewers};
use crate::engine::first_frame::{FIRST_FRAME_TIMEOUT, MAX_FAILED_RUNS};
use crate::engine::process::command::Blocks;
use crate::model::failure::Failure;

/// How many commands of one stream run at once; further requests wait.
pub(super) const MAX_CONCURRENT_SHOTS: usize = 4;

/// Time limit of a command, including the start of its feed.
const SHOT_TIMEOUT: Duration = Duration::from_secs(20);

/// Limit of a response.
const MAX_SHOT_BYTES: usize = 16 << 20;

/// Why a shot has failed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ShotError {
    #[error(transparent)]
    Full(#[from] TooManyViewers),
    #[error("{failure}")]
    Failed {
        failure: Failure,
        /// The end of the command's standard error, without secrets.
        stderr: String,
    },
    #[error("the command wrote more than {} MiB", MAX_SHOT_BYTES >> 20)]
    TooLong,
    #[error("the command did not end within {} s", SHOT_TIMEOUT.as_secs())]
    TooLate,
}

impl Stream {
    /// Runs the command once and returns its output. It reads its feed from the newest
    /// intra frame on, if one is known. Dropping the future ends the command.
    ///
    /// # Errors
    /// It fails or exceeds a limit.
    pub async fn run_shot(&self) -> Result<Bytes, ShotError> {
        let Producer::Exclusive { program, permits, process_guard, .. } = &self.producer else {
            // The check of the configuration refuses a shot without a command.
            return Err(TooManyViewers.into());
        };
        let permit =
            tokio::time::timeout(FIRST_FRAME_TIMEOUT, Arc::clone(permits).acquire_owned()).await;
        let Ok(Ok(_permit)) = permit else { return Err(TooManyViewers.into()) };
        let (_process_guard, _counted) = (process_guard.clone(), Arc::clone(&self.viewers));
        let input = self.feed.as_ref().map(|feed| {
            let begin = feed.flow.decodable();
            (feed.flow.join_uncounted(begin), feed.flow.need())
        });
        let (input, _need) = input.unzip();
        let without_stderr = |failure| ShotError::Failed { failure, stderr: String::new() };
        let mut process = program.start(input_of(input.as_ref())).await.map_err(without_stderr)?;
        let (fed, mut blocks, mut all) = (AtomicU64::new(0), Blocks::default(), BytesMut::new());
        let mut output = process.take_output().expect("the output is taken once");
        let written = async {
            while let Ok(bytes) = blocks.read(&mut output).await
                && !bytes.is_empty()
            {
                if all.len() + bytes.len() > MAX_SHOT_BYTES {
                    return Err(ShotError::TooLong);
                }
                all.extend_from_slice(&bytes);
            }
            Ok(())
        };
        let end = tokio::select! {
            end = written => end,
            () = feed_process(input, &mut process, &fed) => Ok(()),
            () = self.wait_failed(MAX_FAILED_RUNS) => {
                Err(without_stderr(self.cause().unwrap_or(Failure::Ended)))
            }
            () = tokio::time::sleep(SHOT_TIMEOUT) => Err(ShotError::TooLate),
        };
        let result = match end {
            Ok(()) if process.succeeds().await => Ok(all.freeze()),
            Ok(()) => {
                let failure = process.exit_failure().await;
                Err(ShotError::Failed { failure, stderr: process.stderr_tail().await })
            }
            Err(why) => Err(why),
        };
        process.end().await;
        result
    }
}
