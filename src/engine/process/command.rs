//! Commands of the configuration: started without a shell, logged, and ended.
//!
//! Each runs in a process group of its own, so that its children end with it. It
//! inherits the three standard files and no others.

use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;

use super::command_log::CommandLog;
use super::commands::mark;
use super::stderr::log_stderr;
use super::stderr_tail::StderrTail;
use crate::base::disk::Disk;
use crate::base::environment::PREFIX;
use crate::config::settings::CommandLine;
use crate::hub::bytes::{Read, Reader};
use crate::model::failure::Failure;

/// Time between SIGTERM and SIGKILL; the service itself ends within two seconds.
const GRACE: Duration = Duration::from_secs(1);

/// Time limit of a start: the program may be on a disk that hangs.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// How often it is polled whether a group has ended.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// How long to wait for the end of standard error: a process that left the group may
/// keep it open.
const STDERR_TIMEOUT: Duration = Duration::from_millis(100);

/// The size of the blocks that are read, which the pieces of a ring share.
const BLOCK_BYTES: usize = 64 << 10;

/// A block with less room than this is replaced. Fewer bytes than this are copied: a ring that
/// keeps the last line of an ended command would otherwise keep a block for it.
const MIN_ROOM_BYTES: usize = 4 << 10;

/// A command that can be run any number of times.
#[derive(Clone, Debug)]
pub(in crate::engine) struct Program {
    line: CommandLine,
    log: Arc<CommandLog>,
}

/// The standard input of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Input {
    Nothing,
    Bytes,
}

/// A running program. Dropping it kills its whole group.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    group: Pid,
    input: Option<ChildStdin>,
    output: Option<ChildStdout>,
    log: Option<JoinHandle<()>>,
    stderr_tail: Arc<StderrTail>,
    has_ended: bool,
}

/// Reads into blocks whose parts are shared instead of copied.
#[derive(Debug, Default)]
pub(super) struct Blocks(BytesMut);

impl Program {
    pub(super) fn new(line: CommandLine, log: CommandLog) -> Self {
        Self { line, log: Arc::new(log) }
    }

    /// The program without its arguments.
    #[cfg(test)]
    pub(in crate::engine) fn name(&self) -> &str {
        &self.line.program
    }

    /// Starts the program.
    ///
    /// # Errors
    /// It does not exist, may not be executed, or its disk does not answer.
    pub(super) async fn start(&self, input: Input) -> Result<Process, Failure> {
        let (program, runtime) = (self.clone(), tokio::runtime::Handle::current());
        let failed = |error: io::Error| Failure::Command(error.to_string());
        // The program may be on a disk that hangs; then the next start is refused at once.
        let disk = Disk::at(Path::new(&self.line.program)).map_err(failed)?;
        let started = disk.run(START_TIMEOUT, move || {
            let _runtime = runtime.enter();
            program.spawn(input)
        });
        started.await.unwrap_or_else(|error| Err(failed(error.into())))
    }

    fn spawn(&self, input: Input) -> Result<Process, Failure> {
        let CommandLine { program, arguments } = &self.line;
        let mut command = Command::new(program);
        let input = match input {
            Input::Nothing => Stdio::null(),
            Input::Bytes => Stdio::piped(),
        };
        command.args(arguments).stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0).kill_on_drop(true);
        // Settings may contain stream keys; only the service may notify systemd.
        let ours = |name: &str| name.starts_with(PREFIX) || name == "NOTIFY_SOCKET";
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(ours) {
                command.env_remove(name);
            }
        }
        let (name, mark) = mark();
        command.env(name, mark);
        // GStreamer opens cameras without the close-on-exec flag.
        close_fds::CloseFdsBuilder::new().cloexecfrom(3);
        let mut child = command.spawn().map_err(|error| start_failure(program, &error))?;
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        let group = Pid::from_raw(id.expect("the child was not waited for yet"));
        let stderr_tail = Arc::<StderrTail>::default();
        let logged = |from| log_stderr(from, Arc::clone(&self.log), Arc::clone(&stderr_tail));
        let log = child.stderr.take().map(|from| tokio::spawn(logged(from)));
        let (input, output) = (child.stdin.take(), child.stdout.take());
        Ok(Process { child, group, input, output, log, stderr_tail, has_ended: false })
    }
}

fn start_failure(program: &str, error: &io::Error) -> Failure {
    Failure::Command(if error.kind() == io::ErrorKind::NotFound {
        format!("the program {program:?} is not installed")
    } else {
        format!("the program {program:?} does not start: {error}")
    })
}

