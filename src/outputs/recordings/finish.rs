//! What was recorded becomes a plain MP4 with its index in front.
//!
//! One at a time on the whole box, as the least urgent of its programs. The
//! original goes when the new file is on the disk under its name, and not
//! before: a crash leaves one of them, and the next start goes on.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use log::{debug, warn};

use super::clock;
use super::name::{Name, Stage};
use crate::base::shutdown::Shutdown;
use crate::engine::process::{Remux, finish_recording};
use crate::model::status::Failure;
use crate::outputs::recordings::catalog::{Catalog, Known};
use crate::outputs::recordings::retention::Headroom;

/// How often the folder is looked after: unfinished recordings, age, size.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// How often the system is asked whether its clock is set, until it is.
const ASK_EVERY: Duration = Duration::from_secs(60);

/// How soon a recording that has ended is noticed.
const NOTICE_EVERY: Duration = Duration::from_millis(500);

/// Reads the folder and looks after it, until the service ends.
pub(super) async fn look_after(catalog: Arc<Catalog>, mut shutdown: Shutdown) {
    let all = async {
        catalog.on_disk(Catalog::read).await.ok();
        let mut asks = tokio::time::interval(ASK_EVERY);
        asks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut looks = tokio::time::interval(LOOK_EVERY);
        let mut notices = tokio::time::interval(NOTICE_EVERY);
        notices.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut is_stuck = false;
        loop {
            tokio::select! {
                // Asked before the first look, which may delete.
                biased;
                // Once set, a clock goes on by itself.
                _ = asks.tick(), if !catalog.is_synchronised() => {
                    catalog.heard_of_clock(clock::ask().await);
                }
                _ = looks.tick() => {
                    is_stuck = false;
                    catalog.on_disk(Catalog::look).await.ok();
                }
                _ = notices.tick(), if !is_stuck => {
                    if let Some(next) = catalog.unfinished() {
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

/// Returns whether it makes sense to go on with the next one.
async fn finish(catalog: &Arc<Catalog>, (name, known, bytes): (Name, Option<Known>, u64)) -> bool {
    if !name.is_mp4() {
        return in_place(catalog, &name, Stage::Part).await;
    }
    if bytes == 0 {
        let empty = name.clone();
        catalog.on_disk(move |catalog| catalog.delete(&empty).ok()).await.ok();
        return true;
    }
    let headroom =
        catalog.on_disk(move |catalog| catalog.need_room(Headroom::For(bytes + bytes / 16)));
    if let Ok(Err(failure)) = headroom.await {
        catalog.trouble(format!("{name} stays in fragments for now: {failure}"));
        return false;
    }
    if !catalog.finishing(&name) {
        return true;
    }
    let path = |stage| name.path(catalog.folder(), stage);
    let job = Remux {
        from: path(Stage::Part),
        to: path(Stage::New),
        through: path(Stage::Through),
        bytes,
        expected: known.map(|known| (known.span, known.index_bytes)),
    };
    let made = finish_recording(job).await;
    let (own, is_made) = (name.clone(), made.is_ok());
    let clear = move |catalog: &Catalog| {
        catalog.remove(&own, Stage::Through);
        if !is_made {
            catalog.remove(&own, Stage::New);
        }
    };
    catalog.on_disk(clear).await.ok();
    match made {
        Ok(()) => {
            debug!("{name} is finished");
            in_place(catalog, &name, Stage::New).await
        }
        Err(Failure::Disk(why)) => {
            catalog.ended(&name, known);
            catalog.trouble(format!("{name} stays in fragments for now: {why}"));
            false
        }
        Err(failure) => {
            warn!("{name} stays in fragments: {failure}");
            in_place(catalog, &name, Stage::Part).await
        }
    }
}

async fn in_place(catalog: &Arc<Catalog>, name: &Name, made: Stage) -> bool {
    let own = name.clone();
    let done = catalog.on_disk(move |catalog| catalog.finished(&own, made)).await;
    if let Err(error) = done.map_err(io::Error::from).flatten() {
        catalog.ended(name, None);
        catalog.trouble(format!("{name} cannot be finished: {error}"));
        return false;
    }
    true
}
