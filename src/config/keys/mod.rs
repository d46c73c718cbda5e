//! All keys by section: name, default, range.
//!
//! References between sections, such as the feed of a stream, are checked in
//! `check`.

pub(super) mod bytes;
pub(super) mod common;
pub(super) mod controls;
pub(super) mod feeds;
pub(super) mod limits;
pub(super) mod made;
pub(super) mod pages;
pub(super) mod pulls;
pub(super) mod pushes;
pub(super) mod recordings;
pub(super) mod service;
pub(super) mod sources;
pub(super) mod streams;

use std::time::Duration;

use super::problem::{is_url, quote, word};
use super::section::{Field, Report};
use crate::base::units::{BadUnit, parse_span};
use crate::model::ids::BadName;

/// The sections of the file.
pub(super) const SECTIONS: [&str; 12] = [
    "server",
    "access",
    "rtsp",
    "feeds",
    "streams",
    "pushes",
    "recordings",
    "templates",
    "use",
    "pages",
    "limits",
    "log",
];

/// Reports templates outside the file (in the environment): only those of the
/// file are expanded.
pub(super) fn refuse_templates(field: &Field<'_>, report: &mut Report) {
    for key in ["templates", "use", "template", "args"].map(|key| field.at(key)) {
        if key.is_given() {
            report.add(&key, "is allowed in the file only; its result may be overridden");
        }
    }
}

fn unit(bad: BadUnit) -> String {
    format!("{} is not {}", quote(&bad.text), bad.wanted)
}

fn name(bad: BadName) -> String {
    let shown = if is_url(&bad.0) { "…".to_owned() } else { word(&bad.0) };
    BadName(shown).to_string()
}

/// Parses a duration within these bounds.
fn span(text: &str, least: Duration, most: Duration, wanted: &str) -> Result<Duration, String> {
    match parse_span(text) {
        Ok(span) if (least..=most).contains(&span) => Ok(span),
        _ => Err(format!("{} is not {wanted}", quote(text))),
    }
}