impl Process {
    /// Its standard input; none if that was taken before.
    pub(super) fn take_input(&mut self) -> Option<ChildStdin> {
        self.input.take()
    }

    /// Its standard output; none if that was taken before.
    pub(super) fn take_output(&mut self) -> Option<ChildStdout> {
        self.output.take()
    }

    /// To be called after it has closed its output: waits up to a second for its end
    /// and returns how it ended.
    pub(super) async fn exit_failure(&mut self) -> Failure {
        match tokio::time::timeout(GRACE, self.child.wait()).await {
            Ok(Ok(status)) if status.success() => Failure::Command(describe(status)),
            Ok(Ok(status)) => {
                self.drain_stderr().await;
                let why = self.stderr_tail.last_line().map(|line| format!(": {line}"));
                Failure::Command(describe(status) + &why.unwrap_or_default())
            }
            Ok(Err(error)) => Failure::Command(format!("the command was lost: {error}")),
            Err(_) => Failure::Command("the command closed its output".to_owned()),
        }
    }

    /// To be called after it has closed its output: waits up to a second for its end
    /// and returns whether it exited with status 0.
    pub(super) async fn succeeds(&mut self) -> bool {
        let ended = tokio::time::timeout(GRACE, self.child.wait()).await;
        ended.is_ok_and(|ended| ended.is_ok_and(|status| status.success()))
    }

    /// The end of its standard error.
    pub(super) async fn stderr_tail(&mut self) -> String {
        self.drain_stderr().await;
        self.stderr_tail.text()
    }

    /// Waits up to [`STDERR_TIMEOUT`] for the end of its standard error.
    async fn drain_stderr(&mut self) {
        let Some(log) = &mut self.log else { return };
        if tokio::time::timeout(STDERR_TIMEOUT, log).await.is_ok() {
            self.log = None;
        }
    }

    /// Ends the whole group: SIGTERM, and SIGKILL after a second.
    pub(super) async fn end(mut self) {
        self.input = None;
        self.output = None;
        self.signal(Signal::SIGTERM);
        let ended = async {
            self.child.wait().await.ok();
            while killpg(self.group, None::<Signal>).is_ok() {
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        };
        if tokio::time::timeout(GRACE, ended).await.is_err() {
            self.signal(Signal::SIGKILL);
            self.child.wait().await.ok();
        }
        self.has_ended = true;
        if let Some(mut log) = self.log.take()
            && tokio::time::timeout(STDERR_TIMEOUT, &mut log).await.is_err()
        {
            log.abort();
        }
    }

    fn signal(&self, signal: Signal) {
        // Fails only if the group has ended already.
        killpg(self.group, signal).ok();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.has_ended {
            self.signal(Signal::SIGKILL);
        }
        if let Some(log) = &self.log {
            log.abort();
        }
    }
}

fn describe(status: ExitStatus) -> String {
    match status.code() {
        Some(0) => "the command ended".to_owned(),
        Some(code) => format!("the command failed with exit status {code}"),
        None => format!("the command was ended by {status}"),
    }
}

/// Writes what `reader` reads to a program, and closes its input at the end. Never
/// returns: a program may close its input and continue.
pub(super) async fn feed(mut reader: Reader, mut input: ChildStdin, fed: &AtomicU64) {
    loop {
        match reader.next().await {
            Read::Bytes(bytes) => {
                if input.write_all(&bytes).await.is_err() {
                    break;
                }
                fed.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            }
            Read::Skipped(_) => {}
            Read::End => break,
        }
    }
    drop(input);
    std::future::pending::<()>().await;
}

impl Blocks {
    /// The next bytes; empty at the end.
    ///
    /// # Errors
    /// Those of `from`. Cancelling loses nothing.
    pub(super) async fn read(&mut self, from: &mut (impl AsyncRead + Unpin)) -> io::Result<Bytes> {
        self.prepare();
        from.read_buf(&mut self.0).await?;
        Ok(self.take())
    }

    /// As [`Blocks::read`], with a function that reads into the buffer.
    ///
    /// # Errors
    /// Those of `read`.
    pub(super) fn fill(
        &mut self,
        read: impl FnOnce(&mut BytesMut) -> io::Result<usize>,
    ) -> io::Result<Bytes> {
        self.prepare();
        read(&mut self.0)?;
        Ok(self.take())
    }

