//! The text exposition format of Prometheus, version 0.0.4.

use std::fmt::{Display, Write as _};

/// Metrics as text. Label values need no escaping: they are plain words.
#[derive(Default)]
pub(super) struct Metrics(pub(super) String);

impl Metrics {
    /// Begins a metric: its name, type and help.
    pub(super) fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
    }

    /// Adds a sample of the metric begun last.
    pub(super) fn value(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<_> = labels.iter().map(|(key, text)| format!("{key}=\"{text}\"")).collect();
        match labels.is_empty() {
            true => self.line(format_args!("{name} {value}")),
            false => self.line(format_args!("{name}{{{}}} {value}", labels.join(","))),
        }
    }

    fn line(&mut self, text: impl Display) {
        writeln!(self.0, "{text}").expect("writing to a String cannot fail");
    }
}
