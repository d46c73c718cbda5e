//! What a feed gives to the streams and feeds that take from it.

use serde::{Deserialize, Serialize};

/// The pictures that a shared feed gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pictures {
    /// Plain ones, turned and written over as the feed asks.
    Plain,
    /// H.264 as it came.
    H264 {
        /// Whether they are shown in the order in which they are decoded.
        in_order: bool,
    },
}

/// What a shared feed gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Given {
    /// Nothing where it is a sound alone.
    pub pictures: Option<Pictures>,
    pub sound: bool,
}

impl Given {
    /// Whether its pictures are known to be shown in another order than that
    /// in which they are decoded.
    pub fn is_disordered(self) -> bool {
        self.pictures == Some(Pictures::H264 { in_order: false })
    }
}