    fn take(&mut self) -> Bytes {
        if self.0.len() >= MIN_ROOM_BYTES {
            return self.0.split().freeze();
        }
        let copied = Bytes::copy_from_slice(&self.0);
        self.0.clear();
        copied
    }

    fn prepare(&mut self) {
        if self.0.capacity() - self.0.len() < MIN_ROOM_BYTES {
            self.0 = BytesMut::with_capacity(BLOCK_BYTES);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::bytes::{Begin, ByteRing};

    fn program(words: &[&str]) -> Program {
        let (program, arguments) = words.split_first().unwrap();
        let arguments = arguments.iter().map(|word| (*word).to_owned()).collect();
        let line = CommandLine { program: (*program).to_owned(), arguments };
        Program::new(line, CommandLog::new(None, "feed", "test"))
    }

    #[test]
    fn few_bytes_do_not_keep_a_block() {
        let mut blocks = Blocks::default();
        let mut read = |bytes: &[u8]| {
            let filled = blocks.fill(|buffer| {
                buffer.extend_from_slice(bytes);
                Ok(bytes.len())
            });
            filled.unwrap()
        };
        let line = read(b"a line");
        let more = read(&[7; 8000]);
        assert_eq!((line.as_ref(), more.as_ref()), (b"a line".as_slice(), [7; 8000].as_slice()));
        // Nothing else shares its memory, so it can grow in place.
        let line = line.try_into_mut().unwrap();
        assert!(line.capacity() < 64, "{} bytes", line.capacity());
    }

    async fn all(process: &mut Process) -> Vec<u8> {
        let (mut blocks, mut all) = (Blocks::default(), Vec::new());
        let mut output = process.take_output().unwrap();
        loop {
            match blocks.read(&mut output).await.unwrap() {
                bytes if bytes.is_empty() => return all,
                bytes => all.extend_from_slice(&bytes),
            }
        }
    }

    #[tokio::test]
    async fn a_program_reads_the_bytes_of_its_feed() {
        let flow = ByteRing::new(None, 1 << 20);
        let reader = flow.join(Begin::Edge);
        let mut process = program(&["cat"]).start(Input::Bytes).await.unwrap();
        let input = process.take_input().unwrap();
        flow.publish(Bytes::from_static(b"to and fro"));
        flow.finish();
        let fed = AtomicU64::new(0);
        let output = tokio::select! {
            output = all(&mut process) => output,
            () = feed(reader, input, &fed) => unreachable!("it never returns"),
        };
        assert_eq!(output, b"to and fro");
        assert_eq!(fed.load(Ordering::Relaxed), 10);
        let exit_failure = process.exit_failure().await;
        assert_eq!(exit_failure, Failure::Command("the command ended".to_owned()));
    }

    #[tokio::test]
    async fn a_program_inherits_the_standard_files_only() {
        // Without close-on-exec, as cameras are opened.
        let _open = nix::unistd::dup(std::fs::File::open("/dev/zero").unwrap()).unwrap();
        let mut process =
            program(&["sh", "-c", "readlink /proc/$$/fd/*"]).start(Input::Nothing).await.unwrap();
        let text = String::from_utf8(all(&mut process).await).unwrap();
        assert!(text.contains("pipe:") && !text.contains("/dev/zero"), "{text}");
        assert!(text.lines().count() <= 4, "{text}");
        process.end().await;
    }

    #[tokio::test]
    async fn the_whole_group_is_killed_if_it_ignores_sigterm() {
        let script = "trap '' TERM; sh -c 'trap \"\" TERM; echo $$; sleep 600' & wait";
        let mut process = program(&["sh", "-c", script]).start(Input::Nothing).await.unwrap();
        let mut output = process.take_output().unwrap();
        let pid = Blocks::default().read(&mut output).await.unwrap();
        let pid: i32 = std::str::from_utf8(&pid).unwrap().trim().parse().unwrap();
        process.end().await;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        assert!(stat.is_empty() || stat.contains(") Z"), "{stat}");
    }

    #[tokio::test]
    async fn a_missing_program_is_named() {
        let failure = program(&["no-such-program"]).start(Input::Nothing).await.unwrap_err();
        let expected = "the program \"no-such-program\" is not installed";
        assert_eq!(failure, Failure::Command(expected.to_owned()));
    }

    #[tokio::test]
    async fn an_exit_status_is_reported() {
        let mut process = program(&["sh", "-c", "exit 3"]).start(Input::Nothing).await.unwrap();
        let expected = "the command failed with exit status 3";
        assert_eq!(process.exit_failure().await, Failure::Command(expected.to_owned()));
    }
}
