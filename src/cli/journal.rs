//! Log lines on the standard error, and which of them there are.

use std::io::Write as _;
use std::sync::{Arc, RwLock};

use log::{LevelFilter, Log, Metadata, Record};

use crate::base::time;

/// What livebox itself writes. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Level(Arc<RwLock<LevelFilter>>);

impl Level {
    /// Writes this much from now on. Of others' words only warnings are written.
    pub(super) fn set(&self, level: LevelFilter) {
        *self.0.write().unwrap_or_else(std::sync::PoisonError::into_inner) = level;
        log::set_max_level(level.max(LevelFilter::Warn));
    }

    fn get(&self) -> LevelFilter {
        *self.0.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// A log whose level changes.
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

/// One incident is one line: programs, receivers and hosts may say several, and
/// what moves the cursor of a terminal.
fn on_one_line(text: &str) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    let lines = text.trim_end().lines().map(|line| line.chars().map(plain).collect::<String>());
    lines.collect::<Vec<_>>().join(" / ")
}

/// Writes the fields of a log line behind its text.
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
    fn a_message_of_several_lines_is_one_and_moves_no_cursor() {
        let text = "it failed:\r\n\x1b[2Jno\tcamera\n2026-11-28 INFO  all is well\n";
        assert_eq!(on_one_line(text), "it failed: /  [2Jno camera / 2026-11-28 INFO  all is well");
    }

    #[test]
    fn our_words_follow_the_level_and_those_of_others_are_warnings() {
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
