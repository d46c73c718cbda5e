//! A shot: the command runs for one request, and all that it writes until it
//! ends is the answer.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::run::{feed_process, input_of};
use super::{Maker, NoSeat, Stream};
use crate::engine::process::command::Blocks;
use crate::engine::registry::{FIRST_FRAME_TIMEOUT, MAX_FAILED_RUNS};
use crate::model::status::Failure;

/// So many commands of one stream run at once; who comes then waits.
pub(super) const AT_ONCE: usize = 4;

/// A command may take this long, its feed's start included.
const TAKES_AT_MOST: Duration = Duration::from_secs(20);

/// No answer is longer.
const LONGEST: usize = 16 << 20;

/// Why there is no shot.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum NoShot {
    #[error(transparent)]
    Full(#[from] NoSeat),
    #[error("{failure}")]
    Failed {
        failure: Failure,
        /// What the command said, without secrets.
        said: String,
    },
    #[error("the command has written more than {} MiB", LONGEST >> 20)]
    TooLong,
    #[error("the command has not ended after {} s", TAKES_AT_MOST.as_secs())]
    TooLate,
}

impl Stream {
    /// Runs the command once. It reads its feed from the newest intra frame on,
    /// where one is known. Who drops this ends the command.
    ///
    /// # Errors
    /// It fails, or takes more than it may.
    pub async fn shoot(&self) -> Result<Bytes, NoShot> {
        let Maker::Exclusive { program, seats, alive, .. } = &self.maker else {
            // The check refuses a shot without a command.
            return Err(NoSeat.into());
        };
        let seat =
            tokio::time::timeout(FIRST_FRAME_TIMEOUT, Arc::clone(seats).acquire_owned()).await;
        let Ok(Ok(_seat)) = seat else { return Err(NoSeat.into()) };
        let (_alive, _counted) = (alive.clone(), Arc::clone(&self.viewers));
        let input = self.feed.as_ref().map(|feed| {
            let begin = feed.flow.decodable();
            (feed.flow.join_uncounted(begin), feed.flow.need())
        });
        let (input, _need) = input.unzip();
        let quiet = |failure| NoShot::Failed { failure, said: String::new() };
        let mut process = program.start(input_of(input.as_ref())).await.map_err(quiet)?;
        let (fed, mut blocks, mut all) = (AtomicU64::new(0), Blocks::default(), BytesMut::new());
        let mut output = process.take_output().expect("it was just started");
        let written = async {
            while let Ok(bytes) = blocks.read(&mut output).await
                && !bytes.is_empty()
            {
                if all.len() + bytes.len() > LONGEST {
                    return Err(NoShot::TooLong);
                }
                all.extend_from_slice(&bytes);
            }
            Ok(())
        };
        let over = tokio::select! {
            over = written => over,
            () = feed_process(input, &mut process, &fed) => Ok(()),
            () = self.wait_failed(MAX_FAILED_RUNS) => {
                Err(quiet(self.cause().unwrap_or(Failure::Ended)))
            }
            () = tokio::time::sleep(TAKES_AT_MOST) => Err(NoShot::TooLate),
        };
        let result = match over {
            Ok(()) if process.succeeds().await => Ok(all.freeze()),
            Ok(()) => {
                let failure = process.verdict().await;
                Err(NoShot::Failed { failure, said: process.last_words().await })
            }
            Err(why) => Err(why),
        };
        process.end().await;
        result
    }
}
