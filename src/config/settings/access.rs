//! Which passwords open what, as hashes.

use crate::base::secret::Secret;
use crate::model::ids::StreamName;

/// Argon2 hashes in PHC form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Opens everything; without it only the box itself may change anything.
    pub password: Option<Secret>,
    /// What a direct connection from loopback is worth where there is a password.
    pub local: Local,
    /// Opens the pages on which the box tells about itself.
    pub pages: Option<Secret>,
    /// Streams that are not for everybody, each with what opens it.
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
    /// What opens this stream, if it is not for everybody.
    pub fn of_stream(&self, name: &StreamName) -> Option<&Secret> {
        self.streams.iter().find(|(stream, _)| stream == name).map(|(_, hash)| hash)
    }
}
