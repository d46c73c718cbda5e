//! `feeds.NAME.controls`: controls of a camera.

use crate::config::problem::quote;
use crate::config::section::{Field, Report};
use crate::config::settings::{Control, Source, control_name};

const MAX_CONTROLS: usize = 100;
/// The maximum length of a name or value, in bytes.
const MAX_TEXT_BYTES: usize = 64;

pub(super) fn controls(field: &Field<'_>, source: &Source, report: &mut Report) -> Vec<Control> {
    let is_mapping = report.mapping(field);
    if !is_mapping || field.keys().is_empty() {
        return Vec::new();
    }
    if !matches!(source, Source::V4l2(_)) {
        report.add(field, "only a camera (`v4l2`) has controls");
        return Vec::new();
    }
    if field.keys().len() > MAX_CONTROLS {
        report.add(field, format!("more than {MAX_CONTROLS} controls"));
        return Vec::new();
    }
    let mut controls: Vec<Control> = Vec::new();
    for key in field.keys() {
        let field = field.at(key);
        let named = name(key).map_err(|why| report.add(&field, why)).ok();
        let value = report.read(&field, value);
        let (Some(name), Some(value)) = (named, value) else { continue };
        match controls.iter().any(|control| control.name == name) {
            true => report.add(&field, format!("{name} is given a second time")),
            false => controls.push(Control { name, value }),
        }
    }
    controls
}

pub(in crate::config) fn name(key: &str) -> Result<String, String> {
    let name = control_name(key);
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let good = (1..=MAX_TEXT_BYTES).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(allowed);
    good.then_some(name).ok_or_else(|| {
        "there is no such control; `livebox devices --list-controls` lists them".to_owned()
    })
}

pub(in crate::config) fn value(text: &str) -> Result<String, String> {
    let good = (1..=MAX_TEXT_BYTES).contains(&text.len()) && !text.chars().any(char::is_control);
    good.then(|| text.to_owned()).ok_or_else(|| format!("{} is no value of a control", quote(text)))
}

#[cfg(test)]
mod tests {
    use crate::config::parse_text;

    #[test]
    fn controls_are_named_as_drivers_name_them() {
        let settings = parse_text(
            "feeds: {a: {v4l2: /dev/video0, controls: {brightness: 3, 'Auto-Focus (AF)': no, \
             gain: null, power_line_frequency: 50 Hz}}}\nstreams: {a: {}}\n",
        )
        .unwrap();
        let controls = &settings.feeds[0].controls;
        let told: Vec<_> = controls.iter().map(|c| (c.name.as_str(), c.value.as_str())).collect();
        assert_eq!(
            told,
            [("brightness", "3"), ("auto_focus_af", "no"), ("power_line_frequency", "50 Hz")]
        );
    }

    #[test]
    fn invalid_controls_are_reported() {
        let problems = parse_text(
            "feeds:\n  a: {v4l2: /dev/video0, controls: {'a,b=1': 3, x: [y], Gain: 1, gain: 2}}\n  \
             b: {test: clock, controls: {gain: 1}}\n  c: {command: cat, controls: {gain: 1}}\n\
             streams: {a: {}, b: {}, c: {}}\n",
        )
        .unwrap_err();
        let told: String = problems.iter().map(|problem| format!("{problem}\n")).collect();
        for part in [
            "feeds.a.controls.\"a,b=1\" (line 2): there is no such control",
            "feeds.a.controls.x (line 2): must be one value",
            "feeds.a.controls.gain (line 2): gain is given a second time",
            "feeds.b.controls (line 3): only a camera (`v4l2`) has controls",
            "feeds.c.controls (line 4): a feed of this kind gives bytes",
        ] {
            assert!(told.contains(part), "{part}\n---\n{told}");
        }
    }
}
