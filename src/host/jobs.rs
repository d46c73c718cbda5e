//! The jobs, each from its message to its answer.

use std::convert::Infallible;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use super::extract::{NoIntra, unpacked};
use super::needs::Needs;
use super::{Input, Output, Service, guard, sandbox};
use super::{errands, family, mjpeg, picture, probe, push, remux};
use crate::model::status::Failure;
use crate::wire::{FromHost, Job, Unit};

/// Does `job`; what goes wrong with it is an answer, too.
///
/// # Errors
/// The service has gone or talks nonsense, or GStreamer does not start.
pub(super) async fn run(job: Job, needs: Needs, service: Service) -> anyhow::Result<()> {
    let Service { mut input, mut output } = service;
    if !matches!(job, Job::EndCommands { .. }) {
        errands::init()?;
    }
    if let Some(reach) = &needs.confined_to {
        sandbox::confine(reach);
    }
    let (head, payload) = match job {
        // All that it does is done at the end of this process.
        Job::EndCommands { .. } => return std::future::pending().await,
        Job::TryEncoder { element } => done(probe::try_encoder(&element).map(|()| Bytes::new())),
        Job::FinishRecording { from, to, through, expected } => {
            guard::yield_to_others();
            let made = remux::remux(from, to, through, expected).await;
            done(made.map(|()| Bytes::new()))
        }
        Job::Picture { format, size } => {
            let mut frames = Vec::new();
            while let Some(frame) = input.data().await? {
                frames.push(frame);
            }
            done(picture::render(frames, format, size).await)
        }
        Job::Still { caps, format, width } => {
            let data = input.data().await?.unwrap_or_default();
            done(picture::render_intra(&caps, data, format, width).await)
        }
        Job::Extract { caps } => {
            let (tell, bytes) = mpsc::channel(1);
            let found = tokio::select! {
                found = unpacked(bytes, caps.as_deref()) => found,
                Err(gone) = pass_on(async || input.data().await, tell) => return Err(gone),
            };
            match found {
                Ok((caps, data)) => (FromHost::Found { caps }, data),
                Err(NoIntra::NoVideo) => (FromHost::NoVideo, Bytes::new()),
                Err(NoIntra::Failed(failure)) => failed(failure),
            }
        }
        Job::Mjpeg(job) => {
            let work = |units, newest| mjpeg::mjpeg(job, units, newest);
            let message = |(pts, jpeg)| (FromHost::Picture { pts }, jpeg);
            return consume((input, output), work, message).await;
        }
        Job::Push(job) => {
            let work = |units, sent| push::push(*job, units, sent);
            let message = |sent| (FromHost::Sent(sent), Bytes::new());
            return consume((input, output), work, message).await;
        }
        Job::Family { .. } => return family::run(input, output).await,
        Job::Installed { elements } => {
            let version = gstreamer::version_string().to_string();
            let missing = probe::missing(elements);
            (FromHost::Installed { version, missing }, Bytes::new())
        }
    };
    output.send(&head, payload).await
}

/// Has `work` consume access units, and tells the newest of what comes of it. While
/// the service does not take that, the next one replaces it.
async fn consume<T, F>(
    (mut input, mut output): (Input, Output),
    work: impl FnOnce(mpsc::Receiver<(Unit, Bytes)>, watch::Sender<Option<T>>) -> F,
    message: impl Fn(T) -> (FromHost, Bytes),
) -> anyhow::Result<()>
where
    T: Clone + Send + Sync + 'static,
    F: Future<Output = Failure> + Send + 'static,
{
    // As many as are on their way; the rest waits in the service.
    let (tell, units) = mpsc::channel(1);
    let (publish, mut newest) = watch::channel(None);
    // A task of its own: it goes on while something is being sent.
    let mut over = tokio::spawn(work(units, publish));
    let sent = async {
        loop {
            tokio::select! {
                biased;
                failure = &mut over => return output.send(&FromHost::Failed(failure?), Bytes::new()).await,
                Ok(()) = newest.changed() => {
                    let made = newest.borrow_and_update().clone();
                    if let Some((head, payload)) = made.map(&message) {
                        output.send(&head, payload).await?;
                    }
                }
            }
        }
    };
    tokio::select! {
        sent = sent => sent,
        Err(gone) = pass_on(async || input.unit().await, tell) => Err(gone),
    }
}

/// Passes on all data that comes. Returns only if that fails.
async fn pass_on<T>(
    mut next: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
    tell: mpsc::Sender<T>,
) -> anyhow::Result<Infallible> {
    while let Some(piece) = next().await? {
        // Without a receiver the job is done, and its answer on the way.
        tell.send(piece).await.ok();
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
