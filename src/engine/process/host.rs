//! One pipeline host: a process of this program that does one job.
//!
//! The job comes over a socket pair, never by arguments or the environment,
//! which other programs can read. A host ends when its socket is closed: however
//! the service ends, none is left. It is not trusted: what it sends is bounded,
//! and nothing waits for it without a limit.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{self, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use nix::sys::signal::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use crate::engine::command::keep;
use crate::engine::command_log::CommandLog;
use crate::engine::last_words::LastWords;
use crate::model::status::Failure;
use crate::wire::{Decoder, FromHost, Job, ToHost, encode};

/// The kernel's own reference to the file that this process runs. It stays
/// valid when an upgrade replaces or deletes the file, unlike its path, so a
/// host is always of the same version as its service.
const RUNNING: &str = "/proc/self/exe";

/// What of the environment a host needs: where libraries, plugins and their
/// registry are, the time zone of clocks in pictures, and the heap's settings.
const VARIABLES: [&str; 10] = [
    "HOME",
    "LANG",
    "LD_LIBRARY_PATH",
    "MALLOC_ARENA_MAX",
    "MALLOC_MMAP_THRESHOLD_",
    "MALLOC_TRIM_THRESHOLD_",
    "PATH",
    "TZ",
    "XDG_CACHE_HOME",
    "XDG_DATA_HOME",
];

/// Variables of GStreamer and of drivers for video.
const PREFIXES: [&str; 2] = ["GST_", "LIBVA_"];

/// A host that was killed is gone by then, or hangs in its kernel.
const GRACE: Duration = Duration::from_secs(1);

/// Its last words come with its end.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// A running host. Dropping it kills it, unless it is to outlive the service.
#[derive(Debug)]
pub(super) struct Host {
    child: Child,
    from: Replies,
    said: Arc<LastWords>,
    log: Option<JoinHandle<()>>,
}

/// Where a host gets what it works on.
#[derive(Debug)]
pub(super) struct Input(OwnedWriteHalf);

/// What a host says, message by message.
#[derive(Debug)]
struct Replies {
    socket: OwnedReadHalf,
    decoder: Decoder<FromHost>,
}

/// Why a host says nothing more.
enum Silence {
    Closed,
    Nonsense(Failure),
}

impl Host {
    /// Starts a host for `job`; `what` names it in the log and in lists of
    /// processes. To be called on a runtime.
    ///
    /// # Errors
    /// The system gives no more processes or files.
    pub(super) async fn start(what: &str, job: Job) -> Result<(Self, Input), Failure> {
        let spawned = spawn(what, &job).map_err(|error| Failure::Crash(error.to_string()));
        let (mut child, socket) = spawned?;
        let (from, to) = socket.into_split();
        let mut input = Input(to);
        let said = Arc::<LastWords>::default();
        let log = Arc::new(CommandLog::new(None, "host", what));
        let log = child.stderr.take().map(|err| tokio::spawn(keep(err, log, Arc::clone(&said))));
        let from = Replies { socket: from, decoder: Decoder::default() };
        let host = Self { child, from, said, log };
        // One that has died already tells why when it is asked.
        input.send(&ToHost::Job(job), Bytes::new()).await.ok();
        Ok((host, input))
    }

    /// The first answer; `given` gives the host what it works on meanwhile.
    ///
    /// # Errors
    /// It has died, or talks nonsense.
    pub(super) async fn answer<T>(
        &mut self,
        given: impl Future<Output = T>,
    ) -> Result<(FromHost, Bytes), Failure> {
        let answer = tokio::select! {
            biased;
            // It may come before the host has read all.
            answer = self.from.next() => answer,
            _ = given => self.from.next().await,
        };
        match answer {
            Ok(answer) => Ok(answer),
            Err(Silence::Nonsense(failure)) => Err(failure),
            Err(Silence::Closed) => Err(self.death().await),
        }
    }

    /// Waits for the end of a host that has nothing to say.
    pub(super) async fn lasts(&mut self) -> Failure {
        match self.from.next().await {
            Ok(_) => Failure::Crash("its process says something".to_owned()),
            Err(Silence::Nonsense(failure)) => failure,
            Err(Silence::Closed) => self.death().await,
        }
    }

    /// Kills the host, if it has not ended yet, and waits a moment for its end.
    pub(super) async fn end(mut self) {
        tokio::time::timeout(GRACE, self.child.kill()).await.ok();
    }

    /// How it has died, and what it said last.
    async fn death(&mut self) -> Failure {
        let ended = tokio::time::timeout(GRACE, self.child.wait()).await;
        let how = match ended {
            Ok(Ok(status)) => told(status),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it does not answer any more".to_owned(),
        };
        if let Some(log) = &mut self.log
            && tokio::time::timeout(LAST_WORDS, log).await.is_ok()
        {
            self.log = None;
        }
        let words = self.said.last_line().map(|line| format!(": {line}"));
        Failure::Crash(format!("its process has died ({how}){}", words.unwrap_or_default()))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(log) = &self.log {
            log.abort();
        }
    }
}

impl Input {
    /// A piece of what the job works on.
    ///
    /// # Errors
    /// The host takes no more.
    pub(super) async fn data(&mut self, piece: Bytes) -> io::Result<()> {
        self.send(&ToHost::Data, piece).await
    }

    /// No more follows.
    ///
    /// # Errors
    /// The host takes no more.
    pub(super) async fn end(&mut self) -> io::Result<()> {
        self.send(&ToHost::End, Bytes::new()).await
    }

    async fn send(&mut self, head: &ToHost, payload: Bytes) -> io::Result<()> {
        let head = encode(head, payload.len()).map_err(io::Error::other)?;
        self.0.write_all_buf(&mut Buf::chain(&head[..], payload)).await
    }
}

impl Replies {
    async fn next(&mut self) -> Result<(FromHost, Bytes), Silence> {
        loop {
            match self.decoder.decode() {
                Ok(Some(message)) => return Ok(message),
                Ok(None) => {}
                Err(bad) => {
                    let told = format!("its process sends {bad}");
                    return Err(Silence::Nonsense(Failure::Crash(told)));
                }
            }
            match self.socket.read_buf(self.decoder.buffer()).await {
                Ok(0) | Err(_) => return Err(Silence::Closed),
                Ok(_) => {}
            }
        }
    }
}

fn spawn(what: &str, job: &Job) -> io::Result<(Child, UnixStream)> {
    let (ours, theirs) = net::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let mut command = process::Command::new(RUNNING);
    command
        .arg0("livebox")
        .env_clear()
        .envs(std::env::vars_os().filter(|(name, _)| is_needed(name)));
    command.args(["host", what]);
    command.stdin(OwnedFd::from(theirs)).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut command = Command::from(command);
    // A group of its own: what a terminal sends to the service is not for it.
    let outlives = matches!(job, Job::EndCommands { .. });
    command.process_group(0).kill_on_drop(!outlives);
    // GStreamer opens cameras without the flag by which they stay ours.
    close_fds::CloseFdsBuilder::new().cloexecfrom(3);
    let child = command.spawn()?;
    Ok((child, UnixStream::from_std(ours)?))
}

fn is_needed(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    VARIABLES.contains(&&*name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

fn told(status: ExitStatus) -> String {
    let signal = status.signal().and_then(|number| Signal::try_from(number).ok());
    signal.map_or_else(|| status.to_string(), |signal| signal.as_str().to_owned())
}
