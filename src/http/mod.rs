//! The HTTP server: the only folder that names actix.
//!
//! Handlers call the service and decide nothing. Errors become statuses in one
//! table (`error.rs`), access is checked in one place (`access.rs`).

mod access;
mod api;
mod cors;
mod error;
mod files;
mod listen;
mod media;
mod origin;
mod pages;
mod routes;
mod stat;
mod state;
mod table;

pub use listen::accept::{MAX_FILES_NEEDED, max_connections};
pub use listen::server::{ServeError, Server, stop};
pub use state::State;
