//! A feed with one stream: captured and encoded in one pipeline.

use std::sync::Arc;

use log::debug;

use super::encoding::{Encoding, pass_through};
use super::forms::probe_feed;
use super::outbox::Out;
use super::running::{Running, start_blocking};
use super::tap::{SINKS, Target, Timeline, count_dropped, tap};
use crate::base::time::MediaTime;
use crate::config::settings::Source;
use crate::engine::controls::{Listed, resolved};
use crate::engine::plan::{Capture, Form, Plan};
use crate::engine::supervise::runs::Stop;
use crate::host::file_source;
use crate::model::failure::Failure;
use crate::wire::answer::News;

/// Captures and encodes the feed of `plan` until it fails or a stop is requested.
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
    out.send(News::Begins {
        begin: MediaTime::now(),
        video: Some(plan.fps().frame()),
        audio: plan.has_sound(capture),
        bitrate: plan.stream.bitrate.bps(),
    });
    run_pipeline(line, &plan, Target::Stream(out), stop).await
}

/// The form in which the feed is captured, and the launch line with the chosen encoder.
async fn prepare(
    plan: Plan,
    controls: Option<&Listed>,
    encoding: &mut Encoding,
) -> Result<(Plan, Capture, String), Failure> {
    let capture = probe_feed(&plan).await?;
    let plan = apply_controls(plan, capture, controls, &encoding.out);
    let encoder = match capture.form {
        Form::H264 => pass_through(&plan),
        Form::Raw | Form::Mjpeg | Form::Coded(_) => encoding.choose().await?,
    };
    let line = plan.launch_line(capture, &encoder.element)?;
    encoding.announce(encoder);
    Ok((plan, capture, line))
}

/// The plan with the controls that its camera takes; those that it does not take
/// are reported to the service.
pub(super) fn apply_controls(
    plan: Plan,
    capture: Capture,
    controls: Option<&Listed>,
    out: &Out,
) -> Plan {
    let (plan, warnings) = resolved(plan, capture, controls);
    if controls.is_some() {
        out.send(News::Controls(warnings));
    }
    plan
}

/// Builds the pipeline that captures a feed, and runs it until it fails or a stop is
/// requested.
pub(super) async fn run_pipeline(
    line: String,
    plan: &Plan,
    target: Target,
    mut stop: Stop,
) -> Failure {
    debug!("runs: {line}");
    match start_blocking(move || start(&line, &target)).await {
        Ok(mut running) => {
            let file = play_file(plan, &running);
            let failure = tokio::select! {
                failure = running.ended() => failure,
                failure = file => failure,
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
    tap(&Timeline::new(running.pipeline()), &SINKS, target)?;
    running.play()?;
    Ok(running)
}

/// Plays a file into its pipeline; pending for other feeds, which have a source element.
fn play_file(plan: &Plan, running: &Running) -> impl Future<Output = Failure> + use<> {
    let file = if let Source::File(path) = &plan.feed.source {
        Some((path.clone(), plan.feed.fps, file_source::Sources::new(running)))
    } else {
        None
    };
    async move {
        match file {
            Some((path, fps, Ok(sources))) => file_source::play(path, fps, sources).await,
            Some((_, _, Err(failure))) => failure,
            None => std::future::pending().await,
        }
    }
}
