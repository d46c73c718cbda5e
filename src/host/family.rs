//! The host of a feed family: the capture of a feed, the encoders of its streams, and
//! the feeds that are made from it. Raw pictures do not leave this process.
//!
//! The service starts, stops and supervises each run.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use log::debug;
use tokio::sync::{mpsc, oneshot, watch};

use super::capture;
use super::derive;
use super::encoding::Encoding;
use super::feed;
use super::outbox::{Out, Outbox};
use super::tap::Target;
use super::unpack;
use super::{Input, Output};
use crate::base::lock::Lock;
use crate::base::time::MediaTime;
use crate::engine::supervise::runs::Stop;
use crate::engine::work::Work;
use crate::host::fanout::Fanout;
use crate::host::shared_source::{wait_changed, wait_known};
use crate::host::shared_stream;
use crate::model::failure::Failure;
use crate::model::ids::FeedName;
use crate::model::status::Encoder;
use crate::wire::answer::News;
use crate::wire::{Order, ToHost};

/// How often counts are reported. The service polls feeds once per second.
const REPORT_INTERVAL: Duration = Duration::from_millis(500);

/// How many pieces of bytes wait for the demultiplexer's pipeline.
const QUEUED_PIECES: usize = 16;

/// What all runs share.
#[derive(Debug, Default)]
struct Family {
    outbox: Arc<Outbox>,
    /// The fanouts of the family's feeds. Each outlives the runs of its feed; a stream may
    /// subscribe before the first one.
    fanouts: Lock<BTreeMap<FeedName, Arc<Fanout>>>,
}

/// The control side of a run. Dropping it ends the run.
struct Handle {
    work: watch::Sender<Work>,
    encoder: watch::Sender<Option<Result<Encoder, Failure>>>,
    bytes: mpsc::Sender<Bytes>,
    _stop: oneshot::Sender<()>,
    out: Arc<Out>,
}

/// The inputs of a run.
struct Run {
    work: watch::Receiver<Work>,
    encoding: Encoding,
    bytes: mpsc::Receiver<Bytes>,
    stop: Stop,
}

/// Executes the orders of the service, until its socket fails.
///
/// # Errors
/// The socket is closed, or a message is invalid.
pub(super) async fn run(mut input: Input, mut output: Output) -> anyhow::Result<()> {
    let family = Arc::<Family>::default();
    let outbox = Arc::clone(&family.outbox);
    let sending = async {
        loop {
            let (head, payload) = outbox.next().await;
            output.write(&head, payload).await?;
        }
    };
    tokio::select! {
        result = sending => result,
        result = family.receive(&mut input) => result,
    }
}

impl Family {
    async fn receive(self: &Arc<Self>, input: &mut Input) -> anyhow::Result<()> {
        let mut runs = BTreeMap::<u32, Handle>::new();
        let mut report = tokio::time::interval(REPORT_INTERVAL);
        loop {
            tokio::select! {
                message = input.next() => {
                    let (ToHost::Run { run, order }, payload) = message? else {
                        anyhow::bail!("the message is not one for a feed family");
                    };
                    self.execute(&mut runs, run, order, payload).await?;
                }
                _ = report.tick() => runs.values().for_each(|run| run.out.report_counts()),
            }
        }
    }

    async fn execute(
        self: &Arc<Self>,
        runs: &mut BTreeMap<u32, Handle>,
        number: u32,
        order: Order,
        payload: Bytes,
    ) -> anyhow::Result<()> {
        match (order, runs.get(&number)) {
            (Order::Work, Some(run)) => {
                run.work.send_replace(Work::decode(&payload)?);
            }
            (Order::Work, None) => {
                let run = self.begin(number, Work::decode(&payload)?);
                runs.insert(number, run);
            }
            (Order::Encoder(chosen), Some(run)) => {
                run.encoder.send_replace(Some(chosen));
            }
            // A run that has ended drops it.
            (Order::Data, Some(run)) => drop(run.bytes.send(payload).await),
            (Order::Stop, Some(_)) => drop(runs.remove(&number)),
            (Order::Encoder(_) | Order::Data | Order::Stop, None) => {}
        }
        Ok(())
    }

    fn begin(self: &Arc<Self>, number: u32, work: Work) -> Handle {
        let out = Out::new(number, &self.outbox);
        let (work, work_receiver) = watch::channel(work);
        let (encoder, chosen) = watch::channel(None);
        let (bytes_sender, bytes) = mpsc::channel(QUEUED_PIECES);
        let (request_stop, stop) = Stop::pair();
        let encoding = Encoding { chosen, out: Arc::clone(&out) };
        let run = Run { work: work_receiver, encoding, bytes, stop };
        let (family, reporter) = (Arc::clone(self), Arc::clone(&out));
        tokio::spawn(async move {
            let failure = family.run(run).await;
            debug!("run {number} ended: {failure}");
            reporter.report_counts();
            reporter.send(News::Ended(failure));
        });
        Handle { work, encoder, bytes: bytes_sender, _stop: request_stop, out }
    }

    async fn run(&self, run: Run) -> Failure {
        let Run { work, encoding, mut bytes, stop } = run;
        let out = Arc::clone(&encoding.out);
        let first = work.borrow().clone();
        match first {
            Work::Whole { plan, controls } => {
                feed::run(plan, controls.as_ref(), encoding, stop).await
            }
            Work::Capture { plan, controls, disordered } => {
                let fanout = self.fanout(&plan.feed.name, disordered);
                let captured =
                    capture::run(plan, controls.as_ref(), &fanout, Arc::clone(&out), stop);
                reporting(&fanout, &out, captured).await
            }
            Work::Made { plan, base } => {
                let fanout = self.fanout(&plan.feed.name, false);
                let base = self.fanout(&base.feed.name, false);
                let making =
                    derive::Job { base, fanout: Arc::clone(&fanout), work, out: Arc::clone(&out) };
                reporting(&fanout, &out, making.run(stop)).await
            }
            Work::Unpack { plan } => {
                let fanout = self.fanout(&plan.feed.name, false);
                let run = fanout.begin_run(MediaTime::now());
                let target = Target::Shared(run.writer(), Arc::clone(&out));
                reporting(&fanout, &out, unpack::run(&plan, &mut bytes, target, stop)).await
            }
            Work::Stream { plan, .. } => {
                let fanout = self.fanout(&plan.feed.name, false);
                shared_stream::Job { fanout, work, encoding }.run(stop).await
            }
            Work::Sound { feed } => {
                shared_stream::sound(&self.fanout(&feed, false), out, stop).await
            }
        }
    }

    /// The fanout of the feed of this name.
    fn fanout(&self, feed: &FeedName, disordered: bool) -> Arc<Fanout> {
        let mut fanouts = self.fanouts.lock();
        let new = || Fanout::new(feed.clone());
        let fanout = Arc::clone(fanouts.entry(feed.clone()).or_insert_with(new));
        if disordered {
            fanout.expect_disorder();
        }
        fanout
    }
}

/// Runs a feed, and reports its media to the service.
async fn reporting(fanout: &Fanout, out: &Out, run: impl Future<Output = Failure>) -> Failure {
    let mut known = fanout.given();
    let report = async {
        loop {
            out.send(News::Gives(wait_known(&mut known).await));
            wait_changed(&mut known).await;
        }
    };
    tokio::select! {
        biased;
        failure = run => failure,
        () = report => Failure::Ended,
    }
}
