//! Recordings: what operators want of them.

use serde::{Deserialize, Serialize};

/// Whether a stream is recorded otherwise than planned, because an operator
/// wants it so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ManualOverride {
    /// As planned.
    #[default]
    Plan,
    On,
    /// Until that many seconds since 1970, or until an operator starts it.
    Off {
        until: Option<i64>,
    },
}
