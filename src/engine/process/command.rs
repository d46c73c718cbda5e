//! A program of somebody else: started without a shell, heard, and ended.
//!
//! Each runs in a process group of its own, so that whatever it starts ends
//! with it. It gets its three standard files and no others.

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
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;

use super::command_log::CommandLog;
use super::last_words::LastWords;
use crate::base::disk::Disk;
use crate::base::environment::PREFIX;
use crate::base::scrub::Lines;
use crate::config::settings::CommandLine;
use crate::engine::process::mark;
use crate::hub::bytes::{Read, Reader};
use crate::model::status::Failure;

/// From being asked to end to being ended: the service itself leaves within two seconds.
const GRACE: Duration = Duration::from_secs(1);

/// A program that is not started by then lies on a disk that hangs.
const START_LIMIT: Duration = Duration::from_secs(10);

/// How often a group that was asked to end is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Last words are waited for this long: whoever left the group may hold the file.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// Bytes are read in blocks of this size, which the pieces of a ring share.
const BLOCK: usize = 64 << 10;

/// Less room than this in a block, and another is taken.
const LEAST_ROOM: usize = 4 << 10;

/// A command that can be run any number of times.
#[derive(Clone, Debug)]
pub(super) struct Program {
    line: CommandLine,
    log: Arc<CommandLog>,
}

/// Whether a program is given anything to read.
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
    said: Arc<LastWords>,
    is_gone: bool,
}

/// Reads bytes into blocks that are shared instead of copied.
#[derive(Debug, Default)]
pub(super) struct Blocks(BytesMut);

impl Program {
    pub(super) fn new(line: CommandLine, log: CommandLog) -> Self {
        Self { line, log: Arc::new(log) }
    }

    /// Starts it.
    ///
    /// # Errors
    /// There is no such program, or it may not be run.
    pub(super) async fn start(&self, input: Input) -> Result<Process, Failure> {
        let (program, runtime) = (self.clone(), tokio::runtime::Handle::current());
        let failed = |error: io::Error| Failure::Command(error.to_string());
        // The program may lie on a disk that hangs; then its next start is refused at once.
        let disk = Disk::at(Path::new(&self.line.program)).map_err(failed)?;
        let started = disk.run(START_LIMIT, move || {
            let _runtime = runtime.enter();
            program.spawn(input)
        });
        started.await.unwrap_or_else(|silent| Err(failed(silent.into())))
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
        // Settings may hold stream keys, and readiness is the service's to tell.
        let ours = |name: &str| name.starts_with(PREFIX) || name == "NOTIFY_SOCKET";
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(ours) {
                command.env_remove(name);
            }
        }
        let (name, mark) = mark();
        command.env(name, mark);
        // GStreamer opens cameras without the flag by which they stay ours.
        close_fds::CloseFdsBuilder::new().cloexecfrom(3);
        let mut child = command.spawn().map_err(|error| refusal(program, &error))?;
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        let group = Pid::from_raw(id.expect("it was not waited for yet"));
        let said = Arc::<LastWords>::default();
        let keep = |from| keep(from, Arc::clone(&self.log), Arc::clone(&said));
        let log = child.stderr.take().map(|from| tokio::spawn(keep(from)));
        let (input, output) = (child.stdin.take(), child.stdout.take());
        Ok(Process { child, group, input, output, log, said, is_gone: false })
    }
}

fn refusal(program: &str, error: &io::Error) -> Failure {
    Failure::Command(if error.kind() == io::ErrorKind::NotFound {
        format!("the program {program:?} is not installed")
    } else {
        format!("the program {program:?} does not start: {error}")
    })
}

impl Process {
    /// What it reads; nothing where that was taken before.
    pub(super) fn take_input(&mut self) -> Option<ChildStdin> {
        self.input.take()
    }

    /// What it writes.
    pub(super) fn take_output(&mut self) -> Option<ChildStdout> {
        self.output.take()
    }

    /// It has closed its output: waits a while for its end, and tells how it ended.
    pub(super) async fn verdict(&mut self) -> Failure {
        match tokio::time::timeout(GRACE, self.child.wait()).await {
            Ok(Ok(status)) if status.success() => Failure::Command(told(status)),
            Ok(Ok(status)) => {
                self.has_said_all().await;
                let why = self.said.last_line().map(|line| format!(": {line}"));
                Failure::Command(told(status) + &why.unwrap_or_default())
            }
            Ok(Err(error)) => Failure::Command(format!("the command was lost: {error}")),
            Err(_) => Failure::Command("the command closed its output".to_owned()),
        }
    }

    /// It has closed its output: waits a while for its end, and tells whether
    /// that was a good one.
    pub(super) async fn succeeds(&mut self) -> bool {
        let ended = tokio::time::timeout(GRACE, self.child.wait()).await;
        ended.is_ok_and(|ended| ended.is_ok_and(|status| status.success()))
    }

    /// What it said last.
    pub(super) async fn last_words(&mut self) -> String {
        self.has_said_all().await;
        self.said.text()
    }

