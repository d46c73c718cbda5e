//! Runs of byte feeds and of commands of byte streams.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::engine::dependencies::{Dependencies, Dependency};
use crate::engine::process::command::{Blocks, Input, Process, Program, feed};
use crate::engine::process::first_output::FirstOutput;
use crate::engine::process::pipe;
use crate::engine::supervise::lifecycle::{Event, Run};
use crate::engine::supervise::runs::{Runs, Stop};
use crate::engine::supervise::supervisor::{LastCount, Pipeline, RunProgress};
use crate::hub::bytes::{Begin, ByteRing, Reader};
use crate::model::failure::Failure;

/// A byte feed, or the shared command of a byte stream.
#[derive(Debug)]
pub struct BytesParts {
    pub(in crate::engine) origin: Origin,
    pub(in crate::engine) flow: Arc<ByteRing>,
    /// The input of a command, if any.
    pub(in crate::engine) input: Option<Arc<ByteRing>>,
    /// The feed that it keeps wanted, if any.
    pub(in crate::engine) base: Option<Arc<ByteRing>>,
    pub(in crate::engine) resurrect: bool,
}

/// The source of the bytes.
#[derive(Debug)]
pub(in crate::engine) enum Origin {
    Command(Program),
    Pipe(PathBuf),
}

/// Runs a byte feed, or the shared command of a byte stream.
#[derive(Debug)]
pub(in crate::engine::process) struct BytesPipeline {
    job: Job,
    runs: Runs,
    dependencies: Dependencies,
}

impl BytesParts {
    pub(in crate::engine) fn dependencies(&self) -> Dependencies {
        Dependencies::on(self.base.clone().map(Dependency::Bytes))
    }
}

impl BytesPipeline {
    pub(in crate::engine::process) fn new(parts: BytesParts) -> Self {
        let dependencies = parts.dependencies();
        let BytesParts { origin, flow, input, base: _, resurrect } = parts;
        let (origin, fed, last_fed) = (Arc::new(origin), Arc::default(), Arc::default());
        let job = Job { origin, flow, input, resurrect, fed, last_fed };
        Self { job, runs: Runs::default(), dependencies }
    }
}

/// What one run needs.
#[derive(Clone, Debug)]
struct Job {
    origin: Arc<Origin>,
    flow: Arc<ByteRing>,
    /// The input of a command, if any.
    input: Option<Arc<ByteRing>>,
    resurrect: bool,
    /// Bytes written to a command, and the count at the previous poll.
    fed: Arc<AtomicU64>,
    last_fed: Arc<LastCount>,
}

impl Pipeline for BytesPipeline {
    fn start(&mut self, run: Run, events: mpsc::Sender<Event>) {
        let job = self.job.clone();
        // It joins the flow before its feed can start, so that nothing is lost.
        let input = self.job.input.as_ref();
        let (input, need) =
            input.map(|input| (input.join_uncounted(Begin::Now), input.need())).unzip();
        let first_output = FirstOutput::new(run, events.clone(), need);
        self.runs.start(run, events, move |stop| job.run(input, first_output, stop));
    }

    fn stop(&mut self) {
        self.runs.stop();
    }

    fn progress(&self) -> RunProgress {
        self.job.progress()
    }

    fn acquire(&mut self) {
        self.dependencies.acquire();
    }

    fn release(&mut self) {
        self.dependencies.release();
    }
}

impl Job {
    /// A writer of a pipe may pause, and so may a command without input.
    fn progress(&self) -> RunProgress {
        let fed = self.fed.load(Ordering::Relaxed);
        let is_starved = self.input.is_some() && self.last_fed.is_unchanged(fed);
        match *self.origin {
            Origin::Command(_) if !is_starved && !self.is_clockless() => {
                RunProgress::Count(self.flow.bytes_in())
            }
            Origin::Command(_) | Origin::Pipe(_) => RunProgress::AtRest,
        }
    }

    /// Output made from a file has no clock either: waits for room in the flow. Always true.
    async fn has_room(&self) -> bool {
        if self.is_clockless() {
            self.flow.wait_for_room().await;
        }
        true
    }

    fn is_clockless(&self) -> bool {
        self.input.as_ref().is_some_and(|input| input.is_clockless())
    }

    async fn run(
        self,
        input: Option<Reader>,
        mut first_output: FirstOutput,
        mut stop: Stop,
    ) -> Failure {
        let mut is_final = !self.resurrect;
        let failure = match &*self.origin {
            Origin::Command(program) => {
                self.run_command(program, input, &mut first_output, &mut stop).await
            }
            Origin::Pipe(path) => tokio::select! {
                failure = pipe::read(path, self.resurrect, &self.flow, &mut first_output) => failure,
                () = stop.requested() => Failure::Ended,
            },
        };
        self.flow.end_run();
        is_final |= self.input.as_ref().is_some_and(|input| input.is_finished());
        if is_final {
            self.flow.finish();
        }
        failure
    }

    async fn run_command(
        &self,
        program: &Program,
        input: Option<Reader>,
        first_output: &mut FirstOutput,
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
        let mut output = process.take_output().expect("the output is taken once");
        let mut blocks = Blocks::default();
        let copied = async {
            while self.has_room().await
                && let Ok(bytes) = blocks.read(&mut output).await
                && !bytes.is_empty()
            {
                self.flow.publish(bytes);
                first_output.report();
            }
        };
        let is_over = tokio::select! {
            () = copied => true,
            () = feed_process(input, &mut process, &self.fed) => false,
            () = stop.requested() => false,
        };
        let failure = if is_over { process.exit_failure().await } else { Failure::Ended };
        process.end().await;
        failure
    }
}

/// Runs a program for one viewer, until one of them ends.
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
    let mut output = process.take_output().expect("the output is taken once");
    let copied = async {
        while let Ok(bytes) = blocks.read(&mut output).await
            && !bytes.is_empty()
            && send.send(Ok(bytes)).await.is_ok()
        {}
    };
    let is_over = tokio::select! {
        () = copied => true,
        () = feed_process(input, &mut process, &fed) => false,
        () = send.closed() => false,
    };
    if is_over {
        let failure = process.exit_failure().await;
        send.send(Err(failure)).await.ok();
    }
    drop(send);
    process.end().await;
    drop(guards);
}

pub(super) fn input_of(reader: Option<&Reader>) -> Input {
    if reader.is_some() { Input::Bytes } else { Input::Nothing }
}

/// Writes what `reader` reads to the process, if it has input. Never returns.
pub(super) async fn feed_process(reader: Option<Reader>, process: &mut Process, fed: &AtomicU64) {
    let input = process.take_input();
    match (reader, input) {
        (Some(reader), Some(input)) => feed(reader, input, fed).await,
        (_, _) => std::future::pending().await,
    }
}
