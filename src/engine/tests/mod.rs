//! Fakes for tests of everything that is built on pipelines.

pub(crate) mod fake;
