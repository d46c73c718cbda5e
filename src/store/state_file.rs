//! The state file: what operators want, over a power cut. Which pushes run, the
//! control data, and which streams are recorded by hand.
//!
//! One small file, written when an operator changes something and never else,
//! so that an SD card does not wear. It holds stream keys: only its owner may
//! read it. Plain values: what they mean, and whether they still count beside
//! an edited configuration, is decided by its readers.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use log::warn;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::base::disk::Disk;
use crate::model::recording::ManualOverride;

const FILE: &str = "state.json";

/// A card that takes longer than this to write is not waited for.
const DISK_TIMEOUT: Duration = Duration::from_secs(2);

/// How soon a write that failed is tried again.
const RETRY_INTERVAL: Duration = Duration::from_secs(10);

/// The state file of a folder, and its contents in memory.
#[derive(Debug)]
pub struct StateFile {
    disk: Disk,
    /// Whether the folder is of no use until the next start.
    is_unusable: bool,
    contents: Mutex<Contents>,
}

/// The state in memory, and as it was written last.
#[derive(Debug, Default)]
struct Contents {
    state: State,
    /// Nothing as long as the last write has not succeeded.
    saved: Option<State>,
}

/// What the file holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// By the name of the push.
    #[serde(default)]
    pub pushes: BTreeMap<String, SavedPush>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control: Option<SavedControl>,
    /// By the name of the stream.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub recordings: BTreeMap<String, SavedRecording>,
}

/// Whether a push is to run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedPush {
    pub wanted: bool,
    /// `start` of the configuration when this was written.
    pub configured: bool,
}

/// Whether a stream is to be recorded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedRecording {
    /// `wish` in the file, as in those that earlier releases wrote.
    #[serde(rename = "wish")]
    pub manual: ManualOverride,
    /// `record` of the configuration when this was written.
    pub configured: String,
}

/// The control data of the livebox API.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedControl {
    /// When it was changed last: ISO 8601, UTC.
    pub changed: String,
    pub values: Values,
    /// The values of the configuration when these were written.
    pub configured: Values,
}

/// Control values by the names of the livebox API, secrets revealed.
pub type Values = BTreeMap<String, Option<String>>;

impl StateFile {
    /// Reads the state file in `folder`. Where nothing can be written there, the
    /// log and the status say so.
    ///
    /// # Errors
    /// The system gives no thread for the folder.
    pub async fn open(folder: &Path) -> io::Result<Self> {
        let disk = Disk::at(folder)?;
        let own = folder.to_owned();
        let why = match disk.run(DISK_TIMEOUT, move || read(&own)).await {
            Ok(Ok(state)) => {
                let contents = Mutex::new(Contents { saved: Some(state.clone()), state });
                return Ok(Self { disk, is_unusable: false, contents });
            }
            Ok(Err(error)) => format!("cannot be written ({})", error.desc()),
            // What it holds is not known, and must not be replaced.
            Err(silent) => format!("cannot be read ({silent})"),
        };
        disk.note(Some(format!(
            "{why}: what is started, stopped and set by hand is forgotten at the end"
        )));
        Ok(Self { disk, is_unusable: true, contents: Mutex::default() })
    }

    /// The disk of its folder.
    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    /// Why the last change is not on the disk, if it is not.
    pub fn trouble(&self) -> Option<String> {
        self.disk.trouble()
    }

    /// Retries a write that failed, for as long as it is polled.
    pub async fn keep_trying(&self) -> Infallible {
        loop {
            tokio::time::sleep(RETRY_INTERVAL).await;
            self.save(&mut *self.contents.lock().await).await;
        }
    }

