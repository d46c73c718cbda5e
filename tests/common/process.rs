//! A program started by a test: its output collected, ended with its owner.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::proc;
use super::wait;

/// How long the last lines of an ended program may take to arrive.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A running program. Dropping it kills it; during a panic its output is shown.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    output: Output,
    readers: Vec<JoinHandle<()>>,
}

/// The lines a program has written so far, of both its outputs.
#[derive(Clone, Debug, Default)]
pub struct Output(Arc<Mutex<Vec<String>>>);

/// How a program that has ended answered.
#[derive(Debug)]
pub struct Finished {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Process {
    /// Starts `command` and collects what it writes.
    pub fn start(name: &str, command: &mut Command) -> Self {
        Self::start_with(name, command, Stdio::null())
    }

    /// As [`Process::start`], with something at its standard input.
    pub fn start_with(name: &str, command: &mut Command, input: Stdio) -> Self {
        let mut child = command
            .stdin(input)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{name} does not start: {e}"));
        let output = Output::default();
        let stdout = child.stdout.take().expect("stdout is piped");
        let stderr = child.stderr.take().expect("stderr is piped");
        let readers = vec![output.collect(stdout), output.collect(stderr)];
        Self { name: name.to_owned(), child, output, readers }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn output(&self) -> &Output {
        &self.output
    }

    /// Sends a signal by its name: `TERM`, `STOP`.
    pub fn signal(&self, name: &str) {
        proc::signal(self.pid(), name);
    }

    /// The exit status, once the program has ended by itself.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    /// Waits for the program to end by itself.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let what = format!("{} ends", self.name);
        wait::until(&what, limit, || self.ended())
    }

    pub fn kill(&mut self) {
        // Fails only where the program has already ended.
        self.child.kill().ok();
        self.child.wait().ok();
        // A grandchild may hold the pipes open for ever; its lines are not owed.
        let all_read = || self.readers.iter().all(JoinHandle::is_finished).then_some(());
        wait::within(LAST_WORDS, all_read);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- {} wrote:\n{}\n---", self.name, self.output.text());
        }
    }
}

impl Output {
    pub fn text(&self) -> String {
        self.0.lock().expect("no reader panics").join("\n")
    }

    pub fn contains(&self, part: &str) -> bool {
        self.0.lock().expect("no reader panics").iter().any(|line| line.contains(part))
    }

    /// How many lines contain `part`.
    pub fn count(&self, part: &str) -> usize {
        let lines = self.0.lock().expect("no reader panics");
        lines.iter().filter(|line| line.contains(part)).count()
    }

    /// Waits for a line that contains `part` and returns it.
    pub fn wait_for(&self, part: &str, limit: Duration) -> String {
        let what = format!("a line with {part:?}");
        match wait::within(limit, || self.line_with(part)) {
            Some(line) => line,
            None => panic!("{what}: not within {limit:?}"),
        }
    }

    fn line_with(&self, part: &str) -> Option<String> {
        let lines = self.0.lock().expect("no reader panics");
        lines.iter().find(|line| line.contains(part)).cloned()
    }

    fn collect(&self, from: impl Read + Send + 'static) -> JoinHandle<()> {
        let lines = Arc::clone(&self.0);
        std::thread::spawn(move || {
            let mut from = BufReader::new(from);
            let mut line = Vec::new();
            while matches!(from.read_until(b'\n', &mut line), Ok(1..)) {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                lines.lock().expect("no reader panics").push(text);
                line.clear();
            }
        })
    }
}

/// Runs `command` to its end with `input` on its standard input.
pub fn run(command: &mut Command, input: &[u8], limit: Duration) -> Finished {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{command:?} does not start: {e}"));
    // A program that does not read its input closes the pipe; that is its right.
    child.stdin.take().expect("stdin is piped").write_all(input).ok();
    let stdout = slurp(child.stdout.take().expect("stdout is piped"));
    let stderr = slurp(child.stderr.take().expect("stderr is piped"));
    let status = wait::within(limit, || child.try_wait().expect("a child can be waited for"));
    if status.is_none() {
        child.kill().ok();
        child.wait().ok();
    }
    let stdout = stdout.join().expect("readers do not panic");
    let stderr = stderr.join().expect("readers do not panic");
    let Some(status) = status else {
        panic!("{command:?} did not end within {limit:?}; it wrote:\n{stdout}\n{stderr}")
    };
    Finished { code: status.code(), stdout, stderr }
}

fn slurp(mut from: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).ok();
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
