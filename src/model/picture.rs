//! What a picture is to be.

use serde::{Deserialize, Serialize};

/// The file that a picture becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Format {
    Jpg {
        /// 1 to 100.
        quality: u8,
    },
    Png,
}
