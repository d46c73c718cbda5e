//! The HTTP server: the only folder that names actix.
//!
//! Handlers call the service and decide nothing. Errors become statuses in one
//! table (`error.rs`), access is checked in one place (`access.rs`).

mod access;
mod api;
mod cors;
mod error;
mod files;
mod guards;
mod listen;
mod media;
mod origin;
mod pages;
mod routes;
mod stat;
mod state;
mod table;

use std::sync::Arc;

use crate::service::Service;

pub use listen::accept::{MAX_FILES_NEEDED, max_connections};
pub use listen::server::{ServeError, Server, stop};
pub use state::State;

/// What the server shares among its handlers.
pub fn state(service: Arc<Service>) -> State {
    State::new(service, routes::table)
}
