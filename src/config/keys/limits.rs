//! `limits`: resources of the processes of pipelines.

use super::unit;
use crate::base::units::parse_bytes;
use crate::config::problem::quote;
use crate::config::section::{Field, Report};
use crate::config::settings::Limits;

pub(in crate::config) const LIMITS: [&str; 1] = ["memory"];

/// With less, GStreamer and a decoder for the smallest picture barely start. In bytes.
const MIN_MEMORY: u64 = 64 << 20;

pub(in crate::config) fn limits(field: &Field<'_>, report: &mut Report) -> Limits {
    report.keys(field, &LIMITS);
    Limits { memory: report.read(&field.at("memory"), memory) }
}

fn memory(text: &str) -> Result<u64, String> {
    let bytes = parse_bytes(text).map_err(unit)?;
    let too_little = || format!("{} is too little for a pipeline; use 64M or more", quote(text));
    (bytes >= MIN_MEMORY).then_some(bytes).ok_or_else(too_little)
}

#[cfg(test)]
mod tests {
    use crate::config::parse_text;

    const CAMERA: &str = "feeds: {a: {test: clock}}\nstreams: {a: {}}\n";

    #[test]
    fn the_memory_of_pipelines_is_a_number_of_bytes() {
        let memory = |value: &str| {
            let text = format!("{CAMERA}limits: {{memory: {value}}}\n");
            parse_text(&text).map(|settings| settings.limits.memory)
        };
        assert_eq!(memory("null"), Ok(None));
        assert_eq!(memory("64M"), Ok(Some(64 << 20)));
        assert_eq!(memory("1.5G"), Ok(Some(3 << 29)));
        for (value, told) in [("63M", "use 64M or more"), ("much", "not a number of bytes")] {
            let problem = memory(value).unwrap_err()[0].to_string();
            assert!(problem.contains("limits.memory (line 3)"), "{problem}");
            assert!(problem.contains(told), "{problem}");
        }
    }
}
