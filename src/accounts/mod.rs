//! Who may do what: so far, which password opens which place.
//!
//! It knows passwords, their cost and those who guess them. It knows nothing
//! of the protocols over which they are shown, which ask it.

mod book;
mod checks;
mod porter;
mod throttle;

pub use porter::{Busy, Place, Porter, basic_password};
