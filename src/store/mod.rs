//! What livebox keeps over a restart, besides recordings.

pub mod state_file;
