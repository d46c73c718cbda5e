//! Who may do what: so far, which password opens which place.
//!
//! It knows passwords, their cost and those who guess them. It knows nothing
//! of the protocols over which they are shown, which ask it.

mod authenticator;
mod checks;
mod credential_cache;
mod throttle;

pub use authenticator::{Authenticator, Busy, Scope, basic_password};
