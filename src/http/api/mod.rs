//! The livebox API: what programs steer, in JSON.

pub(super) mod livebox;
pub(super) mod pushes;
pub(super) mod recordings;
