//! A shared feed: captured once, and encoded for each of its streams.

use std::sync::Arc;

use super::feed::{apply_controls, run_pipeline};
use super::forms::probe_shared;
use super::outbox::Out;
use super::pull;
use super::tap::Target;
use crate::base::time::MediaTime;
use crate::config::settings::Source;
use crate::engine::controls::Listed;
use crate::engine::plan::Plan;
use crate::engine::supervise::runs::Stop;
use crate::host::fanout::Fanout;
use crate::model::failure::Failure;
use crate::model::given::Given;

/// Captures the feed of `plan` into `fanout` until it fails or a stop is requested.
pub(super) async fn run(
    plan: Plan,
    controls: Option<&Listed>,
    fanout: &Arc<Fanout>,
    out: Arc<Out>,
    mut stop: Stop,
) -> Failure {
    if let Source::Rtsp(pull) = &plan.feed.source {
        let run = fanout.begin_run(MediaTime::now());
        return pull::run(&plan, pull, Target::Shared(run.writer(), out), stop).await;
    }
    let found = tokio::select! {
        found = probe_shared(&plan) => found,
        () = stop.requested() => return Failure::Ended,
    };
    let (capture, pictures) = match found {
        Ok(found) => found,
        Err(failure) => return failure,
    };
    let plan = apply_controls(plan, capture, controls, &out);
    let line = match plan.capture_line(capture) {
        Ok(line) => line,
        Err(error) => return error.into(),
    };
    let run = fanout.begin_run(MediaTime::now());
    run.writer().announce(Given { pictures, sound: plan.feed_has_sound(capture) });
    run_pipeline(line, &plan, Target::Shared(run.writer(), out), stop).await
}
