//! The newest of a numbered sequence: what all rings have in common.

use std::collections::VecDeque;
use std::sync::Arc;

use super::piece::Piece;

/// What takes memory.
pub(super) trait Weigh {
    /// In bytes.
    fn weight(&self) -> usize;
}

impl Weigh for Arc<Piece> {
    fn weight(&self) -> usize {
        self.bytes.len()
    }
}

/// The newest pieces of a sequence, each with its number, and what they weigh.
#[derive(Debug)]
pub(super) struct SequencedBuffer<T> {
    pieces: VecDeque<T>,
    /// Number of `pieces[0]`.
    first: u64,
    bytes: usize,
}

impl<T: Weigh> SequencedBuffer<T> {
    pub(super) fn new() -> Self {
        Self { pieces: VecDeque::new(), first: 0, bytes: 0 }
    }

    pub(super) fn push(&mut self, piece: T) {
        self.bytes += piece.weight();
        self.pieces.push_back(piece);
    }

    /// Lets go of the oldest.
    pub(super) fn shorten(&mut self) {
        if let Some(oldest) = self.pieces.pop_front() {
            self.bytes -= oldest.weight();
            self.first += 1;
        }
    }

    /// Lets go of all; numbers go on with what comes next.
    pub(super) fn clear(&mut self) {
        self.first = self.end();
        self.pieces.clear();
        self.bytes = 0;
    }

    /// Number of the oldest.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// One past the number of the newest.
    pub(super) fn end(&self) -> u64 {
        self.first + self.pieces.len() as u64
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn at(&self, number: u64) -> Option<&T> {
        self.pieces.get(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    pub(super) fn pieces(&self) -> &VecDeque<T> {
        &self.pieces
    }
}
