//! Streams in memory: each has one writer and any number of readers, each at its own speed.

pub mod bytes;
mod gauge;
mod lease;
mod piece;
mod reader;
mod ring;
mod sequenced_buffer;
mod stills;
mod stream;
mod viewers;

pub use gauge::Measured;
pub use piece::{Padding, Piece};
pub use reader::{Read, Reader};
pub use ring::{Limits, Past};
pub use stills::{Still, Stills};
pub use stream::{Malformed, OutOfReach, Stream};
pub use viewers::Client;

#[cfg(test)]
mod tests;
