//! The jobs, each from its message to its answer.

use std::convert::Infallible;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::{Service, guard, sandbox};
use crate::engine::gst::{self, NoIntra};
use crate::model::status::Failure;
use crate::wire::{FromHost, Job};

/// Does `job`; what goes wrong with it is an answer, too.
///
/// # Errors
/// The service has gone or talks nonsense, or GStreamer does not start.
pub(super) async fn run(job: Job, service: &mut Service) -> anyhow::Result<()> {
    if !matches!(job, Job::EndCommands { .. }) {
        gst::init_plain()?;
    }
    sandbox::confine(&job);
    let (head, payload) = match job {
        // All that it does is done at the end of this process.
        Job::EndCommands { .. } => return std::future::pending().await,
        Job::TryEncoder { element } => done(gst::try_encoder(&element).map(|()| Bytes::new())),
        Job::FinishRecording { from, to, through, expected } => {
            guard::yield_to_others();
            let made = gst::remux(from, to, through, expected).await;
            done(made.map(|()| Bytes::new()))
        }
        Job::Picture { format, size } => {
            let mut frames = Vec::new();
            while let Some(frame) = service.data().await? {
                frames.push(frame);
            }
            done(gst::render(frames, format, size).await)
        }
        Job::Still { caps, format, width } => {
            let data = service.data().await?.unwrap_or_default();
            done(gst::render_intra(&caps, data, format, width).await)
        }
        Job::Extract { caps } => {
            let (tell, bytes) = mpsc::channel(1);
            let found = tokio::select! {
                found = gst::unpacked(bytes, caps.as_deref()) => found,
                Err(gone) = pass_on(service, tell) => return Err(gone),
            };
            match found {
                Ok((caps, data)) => (FromHost::Found { caps }, data),
                Err(NoIntra::NoVideo) => (FromHost::NoVideo, Bytes::new()),
                Err(NoIntra::Failed(failure)) => failed(failure),
            }
        }
    };
    service.answer(&head, payload).await
}

/// Passes on all data that comes. Returns only if that fails.
async fn pass_on(service: &mut Service, tell: mpsc::Sender<Bytes>) -> anyhow::Result<Infallible> {
    while let Some(data) = service.data().await? {
        // Who takes no more has found something.
        tell.send(data).await.ok();
    }
    drop(tell);
    std::future::pending().await
}

fn done(made: Result<Bytes, Failure>) -> (FromHost, Bytes) {
    made.map_or_else(failed, |payload| (FromHost::Done, payload))
}

fn failed(failure: Failure) -> (FromHost, Bytes) {
    (FromHost::Failed(failure), Bytes::new())
}
