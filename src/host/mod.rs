//! What runs in a pipeline host: one job of the service, in a process that may
//! crash, hang or leak alone.

mod commands;
mod guard;
mod jobs;
mod sandbox;

use std::os::fd::AsFd as _;
use std::os::unix::net;

use anyhow::Context as _;
use bytes::{Buf, Bytes};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::wire::{Decoder, FromHost, Job, ToHost, encode};

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
        let job = service.job().await?;
        guard::limit_memory(&job);
        guard::end_with(watched, commands::marked(&job))?;
        jobs::run(job, &mut service).await
    })
}

/// The other side of the socket.
struct Service {
    socket: UnixStream,
    decoder: Decoder<ToHost>,
}

impl Service {
    fn new(socket: UnixStream) -> Self {
        Self { socket, decoder: Decoder::default() }
    }

    async fn job(&mut self) -> anyhow::Result<Job> {
        match self.next().await? {
            (ToHost::Job(job), _) => Ok(job),
            (ToHost::Data | ToHost::End, _) => anyhow::bail!("it begins without a job"),
        }
    }

    /// The next piece of what is worked on; nothing at its end.
    async fn data(&mut self) -> anyhow::Result<Option<Bytes>> {
        match self.next().await? {
            (ToHost::Data, data) => Ok(Some(data)),
            (ToHost::End, _) => Ok(None),
            (ToHost::Job(_), _) => anyhow::bail!("a second job"),
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

    async fn answer(&mut self, head: &FromHost, payload: Bytes) -> anyhow::Result<()> {
        let head = encode(head, payload.len())?;
        Ok(self.socket.write_all_buf(&mut Buf::chain(&head[..], payload)).await?)
    }
}
