//! What sees to it that no command outlives the service, however that ends.
//!
//! A service that ends in order ends its commands itself. One that is killed or
//! crashes cannot: so a process of this program waits for its end, and kills
//! what was started under its mark. The mark stands in the environment, which
//! what a command starts inherits, in whatever group or session it is.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use log::warn;

use super::host::Host;
use crate::base::incident::Incident;
use crate::base::system::random_token;
use crate::wire::job::EndCommands;

/// Where a process that waits has died, the next one comes after this long.
const AGAIN: Duration = Duration::from_secs(1);

/// The variable that holds the mark.
const VARIABLE: &str = "STARTED_BY_LIVEBOX";

/// One for the whole process, as there is one service in it.
static MARK: OnceLock<String> = OnceLock::new();

static STANDS: AtomicBool = AtomicBool::new(false);

/// What is to stand in the environment of each command: a name and a value.
/// From the first call on somebody waits for the end of this process. To be
/// called on a runtime.
pub(in crate::engine) fn mark() -> (&'static str, &'static str) {
    let mark = MARK.get_or_init(|| {
        // The number of a process does where there are no random ones.
        random_token().unwrap_or_else(|_| std::process::id().to_string())
    });
    // The unit tests are another program, which cannot stand guard.
    if !cfg!(test) && !STANDS.swap(true, Ordering::Relaxed) {
        tokio::spawn(stand(mark));
    }
    (VARIABLE, mark)
}

/// Keeps one process waiting, as long as this one runs.
async fn stand(mark: &str) {
    let mut deaths = Incident::default();
    loop {
        let job = EndCommands { mark: format!("{VARIABLE}={mark}") };
        let died = match Host::start("commands", job).await {
            Ok((mut host, _input)) => host.ended().await,
            Err(failure) => failure,
        };
        if let Some(times) = deaths.add(tokio::time::Instant::now().into_std()) {
            warn!(times; "what ends the commands after a crash is started again: {died}");
        }
        tokio::time::sleep(AGAIN).await;
    }
}
