//! What the configuration in force has made: streams, pushes, the box around
//! the first of them.
//!
//! A lineup never changes. A reload makes another one, which shares with it
//! whatever stays the same; who has taken one keeps it for as long as it needs.

use std::sync::Arc;

use super::livebox::Livebox;
use super::push::Push;
use crate::accounts::Porter;
use crate::config::settings::Pages;
use crate::engine::bytes;
use crate::engine::roster::Roster;
use crate::engine::supervisor::Supervisor;

/// See the module's description.
#[derive(Debug)]
pub struct Lineup {
    pub roster: Roster,
    pub bytes: bytes::Roster,
    pub pushes: Vec<Arc<Push>>,
    /// Absent where livebox encodes nothing.
    pub livebox: Option<Arc<Livebox>>,
    pub pages: Pages,
    /// Knows the passwords.
    pub porter: Porter,
    /// The configuration as it may be shown.
    pub config_text: String,
}

impl Lineup {
    /// The push of this name.
    pub fn push(&self, name: &str) -> Option<&Arc<Push>> {
        self.pushes.iter().find(|push| push.name().as_str() == name)
    }

    /// Those of all feeds, streams and pushes.
    pub fn supervisors(&self) -> Vec<Supervisor> {
        let of_pushes = self.pushes.iter().map(|push| push.supervisor());
        self.roster
            .supervisors()
            .chain(self.bytes.supervisors())
            .chain(of_pushes)
            .cloned()
            .collect()
    }
}
