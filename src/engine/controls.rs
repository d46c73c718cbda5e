//! The controls of a camera: what its driver offers, and what of a wish can be
//! set.
//!
//! A camera runs with any wish: what it does not know, or may not be, is left
//! out and told.

mod ask;

pub use ask::{Unlisted, ask};
use serde::{Deserialize, Serialize};

use super::plan::{Capture, Form, Plan};
use crate::config::settings::{Control, Feed, Source};

/// A control as the driver describes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Offered {
    /// The title of the group that it belongs to: `User Controls`.
    pub class: String,
    pub name: String,
    pub kind: Kind,
    pub value: i64,
    pub default: i64,
    /// Whether it can only be read.
    pub is_fixed: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Kind {
    Number {
        least: i64,
        most: i64,
        step: i64,
    },
    Switch,
    /// Words, each with its number.
    Menu(Vec<(i64, String)>),
    /// What a number of the menu stands for.
    Numbers(Vec<(i64, i64)>),
    /// Is pressed.
    Button,
    /// Texts and tables, which cannot be set here.
    Other,
}

/// No driver has more controls, and no menu more lines.
const MOST: usize = 500;

/// Reads what `v4l2-ctl --list-ctrls-menus` prints; what is not understood is
/// passed over.
pub fn parse(text: &str) -> Vec<Offered> {
    let mut class = String::new();
    let mut offered: Vec<Offered> = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        if let Some(control) = control(line, &class) {
            if offered.len() < MOST {
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
fn control(line: &str, class: &str) -> Option<Offered> {
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
        least: field("min").unwrap_or(0),
        most: field("max").unwrap_or(i64::from(i32::MAX)),
        step: field("step").unwrap_or(1),
    };
    Some(Offered {
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
        is_fixed: flags.split([',', ' ']).any(|flag| flag == "read-only"),
    })
}

/// A line of the menu of the control above: `1: 50 Hz`, `0: 30 (0x1e)`.
fn add_choice(kind: &mut Kind, line: &str) {
    let Some((index, label)) = line.trim().split_once(':') else { return };
    let (Ok(index), label) = (index.parse(), label.trim()) else { return };
    match kind {
        Kind::Menu(choices) if choices.len() < MOST => choices.push((index, label.to_owned())),
        Kind::Numbers(choices) if choices.len() < MOST => {
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

/// Controls that steer the camera's own encoder: of no use where livebox encodes.
pub fn is_of_encoder(name: &str) -> bool {
    let beginnings =
        ["h264_", "hevc_", "h263_", "mpeg4_", "mpeg_", "vpx_", "vp8_", "vp9_", "video_"];
    let words = ["repeat_sequence_header", "sequence_header_mode", "force_key_frame"];
    beginnings.iter().any(|beginning| name.starts_with(beginning)) || words.contains(&name)
}

/// What of `wanted` can be set, as names of the driver and numbers, and what is
/// to be told of the rest.
pub fn settle(wanted: &[Control], offered: &[Offered]) -> (Vec<Control>, Vec<String>) {
    let (mut settled, mut told) = (Vec::new(), Vec::new());
    for Control { name, value } in wanted {
        let Some(known) = find(name, offered) else {
            told.push(format!("the camera has no control {name}"));
            continue;
        };
        let number = match known.is_fixed {
            true => Err("can only be read".to_owned()),
            false => known.kind.number(value),
        };
        match number {
            Ok(number) => {
                settled.push(Control { name: known.name.clone(), value: number.to_string() });
            }
            Err(why) => told.push(format!("the control {name} {why}")),
        }
    }
    (settled, told)
}

/// As [`settle`], of a camera whose controls cannot be listed: numbers and
/// switches are set unseen.
fn settle_unseen(wanted: &[Control]) -> (Vec<Control>, Vec<String>) {
    let (mut settled, mut told) = (Vec::new(), Vec::new());
    for Control { name, value } in wanted {
        match value.parse::<i32>().ok().or(switch(value).map(i32::from)) {
            Some(number) => {
                settled.push(Control { name: name.clone(), value: number.to_string() });
            }
            None => told.push(format!("the control {name} is left out: {value:?} is no number")),
        }
    }
    (settled, told)
}

/// The control that is called so, or is but for underscores: titles become
/// names in more than one way.
fn find<'a>(name: &str, offered: &'a [Offered]) -> Option<&'a Offered> {
    let plain = |name: &str| name.replace('_', "");
    let same = offered.iter().find(|offered| offered.name == name);
    let mut alike = offered.iter().filter(|offered| plain(&offered.name) == plain(name));
    same.or_else(|| alike.next().filter(|_| alike.next().is_none()))
}

impl Kind {
    /// The number that `value` means.
    fn number(&self, value: &str) -> Result<i32, String> {
        let given = number(value);
        let found = match self {
            // Between two steps the driver takes the nearer one.
            Kind::Number { least, most, .. } => given
                .filter(|given| (least..=most).contains(&given))
                .ok_or_else(|| format!("goes from {least} to {most}, and is not {value:?}")),
            Kind::Switch => switch(value)
                .map(i64::from)
                .ok_or_else(|| format!("is yes or no, and not {value:?}")),
            Kind::Menu(choices) => {
                let named = choices.iter().find(|(_, label)| label.eq_ignore_ascii_case(value));
                let numbered = choices.iter().find(|(index, _)| Some(*index) == given);
                let labels: Vec<_> =
                    choices.iter().map(|(_, label)| format!("{label:?}")).collect();
                let wrong = || format!("is one of {}, and not {value:?}", labels.join(", "));
                named.or(numbered).map(|(index, _)| *index).ok_or_else(wrong)
            }
            Kind::Numbers(choices) => {
                let meant = choices.iter().find(|(_, number)| Some(*number) == given);
                let numbered = choices.iter().find(|(index, _)| Some(*index) == given);
                let numbers: Vec<_> =
                    choices.iter().map(|(_, number)| number.to_string()).collect();
                let wrong = || format!("is one of {}, and not {value:?}", numbers.join(", "));
                meant.or(numbered).map(|(index, _)| *index).ok_or_else(wrong)
            }
            Kind::Button => match switch(value) {
                Some(true) => Ok(1),
                Some(false) | None => Err("is pressed by yes, or left out".to_owned()),
            },
            Kind::Other => Err("is of a kind that cannot be set here".to_owned()),
        };
        found.and_then(|found| {
            i32::try_from(found).map_err(|_| "is larger than can be set here".to_owned())
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

/// What a camera says of its controls, or why it says nothing.
pub type Listed = Result<Vec<Offered>, String>;

/// Asks the camera of `feed`, where something is wanted of it.
pub async fn list(feed: &Feed) -> Option<Listed> {
    let Source::V4l2(device) = &feed.source else { return None };
    if feed.controls.is_empty() {
        return None;
    }
    Some(ask(device).await.map_err(|why| why.to_string()))
}

/// The plan with what its camera can be told, and what is to be said of the rest.
pub fn settled(mut plan: Plan, capture: Capture, listed: Option<&Listed>) -> (Plan, Vec<String>) {
    match capture.form {
        Form::H264 | Form::Coded(_) => {}
        Form::Raw | Form::Mjpeg => {
            plan.feed.controls.retain(|control| !is_of_encoder(&control.name));
        }
    }
    let Some(listed) = listed.filter(|_| !plan.feed.controls.is_empty()) else {
        return (plan, Vec::new());
    };
    let (settled, told) = match listed {
        Ok(offered) => settle(&plan.feed.controls, offered),
        Err(why) => {
            let (settled, mut told) = settle_unseen(&plan.feed.controls);
            told.insert(0, format!("controls are set unseen: {why}"));
            (settled, told)
        }
    };
    plan.feed.controls = settled;
    (plan, told)
}

#[cfg(test)]
mod tests;
