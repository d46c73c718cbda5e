//! Starts and controls a pipeline host: a process of `livebox-host` that does one job.
//!
//! The job is sent over a socket pair, not in arguments or the environment, which other
//! programs can read. A host ends when its socket is closed, so that none outlives the
//! service. It is not trusted: its messages are bounded, and every wait has a limit.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::pin::pin;
use std::process::{self, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::buf::Chain;
use bytes::{Buf as _, Bytes};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use serde::de::DeserializeOwned;
use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child, Command};
use tokio::signal::unix;
use tokio::task::JoinHandle;

use super::pids::Registered;
use super::{host_program, limits};
use crate::base::lock::Lock;
use crate::base::time;
use crate::base::time::MediaTime;
use crate::engine::feeder::{Consumer, Refused, Taken, units};
use crate::engine::process::command_log::CommandLog;
use crate::engine::process::stderr::log_stderr;
use crate::engine::process::stderr_tail::StderrTail;
use crate::media::packager::Chunk;
use crate::model::failure::Failure;
use crate::model::fault::Fault;
use crate::model::unit::TrackKind;
use crate::wire::answer::{Done, Nothing};
use crate::wire::job::{Job, JobKind};
use crate::wire::{Decoder, FromHost, ToHost, encode};

/// The variables that a host inherits: paths of libraries, plugins and their registry, and
/// the time zone of clocks in pictures.
const VARIABLES: [&str; 7] =
    ["HOME", "LANG", "LD_LIBRARY_PATH", "PATH", "TZ", "XDG_CACHE_HOME", "XDG_DATA_HOME"];

/// Variables of GStreamer, of drivers for video and of the heap.
const PREFIXES: [&str; 3] = ["GST_", "LIBVA_", "MALLOC_"];

/// The backend of GIO's desktop settings; the default one would write a file.
const SETTINGS: &str = "GSETTINGS_BACKEND";

/// The socket's buffer, which limits the delay of a stream: less than a second of
/// 300 kbit/s, as the kernel counts double.
const SEND_BUFFER: usize = 16 << 10;

/// A host that takes longer for a message is full: also a busy machine schedules it sooner.
const FULL_AFTER: Duration = Duration::from_millis(100);

/// The time between SIGTERM and SIGKILL, and the limit of the wait after SIGKILL.
const GRACE: Duration = Duration::from_secs(1);

/// How long to wait for the end of standard error after the process has ended.
const STDERR_TIMEOUT: Duration = Duration::from_millis(100);

/// How many of the last lines are logged: a panic's message and some before.
const LAST_LINES: usize = 5;

/// How many logs of ended hosts are kept, with their rate limits.
const MAX_LOGS: usize = 256;

/// A running host that answers with `A`. Dropping this kills it, unless it is made to
/// outlive the service.
#[derive(Debug)]
pub(super) struct Host<A> {
    child: Child,
    /// None if the process had ended before its id was read.
    _registered: Option<Registered>,
    /// SIGCHLD: a child has ended or was stopped; none if it cannot be received.
    child_signals: Option<unix::Signal>,
    from: Replies<A>,
    stderr_tail: Arc<StderrTail>,
    log: Arc<CommandLog>,
    /// The task that reads its standard error.
    stderr_task: Option<JoinHandle<()>>,
}

/// The sending half of a host's socket.
#[derive(Debug)]
pub(super) struct Input {
    socket: OwnedWriteHalf,
    /// The rest of a message whose sending was cancelled; sent first.
    unsent: Chain<Bytes, Bytes>,
    /// Whether audio is fed to it as well as video.
    takes_audio: bool,
}

/// The receiving half of a host's socket.
#[derive(Debug)]
struct Replies<A> {
    socket: OwnedReadHalf,
    decoder: Decoder<FromHost<A>>,
}

/// Why no more messages come from a host.
enum ReceiveError {
    Closed,
    Invalid(Failure),
}

