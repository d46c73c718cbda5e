//! One pipeline host: a process of this program that does one job.
//!
//! The job comes over a socket pair, never by arguments or the environment,
//! which other programs can read. A host ends when its socket is closed: however
//! the service ends, none is left. It is not trusted: what it sends is bounded,
//! and nothing waits for it without a limit.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::pin::pin;
use std::process::{self, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
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

use super::limits;
use super::pids::Registered;
use crate::base::time::MediaTime;
use crate::engine::feeder::{Consumer, Refused, Taken, units};
use crate::engine::process::command_log::CommandLog;
use crate::engine::process::last_words::LastWords;
use crate::engine::process::stderr::keep;
use crate::media::packager::Chunk;
use crate::model::status::Failure;
use crate::model::unit::TrackKind;
use crate::wire::answer::{Done, Nothing};
use crate::wire::job::{Job, JobKind};
use crate::wire::{Decoder, FromHost, ToHost, encode};

/// The kernel's own reference to the file that this process runs. It stays
/// valid when an upgrade replaces or deletes the file, unlike its path, so a
/// host is always of the same version as its service.
const RUNNING: &str = "/proc/self/exe";

/// What of the environment a host needs: where libraries, plugins and their
/// registry are, and the time zone of clocks in pictures.
const VARIABLES: [&str; 7] =
    ["HOME", "LANG", "LD_LIBRARY_PATH", "PATH", "TZ", "XDG_CACHE_HOME", "XDG_DATA_HOME"];

/// Variables of GStreamer, of drivers for video and of the heap.
const PREFIXES: [&str; 3] = ["GST_", "LIBVA_", "MALLOC_"];

/// Where GIO looks for the settings of a desktop, of which a host has none: it
/// would write them to a file.
const SETTINGS: &str = "GSETTINGS_BACKEND";

/// So much of a stream waits in the socket at most, for the kernel counts double:
/// less than a second of 300 kbit/s. It is as late as what waits in the host.
const SEND_BUFFER: usize = 16 << 10;

/// A host that has room takes a message sooner than this, however late it is
/// given a processor.
const FULL_AFTER: Duration = Duration::from_millis(100);

/// A host that was asked to end is given so long before it is killed; one that
/// was killed is gone by then, or hangs in its kernel.
const GRACE: Duration = Duration::from_secs(1);

/// Its last words come with its end.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// So many of its last lines are logged: what a panic says, and some before.
const LAST_LINES: usize = 5;

/// Logs of so many hosts are kept with their limits, and of those that run.
const LOGS: usize = 256;

/// A running host, which answers with `A`. Dropping it kills it, unless it is to
/// outlive the service.
#[derive(Debug)]
pub(super) struct Host<A> {
    child: Child,
    /// Nothing of one that had ended when it was asked for its number.
    _registered: Option<Registered>,
    /// Says when a child has ended or was stopped; absent where the system does not tell.
    stirs: Option<unix::Signal>,
    from: Replies<A>,
    said: Arc<LastWords>,
    log: Arc<CommandLog>,
    /// Reads its standard error, until that has ended.
    listening: Option<JoinHandle<()>>,
}

/// Where a host gets what it works on.
#[derive(Debug)]
pub(super) struct Input {
    socket: OwnedWriteHalf,
    /// What is left of a message; it goes first.
    unsent: Chain<Bytes, Bytes>,
    /// Whether audio is fed to it as well as video.
    takes_audio: bool,
}

/// What a host says, message by message.
#[derive(Debug)]
struct Replies<A> {
    socket: OwnedReadHalf,
    decoder: Decoder<FromHost<A>>,
}

/// Why a host says nothing more.
enum Silence {
    Closed,
    Nonsense(Failure),
}

impl<A: DeserializeOwned> Host<A> {
    /// Starts a host for `job`; `what` names it in the log and in lists of
    /// processes. To be called on a runtime.
    ///
    /// # Errors
    /// The system gives no more processes or files.
    pub(super) async fn start(
        what: &str,
        job: impl JobKind<Answer = A>,
    ) -> Result<(Self, Input), Failure> {
        let job = job.into();
        let spawned = spawn(what, &job).map_err(|error| Failure::Crash(error.to_string()));
        let (mut child, socket) = spawned?;
        let registered = child.id().map(Registered::new);
        let (from, to) = socket.into_split();
        let mut input = Input::new(to);
        let said = Arc::<LastWords>::default();
        let log = log_of(what);
        let keep = |err| keep(err, Arc::clone(&log), Arc::clone(&said));
        let listening = child.stderr.take().map(|err| tokio::spawn(keep(err)));
        let from = Replies { socket: from, decoder: Decoder::default() };
        let stirs = unix::signal(unix::SignalKind::child()).ok();
        let host = Self { child, _registered: registered, stirs, from, said, log, listening };
        if log::max_level() >= log::LevelFilter::Debug {
            input.send(&ToHost::Debug, Bytes::new()).await.ok();
        }
        // It has room in the empty socket. A host that has died tells why when it is asked.
        let job = ToHost::Job { job, memory: limits::memory(), began_ns: MediaTime::began_ns() };
        match input.send(&job, Bytes::new()).await {
            Err(error) if error.kind() == ErrorKind::InvalidInput => {
                Err(Failure::Build(error.to_string()))
            }
            Ok(()) | Err(_) => Ok((host, input)),
        }
    }

    /// The first answer; `given` gives the host what it works on meanwhile.
    ///
    /// # Errors
    /// The job cannot be done, or the host has died or talks nonsense.
    pub(super) async fn answer<T>(
        &mut self,
        given: impl Future<Output = T>,
    ) -> Result<(A, Bytes), Failure> {
        let answer = tokio::select! {
            biased;
            // It may come before the host has read all.
            answer = heard(&mut self.from, &mut self.stirs, &self.child) => answer,
            _ = given => heard(&mut self.from, &mut self.stirs, &self.child).await,
        };
        self.explained(answer).await
    }

    /// The next answer; cancelling loses nothing.
    ///
    /// # Errors
    /// The job cannot be done, or the host has died or talks nonsense.
    pub(super) async fn next(&mut self) -> Result<(A, Bytes), Failure> {
        let message = heard(&mut self.from, &mut self.stirs, &self.child).await;
        self.explained(message).await
    }

    async fn explained(
        &mut self,
        message: Result<(FromHost<A>, Bytes), Silence>,
    ) -> Result<(A, Bytes), Failure> {
        match message {
            Ok((FromHost::Answer(answer), payload)) => Ok((answer, payload)),
            Ok((FromHost::Failed(failure), _)) | Err(Silence::Nonsense(failure)) => Err(failure),
            Err(Silence::Closed) => Err(self.death().await),
        }
    }

    /// Tells the host that no more follows, and gives it so long to end by itself.
    pub(super) async fn finish(mut self, mut input: Input, limit: Duration) {
        let finished = async {
            input.end().await.ok();
            while self.from.next().await.is_ok() {}
        };
        tokio::time::timeout(limit, finished).await.ok();
        self.end().await;
    }

    /// Asks the host to end, kills it where it does not, and waits a moment for that.
    pub(super) async fn end(mut self) {
        if let Some(pid) = pid_of(&self.child) {
            kill(pid, Signal::SIGTERM).ok();
        }
        if tokio::time::timeout(GRACE, self.child.wait()).await.is_err() {
            tokio::time::timeout(GRACE, self.child.kill()).await.ok();
        }
    }

    /// How it has died, and what it said last.
    async fn death(&mut self) -> Failure {
        let ended = tokio::time::timeout(GRACE, self.child.wait()).await;
        let how = match ended {
            Ok(Ok(status)) => told(status),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it does not answer any more".to_owned(),
        };
        if let Some(listening) = &mut self.listening
            && tokio::time::timeout(LAST_WORDS, listening).await.is_ok()
        {
            self.listening = None;
        }
        let now = tokio::time::Instant::now().into_std();
        self.log.warn_of_last(&self.said.last_lines(LAST_LINES), &how, now);
        let words = self.said.last_line().map(|line| format!(": {line}"));
        Failure::Crash(format!("its process has died ({how}){}", words.unwrap_or_default()))
    }
}

impl Host<Done> {
    /// Has a host of its own do `job` with `data`; what comes of it. One that
    /// takes longer than `limit` is killed, and `late` is the failure.
    ///
    /// # Errors
    /// It cannot be done, or the host has died.
    pub(super) async fn run(
        what: &str,
        job: impl JobKind<Answer = Done>,
        data: Vec<Bytes>,
        limit: Duration,
        late: Failure,
    ) -> Result<Bytes, Failure> {
        let (mut host, mut input) = Self::start(what, job).await?;
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
    /// Waits for its end; why it has ended.
    pub(super) async fn ended(&mut self) -> Failure {
        match self.next().await {
            Ok((never, _)) => match never {},
            Err(failure) => failure,
        }
    }
}

impl<A> Drop for Host<A> {
    fn drop(&mut self) {
        if let Some(listening) = &self.listening {
            listening.abort();
        }
    }
}

impl Input {
    pub(super) fn new(socket: OwnedWriteHalf) -> Self {
        Self { socket, unsent: Bytes::new().chain(Bytes::new()), takes_audio: false }
    }

    /// This input, which is fed audio as well as video.
    pub(super) fn with_audio(self) -> Self {
        Self { takes_audio: true, ..self }
    }

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

    /// Cancelling leaves the rest of a message to the next call.
    ///
    /// # Errors
    /// The host takes no more.
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
    async fn next(&mut self) -> Result<(FromHost<A>, Bytes), Silence> {
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

/// The next message. A host that a signal has stopped would say nothing for good,
/// and is killed.
async fn heard<A: DeserializeOwned>(
    from: &mut Replies<A>,
    stirs: &mut Option<unix::Signal>,
    child: &Child,
) -> Result<(FromHost<A>, Bytes), Silence> {
    loop {
        let stir = async {
            match stirs.as_mut() {
                Some(stirs) => stirs.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            message = from.next() => return message,
            _ = stir => if let Some(pid) = pid_of(child).filter(|pid| is_stopped(*pid)) {
                kill(pid, Signal::SIGKILL).ok();
            }
        }
    }
}

/// Its number; there is none any more of one that has ended.
fn pid_of(child: &Child) -> Option<Pid> {
    child.id().and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw)
}

fn is_stopped(pid: Pid) -> bool {
    let flags = WaitPidFlag::WSTOPPED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    matches!(waitid(Id::Pid(pid), flags), Ok(WaitStatus::Stopped(..)))
}

/// What all hosts of one kind say in the service's log, within one limit: a new
/// host for each picture would have a new one.
fn log_of(what: &str) -> Arc<CommandLog> {
    static KEPT: Mutex<BTreeMap<String, Arc<CommandLog>>> = Mutex::new(BTreeMap::new());
    let mut logs = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if logs.len() >= LOGS && !logs.contains_key(what) {
        logs.retain(|_, log| Arc::strong_count(log) > 1);
    }
    let new = || Arc::new(CommandLog::new(None, "host", what));
    Arc::clone(logs.entry(what.to_owned()).or_insert_with(new))
}

fn spawn(what: &str, job: &Job) -> io::Result<(Child, UnixStream)> {
    let (ours, theirs) = StdUnixStream::pair()?;
    ours.set_nonblocking(true)?;
    SockRef::from(&ours).set_send_buffer_size(SEND_BUFFER)?;
    let mut command = process::Command::new(RUNNING);
    command
        .arg0("livebox")
        .env_clear()
        .envs(std::env::vars_os().filter(|(name, _)| is_needed(name)))
        .env(SETTINGS, "memory");
    command.args(["host", what]);
    command.stdin(OwnedFd::from(theirs)).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut command = Command::from(command);
    // A group of its own: what a terminal sends to the service is not for it.
    let outlives = matches!(job, Job::EndCommands(_));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::feeder::first_chunk;
    use crate::hub::{Limits, Piece, Stream};
    use crate::media::packager::Expect;
    use crate::media::samples::placeholders;

    /// A picture of so many bytes and some.
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
    async fn that_a_host_is_full_is_noticed_and_it_gets_what_it_was_sent() {
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
            // The clock goes on when all wait for each other.
            tokio::time::sleep(2 * FULL_AFTER).await;
            let mut came = Vec::new();
            while came.len() < 2 {
                theirs.read_buf(decoder.buffer()).await.unwrap();
                came.extend(decoder.decode().unwrap());
            }
            came
        };
        let (taken, came) = tokio::join!(input.take(&large, true), read);
        assert_eq!(taken, Ok(Taken::Slowly));
        for ((head, payload), (piece, gap)) in came.iter().zip([(small, false), (large, true)]) {
            let ToHost::Unit(unit) = head else { panic!("it is {head:?}") };
            assert_eq!((unit.pts, unit.gap), (piece.units[0].pts, gap));
            assert_eq!(*payload, piece.annex_b());
        }

        drop(theirs);
        let small = piece(1000).await;
        assert_eq!(input.take(&small, false).await, Err(Refused));
    }
}
