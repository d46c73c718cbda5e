//! The configuration as its author meets it: whole texts in, settings or
//! problems out.

mod bad_files;
mod fmp4streamer;
mod layering;
mod manual;
mod secrets;
mod templates;

use super::*;

/// The smallest file: one test picture, one stream, everything else default.
const SMALL: &str = "feeds: {camera: {test: clock}}\nstreams: {camera: {}}\n";

/// What a person would read for this text.
fn told(text: &str) -> String {
    let problems = parse_text(text).expect_err("the text has a mistake");
    lines(&problems)
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("{problem}\n")).collect()
}
