//! What a shared feed delivers to its streams and derived feeds.

use serde::{Deserialize, Serialize};

/// The video format that a shared feed delivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pictures {
    /// Raw pictures, with the rotation and the overlay of the feed.
    Plain,
    /// H.264, passed through.
    H264 {
        /// Whether presentation order and decoding order are equal.
        in_order: bool,
    },
}

/// The tracks that a shared feed delivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Given {
    /// `None` for a feed without video.
    pub pictures: Option<Pictures>,
    pub sound: bool,
}

impl Given {
    /// Whether presentation order and decoding order are known to differ.
    pub fn is_disordered(self) -> bool {
        self.pictures == Some(Pictures::H264 { in_order: false })
    }
}
