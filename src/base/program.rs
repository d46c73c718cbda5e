//! Programs that are asked something, and may crash, hang or talk without end.

use std::io;
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process;

/// What is read of each output of a program; more is no answer to anything.
const LONGEST: u64 = 256 << 10;

/// Runs `command` to its end and returns what it wrote: the beginning of a long
/// output, after which the program finds its pipe closed. Its standard error is
/// read if it is piped.
///
/// # Errors
/// It does not start, or does not end within `limit`
/// ([`io::ErrorKind::TimedOut`]); then it is killed.
pub async fn output(mut command: process::Command, limit: Duration) -> io::Result<Output> {
    // GStreamer opens cameras without the flag by which they stay ours.
    close_fds::CloseFdsBuilder::new().cloexecfrom(3);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn()?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let all = async {
        let (stdout, stderr) = tokio::join!(beginning(out), beginning(err));
        Ok(Output { status: child.wait().await?, stdout, stderr })
    };
    tokio::time::timeout(limit, all).await?
}

async fn beginning(from: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(from) = from {
        // What came before an error is all there is.
        from.take(LONGEST).read_to_end(&mut bytes).await.ok();
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
    async fn both_outputs_and_the_end_are_known() {
        let said = output(shell("echo yes; echo no >&2; exit 3"), LIMIT).await.unwrap();
        assert_eq!((said.stdout.as_slice(), said.stderr.as_slice()), (&b"yes\n"[..], &b"no\n"[..]));
        assert_eq!(said.status.code(), Some(3));
    }

    #[tokio::test]
    async fn an_endless_output_is_cut_and_ends_its_program() {
        let said = output(shell("yes & exec yes >&2"), LIMIT).await.unwrap();
        assert_eq!([said.stdout.len(), said.stderr.len()], [LONGEST as usize; 2]);
        assert!(!said.status.success());
    }

    #[tokio::test]
    async fn a_program_that_hangs_is_killed() {
        let hung = output(shell("exec sleep 1000"), Duration::from_millis(1)).await;
        assert_eq!(hung.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
