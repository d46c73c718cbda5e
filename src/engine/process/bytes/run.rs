//! One run of a feed of bytes, or of a stream's command.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};

use crate::engine::process::command::{Blocks, Input, Process, Program, feed};
use crate::engine::process::pipe;
use crate::engine::supervise::lifecycle::{Event, Run};
use crate::engine::supervise::runs::{Runs, Stop};
use crate::engine::supervise::supervisor::{GivenBefore, Pipeline, Pulse};
use crate::hub::bytes::{Begin, ByteRing, Need, Reader};
use crate::model::status::Failure;

/// Runs one feed, or the shared command of one stream.
#[derive(Debug)]
pub(super) struct BytesPipeline {
    job: Job,
    runs: Runs,
    /// What is to be there for as long as this is wanted, between runs too.
    base: Option<Arc<ByteRing>>,
    need: Option<Need>,
}

impl BytesPipeline {
    pub(super) fn new(job: Job, base: Option<Arc<ByteRing>>) -> Self {
        Self { job, runs: Runs::default(), base, need: None }
    }

    /// How many read what it gives, or need it.
    pub(super) fn readers(&self) -> watch::Receiver<usize> {
        self.job.flow.readers()
    }
}

/// What one run needs.
#[derive(Clone, Debug)]
pub(super) struct Job {
    origin: Arc<Origin>,
    flow: Arc<ByteRing>,
    /// What a command reads.
    input: Option<Arc<ByteRing>>,
    resurrect: bool,
    /// Bytes that a command was given, and how many when it was last asked for.
    fed: Arc<AtomicU64>,
    fed_before: Arc<GivenBefore>,
}

#[derive(Debug)]
pub(super) enum Origin {
    Command(Program),
    Pipe(PathBuf),
}

/// Tells the supervisor once that a run gives bytes.
#[derive(Debug)]
pub(in crate::engine) struct Sign {
    run: Run,
    tell: mpsc::Sender<Event>,
    given: bool,
    /// Before its command gives anything, no viewer holds the feed.
    need: Option<Need>,
}

impl Sign {
    pub(in crate::engine) fn new(run: Run, tell: mpsc::Sender<Event>, need: Option<Need>) -> Self {
        Self { run, tell, given: false, need }
    }

    pub(in crate::engine) fn give(&mut self) {
        if !self.given {
            self.given = true;
            self.need = None;
            self.tell.try_send(Event::FirstSign(self.run)).ok();
        }
    }
}

impl Pipeline for BytesPipeline {
    fn start(&mut self, run: Run, news: mpsc::Sender<Event>) {
        let job = self.job.clone();
        // It listens before its feed can start: nothing is lost.
        let input = self.job.input.as_ref();
        let (input, need) =
            input.map(|input| (input.join_uncounted(Begin::Now), input.need())).unzip();
        let sign = Sign::new(run, news.clone(), need);
        self.runs.start(run, news, move |stop| job.run(input, sign, stop));
    }

    fn stop(&mut self) {
        self.runs.stop();
    }

    fn pulse(&self) -> Pulse {
        self.job.pulse()
    }

    fn acquire(&mut self) {
        self.need = self.need.take().or_else(|| self.base.as_ref().map(ByteRing::need));
    }

    fn release(&mut self) {
        self.need = None;
    }
}

impl Job {
    pub(super) fn new(
        origin: Origin,
        flow: &Arc<ByteRing>,
        input: Option<Arc<ByteRing>>,
        resurrect: bool,
    ) -> Self {
        Self {
            origin: Arc::new(origin),
            flow: Arc::clone(flow),
            input,
            resurrect,
            fed: Arc::default(),
            fed_before: Arc::default(),
        }
    }

    /// Who writes to a pipe may pause, and a command that is given nothing as well.
    fn pulse(&self) -> Pulse {
        let fed = self.fed.load(Ordering::Relaxed);
        let is_starved = self.input.is_some() && self.fed_before.is_still(fed);
        match *self.origin {
            Origin::Command(_) if !is_starved && !self.is_clockless() => {
                Pulse::Count(self.flow.bytes_in())
            }
            Origin::Command(_) | Origin::Pipe(_) => Pulse::AtRest,
        }
    }

