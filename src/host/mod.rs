//! What runs in a pipeline host: one job of the service, in a process that may
//! crash, hang or leak alone.

mod commands;
mod guard;
mod jobs;
mod needs;
mod sandbox;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod syscalls;

use std::os::fd::AsFd as _;
use std::os::unix::net;

use anyhow::Context as _;
use bytes::{Buf, Bytes};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use needs::Needs;

use crate::wire::{Decoder, FromHost, Job, ToHost, Unit, encode};

/// Does the job that comes over the socket at standard input. The process ends
/// with the socket, whatever is going on in it.
///
/// # Errors
/// Standard input is no socket of the service.
pub fn run() -> anyhow::Result<()> {
    let socket = std::io::stdin().as_fd().try_clone_to_owned().context("no standard input")?;
    let socket = net::UnixStream::from(socket);
    socket.set_nonblocking(true).context("standard input is no socket")?;
    guard::lock_down();
    let watched = socket.try_clone()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut service = Service::new(UnixStream::from_std(socket)?);
        let (job, memory) = service.input.job().await?;
        let needs = Needs::of(&job, memory);
        guard::limit_memory(needs.memory);
        if needs.confined_to.is_some() {
            guard::give_up_privileges();
        }
        guard::end_with(watched, commands::marked(&job), needs.memory)?;
        jobs::run(job, needs, service).await
    })
}

/// The other side of the socket.
struct Service {
    input: Input,
    output: Output,
}

/// What the service sends.
struct Input {
    socket: OwnedReadHalf,
    decoder: Decoder<ToHost>,
}

/// Where it is answered.
struct Output(OwnedWriteHalf);

impl Service {
    fn new(socket: UnixStream) -> Self {
        let (socket, output) = socket.into_split();
        Self { input: Input { socket, decoder: Decoder::default() }, output: Output(output) }
    }
}

impl Input {
    /// The job, and the memory that the configuration gives it, if it says so.
    async fn job(&mut self) -> anyhow::Result<(Job, Option<u64>)> {
        match self.next().await? {
            (ToHost::Job { job, memory }, _) => Ok((job, memory)),
            (ToHost::Data | ToHost::Unit(_) | ToHost::End, _) => {
                anyhow::bail!("it begins without a job")
            }
        }
    }

    /// The next piece of what is worked on; nothing at its end.
    async fn data(&mut self) -> anyhow::Result<Option<Bytes>> {
        match self.next().await? {
            (ToHost::Data, data) => Ok(Some(data)),
            (ToHost::End, _) => Ok(None),
            (ToHost::Job { .. } | ToHost::Unit(_), _) => anyhow::bail!("no data"),
        }
    }

    /// The next access unit; nothing at their end.
    async fn unit(&mut self) -> anyhow::Result<Option<(Unit, Bytes)>> {
        match self.next().await? {
            (ToHost::Unit(unit), data) => Ok(Some((unit, data))),
            (ToHost::End, _) => Ok(None),
            (ToHost::Job { .. } | ToHost::Data, _) => anyhow::bail!("no access unit"),
        }
    }

    async fn next(&mut self) -> anyhow::Result<(ToHost, Bytes)> {
        loop {
            if let Some(message) = self.decoder.decode()? {
                return Ok(message);
            }
            if self.socket.read_buf(self.decoder.buffer()).await? == 0 {
                anyhow::bail!("the service has gone");
            }
        }
    }
}

impl Output {
    async fn send(&mut self, head: &FromHost, payload: Bytes) -> anyhow::Result<()> {
        let head = encode(head, payload.len())?;
        Ok(self.0.write_all_buf(&mut Buf::chain(&head[..], payload)).await?)
    }
}