impl<A: DeserializeOwned> Host<A> {
    /// Starts a host for `job`; `name` is shown in the log and in lists of processes. To be
    /// called on a runtime.
    ///
    /// # Errors
    /// The process cannot be started.
    pub(super) async fn start(
        name: &str,
        job: impl JobKind<Answer = A>,
    ) -> Result<(Self, Input), Failure> {
        let job = job.into();
        let spawned = spawn(name, &job).map_err(|error| Failure::Crash(error.to_string()));
        let (mut child, socket) = spawned?;
        let registered = child.id().map(Registered::new);
        let (from, to) = socket.into_split();
        let mut input = Input::new(to);
        let stderr_tail = Arc::<StderrTail>::default();
        let log = log_of(name);
        let logged = |err| log_stderr(err, Arc::clone(&log), Arc::clone(&stderr_tail));
        let stderr_task = child.stderr.take().map(|err| tokio::spawn(logged(err)));
        let from = Replies { socket: from, decoder: Decoder::default() };
        let child_signals = unix::signal(unix::SignalKind::child()).ok();
        let host = Self {
            child,
            _registered: registered,
            child_signals,
            from,
            stderr_tail,
            log,
            stderr_task,
        };
        if log::max_level() >= log::LevelFilter::Debug {
            input.send(&ToHost::Debug, Bytes::new()).await.ok();
        }
        // It fits into the empty socket. If the host has died, the next receive reports it.
        let job = ToHost::Job { job, memory: limits::memory(), began_ns: MediaTime::began_ns() };
        match input.send(&job, Bytes::new()).await {
            Err(error) if error.kind() == ErrorKind::InvalidInput => {
                Err(Fault::unsent_job(error).into())
            }
            Ok(()) | Err(_) => Ok((host, input)),
        }
    }

    /// The first answer; `given` sends the host its data meanwhile.
    ///
    /// # Errors
    /// The job failed, or the host has died or sent an invalid message.
    pub(super) async fn answer<T>(
        &mut self,
        given: impl Future<Output = T>,
    ) -> Result<(A, Bytes), Failure> {
        let answer = tokio::select! {
            biased;
            // It may come before the host has read everything.
            answer = receive(&mut self.from, &mut self.child_signals, &self.child) => answer,
            _ = given => receive(&mut self.from, &mut self.child_signals, &self.child).await,
        };
        self.answer_or_failure(answer).await
    }

    /// The next answer; cancelling loses nothing.
    ///
    /// # Errors
    /// The job failed, or the host has died or sent an invalid message.
    pub(super) async fn next(&mut self) -> Result<(A, Bytes), Failure> {
        let message = receive(&mut self.from, &mut self.child_signals, &self.child).await;
        self.answer_or_failure(message).await
    }

    async fn answer_or_failure(
        &mut self,
        message: Result<(FromHost<A>, Bytes), ReceiveError>,
    ) -> Result<(A, Bytes), Failure> {
        match message {
            Ok((FromHost::Answer(answer), payload)) => Ok((answer, payload)),
            Ok((FromHost::Failed(failure), _)) | Err(ReceiveError::Invalid(failure)) => {
                Err(failure)
            }
            Err(ReceiveError::Closed) => Err(self.death().await),
        }
    }

    /// Sends the end of the data, and gives the host `limit` to end by itself.
    pub(super) async fn finish(mut self, mut input: Input, limit: Duration) {
        let finished = async {
            input.end().await.ok();
            while self.from.next().await.is_ok() {}
        };
        tokio::time::timeout(limit, finished).await.ok();
        self.end().await;
    }

    /// Ends the host: SIGTERM, and SIGKILL after a second.
    pub(super) async fn end(mut self) {
        if let Some(pid) = pid_of(&self.child) {
            kill(pid, Signal::SIGTERM).ok();
        }
        if tokio::time::timeout(GRACE, self.child.wait()).await.is_err() {
            tokio::time::timeout(GRACE, self.child.kill()).await.ok();
        }
    }

    /// The reason why it has died, with the last line of its standard error.
    async fn death(&mut self) -> Failure {
        let ended = tokio::time::timeout(GRACE, self.child.wait()).await;
        let how = match ended {
            Ok(Ok(status)) => describe(status),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it does not answer".to_owned(),
        };
        if let Some(stderr_task) = &mut self.stderr_task
            && tokio::time::timeout(STDERR_TIMEOUT, stderr_task).await.is_ok()
        {
            self.stderr_task = None;
        }
        let now = time::now();
        self.log.warn_of_last(&self.stderr_tail.last_lines(LAST_LINES), &how, now);
        let words = self.stderr_tail.last_line().map(|line| format!(": {line}"));
        Failure::Crash(format!("its process has died ({how}){}", words.unwrap_or_default()))
    }
}

impl Host<Done> {
    /// Runs `job` with `data` in a host of its own and returns the payload of the answer.
    /// After `limit` the host is killed, and the failure is `late`.
    ///
    /// # Errors
    /// The job failed or took too long, or the host has died.
    pub(super) async fn run(
        name: &str,
        job: impl JobKind<Answer = Done>,
        data: Vec<Bytes>,
        limit: Duration,
        late: Failure,
    ) -> Result<Bytes, Failure> {
        let (mut host, mut input) = Self::start(name, job).await?;
        let given = async {
            for piece in data {
                input.data(piece).await?;
            }
            input.end().await
        };
        let answer = tokio::time::timeout(limit, host.answer(given)).await;
        host.end().await;
        let (Done, made) = answer.map_err(|_| late)??;
        Ok(made)
    }
}

