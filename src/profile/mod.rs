//! Profiles: pipelines as text with typed slots, turned into launch lines.
//!
//! Pure text in, pure text out; nothing here knows whether an element exists.

mod library;
mod text;

pub use library::{Kind, names, profile};
pub use text::{Profile, ProfileError, Slot};
