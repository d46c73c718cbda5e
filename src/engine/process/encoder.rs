//! Whether an encoder works, found out in a host of its own: drivers crash, and
//! what they load stays resident.

use std::time::Duration;

use super::host::Host;
use super::unexpected;
use crate::model::status::Failure;
use crate::wire::{FromHost, Job};

/// A driver that has not answered after this long does not work.
const PATIENCE: Duration = Duration::from_secs(10);

/// Opens the encoder `element` for a moment.
///
/// # Errors
/// Why it cannot be used.
pub async fn try_encoder(element: &str) -> Result<(), Failure> {
    let job = Job::TryEncoder { element: element.to_owned() };
    let (mut host, _input) = Host::start(element, job).await?;
    let answer = tokio::time::timeout(PATIENCE, host.answer(async {})).await;
    host.end().await;
    match answer.map_err(|_| Failure::Build("it hangs".to_owned()))?? {
        (FromHost::Done, _) => Ok(()),
        (FromHost::Failed(failure), _) => Err(failure),
        (FromHost::Found { .. } | FromHost::NoVideo | FromHost::Picture { .. }, _) => {
            Err(unexpected())
        }
    }
}
