//! One push: sends access units to an RTMP receiver.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use gstreamer as gst;
use gstreamer::prelude::*;
use tokio::sync::{mpsc, watch};

use super::clock::absolute;
use super::feeder::Sources;
use super::metadata;
use super::running::Running;
use super::trust;
use crate::base::sockets::unacknowledged;
use crate::model::cause::Cause;
use crate::model::failure::Failure;
use crate::model::push_url::PushUrl;
use crate::wire::Unit;
use crate::wire::answer::Sent;
use crate::wire::job::Push;

/// How often the sent bytes are polled, before and after the first acknowledged one.
const FIRST_POLL_INTERVAL: Duration = Duration::from_millis(100);
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Sends `units` until that fails, and returns the reason. After the last unit, end of
/// stream is sent. The start and the check of a refused certificate block.
pub(super) async fn push(
    job: Push,
    mut units: mpsc::Receiver<(Unit, Bytes)>,
    sent: watch::Sender<Option<Sent>>,
) -> Failure {
    let Pipes { mut running, sources, sink } = match start(&job) {
        Ok(pipes) => pipes,
        Err(failure) => return failure,
    };
    let failure = tokio::select! {
        failure = running.ended() => failure,
        never = watch_bytes(&sink, &sent) => match never {},
        () = sources.push_all(&mut units) => {
            running.send_eos().await;
            running.close().await;
            return Failure::Ended;
        }
    };
    with_certificate_error(failure, &job)
}

/// Completes the cause of a refused certificate by what is wrong with it.
fn with_certificate_error(failure: Failure, job: &Push) -> Failure {
    match (failure, job.url.reveal().parse::<PushUrl>()) {
        (Failure::Known { cause: Cause::CertificateRefused { why }, message }, Ok(url)) => {
            let why = trust::explain(&url, job.ca.is_some()).unwrap_or(why);
            Failure::Known { cause: Cause::CertificateRefused { why }, message }
        }
        (failure, _) => failure,
    }
}

/// Publishes the counts of sent bytes when they change.
async fn watch_bytes(sink: &gst::Element, sent: &watch::Sender<Option<Sent>>) -> Infallible {
    let mut before = Sent::default();
    loop {
        tokio::time::sleep(if before.acknowledged > 0 {
            POLL_INTERVAL
        } else {
            FIRST_POLL_INTERVAL
        })
        .await;
        let stats = sink.property::<gst::Structure>("stats");
        // The sink counts nothing before the receiver has accepted the stream.
        let written = stats.get::<u64>("out-bytes-total").unwrap_or(0);
        // The kernel holds megabytes for a receiver that has stopped reading.
        let held = unacknowledged().unwrap_or(0);
        let acknowledged = before.acknowledged.max(written.saturating_sub(held));
        let now = Sent { written, acknowledged };
        if now != before {
            sent.send_replace(Some(now));
        }
        before = now;
    }
}

/// A started push pipeline.
struct Pipes {
    running: Running,
    sources: Sources,
    sink: gst::Element,
}

fn start(job: &Push) -> Result<Pipes, Failure> {
    job.ca.as_deref().map_or(Ok(()), trust::trust)?;
    let secrets = [Some(&job.url), job.key.as_ref()];
    let mut running = Running::build(&job.line, secrets.into_iter().flatten().cloned().collect())?;
    let sink = running.element("sink")?;
    sink.set_property("location", job.url.reveal());
    if let Some(tag) = &job.metadata {
        metadata::replace(&sink, tag);
    }
    let audio = match &job.audio {
        Some(info) => Some((running.element("audio")?, info)),
        None => None,
    };
    let sources = Sources::new(running.element("video")?, audio, job.begin)?;
    // The pipeline's time begins with the first frame, so that generated sound is in sync,
    // and the receiver gets timestamps from zero.
    let pipeline = running.pipeline();
    pipeline.set_start_time(gst::ClockTime::NONE);
    pipeline.set_base_time(absolute(job.begin));
    running.play()?;
    Ok(Pipes { running, sources, sink })
}
