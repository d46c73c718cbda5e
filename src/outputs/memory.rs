//! What operators want, over a power cut: which pushes run, and the control data.
//!
//! One small file, written when an operator changes something and never else,
//! so that an SD card does not wear. It holds stream keys: only its owner may
//! read it. What it says counts as long as the configuration says what it said
//! then; an edit of the configuration wins.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use log::{info, warn};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::control::{Control, Field};
use super::livebox::Held;
use super::recordings::Wish;
use crate::base::disk::Disk;
use crate::base::secret::Secret;
use crate::config::settings::{self, Record};
use crate::model::ids::StreamName;
use crate::model::push_url::PushUrl;

const FILE: &str = "state.json";

/// A card that takes longer than this to write is not waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// How soon a write that failed is tried again.
const TRY_EVERY: Duration = Duration::from_secs(10);

/// What is kept, and where.
#[derive(Debug)]
pub struct Memory {
    disk: Disk,
    /// Whether the folder is of no use until the next start.
    is_forgetful: bool,
    kept: Mutex<Now>,
}

/// What is to be kept, and what the file says.
#[derive(Debug, Default)]
struct Now {
    kept: Kept,
    /// Nothing as long as the last write has not succeeded.
    saved: Option<Kept>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Kept {
    #[serde(default)]
    pushes: BTreeMap<String, KeptPush>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    control: Option<KeptControl>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    recordings: BTreeMap<String, KeptRecording>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct KeptRecording {
    wish: Wish,
    /// `record` of the configuration when this was kept.
    configured: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct KeptPush {
    wanted: bool,
    /// `start` of the configuration when this was kept.
    configured: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct KeptControl {
    changed: String,
    values: Values,
    /// The values of the configuration when these were kept.
    configured: Values,
}

type Values = BTreeMap<String, Option<String>>;

impl Memory {
    /// Reads what is kept in `folder`. Where nothing can be kept there, the log
    /// and the status say so.
    ///
    /// # Errors
    /// The system gives no thread for the folder.
    pub async fn open(folder: &Path) -> io::Result<Self> {
        let disk = Disk::at(folder)?;
        let own = folder.to_owned();
        let why = match disk.run(PATIENCE, move || read(&own)).await {
            Ok(Ok(kept)) => {
                let kept = Mutex::new(Now { saved: Some(kept.clone()), kept });
                return Ok(Self { disk, is_forgetful: false, kept });
            }
            Ok(Err(error)) => format!("cannot be written ({})", error.desc()),
            // What it holds is not known, and must not be replaced.
            Err(silent) => format!("cannot be read ({silent})"),
        };
        disk.note(Some(format!(
            "{why}: what is started, stopped and set by hand is forgotten at the end"
        )));
        Ok(Self { disk, is_forgetful: true, kept: Mutex::default() })
    }

    /// Where it is kept.
    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    /// Why what was changed last is not kept, if it is not.
    pub fn trouble(&self) -> Option<String> {
        self.disk.trouble()
    }

    /// Writes again what could not be written, for as long as it is polled.
    pub async fn keep_trying(&self) -> Infallible {
        loop {
            tokio::time::sleep(TRY_EVERY).await;
            self.save(&mut *self.kept.lock().await).await;
        }
    }

    /// Whether `push` is to run: as an operator left it, else as configured.
    pub async fn wants(&self, push: &settings::Push) -> bool {
        let now = self.kept.lock().await;
        let kept = now.kept.pushes.get(push.name.as_str());
        kept.filter(|kept| kept.configured == push.start).map_or(push.start, |kept| kept.wanted)
    }

    pub async fn keep_wanted(&self, push: &settings::Push, wanted: bool) {
        let (name, kept) = (push.name.to_string(), KeptPush { wanted, configured: push.start });
        self.change(|all| {
            all.pushes.insert(name, kept);
        })
        .await;
    }

    /// What an operator wanted of the recording of `stream`, as long as it is
    /// planned as it was then.
    pub async fn recording(&self, stream: &StreamName, plan: &Record) -> Wish {
        let now = self.kept.lock().await;
        let kept = now.kept.recordings.get(stream.as_str());
        let kept = kept.filter(|kept| kept.configured == plan.to_string());
        kept.map_or(Wish::Plan, |kept| kept.wish)
    }

    pub async fn keep_recording(&self, stream: &StreamName, plan: &Record, wish: Wish) {
        let (name, kept) =
            (stream.to_string(), KeptRecording { wish, configured: plan.to_string() });
        self.change(|all| {
            match wish {
                Wish::Plan => all.recordings.remove(&name),
                Wish::On | Wish::Off { .. } => all.recordings.insert(name, kept),
            };
        })
        .await;
    }

    /// The control data as an operator left it.
    pub async fn control(&self, configured: &Control) -> Option<Held> {
        let kept = self.kept.lock().await.kept.control.clone()?;
        if kept.configured != values(configured) {
            info!("the configuration has changed; the control data set by hand is forgotten");
            return None;
        }
        let fields: Vec<_> =
            kept.values.into_iter().map(|(key, value)| Field { key, value }).collect();
        let control = configured
            .edited(&fields)
            .map_err(|why| warn!("the control data that was kept is not used: {why}"))
            .ok()?;
        Some(Held { control, changed: kept.changed })
    }

    pub async fn keep_control(&self, configured: &Control, held: &Held) {
        let (values, configured) = (values(&held.control), values(configured));
        let kept = KeptControl { changed: held.changed.clone(), values, configured };
        self.change(|all| all.control = Some(kept)).await;
    }

    /// Changes what is kept; returns when it is on the disk, or cannot be.
    async fn change(&self, edit: impl FnOnce(&mut Kept)) {
        let mut now = self.kept.lock().await;
        edit(&mut now.kept);
        self.save(&mut now).await;
    }

    async fn save(&self, now: &mut Now) {
        if self.is_forgetful || now.saved.as_ref() == Some(&now.kept) {
            return;
        }
        let text = serde_json::to_vec_pretty(&now.kept);
        let text = text.expect("our own structs have string keys");
        let file = self.disk.folder().join(FILE);
        now.saved = None;
        let written = self.disk.run(PATIENCE, move || write(&file, &text)).await;
        match written.map_err(io::Error::from).flatten() {
            Ok(()) => {
                now.saved = Some(now.kept.clone());
                self.disk.note(None);
            }
            Err(error) => self.disk.note(Some(format!("cannot be written: {error}"))),
        }
    }
}

/// What is kept in `folder`; blocks.
///
/// # Errors
/// Nothing can be kept there.
fn read(folder: &Path) -> nix::Result<Kept> {
    let mode = nix::unistd::AccessFlags::W_OK | nix::unistd::AccessFlags::X_OK;
    nix::unistd::access(folder, mode)?;
    let file = folder.join(FILE);
    Ok(match fs::read_to_string(&file) {
        Ok(text) => parsed(&text).unwrap_or_else(|error| {
            warn!("{} is not read: {error}", file.display());
            Kept::default()
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Kept::default(),
        Err(error) => {
            warn!("{} is not read: {error}", file.display());
            Kept::default()
        }
    })
}

fn parsed(text: &str) -> Result<Kept, serde_json::Error> {
    serde_json::from_str(text)
}

/// Every value with its secrets, for the file alone.
fn values(control: &Control) -> Values {
    let Control { name, url, resolution, bitrate, audio, fps, quality } = control;
    let revealed = |secret: Option<&Secret>| secret.map(|secret| secret.reveal().to_owned());
    [
        ("name", revealed(name.as_ref())),
        ("url", revealed(url.as_ref().map(PushUrl::secret))),
        ("resolution", Some(resolution.name())),
        ("bitrate", Some(bitrate.bps().to_string())),
        ("audio", Some(super::control::audio_word(*audio).to_owned())),
        ("fps", Some(fps.to_string())),
        ("quality", quality.map(|quality| quality.to_string())),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
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
    use crate::config::parse_text;

    const CONFIG: &str = "feeds: {a: {test: clock, size: 360p}}\nstreams: {a: {}}\n\
        pushes: {tube: {url: 'rtmp://a.example/live', key: KEY-1}}\n";

    fn control(text: &str) -> (Control, settings::Push) {
        let settings = parse_text(text).unwrap();
        let push = settings.pushes[0].clone();
        (Control::of(&settings, &push), push)
    }

    fn edited(control: &Control) -> Held {
        let fields = [("bitrate", Some("1M")), ("name", Some("KEY-2")), ("quality", Some("20"))];
        let fields = fields
            .map(|(key, value)| Field { key: key.to_owned(), value: value.map(str::to_owned) });
        let control = control.edited(&fields).unwrap();
        Held { control, changed: "2026-01-01T00:00:00Z".to_owned() }
    }

    #[tokio::test]
    async fn what_an_operator_set_is_there_after_a_restart_and_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (configured, push) = control(CONFIG);
        let before = Memory::open(folder.path()).await.unwrap();
        before.keep_wanted(&push, true).await;
        before.keep_control(&configured, &edited(&configured)).await;

        let after = Memory::open(folder.path()).await.unwrap();
        assert!(after.wants(&push).await);
        let held = after.control(&configured).await.unwrap();
        assert_eq!(held.control, edited(&configured).control);
        let mode = fs::metadata(folder.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn a_recording_that_was_started_by_hand_goes_on_after_a_power_cut() {
        let folder = tempfile::tempdir().unwrap();
        let stream = "front".parse().unwrap();
        let before = Memory::open(folder.path()).await.unwrap();
        before.keep_recording(&stream, &Record::Off, Wish::On).await;

        let after = Memory::open(folder.path()).await.unwrap();
        assert_eq!(after.recording(&stream, &Record::Off).await, Wish::On);
        assert_eq!(after.recording(&stream, &Record::Always).await, Wish::Plan);
        after.keep_recording(&stream, &Record::Off, Wish::Plan).await;
        assert_eq!(
            Memory::open(folder.path()).await.unwrap().recording(&stream, &Record::Off).await,
            Wish::Plan
        );
    }

    #[tokio::test]
    async fn an_edit_of_the_configuration_wins_over_what_was_set_before() {
        let folder = tempfile::tempdir().unwrap();
        let (configured, push) = control(CONFIG);
        let before = Memory::open(folder.path()).await.unwrap();
        before.keep_wanted(&push, true).await;
        before.keep_control(&configured, &edited(&configured)).await;

        let after = Memory::open(folder.path()).await.unwrap();
        let (other, _) = control(&CONFIG.replace("360p", "480p"));
        assert!(after.control(&other).await.is_none());
        let started = settings::Push { start: true, ..push };
        after.keep_wanted(&started, false).await;
        assert!(!after.wants(&started).await);
    }

    #[tokio::test]
    async fn a_torn_file_and_a_folder_that_is_not_there_are_lived_with() {
        let folder = tempfile::tempdir().unwrap();
        let (configured, push) = control(CONFIG);
        fs::write(folder.path().join(FILE), "{\"pushes\": {\"tube\"").unwrap();
        for folder in [folder.path(), Path::new("/nowhere/at/all")] {
            let memory = Memory::open(folder).await.unwrap();
            assert!(!memory.wants(&push).await);
            assert!(memory.control(&configured).await.is_none());
            memory.keep_wanted(&push, true).await;
            assert!(memory.wants(&push).await);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_file_makes_the_reader_panic(text in "\\PC{0,200}") {
            parsed(&text).ok();
        }

        #[test]
        fn values_of_any_kind_are_taken_or_refused(key in "[a-z]{1,10}", value in "\\PC{0,40}") {
            let (configured, _) = control(CONFIG);
            configured.edited(&[Field { key, value: Some(value) }]).ok();
        }
    }
}
