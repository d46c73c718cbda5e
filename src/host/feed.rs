//! A feed of one stream: captured and encoded in one pipeline.

use std::sync::Arc;

use log::debug;

use super::encoding::{Encoding, by_itself};
use super::outbox::Out;
use super::running::{Running, started};
use super::tap::{SINKS, Target, Timeline, count_dropped, tap};
use super::v4l2;
use crate::base::time::MediaTime;
use crate::config::settings::Source;
use crate::engine::controls::{Listed, resolved};
use crate::engine::plan::{Capture, Form, Plan};
use crate::engine::supervise::runs::Stop;
use crate::host::file_source;
use crate::model::status::Failure;
use crate::wire::answer::News;

/// Captures and encodes the feed of `plan` until that fails or is to stop.
pub(super) async fn run(
    plan: Plan,
    controls: Option<&Listed>,
    mut encoding: Encoding,
    mut stop: Stop,
) -> Failure {
    let out = Arc::clone(&encoding.out);
    let prepared = tokio::select! {
        prepared = prepare(plan, controls, &mut encoding) => prepared,
        () = stop.requested() => return Failure::Ended,
    };
    let (plan, capture, line) = match prepared {
        Ok(prepared) => prepared,
        Err(failure) => return failure,
    };
    out.tell(News::Begins {
        begin: MediaTime::now(),
        video: Some(plan.fps().frame()),
        audio: plan.has_sound(capture),
        bitrate: plan.stream.bitrate.bps(),
    });
    carry(line, &plan, Target::Stream(out), stop).await
}

/// What the feed gives, and the launch line for it with the encoder that works.
async fn prepare(
    plan: Plan,
    controls: Option<&Listed>,
    encoding: &mut Encoding,
) -> Result<(Plan, Capture, String), Failure> {
    let capture = capture_of(&plan).await?;
    let plan = set(plan, capture, controls, &encoding.out);
    let encoder = match capture.form {
        Form::H264 => by_itself(&plan),
        Form::Raw | Form::Mjpeg | Form::Coded(_) => encoding.choose().await?,
    };
    let line = plan
        .launch_line(capture, &encoder.element)
        .map_err(|error| Failure::Build(error.to_string()))?;
    encoding.announce(encoder);
    Ok((plan, capture, line))
}

/// The plan with the controls that its camera takes; those that it does not take
/// are reported to the service.
pub(super) fn set(plan: Plan, capture: Capture, controls: Option<&Listed>, out: &Out) -> Plan {
    let (plan, told) = resolved(plan, capture, controls);
    if controls.is_some() {
        out.tell(News::Controls(told));
    }
    plan
}

/// What the feed of one stream gives.
///
/// # Errors
/// It cannot be had, or not as it is asked.
pub(super) async fn capture_of(plan: &Plan) -> Result<Capture, Failure> {
    match &plan.feed.source {
        Source::TestClock => Ok(Capture::plain(plan.feed.fps)),
        Source::File(path) => file_source::look(path, plan).await,
        Source::V4l2(device) => v4l2::ask(device.clone(), plan).await,
        // These are always in a pipeline of their own.
        Source::Rtsp(_) | Source::SoundOnly | Source::Made(_) | Source::Unpacked(_) => {
            Ok(Capture { form: Form::H264, ..Capture::plain(plan.feed.fps) })
        }
    }
}

/// Builds the pipeline that captures a feed, and runs it until it fails or is
/// to stop.
pub(super) async fn carry(line: String, plan: &Plan, target: Target, mut stop: Stop) -> Failure {
    debug!("runs: {line}");
    match started(move || start(&line, &target)).await {
        Ok(mut running) => {
            let film = played(plan, &running);
            let failure = tokio::select! {
                failure = running.ended() => failure,
                failure = film => failure,
                () = stop.requested() => Failure::Ended,
            };
            running.close().await;
            failure
        }
        Err(failure) => failure,
    }
}

fn start(line: &str, target: &Target) -> Result<Running, Failure> {
    let mut running = Running::build(line, Vec::new())?;
    count_dropped(running.pipeline(), target);
    tap(&Timeline::of(running.pipeline()), &SINKS, target)?;
    running.play()?;
    Ok(running)
}

/// Feeds a file into its pipeline; every other feed feeds itself.
fn played(plan: &Plan, running: &Running) -> impl Future<Output = Failure> + use<> {
    let film = match &plan.feed.source {
        Source::File(path) => {
            Some((path.clone(), plan.feed.fps, file_source::Sources::of(running)))
        }
        Source::TestClock
        | Source::V4l2(_)
        | Source::Rtsp(_)
        | Source::SoundOnly
        | Source::Made(_)
        | Source::Unpacked(_) => None,
    };
    async move {
        match film {
            Some((path, fps, Ok(sources))) => file_source::play(path, fps, sources).await,
            Some((_, _, Err(failure))) => failure,
            None => std::future::pending().await,
        }
    }
}
