//! The jobs, each from its message to its answer.

use std::convert::Infallible;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use super::extract::{self, ExtractError};
use super::needs::Needs;
use super::{Input, Output, Service, guard, sandbox};
use super::{errands, family, mjpeg, picture, probe, push, remux};
use crate::model::status::Failure;
use crate::wire::Unit;
use crate::wire::answer::{self, Done, Elements, Extracted};
use crate::wire::job::{
    self, CheckElements, Extract, FinishRecording, Job, JobKind, Mjpeg, Push, Still, TryEncoder,
};

/// Does `job`; what goes wrong with it is an answer, too.
///
/// # Errors
/// The service has gone or talks nonsense, or GStreamer does not start.
pub(super) async fn run(job: Job, needs: Needs, service: Service) -> anyhow::Result<()> {
    if !matches!(job, Job::EndCommands(_)) {
        errands::init()?;
    }
    if let Some(reach) = &needs.confined_to {
        sandbox::confine(reach);
    }
    carry_out(job, service).await
}

async fn carry_out(job: Job, Service { mut input, mut output }: Service) -> anyhow::Result<()> {
    match job {
        // All that it does is done at the end of this process.
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

/// The first picture of the bytes that come.
async fn extract(input: &mut Input, caps: Option<&str>) -> anyhow::Result<(Extracted, Bytes)> {
    let (tell, bytes) = mpsc::channel(1);
    let found = tokio::select! {
        found = extract::first_intra(bytes, caps) => found,
        Err(gone) = pass_on(async || input.data().await, tell) => return Err(gone),
    };
    Ok(match found {
        Ok((caps, data)) => (Extracted::Picture { caps }, data),
        Err(ExtractError::NoVideo) => (Extracted::NoVideo, Bytes::new()),
        Err(ExtractError::Failed(failure)) => (Extracted::NotUnderstood(failure), Bytes::new()),
    })
}

/// Has `work` consume access units, and tells the newest of what comes of it. While
/// the service does not take that, the next one replaces it.
async fn consume<J: JobKind, T, F>(
    (mut input, mut output): (Input, Output),
    work: impl FnOnce(mpsc::Receiver<(Unit, Bytes)>, watch::Sender<Option<T>>) -> F,
    answer: impl Fn(T) -> (J::Answer, Bytes),
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
                failure = &mut over => return output.answer::<J>(Err(failure?)).await,
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
