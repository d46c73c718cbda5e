//! Checks the limit of open files at the start, instead of failing later.

use log::warn;

use crate::base::system;
use crate::http;

/// With fewer files the service cannot serve a viewer: it has some thirty open
/// when idle, and each camera, push and viewer takes more.
const MIN_FILES: usize = 48;

/// Raises the soft limit of open files to the hard limit, and warns if fewer
/// files are allowed than the maximum of connections needs.
///
/// # Errors
/// Fewer than the required minimum are allowed.
pub(super) fn raise_open_files() -> anyhow::Result<()> {
    if let Err(error) = system::allow_open_files() {
        warn!("the number of open files stays limited: {error}");
    }
    match check(system::max_open_files()) {
        Ok(None) => Ok(()),
        Ok(Some(warning)) => {
            warn!("{warning}");
            Ok(())
        }
        Err(reason) => Err(anyhow::anyhow!(reason)),
    }
}

/// The warning, if any, about a limit of `files`; an error if it is too small. Pure.
fn check(files: usize) -> Result<Option<String>, String> {
    let wanted = http::MAX_FILES_NEEDED;
    let advice = "LimitNOFILE= of the systemd unit, or `ulimit -n`, sets that";
    if files < MIN_FILES {
        return Err(format!(
            "this process may open {files} files and needs at least {MIN_FILES}; {advice}"
        ));
    }
    let warning = format!(
        "this process may open {files} files, which is enough for {} HTTP connections; \
         the maximum of connections needs {wanted}; {advice}",
        http::max_connections(files)
    );
    Ok((files < wanted).then_some(warning))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_files_cause_a_warning_and_too_few_an_error() {
        assert_eq!(check(1 << 20), Ok(None));
        assert_eq!(check(http::MAX_FILES_NEEDED), Ok(None));
        let warning = check(64).unwrap().unwrap();
        assert!(warning.contains("64 files") && warning.contains("8448"), "{warning}");
        assert!(check(24).unwrap_err().contains("at least 48"));
    }
}
