//! What the system allows this process, said at the start instead of found out later.

use log::warn;

use crate::base::system;
use crate::http;

/// Fewer files than this and nobody can be served: an idle service has some
/// thirty open, and each camera, push and viewer takes more.
const LEAST_FILES: usize = 48;

/// Takes as many open files as there may be, and warns where they are few.
///
/// # Errors
/// They do not suffice to serve anybody.
pub(super) fn take_open_files() -> anyhow::Result<()> {
    if let Err(error) = system::allow_open_files() {
        warn!("the number of open files stays limited: {error}");
    }
    match judge(system::open_files_at_most()) {
        Ok(None) => Ok(()),
        Ok(Some(warning)) => {
            warn!("{warning}");
            Ok(())
        }
        Err(reason) => Err(anyhow::anyhow!(reason)),
    }
}

/// What to say about a limit of so many files. Pure.
fn judge(files: usize) -> Result<Option<String>, String> {
    let wanted = http::FILES_FOR_ALL;
    let advice = "LimitNOFILE= of the systemd unit, or `ulimit -n`, sets that";
    if files < LEAST_FILES {
        return Err(format!(
            "this process may open {files} files and needs at least {LEAST_FILES}; {advice}"
        ));
    }
    let warning = format!(
        "this process may open {files} files, which is enough for {} connections over HTTP; \
         {wanted} are needed for as many as livebox serves at most; {advice}",
        http::places(files)
    );
    Ok((files < wanted).then_some(warning))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_files_are_told_and_too_few_are_an_error() {
        assert_eq!(judge(1 << 20), Ok(None));
        assert_eq!(judge(http::FILES_FOR_ALL), Ok(None));
        let warning = judge(64).unwrap().unwrap();
        assert!(warning.contains("64 files") && warning.contains("8448"), "{warning}");
        assert!(judge(24).unwrap_err().contains("at least 48"));
    }
}