impl Host<Nothing> {
    /// Waits for its end; returns the reason.
    pub(super) async fn ended(&mut self) -> Failure {
        match self.next().await {
            Ok((never, _)) => match never {},
            Err(failure) => failure,
        }
    }
}

impl<A> Drop for Host<A> {
    fn drop(&mut self) {
        if let Some(stderr_task) = &self.stderr_task {
            stderr_task.abort();
        }
    }
}

impl Input {
    pub(super) fn new(socket: OwnedWriteHalf) -> Self {
        Self { socket, unsent: Bytes::new().chain(Bytes::new()), takes_audio: false }
    }

    /// Sets that audio is sent as well as video.
    pub(super) fn with_audio(self) -> Self {
        Self { takes_audio: true, ..self }
    }

    /// Sends a piece of the job's data.
    ///
    /// # Errors
    /// The socket is closed.
    pub(super) async fn data(&mut self, piece: Bytes) -> io::Result<()> {
        self.send(&ToHost::Data, piece).await
    }

    /// Sends the end of the data.
    ///
    /// # Errors
    /// The socket is closed.
    pub(super) async fn end(&mut self) -> io::Result<()> {
        self.send(&ToHost::End, Bytes::new()).await
    }

    /// Sends a message. If it is cancelled, the next call sends the rest first.
    ///
    /// # Errors
    /// The socket is closed.
    pub(super) async fn send(&mut self, head: &ToHost, payload: Bytes) -> io::Result<()> {
        let head = encode(head, payload.len())
            .map_err(|bad| io::Error::new(ErrorKind::InvalidInput, bad))?;
        self.socket.write_all_buf(&mut self.unsent).await?;
        self.unsent = Bytes::from(head).chain(payload);
        self.socket.write_all_buf(&mut self.unsent).await
    }
}

impl Consumer for Input {
    async fn take(&mut self, chunk: &Chunk, gap: bool) -> Result<Taken, Refused> {
        let sent = async {
            for (unit, data) in units(chunk, gap) {
                if unit.track == TrackKind::Video || self.takes_audio {
                    self.send(&ToHost::Unit(unit), data).await?;
                }
            }
            Ok(())
        };
        let mut sent = pin!(sent);
        let (sent, taken) = match tokio::time::timeout(FULL_AFTER, &mut sent).await {
            Ok(sent) => (sent, Taken::AtOnce),
            Err(_) => (sent.await, Taken::Slowly),
        };
        sent.map(|()| taken).map_err(|_: io::Error| Refused)
    }
}

impl<A: DeserializeOwned> Replies<A> {
    async fn next(&mut self) -> Result<(FromHost<A>, Bytes), ReceiveError> {
        loop {
            match self.decoder.decode() {
                Ok(Some(message)) => return Ok(message),
                Ok(None) => {}
                Err(bad) => {
                    let message = format!("its process sent {bad}");
                    return Err(ReceiveError::Invalid(Failure::Crash(message)));
                }
            }
            match self.socket.read_buf(self.decoder.buffer()).await {
                Ok(0) | Err(_) => return Err(ReceiveError::Closed),
                Ok(_) => {}
            }
        }
    }
}

/// Receives the next message. A host that was stopped by a signal would never answer, and
/// is killed.
async fn receive<A: DeserializeOwned>(
    from: &mut Replies<A>,
    child_signals: &mut Option<unix::Signal>,
    child: &Child,
) -> Result<(FromHost<A>, Bytes), ReceiveError> {
    loop {
        let signalled = async {
            match child_signals.as_mut() {
                Some(child_signals) => child_signals.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            message = from.next() => return message,
            _ = signalled => if let Some(pid) = pid_of(child).filter(|pid| is_stopped(*pid)) {
                kill(pid, Signal::SIGKILL).ok();
            }
        }
    }
}

/// Its process id; none after it has ended.
fn pid_of(child: &Child) -> Option<Pid> {
    child.id().and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw)
}

fn is_stopped(pid: Pid) -> bool {
    let flags = WaitPidFlag::WSTOPPED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    matches!(waitid(Id::Pid(pid), flags), Ok(WaitStatus::Stopped(..)))
}

