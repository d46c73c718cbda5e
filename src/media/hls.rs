//! HTTP Live Streaming from chunks (RFC 8216): segments and playlists.
//!
//! The segmenter decides where segments begin and end, the window which of them are
//! listed and kept, and the playlists are text of what it lists. A segment is a list of
//! chunks that are shared with all other viewers; nothing is copied or written to a disk.
//! Requests and waiting are handled in `http`.

mod playlist;
mod segment;
mod segmenter;
#[cfg(test)]
mod tests;
mod window;

pub use playlist::{MediaPlaylist, MultivariantPlaylist};
pub use segment::Segment;
pub use window::{MAX_LISTED, MIN_LISTED, Window};
