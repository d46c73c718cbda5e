//! An operator's choice for the recording of a stream.

use serde::{Deserialize, Serialize};

/// Whether an operator has overridden the recording plan of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ManualOverride {
    /// Not overridden.
    #[default]
    Plan,
    On,
    /// Until `until`, in seconds since 1970; `None`: until an operator starts
    /// the recording.
    Off {
        until: Option<i64>,
    },
}
