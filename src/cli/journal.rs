//! The logger: lines on standard error, with a level that can change.

use std::io::Write as _;
use std::sync::{Arc, RwLock};

use log::{LevelFilter, Log, Metadata, Record};

use crate::base::time;

/// The level of livebox's own lines. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Level(Arc<RwLock<LevelFilter>>);

impl Level {
    /// Changes the level. Lines of libraries are logged from warnings up only.
    pub(super) fn set(&self, level: LevelFilter) {
        *self.0.write().unwrap_or_else(std::sync::PoisonError::into_inner) = level;
        log::set_max_level(level.max(LevelFilter::Warn));
    }

    fn get(&self) -> LevelFilter {
        *self.0.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// A logger whose level can change.
struct Journal {
    lines: env_logger::Logger,
    level: Level,
}

impl Log for Journal {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let ours = metadata.target().split("::").next() == Some("livebox");
        metadata.level() <= if ours { self.level.get() } else { LevelFilter::Warn }
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            self.lines.log(record);
        }
    }

    fn flush(&self) {
        self.lines.flush();
    }
}

/// `2026-11-21 02:58:04.114 INFO  text key=value`
pub(super) fn log_to_stderr(first: LevelFilter) -> Level {
    let lines = env_logger::Builder::new()
        .filter_level(LevelFilter::Trace)
        .format(|line, record| {
            let text = on_one_line(&record.args().to_string());
            write!(line, "{} {:<5} {text}", time::log_stamp(), record.level())?;
            let mut pairs = Pairs(line);
            record.key_values().visit(&mut pairs).map_err(std::io::Error::other)?;
            writeln!(line)
        })
        .build();
    let level = Level(Arc::new(RwLock::new(first)));
    level.set(first);
    let journal = Journal { lines, level: level.clone() };
    log::set_boxed_logger(Box::new(journal)).expect("a process has one log, and begins it once");
    level
}

/// Joins the lines of a message and removes control characters: messages may
/// contain output of programs, receivers and hosts.
fn on_one_line(text: &str) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    let lines = text.trim_end().lines().map(|line| line.chars().map(plain).collect::<String>());
    lines.collect::<Vec<_>>().join(" / ")
}

/// Writes the key-value pairs of a log line after its text.
struct Pairs<'a>(&'a mut env_logger::fmt::Formatter);

impl<'kvs> log::kv::VisitSource<'kvs> for Pairs<'_> {
    fn visit_pair(
        &mut self,
        key: log::kv::Key<'kvs>,
        value: log::kv::Value<'kvs>,
    ) -> Result<(), log::kv::Error> {
        write!(self.0, " {key}={value}")?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use log::Level as Weight;

    use super::*;

    #[test]
    fn a_message_becomes_one_line_without_control_characters() {
        let text = "it failed:\r\n\x1b[2Jno\tcamera\n2026-11-28 INFO  all is well\n";
        assert_eq!(on_one_line(text), "it failed: /  [2Jno camera / 2026-11-28 INFO  all is well");
    }

    #[test]
    fn own_lines_follow_the_level_and_libraries_log_warnings_only() {
        let level = Level(Arc::new(RwLock::new(LevelFilter::Info)));
        let lines = env_logger::Builder::new().build();
        let journal = Journal { lines, level: level.clone() };
        let writes = |target: &str, weight: Weight| {
            journal.enabled(&Metadata::builder().target(target).level(weight).build())
        };
        assert!(writes("livebox::app", Weight::Info) && !writes("livebox::app", Weight::Debug));
        assert!(writes("actix", Weight::Warn) && !writes("actix", Weight::Info));

        *level.0.write().unwrap() = LevelFilter::Error;
        assert!(!writes("livebox", Weight::Warn) && writes("liveboxes", Weight::Warn));
    }
}
