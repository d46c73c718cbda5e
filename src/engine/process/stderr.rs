//! The standard error of a program: logged, and its last lines kept for the cause
//! of its death.

use std::sync::Arc;

use tokio::io::AsyncReadExt as _;
use tokio::process::ChildStderr;

use super::command_log::CommandLog;
use super::stderr_tail::StderrTail;
use crate::base::scrub::Lines;
use crate::base::time::now;

/// Bytes read at a time.
const BLOCK_BYTES: usize = 4 << 10;

/// Logs the standard error of a program without secrets, until its end.
pub(super) async fn log_stderr(mut from: ChildStderr, log: Arc<CommandLog>, last: Arc<StderrTail>) {
    let (mut buffer, mut lines) = (vec![0; BLOCK_BYTES], Lines::default());
    loop {
        let length = from.read(&mut buffer).await.unwrap_or(0);
        let text = if length > 0 { lines.push(&buffer[..length]) } else { lines.finish() };
        if !text.is_empty() {
            last.push(&text);
            log.keep(text.as_bytes(), now()).await;
        }
        if length == 0 {
            return;
        }
    }
}
