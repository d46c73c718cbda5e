//! The livebox API: control and status for programs, in JSON.

pub(super) mod livebox;
pub(super) mod pushes;
pub(super) mod recordings;
