//! File formats of still pictures.

use serde::{Deserialize, Serialize};

/// The file format of a still picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Format {
    Jpg {
        /// 1 to 100.
        quality: u8,
    },
    Png,
}
