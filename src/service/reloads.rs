//! Requests to reload the configuration, and their results.

use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use crate::config::diff::{Diff, Kind, Outcome};

/// Sends reload requests. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Reloads(mpsc::Sender<Request>);

/// A request: the sender of its result.
pub type Request = oneshot::Sender<Result<Changes, ReloadError>>;

/// The changes of a reload, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Changes {
    pub feeds: Names,
    pub streams: Names,
    pub pushes: Names,
    /// Keys that take effect at the next start of the service.
    pub at_next_start: Vec<&'static str>,
    /// Settings without effect.
    pub warnings: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Names {
    pub added: Vec<String>,
    /// Restarted.
    pub changed: Vec<String>,
    /// Changed without a restart, a URL for example.
    pub adjusted: Vec<String>,
    pub removed: Vec<String>,
}

/// Why a configuration is rejected. Nothing has changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct ReloadError {
    pub reason: String,
    /// The problems of the configuration, if it is invalid.
    pub problems: Vec<String>,
}

impl Reloads {
    /// The sender and the receiver of requests. Capacity 4: more concurrent
    /// requests wait.
    pub fn channel() -> (Self, mpsc::Receiver<Request>) {
        let (send, receive) = mpsc::channel(4);
        (Self(send), receive)
    }

    /// Reloads the configuration; returns when the new topology is in force.
    ///
    /// # Errors
    /// The configuration is rejected, or the service is ending.
    pub async fn request(&self) -> Result<Changes, ReloadError> {
        let (send, result) = oneshot::channel();
        let ending =
            || ReloadError { reason: "the service is ending".into(), problems: Vec::new() };
        self.0.send(send).await.map_err(|_| ending())?;
        result.await.unwrap_or_else(|_| Err(ending()))
    }
}

impl Changes {
    pub fn from_diff(diff: &Diff, at_next_start: Vec<&'static str>) -> Self {
        Self {
            feeds: Names::from_kind(&diff.feeds).merged_with(Names::from_kind(&diff.byte_feeds)),
            streams: Names::from_kind(&diff.streams)
                .merged_with(Names::from_kind(&diff.byte_streams)),
            pushes: Names::from_kind(&diff.pushes),
            at_next_start,
            warnings: Vec::new(),
        }
    }

    /// For the log: `added stream a; changed feed b`.
    pub fn summary(&self) -> String {
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
            words.push(format!("effective at the next start: {keys}"));
        }
        if words.is_empty() { "nothing restarts".to_owned() } else { words.join("; ") }
    }
}

impl Names {
    fn from_kind<N: PartialEq + Clone + ToString>(kind: &Kind<N>) -> Self {
        let with = |outcome| kind.with(outcome).map(ToString::to_string).collect();
        Self {
            added: with(Outcome::Added),
            changed: with(Outcome::Changed),
            adjusted: with(Outcome::Adjusted),
            removed: kind.removed.iter().map(ToString::to_string).collect(),
        }
    }

    fn merged_with(mut self, other: Self) -> Self {
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
    fn the_summary_names_all_changes() {
        let old = "feeds: {a: {test: clock}, b: {test: clock}}\nstreams: {a: {}, b: {}}\n";
        let new = "feeds: {a: {test: clock, fps: 5}, c: {command: cat}}\n\
            streams: {a: {}, c: {}}\n";
        let (old, new) = (parse_text(old).unwrap(), parse_text(new).unwrap());
        let diff = Diff::between(&old, &BTreeSet::new(), &new);
        let changes = Changes::from_diff(&diff, vec!["server.port"]);
        assert_eq!(
            changes.summary(),
            "added feed c; changed feed a; removed feed b; \
             added stream c; changed stream a; removed stream b; \
             effective at the next start: server.port"
        );
        assert_eq!(Changes::default().summary(), "nothing restarts");
    }
}
