//! Ends commands when the service is killed or crashes.
//!
//! A regular end of the service ends its commands. For other cases a guard process of
//! this program waits for the end of the service and kills all processes with its
//! mark: an environment variable, which children inherit in any group or session.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use log::warn;

use super::host::Host;
use crate::base::incident::Incident;
use crate::base::system::random_token;
use crate::base::time::now;
use crate::wire::job::EndCommands;

/// The delay before a guard process that died is started again.
const RESTART_DELAY: Duration = Duration::from_secs(1);

/// The environment variable that holds the mark.
const VARIABLE: &str = "STARTED_BY_LIVEBOX";

/// A static, as there is one service per process.
static MARK: OnceLock<String> = OnceLock::new();

static GUARD_STARTED: AtomicBool = AtomicBool::new(false);

/// The mark for the environment of each command: name and value. The first call starts
/// the guard process; must be called on a runtime.
pub(super) fn mark() -> (&'static str, &'static str) {
    let mark = MARK.get_or_init(|| {
        // Without random numbers the process id is used.
        random_token().unwrap_or_else(|_| std::process::id().to_string())
    });
    // Unit tests run in another program, which has no guard.
    if !cfg!(test) && !GUARD_STARTED.swap(true, Ordering::Relaxed) {
        tokio::spawn(keep_guard(mark));
    }
    (VARIABLE, mark)
}

/// Keeps one guard process running.
async fn keep_guard(mark: &str) {
    let mut deaths = Incident::default();
    loop {
        let job = EndCommands { mark: format!("{VARIABLE}={mark}") };
        let died = match Host::start("commands", job).await {
            Ok((mut host, _input)) => host.ended().await,
            Err(failure) => failure,
        };
        if let Some(times) = deaths.add(now()) {
            warn!(times; "restarting the process that ends commands after a crash: {died}");
        }
        tokio::time::sleep(RESTART_DELAY).await;
    }
}