/// The log of all hosts of this name, with one rate limit: a limit per host would be new
/// for each picture.
fn log_of(name: &str) -> Arc<CommandLog> {
    static LOGS: Lock<BTreeMap<String, Arc<CommandLog>>> = Lock::new(BTreeMap::new());
    let mut logs = LOGS.lock();
    if logs.len() >= MAX_LOGS && !logs.contains_key(name) {
        logs.retain(|_, log| Arc::strong_count(log) > 1);
    }
    let new = || Arc::new(CommandLog::new(None, "host", name));
    Arc::clone(logs.entry(name.to_owned()).or_insert_with(new))
}

fn spawn(name: &str, job: &Job) -> io::Result<(Child, UnixStream)> {
    let (ours, theirs) = StdUnixStream::pair()?;
    ours.set_nonblocking(true)?;
    SockRef::from(&ours).set_send_buffer_size(SEND_BUFFER)?;
    let mut command = process::Command::new(host_program::opened()?);
    command
        .arg0("livebox")
        .env_clear()
        .envs(std::env::vars_os().filter(|(name, _)| is_needed(name)))
        .env(SETTINGS, "memory")
        // Messages of libraries are recognised by their text, which is not to be translated.
        .env("LC_MESSAGES", "C");
    command.args(["host", name]);
    command.stdin(OwnedFd::from(theirs)).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut command = Command::from(command);
    // A process group of its own, so that signals of a terminal do not reach it.
    let outlives = matches!(job, Job::EndCommands(_));
    command.process_group(0).kill_on_drop(!outlives);
    // GStreamer opens cameras without the close-on-exec flag.
    close_fds::CloseFdsBuilder::new().cloexecfrom(3);
    let child = command.spawn()?;
    Ok((child, UnixStream::from_std(ours)?))
}

fn is_needed(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    VARIABLES.contains(&&*name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

fn describe(status: ExitStatus) -> String {
    let signal = status.signal().and_then(|number| Signal::try_from(number).ok());
    signal.map_or_else(|| status.to_string(), |signal| signal.as_str().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::feeder::first_chunk;
    use crate::hub::{Limits, Piece, Stream};
    use crate::media::packager::Expect;
    use crate::media::samples::placeholders;

    /// A picture of at least `length` bytes.
    async fn piece(length: usize) -> Arc<Piece> {
        let limits = Limits::for_gop(Duration::from_secs(1), 16 << 20);
        let stream = Stream::new("test".parse().unwrap(), limits);
        let video = Some(Duration::from_secs(1) / 30);
        stream.begin_run(MediaTime::default(), Expect { video, audio: false }, 2_000_000);
        let mut reader = stream.join_uncounted();
        for mut unit in placeholders(MediaTime::ORIGIN, 2, 10) {
            unit.data = [&unit.data[..], &vec![0x55; length]].concat().into();
            stream.publish(unit).unwrap();
        }
        first_chunk(&mut reader).await.1
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_host_is_detected_and_gets_the_whole_message() {
        let (ours, theirs) = StdUnixStream::pair().unwrap();
        for socket in [&ours, &theirs] {
            socket.set_nonblocking(true).unwrap();
        }
        SockRef::from(&ours).set_send_buffer_size(SEND_BUFFER).unwrap();
        let (_from, to) = UnixStream::from_std(ours).unwrap().into_split();
        let mut theirs = UnixStream::from_std(theirs).unwrap();
        let mut input = Input::new(to);
        let (small, large) = (piece(1000).await, piece(1 << 20).await);
        assert_eq!(input.take(&small, false).await, Ok(Taken::AtOnce));

        let mut decoder = Decoder::<ToHost>::default();
        let read = async {
            // The paused clock advances when all tasks wait.
            tokio::time::sleep(2 * FULL_AFTER).await;
            let mut received = Vec::new();
            while received.len() < 2 {
                theirs.read_buf(decoder.buffer()).await.unwrap();
                received.extend(decoder.decode().unwrap());
            }
            received
        };
        let (taken, received) = tokio::join!(input.take(&large, true), read);
        assert_eq!(taken, Ok(Taken::Slowly));
        for ((head, payload), (piece, gap)) in received.iter().zip([(small, false), (large, true)])
        {
            let ToHost::Unit(unit) = head else { panic!("it is {head:?}") };
            assert_eq!((unit.pts, unit.gap), (piece.units[0].pts, gap));
            assert_eq!(*payload, piece.annex_b());
        }

        drop(theirs);
        let small = piece(1000).await;
        assert_eq!(input.take(&small, false).await, Err(Refused));
    }
}
