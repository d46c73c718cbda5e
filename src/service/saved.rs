//! Pushes and control data in the state file.
//!
//! What an operator set is valid until the configuration of the same values
//! changes.

use log::{info, warn};

use super::control::{Control, ControlState, Field, audio_word};
use crate::base::secret::Secret;
use crate::config::settings;
use crate::model::push_url::PushUrl;
use crate::store::state_file::{SavedControl, SavedPush, StateFile, Values};

/// Whether `push` is wanted: as an operator set it, else as configured.
pub(super) async fn is_push_wanted(file: &StateFile, push: &settings::Push) -> bool {
    let saved = file.read(|state| state.pushes.get(push.name.as_str()).cloned()).await;
    saved.filter(|saved| saved.configured == push.start).map_or(push.start, |saved| saved.wanted)
}

/// Saves whether `push` is wanted.
pub(super) async fn save_push(file: &StateFile, push: &settings::Push, wanted: bool) {
    let (name, saved) = (push.name.to_string(), SavedPush { wanted, configured: push.start });
    file.change(|state| {
        state.pushes.insert(name, saved);
    })
    .await;
}

/// The control data that an operator set; `None` if there is none or the
/// configuration has changed since.
pub(super) async fn control(file: &StateFile, configured: &Control) -> Option<ControlState> {
    let saved = file.read(|state| state.control.clone()).await?;
    if saved.configured != values(configured) {
        info!("the configuration has changed; the saved control data is discarded");
        return None;
    }
    let fields: Vec<_> =
        saved.values.into_iter().map(|(key, value)| Field { key, value }).collect();
    let control = configured
        .edited(&fields)
        .map_err(|why| warn!("the control data in the state file is invalid and not used: {why}"))
        .ok()?;
    Some(ControlState { control, changed: saved.changed })
}

/// Saves the control data.
pub(super) async fn save_control(file: &StateFile, configured: &Control, state: &ControlState) {
    let (values, configured) = (values(&state.control), values(configured));
    let saved = SavedControl { changed: state.changed.clone(), values, configured };
    file.change(|state| state.control = Some(saved)).await;
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

    #[tokio::test]
    async fn values_that_an_operator_set_survive_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let (configured, push) = configured(CONFIG);
        let before = StateFile::open(folder.path()).await.unwrap();
        save_push(&before, &push, true).await;
        save_control(&before, &configured, &edited(&configured)).await;

        let after = StateFile::open(folder.path()).await.unwrap();
        assert!(is_push_wanted(&after, &push).await);
        let state = control(&after, &configured).await.unwrap();
        assert_eq!(state.control, edited(&configured).control);
    }

    #[tokio::test]
    async fn a_changed_configuration_wins_over_saved_values() {
        let folder = tempfile::tempdir().unwrap();
        let (before, push) = configured(CONFIG);
        let file = StateFile::open(folder.path()).await.unwrap();
        save_push(&file, &push, true).await;
        save_control(&file, &before, &edited(&before)).await;

        let (other, _) = configured(&CONFIG.replace("360p", "480p"));
        assert!(control(&file, &other).await.is_none());
        let started = settings::Push { start: true, ..push };
        save_push(&file, &started, false).await;
        assert!(!is_push_wanted(&file, &started).await);
    }

    #[tokio::test]
    async fn without_a_folder_the_state_lasts_as_long_as_the_service() {
        let (configured, push) = configured(CONFIG);
        let file = StateFile::open(Path::new("/nowhere/at/all")).await.unwrap();
        assert!(!is_push_wanted(&file, &push).await);
        assert!(control(&file, &configured).await.is_none());
        save_push(&file, &push, true).await;
        assert!(is_push_wanted(&file, &push).await);
    }

    proptest::proptest! {
        #[test]
        fn no_value_makes_an_edit_panic(key in "[a-z]{1,10}", value in "\\PC{0,40}") {
            let (configured, _) = configured(CONFIG);
            configured.edited(&[Field { key, value: Some(value) }]).ok();
        }
    }
}