    /// Waits a moment for what it still says.
    async fn has_said_all(&mut self) {
        let Some(log) = &mut self.log else { return };
        if tokio::time::timeout(LAST_WORDS, log).await.is_ok() {
            self.log = None;
        }
    }

    /// Asks the whole group to end, and ends it after a second.
    pub(super) async fn end(mut self) {
        self.input = None;
        self.output = None;
        self.signal(Signal::SIGTERM);
        let gone = async {
            self.child.wait().await.ok();
            while killpg(self.group, None::<Signal>).is_ok() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        if tokio::time::timeout(GRACE, gone).await.is_err() {
            self.signal(Signal::SIGKILL);
            self.child.wait().await.ok();
        }
        self.is_gone = true;
        if let Some(mut log) = self.log.take()
            && tokio::time::timeout(LAST_WORDS, &mut log).await.is_err()
        {
            log.abort();
        }
    }

    fn signal(&self, signal: Signal) {
        // Fails only where the group is gone already.
        killpg(self.group, signal).ok();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.is_gone {
            self.signal(Signal::SIGKILL);
        }
        if let Some(log) = &self.log {
            log.abort();
        }
    }
}

fn told(status: ExitStatus) -> String {
    match status.code() {
        Some(0) => "the command came to its end".to_owned(),
        Some(code) => format!("the command failed with exit status {code}"),
        None => format!("the command was ended by {status}"),
    }
}

/// Keeps what a program says, without what may be secret in it, for as long as
/// it says something.
pub(super) async fn keep(mut from: ChildStderr, log: Arc<CommandLog>, last: Arc<LastWords>) {
    let (mut said, mut lines) = (vec![0; LEAST_ROOM], Lines::default());
    loop {
        let length = from.read(&mut said).await.unwrap_or(0);
        let text = if length > 0 { lines.push(&said[..length]) } else { lines.finish() };
        if !text.is_empty() {
            last.hear(&text);
            log.keep(text.as_bytes(), tokio::time::Instant::now().into_std()).await;
        }
        if length == 0 {
            return;
        }
    }
}

/// Gives a program what `reader` reads, and closes its input when that is
/// over. Never returns: a program may close its input and go on.
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
    /// The next bytes; none at the end.
    ///
    /// # Errors
    /// Those of `from`. Cancelling loses nothing.
    pub(super) async fn read(&mut self, from: &mut (impl AsyncRead + Unpin)) -> io::Result<Bytes> {
        self.prepare();
        from.read_buf(&mut self.0).await?;
        Ok(self.0.split().freeze())
    }

    /// As [`Blocks::read`], by a function that reads into the room it is given.
    ///
    /// # Errors
    /// Those of `read`.
    pub(super) fn fill(
        &mut self,
        read: impl FnOnce(&mut BytesMut) -> io::Result<usize>,
    ) -> io::Result<Bytes> {
        self.prepare();
        read(&mut self.0)?;
        Ok(self.0.split().freeze())
    }

    fn prepare(&mut self) {
        if self.0.capacity() - self.0.len() < LEAST_ROOM {
            self.0 = BytesMut::with_capacity(BLOCK);
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
    async fn what_a_program_reads_is_what_it_is_given() {
        let flow = ByteRing::new(None, 1 << 20);
        let reader = flow.join(Begin::Edge);
        let mut process = program(&["cat"]).start(Input::Bytes).await.unwrap();
        let input = process.take_input().unwrap();
        flow.publish(Bytes::from_static(b"to and fro"));
        flow.finish();
        let fed = AtomicU64::new(0);
        let heard = tokio::select! {
            heard = all(&mut process) => heard,
            () = feed(reader, input, &fed) => unreachable!("it never returns"),
        };
        assert_eq!(heard, b"to and fro");
        assert_eq!(fed.load(Ordering::Relaxed), 10);
        let verdict = process.verdict().await;
        assert_eq!(verdict, Failure::Command("the command came to its end".to_owned()));
    }

    #[tokio::test]
    async fn it_gets_no_file_but_its_three() {
        // As cameras are opened: a program would inherit it.
        let _open = nix::unistd::dup(std::fs::File::open("/dev/zero").unwrap()).unwrap();
        let mut process =
            program(&["sh", "-c", "readlink /proc/$$/fd/*"]).start(Input::Nothing).await.unwrap();
        let text = String::from_utf8(all(&mut process).await).unwrap();
        assert!(text.contains("pipe:") && !text.contains("/dev/zero"), "{text}");
        assert!(text.lines().count() <= 4, "{text}");
        process.end().await;
    }

    #[tokio::test]
    async fn the_whole_group_ends_also_where_it_does_not_want_to() {
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
    async fn a_program_that_is_not_there_is_named() {
        let failure = program(&["no-such-program"]).start(Input::Nothing).await.unwrap_err();
        let told = "the program \"no-such-program\" is not installed";
        assert_eq!(failure, Failure::Command(told.to_owned()));
    }

    #[tokio::test]
    async fn an_exit_status_is_told() {
        let mut process = program(&["sh", "-c", "exit 3"]).start(Input::Nothing).await.unwrap();
        let told = "the command failed with exit status 3";
        assert_eq!(process.verdict().await, Failure::Command(told.to_owned()));
    }
}
