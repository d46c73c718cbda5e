//! Remuxes finished recordings from fMP4 to a plain MP4 with its index in front.
//!
//! One at a time, in a host with the lowest priority. The original is removed
//! only when the new file is on the disk under its name: a crash leaves one of
//! them, and the next start of the service continues.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use log::{debug, warn};

use super::clock;
use super::name::{Name, Stage};
use crate::base::shutdown::Shutdown;
use crate::engine::process::{Remux, finish_recording};
use crate::model::failure::Failure;
use crate::outputs::recordings::catalog::{Catalog, Unfinished};
use crate::outputs::recordings::retention::Headroom;

/// Interval of the checks of age, size and free space, and of retries.
const RETENTION_INTERVAL: Duration = Duration::from_secs(10);

/// Interval of the checks whether the clock is synchronised, until it is.
const CLOCK_INTERVAL: Duration = Duration::from_secs(60);

/// Interval of the checks for recordings that have ended.
const FINISH_INTERVAL: Duration = Duration::from_millis(500);

/// Reads the folder, then applies retention and finishes recordings until
/// `shutdown`.
pub(super) async fn maintain(catalog: Arc<Catalog>, mut shutdown: Shutdown) {
    let all = async {
        catalog.on_disk(Catalog::read).await.ok();
        let mut clock_checks = tokio::time::interval(CLOCK_INTERVAL);
        clock_checks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut retention_checks = tokio::time::interval(RETENTION_INTERVAL);
        let mut finish_checks = tokio::time::interval(FINISH_INTERVAL);
        finish_checks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut is_stuck = false;
        loop {
            tokio::select! {
                // The clock comes before the first retention check, which may delete.
                biased;
                // Once it is synchronised, the clock needs no further checks.
                _ = clock_checks.tick(), if !catalog.is_synchronised() => {
                    catalog.set_synchronised(clock::query().await);
                }
                _ = retention_checks.tick() => {
                    is_stuck = false;
                    catalog.on_disk(Catalog::check).await.ok();
                }
                _ = finish_checks.tick(), if !is_stuck => {
                    if let Some(next) = catalog.next_unfinished() {
                        is_stuck = !finish(&catalog, next).await;
                    }
                }
            }
        }
    };
    tokio::select! {
        () = all => {}
        () = shutdown.requested() => {}
    }
}

/// Finishes one recording. Returns whether the next one may be tried at once.
async fn finish(catalog: &Arc<Catalog>, next: Unfinished) -> bool {
    let Unfinished { name, summary, bytes } = next;
    if !name.is_mp4() {
        return install(catalog, &name, Stage::Part).await;
    }
    if bytes == 0 {
        let empty = name.clone();
        catalog.on_disk(move |catalog| catalog.delete(&empty).ok()).await.ok();
        return true;
    }
    let headroom =
        catalog.on_disk(move |catalog| catalog.require_headroom(Headroom::For(bytes + bytes / 16)));
    if let Ok(Err(failure)) = headroom.await {
        catalog.set_error(format!("{name} stays in fragments for now: {failure}"));
        return false;
    }
    if !catalog.set_finishing(&name) {
        return true;
    }
    let path = |stage| name.path(catalog.folder(), stage);
    let job = Remux {
        from: path(Stage::Part),
        to: path(Stage::New),
        through: path(Stage::Temporary),
        bytes,
        expected: summary.map(|summary| (summary.span, summary.index_bytes)),
    };
    let finished = finish_recording(job).await;
    let (own, has_new) = (name.clone(), finished.is_ok());
    let clean_up = move |catalog: &Catalog| {
        catalog.remove_file(&own, Stage::Temporary);
        if !has_new {
            catalog.remove_file(&own, Stage::New);
        }
    };
    catalog.on_disk(clean_up).await.ok();
    match finished {
        Ok(()) => {
            debug!("{name} is finished");
            install(catalog, &name, Stage::New).await
        }
        Err(Failure::Disk(why)) => {
            catalog.set_waiting(&name, summary);
            catalog.set_error(format!("{name} stays in fragments for now: {why}"));
            false
        }
        Err(failure) => {
            warn!("{name} stays in fragments: {failure}");
            install(catalog, &name, Stage::Part).await
        }
    }
}

/// Gives the file of `stage` the final name. Returns whether that worked.
async fn install(catalog: &Arc<Catalog>, name: &Name, stage: Stage) -> bool {
    let own = name.clone();
    let done = catalog.on_disk(move |catalog| catalog.install(&own, stage)).await;
    if let Err(error) = done.map_err(io::Error::from).flatten() {
        catalog.set_waiting(name, None);
        catalog.set_error(format!("{name} cannot be finished: {error}"));
        return false;
    }
    true
}
