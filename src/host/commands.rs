//! Ends the commands of a service that was killed or has crashed.

use std::fs;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::wire::job::{EndCommands, Job};

/// How often the search is repeated: a command may start others faster than they are
/// killed. Two seconds in all.
const ROUNDS: u32 = 200;
const ROUND_INTERVAL: Duration = Duration::from_millis(10);

/// The mark of the processes that are killed after `job`, if it is that job.
pub(super) fn marked(job: &Job) -> Option<String> {
    let Job::EndCommands(EndCommands { mark }) = job else { return None };
    Some(mark.clone())
}

/// Kills all programs that have `mark`, `NAME=value`, in their environment,
/// until there is none.
pub(super) fn end(mark: &str) {
    for _ in 0..ROUNDS {
        let marked = find(mark);
        if marked.is_empty() {
            return;
        }
        for pid in marked {
            // Fails for a process of another user.
            kill(pid, Signal::SIGKILL).ok();
        }
        thread::sleep(ROUND_INTERVAL);
    }
}

fn find(mark: &str) -> Vec<Pid> {
    let Ok(all) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let has_mark = |pid: &i32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
    };
    pids.filter(has_mark).map(Pid::from_raw).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::Command;

    use super::*;

    #[test]
    fn only_processes_with_the_mark_are_killed() {
        let start = |value: &str| {
            Command::new("sleep").arg("600").env("MARK_OF_A_TEST", value).spawn().unwrap()
        };
        let (mut ours, mut other) = (start("ours"), start("ours-not"));
        end("MARK_OF_A_TEST=ours");
        assert_eq!(ours.wait().unwrap().signal(), Some(9));
        assert_eq!(other.try_wait().unwrap(), None);
        other.kill().unwrap();
        other.wait().unwrap();
    }
}
