//! Pipelines in processes of their own, as the service sees them.
//!
//! GStreamer, its plugins and codecs crash, hang and leak, and what strangers
//! send makes them do so. A process can be limited and killed.

mod guard;
mod host;
mod picture;

pub(super) use guard::mark;
pub use picture::{NoStill, Still, extract, render, render_still};
