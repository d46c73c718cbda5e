//! Executes a job, from its message to its answer.

use std::convert::Infallible;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use super::extract::{self, ExtractError};
use super::needs::Needs;
use super::{Input, Output, Service, guard, sandbox};
use super::{family, in_process, mjpeg, picture, probe, push, remux};
use crate::model::failure::Failure;
use crate::wire::Unit;
use crate::wire::answer::{self, Done, Elements, Extracted};
use crate::wire::job::{
    self, CheckElements, Extract, FinishRecording, Job, JobKind, Mjpeg, Push, Still, TryEncoder,
};

/// Does `job`; a failure of the job is sent as its answer.
///
/// # Errors
/// The socket is closed, a message is invalid, or GStreamer does not start.
pub(super) async fn run(job: Job, needs: Needs, service: Service) -> anyhow::Result<()> {
    if !matches!(job, Job::EndCommands(_)) {
        in_process::init()?;
    }
    if let Some(reach) = &needs.confined_to {
        sandbox::confine(reach);
    }
    execute(job, service).await
}

async fn execute(job: Job, Service { mut input, mut output }: Service) -> anyhow::Result<()> {
    match job {
        // Its work is done by `guard` at the end of this process.
        Job::EndCommands(_) => std::future::pending().await,
        Job::TryEncoder(TryEncoder { element }) => {
            let tried = probe::try_encoder(&element);
            output.answer::<TryEncoder>(tried.map(|()| (Done, Bytes::new()))).await
        }
        Job::FinishRecording(FinishRecording { from, to, through, expected }) => {
            guard::lower_priority();
            let made = remux::remux(from, to, through, expected).await;
            output.answer::<FinishRecording>(made.map(|()| (Done, Bytes::new()))).await
        }
        Job::Picture(job::Picture { format, size }) => {
            let mut frames = Vec::new();
            while let Some(frame) = input.data().await? {
                frames.push(frame);
            }
            let made = picture::render(frames, format, size).await;
            output.answer::<job::Picture>(made.map(|made| (Done, made))).await
        }
        Job::Still(Still { caps, format, width }) => {
            let data = input.data().await?.unwrap_or_default();
            let made = picture::render_intra(&caps, data, format, width).await;
            output.answer::<Still>(made.map(|made| (Done, made))).await
        }
        Job::Extract(Extract { caps }) => {
            let found = extract(&mut input, caps.as_deref()).await?;
            output.answer::<Extract>(Ok(found)).await
        }
        Job::Mjpeg(job) => {
            let work = |units, newest| mjpeg::mjpeg(job, units, newest);
            let answer = |(pts, jpeg)| (answer::Picture { pts }, jpeg);
            consume::<Mjpeg, _, _>((input, output), work, answer).await
        }
        Job::Push(job) => {
            let work = |units, sent| push::push(*job, units, sent);
            let answer = |sent| (sent, Bytes::new());
            consume::<Push, _, _>((input, output), work, answer).await
        }
        Job::Family(_) => family::run(input, output).await,
        Job::CheckElements(CheckElements { elements }) => {
            let version = gstreamer::version_string().to_string();
            let missing = probe::missing(elements);
            let answer = (Elements { version, missing }, Bytes::new());
            output.answer::<CheckElements>(Ok(answer)).await
        }
    }
}

/// The first intra frame of the bytes.
async fn extract(input: &mut Input, caps: Option<&str>) -> anyhow::Result<(Extracted, Bytes)> {
    let (sender, bytes) = mpsc::channel(1);
    let found = tokio::select! {
        found = extract::first_intra(bytes, caps) => found,
        Err(gone) = forward(async || input.data().await, sender) => return Err(gone),
    };
    Ok(match found {
        Ok((caps, data)) => (Extracted::Picture { caps }, data),
        Err(ExtractError::NoVideo) => (Extracted::NoVideo, Bytes::new()),
        Err(ExtractError::Failed(failure)) => (Extracted::NotUnderstood(failure), Bytes::new()),
    })
}

/// Runs `work` on the access units, and sends its newest result. A result that was not sent
/// yet is replaced by the next.
async fn consume<J: JobKind, T, F>(
    (mut input, mut output): (Input, Output),
    work: impl FnOnce(mpsc::Receiver<(Unit, Bytes)>, watch::Sender<Option<T>>) -> F,
    answer: impl Fn(T) -> (J::Answer, Bytes),
) -> anyhow::Result<()>
where
    T: Clone + Send + Sync + 'static,
    F: Future<Output = Failure> + Send + 'static,
{
    // One: further units wait in the service.
    let (sender, units) = mpsc::channel(1);
    let (publish, mut newest) = watch::channel(None);
    // A task of its own, which continues while a result is being sent.
    let mut task = tokio::spawn(work(units, publish));
    let sent = async {
        loop {
            tokio::select! {
                biased;
                failure = &mut task => return output.answer::<J>(Err(failure?)).await,
                Ok(()) = newest.changed() => {
                    let made = newest.borrow_and_update().clone();
                    if let Some(made) = made {
                        output.answer::<J>(Ok(answer(made))).await?;
                    }
                }
            }
        }
    };
    tokio::select! {
        sent = sent => sent,
        Err(gone) = forward(async || input.unit().await, sender) => Err(gone),
    }
}

/// Forwards all data. Returns only if receiving fails.
async fn forward<T>(
    mut next: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
    sender: mpsc::Sender<T>,
) -> anyhow::Result<Infallible> {
    while let Some(piece) = next().await? {
        // Without a receiver the job is done, and its answer is being sent.
        sender.send(piece).await.ok();
    }
    drop(sender);
    std::future::pending().await
}
