//! Streams in memory: one writer each, any number of readers at their own speed.

mod audience;
pub mod bytes;
mod gauge;
mod lease;
mod piece;
mod reader;
mod ring;
mod stream;
mod tail;

pub use audience::Client;
pub use gauge::Measured;
pub use piece::{Piece, Slot};
pub use reader::{Read, Reader};
pub use ring::Limits;
pub use stream::{Malformed, Stream};

#[cfg(test)]
mod tests;
