//! Asking for the configuration to be read again, and what came of it.

use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use crate::config::diff::{Diff, Fate, Kind};

/// Asks the one who reads it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Reloads(mpsc::Sender<Asked>);

/// Where the outcome is told.
pub type Asked = oneshot::Sender<Result<Changes, Refused>>;

/// What a reload has changed, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Changes {
    pub feeds: Names,
    pub streams: Names,
    pub pushes: Names,
    /// Keys that take effect at the next start of the service.
    pub at_next_start: Vec<&'static str>,
    /// What has no effect.
    pub warnings: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Names {
    pub added: Vec<String>,
    /// Started anew.
    pub changed: Vec<String>,
    /// Found elsewhere, say, and running as before.
    pub adjusted: Vec<String>,
    pub removed: Vec<String>,
}

/// Why the configuration is not used. Nothing has changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Refused {
    pub reason: String,
    /// One by one, where there are any.
    pub problems: Vec<String>,
}

impl Reloads {
    /// The one end, and the other for who reads the configuration. It has four
    /// places: more who ask at once wait.
    pub fn channel() -> (Self, mpsc::Receiver<Asked>) {
        let (send, receive) = mpsc::channel(4);
        (Self(send), receive)
    }

    /// Has the configuration read again; returns when that is done.
    ///
    /// # Errors
    /// It is not used; says why.
    pub async fn ask(&self) -> Result<Changes, Refused> {
        let (tell, told) = oneshot::channel();
        let ending = || Refused { reason: "the service is ending".into(), problems: Vec::new() };
        self.0.send(tell).await.map_err(|_| ending())?;
        told.await.unwrap_or_else(|_| Err(ending()))
    }
}

impl Changes {
    pub fn of(diff: &Diff, at_next_start: Vec<&'static str>) -> Self {
        Self {
            feeds: Names::of(&diff.feeds).and(Names::of(&diff.byte_feeds)),
            streams: Names::of(&diff.streams).and(Names::of(&diff.byte_streams)),
            pushes: Names::of(&diff.pushes),
            at_next_start,
            warnings: Vec::new(),
        }
    }

    /// For the log: `added stream a; changed feed b`.
    pub fn in_words(&self) -> String {
        let kinds = [("feed", &self.feeds), ("stream", &self.streams), ("push", &self.pushes)];
        let words = kinds.into_iter().flat_map(|(kind, names)| {
            let Names { added, changed, adjusted, removed } = names;
            [("added", added), ("changed", changed), ("adjusted", adjusted), ("removed", removed)]
                .into_iter()
                .filter(|(_, names)| !names.is_empty())
                .map(move |(what, names)| format!("{what} {kind} {}", names.join(", ")))
        });
        let mut words: Vec<_> = words.collect();
        if !self.at_next_start.is_empty() {
            let keys = self.at_next_start.join(", ");
            words.push(format!("to take effect at the next start: {keys}"));
        }
        if words.is_empty() { "nothing starts anew".to_owned() } else { words.join("; ") }
    }
}

impl Names {
    fn of<N: PartialEq + Clone + ToString>(kind: &Kind<N>) -> Self {
        let with = |fate| kind.with(fate).map(ToString::to_string).collect();
        Self {
            added: with(Fate::Added),
            changed: with(Fate::Changed),
            adjusted: with(Fate::Adjusted),
            removed: kind.removed.iter().map(ToString::to_string).collect(),
        }
    }

    fn and(mut self, other: Self) -> Self {
        self.added.extend(other.added);
        self.changed.extend(other.changed);
        self.adjusted.extend(other.adjusted);
        self.removed.extend(other.removed);
        self
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::config::parse_text;

    #[test]
    fn changes_are_told_by_their_names() {
        let old = "feeds: {a: {test: clock}, b: {test: clock}}\nstreams: {a: {}, b: {}}\n";
        let new = "feeds: {a: {test: clock, fps: 5}, c: {command: cat}}\n\
            streams: {a: {}, c: {}}\n";
        let (old, new) = (parse_text(old).unwrap(), parse_text(new).unwrap());
        let diff = Diff::between(&old, &BTreeSet::new(), &new);
        let changes = Changes::of(&diff, vec!["server.port"]);
        assert_eq!(
            changes.in_words(),
            "added feed c; changed feed a; removed feed b; \
             added stream c; changed stream a; removed stream b; \
             to take effect at the next start: server.port"
        );
        assert_eq!(Changes::default().in_words(), "nothing starts anew");
    }
}
