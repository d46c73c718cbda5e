//! A shared feed: captured once, and encoded for each of its streams.

use std::sync::Arc;

use super::feed::{apply_controls, run_pipeline};
use super::outbox::Out;
use super::pull;
use super::tap::Target;
use super::v4l2;
use crate::base::time::MediaTime;
use crate::config::settings::Source;
use crate::engine::controls::Listed;
use crate::engine::plan::{Capture, Form, Plan};
use crate::engine::supervise::runs::Stop;
use crate::host::fanout::Fanout;
use crate::host::file_source;
use crate::model::failure::Failure;
use crate::model::given::{Given, Pictures};

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
        found = probe(&plan) => found,
        () = stop.requested() => return Failure::Ended,
    };
    let (capture, pictures) = match found {
        Ok(found) => found,
        Err(failure) => return failure,
    };
    let plan = apply_controls(plan, capture, controls, &out);
    let line = match plan.capture_line(capture) {
        Ok(line) => line,
        Err(error) => return Failure::Build(error.to_string()),
    };
    let run = fanout.begin_run(MediaTime::now());
    run.writer().announce(Given { pictures, sound: plan.feed_has_sound(capture) });
    run_pipeline(line, &plan, Target::Shared(run.writer(), out), stop).await
}

/// The form in which a shared feed is captured, and the form of its pictures; none if it
/// has sound only.
///
/// # Errors
/// The device or file cannot be opened, or does not support what is configured.
pub(super) async fn probe(plan: &Plan) -> Result<(Capture, Option<Pictures>), Failure> {
    match &plan.feed.source {
        Source::TestClock | Source::Made(_) => {
            Ok((Capture::plain(plan.feed.fps), Some(Pictures::Plain)))
        }
        Source::SoundOnly => Ok((Capture::plain(plan.feed.fps), None)),
        Source::V4l2(device) => {
            let capture = v4l2::probe(device.clone(), plan).await?;
            let pictures = match capture.form {
                Form::H264 | Form::Coded(_) => Pictures::H264 { in_order: true },
                Form::Raw | Form::Mjpeg => Pictures::Plain,
            };
            Ok((capture, Some(pictures)))
        }
        Source::File(path) => {
            let (in_order, sound) = file_source::probe_order(path).await?;
            let capture = Capture { form: Form::H264, sound, ..Capture::plain(plan.feed.fps) };
            Ok((capture, Some(Pictures::H264 { in_order })))
        }
        // Known only while it runs; this is the usual form.
        Source::Rtsp(_) | Source::Unpacked(_) => {
            let capture = Capture { form: Form::H264, ..Capture::plain(plan.feed.fps) };
            Ok((capture, Some(Pictures::H264 { in_order: true })))
        }
    }
}
