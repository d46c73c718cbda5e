//! The controls of a camera: the driver's list, and which configured controls can
//! be set.
//!
//! Controls never keep a camera from starting: those that the driver does not know,
//! or whose value it does not accept, are left out with a warning.

mod query;

pub use query::{QueryError, query};
use serde::{Deserialize, Serialize};

use super::plan::{Capture, Form, Plan};
use crate::config::settings::{Control, Feed, Source};

/// A control as the driver describes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DriverControl {
    /// The title of the group that it belongs to: `User Controls`.
    pub class: String,
    pub name: String,
    pub kind: Kind,
    pub value: i64,
    pub default: i64,
    /// Whether the driver reports it as read-only.
    pub is_read_only: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Kind {
    Number {
        min: i64,
        max: i64,
        step: i64,
    },
    Switch,
    /// Choices, each with its index and label.
    Menu(Vec<(i64, String)>),
    /// Choices, each with its index and the number that it stands for.
    Numbers(Vec<(i64, i64)>),
    /// Has no value; setting it triggers an action.
    Button,
    /// Texts and tables, which livebox cannot set.
    Other,
}

/// Limit of controls of a driver, and of choices of a menu; more are ignored.
const MAX_ENTRIES: usize = 500;

/// Parses the output of `v4l2-ctl --list-ctrls-menus`; lines of another form are
/// ignored.
pub fn parse(text: &str) -> Vec<DriverControl> {
    let mut class = String::new();
    let mut offered: Vec<DriverControl> = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        if let Some(control) = control(line, &class) {
            if offered.len() < MAX_ENTRIES {
                offered.push(control);
            }
        } else if line.starts_with(char::is_whitespace) {
            if let Some(last) = offered.last_mut() {
                add_choice(&mut last.kind, line);
            }
        } else {
            class = line.trim().to_owned();
        }
    }
    offered
}

/// `brightness 0x00980900 (int)    : min=0 max=255 step=1 default=128 value=128`
fn control(line: &str, class: &str) -> Option<DriverControl> {
    let (head, tail) = line.split_once(':')?;
    let mut head = head.split_whitespace();
    let (name, id, kind) = (head.next()?, head.next()?, head.next()?);
    let kind = kind.strip_prefix('(')?.strip_suffix(')')?;
    if !id.starts_with("0x") || head.next().is_some() {
        return None;
    }
    let (values, flags) = tail.split_once("flags=").unwrap_or((tail, ""));
    let field = |key: &str| {
        let fields = values.split_whitespace().filter_map(|word| word.split_once('='));
        fields.filter(|(name, _)| *name == key).find_map(|(_, value)| number(value))
    };
    let bounds = Kind::Number {
        min: field("min").unwrap_or(0),
        max: field("max").unwrap_or(i64::from(i32::MAX)),
        step: field("step").unwrap_or(1),
    };
    Some(DriverControl {
        class: class.to_owned(),
        name: name.to_owned(),
        kind: match kind {
            "int" | "bitmask" => bounds,
            "bool" => Kind::Switch,
            "menu" => Kind::Menu(Vec::new()),
            "intmenu" => Kind::Numbers(Vec::new()),
            "button" => Kind::Button,
            _ => Kind::Other,
        },
        value: field("value").unwrap_or(0),
        default: field("default").unwrap_or(0),
        is_read_only: flags.split([',', ' ']).any(|flag| flag == "read-only"),
    })
}

/// Parses a line of the menu of the preceding control: `1: 50 Hz`, `0: 30 (0x1e)`.
fn add_choice(kind: &mut Kind, line: &str) {
    let Some((index, label)) = line.trim().split_once(':') else { return };
    let (Ok(index), label) = (index.parse(), label.trim()) else { return };
    match kind {
        Kind::Menu(choices) if choices.len() < MAX_ENTRIES => {
            choices.push((index, label.to_owned()))
        }
        Kind::Numbers(choices) if choices.len() < MAX_ENTRIES => {
            if let Some(number) = label.split_whitespace().next().and_then(number) {
                choices.push((index, number));
            }
        }
        Kind::Menu(_)
        | Kind::Numbers(_)
        | Kind::Number { .. }
        | Kind::Switch
        | Kind::Button
        | Kind::Other => {}
    }
}

