//! Pushes and control data in the state file.
//!
//! What an operator set is valid until the configuration of the same values
//! changes.

use std::sync::Arc;

use log::{info, warn};

use super::control::{Control, ControlState, Field, audio_word};
use crate::base::secret::Secret;
use crate::config::settings;
use crate::model::push_url::PushUrl;
use crate::store::state_file::{self, SavedPush, StateFile, Values};

/// Which pushes are wanted.
#[derive(Clone, Debug)]
pub(super) struct SavedPushes(Arc<StateFile>);

impl SavedPushes {
    pub(super) fn new(file: Arc<StateFile>) -> Self {
        Self(file)
    }

    /// Whether `push` is wanted: as an operator set it, else as configured.
    pub(super) async fn is_wanted(&self, push: &settings::Push) -> bool {
        let saved = self.0.read(|state| state.pushes.get(push.name.as_str()).cloned()).await;
        let valid = saved.filter(|saved| saved.configured == push.start);
        valid.map_or(push.start, |saved| saved.wanted)
    }

    /// Saves whether `push` is wanted.
    pub(super) async fn save(&self, push: &settings::Push, wanted: bool) {
        let (name, saved) = (push.name.to_string(), SavedPush { wanted, configured: push.start });
        self.0
            .change(|state| {
                state.pushes.insert(name, saved);
            })
            .await;
    }
}

/// The control data that an operator set.
#[derive(Debug)]
pub struct SavedControl {
    file: Arc<StateFile>,
    /// The control data as the configuration has it.
    configured: Control,
}

impl SavedControl {
    pub(super) fn new(file: Arc<StateFile>, configured: Control) -> Self {
        Self { file, configured }
    }

    /// The control data as the configuration has it.
    pub(super) fn configured(&self) -> &Control {
        &self.configured
    }

    /// `None` if there is none or the configuration has changed since.
    pub(super) async fn load(&self) -> Option<ControlState> {
        let saved = self.file.read(|state| state.control.clone()).await?;
        if saved.configured != values(&self.configured) {
            info!("the configuration has changed; the saved control data is discarded");
            return None;
        }
        let fields: Vec<_> =
            saved.values.into_iter().map(|(key, value)| Field { key, value }).collect();
        let invalid =
            |why| warn!("the control data in the state file is invalid and not used: {why}");
        let control = self.configured.edited(&fields).map_err(invalid).ok()?;
        Some(ControlState { control, changed: saved.changed })
    }

    pub(super) async fn save(&self, state: &ControlState) {
        let (values, configured) = (values(&state.control), values(&self.configured));
        let saved = state_file::SavedControl { changed: state.changed.clone(), values, configured };
        self.file.change(|state| state.control = Some(saved)).await;
    }
}

/// All values, secrets included, for the state file only.
fn values(control: &Control) -> Values {
    let Control { name, url, resolution, bitrate, audio, fps, quality } = control;
    let revealed = |secret: Option<&Secret>| secret.map(|secret| secret.reveal().to_owned());
    [
        ("name", revealed(name.as_ref())),
        ("url", revealed(url.as_ref().map(PushUrl::secret))),
        ("resolution", Some(resolution.name())),
        ("bitrate", Some(bitrate.bps().to_string())),
        ("audio", Some(audio_word(*audio).to_owned())),
        ("fps", Some(fps.to_string())),
        ("quality", quality.map(|quality| quality.to_string())),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::parse_text;

    const CONFIG: &str = "feeds: {a: {test: clock, size: 360p}}\nstreams: {a: {}}\n\
        pushes: {tube: {url: 'rtmp://a.example/live', key: KEY-1}}\n";

    fn configured(text: &str) -> (Control, settings::Push) {
        let settings = parse_text(text).unwrap();
        let push = settings.pushes[0].clone();
        (Control::from_settings(&settings, &push), push)
    }

    fn edited(control: &Control) -> ControlState {
        let fields = [("bitrate", Some("1M")), ("name", Some("KEY-2")), ("quality", Some("20"))];
        let fields = fields
            .map(|(key, value)| Field { key: key.to_owned(), value: value.map(str::to_owned) });
        let control = control.edited(&fields).unwrap();
        ControlState { control, changed: "2026-01-01T00:00:00Z".to_owned() }
    }

    /// The state file in `folder`, as a start of the service opens it.
    async fn open(folder: &Path, configured: &Control) -> (SavedPushes, SavedControl) {
        let file = Arc::new(StateFile::open(folder).await.unwrap());
        (SavedPushes::new(Arc::clone(&file)), SavedControl::new(file, configured.clone()))
    }

    #[tokio::test]
    async fn values_that_an_operator_set_survive_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let (configured, push) = configured(CONFIG);
        let (pushes, control) = open(folder.path(), &configured).await;
        pushes.save(&push, true).await;
        control.save(&edited(&configured)).await;

        let (pushes, control) = open(folder.path(), &configured).await;
        assert!(pushes.is_wanted(&push).await);
        let state = control.load().await.unwrap();
        assert_eq!(state.control, edited(&configured).control);
    }

    #[tokio::test]
    async fn a_changed_configuration_wins_over_saved_values() {
        let folder = tempfile::tempdir().unwrap();
        let (before, push) = configured(CONFIG);
        let (pushes, control) = open(folder.path(), &before).await;
        pushes.save(&push, true).await;
        control.save(&edited(&before)).await;

        let (other, _) = configured(&CONFIG.replace("360p", "480p"));
        let (pushes, control) = open(folder.path(), &other).await;
        assert!(control.load().await.is_none());
        let started = settings::Push { start: true, ..push };
        pushes.save(&started, false).await;
        assert!(!pushes.is_wanted(&started).await);
    }

    #[tokio::test]
    async fn without_a_folder_the_state_lasts_as_long_as_the_service() {
        let (configured, push) = configured(CONFIG);
        let (pushes, control) = open(Path::new("/nowhere/at/all"), &configured).await;
        assert!(!pushes.is_wanted(&push).await);
        assert!(control.load().await.is_none());
        pushes.save(&push, true).await;
        assert!(pushes.is_wanted(&push).await);
    }

    proptest::proptest! {
        #[test]
        fn no_value_makes_an_edit_panic(key in "[a-z]{1,10}", value in "\\PC{0,40}") {
            let (configured, _) = configured(CONFIG);
            configured.edited(&[Field { key, value: Some(value) }]).ok();
        }
    }
}