    /// Reads from the state in memory.
    pub async fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.contents.lock().await.state)
    }

    /// Changes the state; returns when it is on the disk, or cannot be.
    pub async fn change(&self, edit: impl FnOnce(&mut State)) {
        let mut contents = self.contents.lock().await;
        edit(&mut contents.state);
        self.save(&mut contents).await;
    }

    async fn save(&self, contents: &mut Contents) {
        if self.is_unusable || contents.saved.as_ref() == Some(&contents.state) {
            return;
        }
        let text = serde_json::to_vec_pretty(&contents.state);
        let text = text.expect("our own structs have string keys");
        let file = self.disk.folder().join(FILE);
        contents.saved = None;
        let written = self.disk.run(DISK_TIMEOUT, move || write(&file, &text)).await;
        match written.map_err(io::Error::from).flatten() {
            Ok(()) => {
                contents.saved = Some(contents.state.clone());
                self.disk.note(None);
            }
            Err(error) => self.disk.note(Some(format!("cannot be written: {error}"))),
        }
    }
}

/// The state in `folder`; blocks.
///
/// # Errors
/// Nothing can be written there.
fn read(folder: &Path) -> nix::Result<State> {
    let mode = nix::unistd::AccessFlags::W_OK | nix::unistd::AccessFlags::X_OK;
    nix::unistd::access(folder, mode)?;
    let file = folder.join(FILE);
    Ok(match fs::read_to_string(&file) {
        Ok(text) => parsed(&text).unwrap_or_else(|error| {
            warn!("{} is not read: {error}", file.display());
            State::default()
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => State::default(),
        Err(error) => {
            warn!("{} is not read: {error}", file.display());
            State::default()
        }
    })
}

fn parsed(text: &str) -> Result<State, serde_json::Error> {
    serde_json::from_str(text)
}

/// Replaces the file as a whole: a power cut leaves the old one or the new one.
fn write(file: &Path, text: &[u8]) -> io::Result<()> {
    let fresh = file.with_extension("json.new");
    // One of an interrupted write may have another owner or mode.
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    out.write_all(text)?;
    out.sync_all()?;
    fs::rename(&fresh, file)?;
    let folder = file.parent().unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn start_tube(state: &mut State) {
        state.pushes.insert("tube".to_owned(), SavedPush { wanted: true, configured: false });
    }

    fn starts_tube(state: &State) -> bool {
        state.pushes.get("tube").is_some_and(|push| push.wanted)
    }

    #[tokio::test]
    async fn a_change_is_there_after_a_restart_and_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let before = StateFile::open(folder.path()).await.unwrap();
        before.change(start_tube).await;

        let after = StateFile::open(folder.path()).await.unwrap();
        assert!(after.read(starts_tube).await);
        let mode = fs::metadata(folder.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn a_torn_file_and_a_missing_folder_count_as_an_empty_file() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), "{\"pushes\": {\"tube\"").unwrap();
        for folder in [folder.path(), Path::new("/nowhere/at/all")] {
            let file = StateFile::open(folder).await.unwrap();
            assert!(!file.read(starts_tube).await);
            file.change(start_tube).await;
            assert!(file.read(starts_tube).await);
        }
    }

    #[test]
    fn a_file_of_the_first_release_is_read() {
        let text = r#"{"pushes": {"tube": {"wanted": true, "configured": false}},
            "control": {"changed": "2026-01-01T00:00:00Z", "values": {"quality": null},
                "configured": {"quality": "20"}},
            "recordings": {"front": {"wish": {"off": {"until": 7}}, "configured": "always"},
                "garden": {"wish": "on", "configured": "off"}}}"#;
        let state = parsed(text).unwrap();
        assert!(starts_tube(&state));
        assert_eq!(state.control.unwrap().values["quality"], None);
        let manual = |name: &str| state.recordings[name].manual;
        assert_eq!(manual("front"), ManualOverride::Off { until: Some(7) });
        assert_eq!(manual("garden"), ManualOverride::On);
    }

    proptest::proptest! {
        #[test]
        fn no_file_makes_the_reader_panic(text in "\\PC{0,200}") {
            parsed(&text).ok();
        }
    }
}