    /// What is made of a file has no clock either: waits for its viewers.
    async fn may_go_on(&self) -> bool {
        if self.is_clockless() {
            self.flow.wait_for_room().await;
        }
        true
    }

    fn is_clockless(&self) -> bool {
        self.input.as_ref().is_some_and(|input| input.is_clockless())
    }

    async fn run(self, input: Option<Reader>, mut sign: Sign, mut stop: Stop) -> Failure {
        let mut is_last = !self.resurrect;
        let failure = match &*self.origin {
            Origin::Command(program) => {
                self.run_command(program, input, &mut sign, &mut stop).await
            }
            Origin::Pipe(path) => tokio::select! {
                failure = pipe::read(path, self.resurrect, &self.flow, &mut sign) => failure,
                () = stop.requested() => Failure::Ended,
            },
        };
        self.flow.end_run();
        is_last |= self.input.as_ref().is_some_and(|input| input.is_finished());
        if is_last {
            self.flow.finish();
        }
        failure
    }

    async fn run_command(
        &self,
        program: &Program,
        input: Option<Reader>,
        sign: &mut Sign,
        stop: &mut Stop,
    ) -> Failure {
        let started = tokio::select! {
            started = program.start(input_of(input.as_ref())) => started,
            () = stop.requested() => return Failure::Ended,
        };
        let mut process = match started {
            Ok(process) => process,
            Err(failure) => return failure,
        };
        self.flow.begin_run();
        let mut output = process.take_output().expect("it was just started");
        let mut blocks = Blocks::default();
        let passed = async {
            while self.may_go_on().await
                && let Ok(bytes) = blocks.read(&mut output).await
                && !bytes.is_empty()
            {
                self.flow.publish(bytes);
                sign.give();
            }
        };
        let is_over = tokio::select! {
            () = passed => true,
            () = feed_process(input, &mut process, &self.fed) => false,
            () = stop.requested() => false,
        };
        let failure = if is_over { process.verdict().await } else { Failure::Ended };
        process.end().await;
        failure
    }
}

/// Runs a program for one viewer, until either of them has enough.
pub(super) async fn run_for_one(
    program: Program,
    input: Option<Reader>,
    send: mpsc::Sender<Result<Bytes, Failure>>,
    guards: (OwnedSemaphorePermit, mpsc::Sender<()>),
) {
    let started = tokio::select! {
        started = program.start(input_of(input.as_ref())) => started,
        () = send.closed() => return,
    };
    let mut process = match started {
        Ok(process) => process,
        Err(failure) => {
            send.send(Err(failure)).await.ok();
            return;
        }
    };
    let (fed, mut blocks) = (AtomicU64::new(0), Blocks::default());
    let mut output = process.take_output().expect("it was just started");
    let passed = async {
        while let Ok(bytes) = blocks.read(&mut output).await
            && !bytes.is_empty()
            && send.send(Ok(bytes)).await.is_ok()
        {}
    };
    let is_over = tokio::select! {
        () = passed => true,
        () = feed_process(input, &mut process, &fed) => false,
        () = send.closed() => false,
    };
    if is_over {
        let verdict = process.verdict().await;
        send.send(Err(verdict)).await.ok();
    }
    drop(send);
    process.end().await;
    drop(guards);
}

pub(super) fn input_of(reader: Option<&Reader>) -> Input {
    if reader.is_some() { Input::Bytes } else { Input::Nothing }
}

/// Never returns.
pub(super) async fn feed_process(reader: Option<Reader>, process: &mut Process, fed: &AtomicU64) {
    let input = process.take_input();
    match (reader, input) {
        (Some(reader), Some(input)) => feed(reader, input, fed).await,
        (_, _) => std::future::pending().await,
    }
}
