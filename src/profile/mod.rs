//! Profiles: pipelines as text with typed slots, rendered to launch lines.
//!
//! Pure functions over text: they do not check whether an element exists.

mod library;
mod text;

pub use library::{Kind, names, profile};
pub use text::{Profile, Slot};
