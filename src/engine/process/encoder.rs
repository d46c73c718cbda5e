//! Whether an encoder works, found out in a host of its own: drivers crash, and
//! what they load stays resident.

use std::time::Duration;

use super::host::Host;
use crate::model::status::Failure;
use crate::wire::Job;

/// A driver that has not answered after this long does not work.
const PATIENCE: Duration = Duration::from_secs(10);

/// Opens the encoder `element` for a moment.
///
/// # Errors
/// Why it cannot be used.
pub async fn try_encoder(element: &str) -> Result<(), Failure> {
    let job = Job::TryEncoder { element: element.to_owned() };
    let late = Failure::Build("it hangs".to_owned());
    Host::run(element, job, Vec::new(), PATIENCE, late).await.map(drop)
}
