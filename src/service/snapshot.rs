//! What is going on, in one value: every page, API and metric renders it.

use std::time::Instant;

use super::Service;
use super::topology::Topology;
use crate::model::status::{Problem, Recordings, Snapshot};

impl Service {
    pub fn snapshot(&self, now: Instant) -> Snapshot {
        let Topology { registry, bytes, pushes, rolled_back, .. } = &*self.topology();
        Snapshot {
            service: self.figures.status(now),
            feeds: registry.shared().iter().map(|feed| feed.status(now)).collect(),
            streams: registry.streams().iter().map(|stream| stream.status(now)).collect(),
            byte_feeds: bytes.feed_status(now),
            byte_streams: bytes.streams().iter().map(|stream| stream.status(now)).collect(),
            pushes: pushes.iter().map(|push| push.status(now)).collect(),
            recordings: self.recording_status(now),
            rolled_back: rolled_back.clone(),
            problems: self.problems(),
        }
    }

    pub(super) fn recording_status(&self, now: Instant) -> Recordings {
        self.recordings.as_ref().map(|all| all.status(now)).unwrap_or_default()
    }

    /// What is wrong with the folders of the configuration.
    pub fn problems(&self) -> Vec<Problem> {
        let troubles = self.folders.troubles().into_iter();
        troubles.map(|(what, text)| Problem { what, text: format!("the folder {text}") }).collect()
    }

    /// Why the last change of an operator counts until the next start only, if it does.
    pub fn unsaved(&self) -> Option<String> {
        let trouble = self.topology().state_file().trouble()?;
        Some(format!("This counts until the next start only: the folder of the state {trouble}"))
    }

    /// Bytes sent to viewers and receivers since the start.
    pub fn bytes_out(&self) -> u64 {
        let Topology { registry, bytes, pushes, .. } = &*self.topology();
        let viewers: u64 = registry.streams().iter().map(|stream| stream.hub().bytes_out()).sum();
        let of_bytes: u64 = bytes.streams().iter().map(|stream| stream.bytes_out()).sum();
        let pushes: u64 = pushes.iter().map(|push| push.bytes_out()).sum();
        viewers + of_bytes + pushes
    }
}
