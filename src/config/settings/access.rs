//! The password hashes of the box, the pages and the streams.

use crate::base::secret::Secret;
use crate::model::ids::StreamName;

/// Argon2 hashes in PHC form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Grants everything; without it only local connections may change anything.
    pub password: Option<Secret>,
    /// How direct connections from loopback are treated if there is a password.
    pub local: Local,
    /// Grants the status pages.
    pub pages: Option<Secret>,
    /// The streams with a password of their own.
    pub streams: Vec<(StreamName, Secret)>,
}

/// Whether connections from loopback need the password. Those through a proxy
/// on the machine look the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Local {
    #[default]
    Ask,
    Trusted,
}

impl Access {
    /// The password of this stream, if it has one of its own.
    pub fn of_stream(&self, name: &StreamName) -> Option<&Secret> {
        self.streams.iter().find(|(stream, _)| stream == name).map(|(_, hash)| hash)
    }
}