fn number(text: &str) -> Option<i64> {
    match text.strip_prefix("0x") {
        Some(hex) => i64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

/// Whether a control belongs to the camera's own encoder, which is not in use where
/// livebox encodes.
pub fn steers_encoder(name: &str) -> bool {
    let prefixes = ["h264_", "hevc_", "h263_", "mpeg4_", "mpeg_", "vpx_", "vp8_", "vp9_", "video_"];
    let words = ["repeat_sequence_header", "sequence_header_mode", "force_key_frame"];
    prefixes.iter().any(|prefix| name.starts_with(prefix)) || words.contains(&name)
}

/// Returns the controls of `wanted` that can be set, with the driver's names and
/// numbers as values, and a warning for each of the others.
pub fn resolve(wanted: &[Control], offered: &[DriverControl]) -> (Vec<Control>, Vec<String>) {
    let (mut resolved, mut warnings) = (Vec::new(), Vec::new());
    for Control { name, value } in wanted {
        let Some(known) = find(name, offered) else {
            warnings.push(format!("the camera has no control {name}"));
            continue;
        };
        let number = match known.is_read_only {
            true => Err("is read-only".to_owned()),
            false => known.kind.number(value),
        };
        match number {
            Ok(number) => {
                resolved.push(Control { name: known.name.clone(), value: number.to_string() });
            }
            Err(why) => warnings.push(format!("the control {name} {why}")),
        }
    }
    (resolved, warnings)
}

/// As [`resolve`], for a camera whose controls cannot be listed: numbers and
/// switches are passed on unchecked.
fn resolve_unlisted(wanted: &[Control]) -> (Vec<Control>, Vec<String>) {
    let (mut resolved, mut warnings) = (Vec::new(), Vec::new());
    for Control { name, value } in wanted {
        match value.parse::<i32>().ok().or(switch(value).map(i32::from)) {
            Some(number) => {
                resolved.push(Control { name: name.clone(), value: number.to_string() });
            }
            None => {
                warnings.push(format!("the control {name} is left out: {value:?} is not a number"))
            }
        }
    }
    (resolved, warnings)
}

/// The control of this name. Without an exact match underscores are ignored, as
/// programs derive names from a driver's titles in more than one way.
fn find<'a>(name: &str, offered: &'a [DriverControl]) -> Option<&'a DriverControl> {
    let plain = |name: &str| name.replace('_', "");
    let same = offered.iter().find(|offered| offered.name == name);
    let mut alike = offered.iter().filter(|offered| plain(&offered.name) == plain(name));
    same.or_else(|| alike.next().filter(|_| alike.next().is_none()))
}

impl Kind {
    /// The number that the driver takes for `value`.
    fn number(&self, value: &str) -> Result<i32, String> {
        let given = number(value);
        let found = match self {
            // The driver rounds to the nearest step.
            Kind::Number { min, max, .. } => given
                .filter(|given| (min..=max).contains(&given))
                .ok_or_else(|| format!("must be from {min} to {max}, not {value:?}")),
            Kind::Switch => switch(value)
                .map(i64::from)
                .ok_or_else(|| format!("must be yes or no, not {value:?}")),
            Kind::Menu(choices) => {
                let named = choices.iter().find(|(_, label)| label.eq_ignore_ascii_case(value));
                let numbered = choices.iter().find(|(index, _)| Some(*index) == given);
                let labels: Vec<_> =
                    choices.iter().map(|(_, label)| format!("{label:?}")).collect();
                let wrong = || format!("must be one of {}, not {value:?}", labels.join(", "));
                named.or(numbered).map(|(index, _)| *index).ok_or_else(wrong)
            }
            Kind::Numbers(choices) => {
                let meant = choices.iter().find(|(_, number)| Some(*number) == given);
                let numbered = choices.iter().find(|(index, _)| Some(*index) == given);
                let numbers: Vec<_> =
                    choices.iter().map(|(_, number)| number.to_string()).collect();
                let wrong = || format!("must be one of {}, not {value:?}", numbers.join(", "));
                meant.or(numbered).map(|(index, _)| *index).ok_or_else(wrong)
            }
            Kind::Button => match switch(value) {
                Some(true) => Ok(1),
                Some(false) | None => Err("is a button and takes only yes".to_owned()),
            },
            Kind::Other => Err("has a type that livebox cannot set".to_owned()),
        };
        found.and_then(|found| {
            i32::try_from(found).map_err(|_| "does not fit into 32 bits".to_owned())
        })
    }
}

fn switch(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Some(true),
        "false" | "no" | "off" | "0" => Some(false),
        _ => None,
    }
}

/// The controls of a camera, or why they cannot be listed.
pub type Listed = Result<Vec<DriverControl>, String>;

/// Lists the controls of the camera of `feed`; none for other feeds and for cameras
/// without configured controls.
pub async fn list(feed: &Feed) -> Option<Listed> {
    let Source::V4l2(device) = &feed.source else { return None };
    if feed.controls.is_empty() {
        return None;
    }
    Some(query(device).await.map_err(|why| why.to_string()))
}

/// Returns the plan with the controls that can be set, and a warning for each of the
/// others.
pub fn resolved(mut plan: Plan, capture: Capture, listed: Option<&Listed>) -> (Plan, Vec<String>) {
    match capture.form {
        Form::H264 | Form::Coded(_) => {}
        Form::Raw | Form::Mjpeg => {
            plan.feed.controls.retain(|control| !steers_encoder(&control.name));
        }
    }
    let Some(listed) = listed.filter(|_| !plan.feed.controls.is_empty()) else {
        return (plan, Vec::new());
    };
    let (resolved, warnings) = match listed {
        Ok(offered) => resolve(&plan.feed.controls, offered),
        Err(why) => {
            let (resolved, mut warnings) = resolve_unlisted(&plan.feed.controls);
            warnings.insert(0, format!("controls are set unchecked: {why}"));
            (resolved, warnings)
        }
    };
    plan.feed.controls = resolved;
    (plan, warnings)
}

#[cfg(test)]
mod tests;
