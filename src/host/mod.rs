//! The code of a pipeline host: one job of the service, in a process that may crash, hang
//! or leak without harm to others. The only folder that names GStreamer.
//!
//! Pipelines are built here from launch lines, and errors on their bus become a
//! `Failure`. Whether something runs or is retried is not decided here.

mod anchor;
mod capture;
mod cause;
mod clock;
mod commands;
mod derive;
mod devices;
mod encoding;
mod extract;
#[cfg(test)]
mod fake_v4l2_encoder;
mod family;
mod fanout;
mod feed;
mod feeder;
mod file_source;
mod forms;
mod guard;
mod in_process;
mod incoming;
mod jobs;
mod loop_timeline;
mod metadata;
mod mjpeg;
mod needs;
mod outbox;
mod packages;
mod picture;
mod probe;
mod pull;
mod push;
mod remux;
mod running;
mod sandbox;
mod shared_source;
mod shared_stream;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod syscalls;
mod tap;
mod trust;
mod unpack;
mod v4l2;

use std::os::fd::AsFd as _;
use std::os::unix::net;

use anyhow::Context as _;
use bytes::{Buf, Bytes};
use log::{LevelFilter, Log, Metadata, Record};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

pub use devices::{Device, devices};
pub use in_process::{NoGStreamer, find_capture, find_encoder, find_shared, init};
pub use picture::first_decoder;

use needs::Needs;

use crate::base::heap;
use crate::base::time::MediaTime;
use crate::model::failure::Failure;
use crate::wire::job::{Job, JobKind};
use crate::wire::{Decoder, FromHost, ToHost, Unit, encode};

/// Does the job that is sent over the socket at standard input. The process ends when the
/// socket is closed, also in the middle of a call that hangs.
///
/// # Errors
/// Standard input is no socket, or a message is invalid.
pub fn run() -> anyhow::Result<()> {
    heap::configure();
    guard::set_name();
    let socket = std::io::stdin().as_fd().try_clone_to_owned().context("no standard input")?;
    let socket = net::UnixStream::from(socket);
    socket.set_nonblocking(true).context("standard input is not a socket")?;
    guard::lock_down();
    abort_on_panic();
    let watched = socket.try_clone()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut service = Service::new(UnixStream::from_std(socket)?);
        let (job, memory) = service.input.job().await?;
        let needs = Needs::for_job(&job, memory);
        guard::limit_memory(needs.memory);
        if needs.confined_to.is_some() {
            guard::drop_privileges();
        }
        guard::end_with(watched, commands::marked(&job), needs.memory)?;
        jobs::run(job, needs, service).await
    })
}

/// Logs to standard error, which the service copies to its log.
fn log_to_stderr() {
    static LINES: Lines = Lines;
    if log::set_logger(&LINES).is_ok() {
        log::set_max_level(LevelFilter::Debug);
    }
}

/// Makes a panic of a task end the process; the service reports its message.
fn abort_on_panic() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        std::process::abort();
    }));
}

/// A logger that writes lines without level and time.
struct Lines;

impl Log for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("livebox")
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            eprintln!("{}", record.args());
        }
    }

    fn flush(&self) {}
}

/// The connection to the service.
struct Service {
    input: Input,
    output: Output,
}

/// The receiving half of the socket.
struct Input {
    socket: OwnedReadHalf,
    decoder: Decoder<ToHost>,
}

/// The sending half of the socket.
struct Output(OwnedWriteHalf);

impl Service {
    fn new(socket: UnixStream) -> Self {
        let (socket, output) = socket.into_split();
        Self { input: Input { socket, decoder: Decoder::default() }, output: Output(output) }
    }
}

impl Input {
    /// Receives the job and the configured memory limit, if any. Sets this process to the
    /// service's media timeline.
    async fn job(&mut self) -> anyhow::Result<(Job, Option<u64>)> {
        loop {
            match self.next().await? {
                (ToHost::Debug, _) => log_to_stderr(),
                (ToHost::Job { job, memory, began_ns }, _) => {
                    MediaTime::begin_at(began_ns);
                    return Ok((job, memory));
                }
                (ToHost::Data | ToHost::Unit(_) | ToHost::End | ToHost::Run { .. }, _) => {
                    anyhow::bail!("the first message is not a job")
                }
            }
        }
    }

    /// The next piece of data; none at the end.
    async fn data(&mut self) -> anyhow::Result<Option<Bytes>> {
        match self.next().await? {
            (ToHost::Data, data) => Ok(Some(data)),
            (ToHost::End, _) => Ok(None),
            (ToHost::Debug | ToHost::Job { .. } | ToHost::Unit(_) | ToHost::Run { .. }, _) => {
                anyhow::bail!("the message is not data")
            }
        }
    }

    /// The next access unit; none at the end.
    async fn unit(&mut self) -> anyhow::Result<Option<(Unit, Bytes)>> {
        match self.next().await? {
            (ToHost::Unit(unit), data) => Ok(Some((unit, data))),
            (ToHost::End, _) => Ok(None),
            (ToHost::Debug | ToHost::Job { .. } | ToHost::Data | ToHost::Run { .. }, _) => {
                anyhow::bail!("the message is not an access unit")
            }
        }
    }

    async fn next(&mut self) -> anyhow::Result<(ToHost, Bytes)> {
        loop {
            if let Some(message) = self.decoder.decode()? {
                return Ok(message);
            }
            if self.socket.read_buf(self.decoder.buffer()).await? == 0 {
                anyhow::bail!("the service has closed the socket");
            }
        }
    }
}

impl Output {
    /// Sends the result of a job of the kind `J`, with its payload.
    async fn answer<J: JobKind>(
        &mut self,
        result: Result<(J::Answer, Bytes), Failure>,
    ) -> anyhow::Result<()> {
        let (head, payload) = match result {
            Ok((answer, payload)) => (FromHost::Answer(answer), payload),
            Err(failure) => (FromHost::Failed(failure), Bytes::new()),
        };
        self.write(&encode(&head, payload.len())?, payload).await
    }

    /// Writes a message with an encoded head.
    async fn write(&mut self, head: &[u8], payload: Bytes) -> anyhow::Result<()> {
        Ok(self.0.write_all_buf(&mut Buf::chain(head, payload)).await?)
    }
}
