//! Runs a program and collects its output, within limits of time and size.

use std::io;
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process;

/// Maximum bytes read of standard output and of standard error.
const MAX_OUTPUT_BYTES: u64 = 256 << 10;

/// Runs `command` to its end and returns its output. A longer output than 256
/// KiB is truncated; further writes of the program fail. Standard error is read
/// if it is piped.
///
/// # Errors
/// The program does not start, or does not end within `timeout`
/// ([`io::ErrorKind::TimedOut`]); then it is killed.
pub async fn output(mut command: process::Command, timeout: Duration) -> io::Result<Output> {
    // GStreamer opens cameras without O_CLOEXEC.
    close_fds::CloseFdsBuilder::new().cloexecfrom(3);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn()?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let all = async {
        let (stdout, stderr) = tokio::join!(read_limited(out), read_limited(err));
        Ok(Output { status: child.wait().await?, stdout, stderr })
    };
    tokio::time::timeout(timeout, all).await?
}

async fn read_limited(from: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(from) = from {
        // After an error, the bytes before it are the output.
        from.take(MAX_OUTPUT_BYTES).read_to_end(&mut bytes).await.ok();
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(90);

    fn shell(script: &str) -> process::Command {
        let mut command = process::Command::new("sh");
        command.args(["-c", script]).stderr(Stdio::piped());
        command
    }

    #[tokio::test]
    async fn both_outputs_and_the_exit_code_are_returned() {
        let result = output(shell("echo yes; echo no >&2; exit 3"), LIMIT).await.unwrap();
        assert_eq!(result.stdout, b"yes\n");
        assert_eq!(result.stderr, b"no\n");
        assert_eq!(result.status.code(), Some(3));
    }

    #[tokio::test]
    async fn an_endless_output_is_truncated_and_ends_the_program() {
        let result = output(shell("yes & exec yes >&2"), LIMIT).await.unwrap();
        let max = MAX_OUTPUT_BYTES as usize;
        assert_eq!([result.stdout.len(), result.stderr.len()], [max; 2]);
        assert!(!result.status.success());
    }

    #[tokio::test]
    async fn a_program_that_hangs_is_killed() {
        let hung = output(shell("exec sleep 1000"), Duration::from_millis(1)).await;
        assert_eq!(hung.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
