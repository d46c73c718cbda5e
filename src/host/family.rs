//! The host of a feed family: the capture of a feed, the encoders of the streams
//! that show it, the feeds that are made from it. Raw pictures stay in here.
//!
//! The service begins and ends runs; it supervises each of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
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
use crate::base::time::MediaTime;
use crate::engine::supervise::runs::Stop;
use crate::engine::work::Work;
use crate::host::fanout::Fanout;
use crate::host::shared_source::{news, told};
use crate::host::shared_stream;
use crate::model::ids::FeedName;
use crate::model::status::{Encoder, Failure};
use crate::wire::answer::News;
use crate::wire::{Order, ToHost};

/// How often counts are told. The service looks once a second whether a feed lives.
const TELL_EVERY: Duration = Duration::from_millis(500);

/// Pieces of bytes that wait for the pipeline that takes them apart.
const PIECES: usize = 16;

/// What all runs have in common.
#[derive(Debug, Default)]
struct Family {
    outbox: Arc<Outbox>,
    /// Where the feeds of the family give their frames. Each outlives the runs of
    /// its feed; a stream may take from it before the first one.
    outlets: Mutex<BTreeMap<FeedName, Arc<Fanout>>>,
}

/// A run that goes on, as the service steers it. Without this it ends.
struct Handle {
    work: watch::Sender<Work>,
    encoder: watch::Sender<Option<Result<Encoder, Failure>>>,
    bytes: mpsc::Sender<Bytes>,
    _stop: oneshot::Sender<()>,
    out: Arc<Out>,
}

/// A run from within.
struct Run {
    work: watch::Receiver<Work>,
    encoding: Encoding,
    bytes: mpsc::Receiver<Bytes>,
    stop: Stop,
}

/// Carries out the orders of the service. Returns only if it has gone.
///
/// # Errors
/// The service has gone or talks nonsense.
pub(super) async fn run(mut input: Input, mut output: Output) -> anyhow::Result<()> {
    let family = Arc::<Family>::default();
    let outbox = Arc::clone(&family.outbox);
    let said = async {
        loop {
            let (head, payload) = outbox.next().await;
            output.write(&head, payload).await?;
        }
    };
    tokio::select! {
        gone = said => gone,
        gone = family.obey(&mut input) => gone,
    }
}

impl Family {
    async fn obey(self: &Arc<Self>, input: &mut Input) -> anyhow::Result<()> {
        let mut runs = BTreeMap::<u32, Handle>::new();
        let mut tell = tokio::time::interval(TELL_EVERY);
        loop {
            tokio::select! {
                message = input.next() => {
                    let (ToHost::Run { run, order }, payload) = message? else {
                        anyhow::bail!("it says what is of no concern to a feed");
                    };
                    self.carry_out(&mut runs, run, order, payload).await?;
                }
                _ = tell.tick() => runs.values().for_each(|run| run.out.tell_counts()),
            }
        }
    }

    async fn carry_out(
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
            // A run that has ended needs none.
            (Order::Data, Some(run)) => drop(run.bytes.send(payload).await),
            (Order::Stop, Some(_)) => drop(runs.remove(&number)),
            (Order::Encoder(_) | Order::Data | Order::Stop, None) => {}
        }
        Ok(())
    }

    fn begin(self: &Arc<Self>, number: u32, work: Work) -> Handle {
        let out = Out::new(number, &self.outbox);
        let (work, of_work) = watch::channel(work);
        let (encoder, chosen) = watch::channel(None);
        let (give, bytes) = mpsc::channel(PIECES);
        let (ask, stop) = Stop::pair();
        let encoding = Encoding { chosen, out: Arc::clone(&out) };
        let run = Run { work: of_work, encoding, bytes, stop };
        let (family, told_by) = (Arc::clone(self), Arc::clone(&out));
        tokio::spawn(async move {
            let failure = family.run(run).await;
            debug!("run {number} is over: {failure}");
            told_by.tell_counts();
            told_by.tell(News::Ended(failure));
        });
        Handle { work, encoder, bytes: give, _stop: ask, out }
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
                telling(&fanout, &out, captured).await
            }
            Work::Made { plan, base } => {
                let fanout = self.fanout(&plan.feed.name, false);
                let base = self.fanout(&base.feed.name, false);
                let making =
                    derive::Job { base, fanout: Arc::clone(&fanout), work, out: Arc::clone(&out) };
                telling(&fanout, &out, making.run(stop)).await
            }
            Work::Unpack { plan } => {
                let fanout = self.fanout(&plan.feed.name, false);
                let run = fanout.begin_run(MediaTime::now());
                let target = Target::Shared(run.writer(), Arc::clone(&out));
                telling(&fanout, &out, unpack::carry(&plan, &mut bytes, target, stop)).await
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

    /// Where the feed of this name gives its frames.
    fn fanout(&self, feed: &FeedName, disordered: bool) -> Arc<Fanout> {
        let mut outlets = self.outlets.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Fanout::new(feed.clone());
        let fanout = Arc::clone(outlets.entry(feed.clone()).or_insert_with(new));
        if disordered {
            fanout.expect_disorder();
        }
        fanout
    }
}

/// Carries a feed, and tells the service what it gives.
async fn telling(fanout: &Fanout, out: &Out, carried: impl Future<Output = Failure>) -> Failure {
    let mut known = fanout.given();
    let tell = async {
        loop {
            out.tell(News::Gives(told(&mut known).await));
            news(&mut known).await;
        }
    };
    tokio::select! {
        biased;
        failure = carried => failure,
        () = tell => Failure::Ended,
    }
}
