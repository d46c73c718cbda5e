//! Authentication: which password grants which scope.
//!
//! Holds password hashes, the cost of checking them and the limits on guessing.
//! Independent of the protocols that carry credentials; those call it.

mod authenticator;
mod checks;
mod credential_cache;
mod throttle;

pub use authenticator::{Authenticator, Busy, Scope, basic_password};
