//! A queue of numbered pieces that knows its size in bytes: common to all rings.

use std::collections::VecDeque;
use std::sync::Arc;

use super::piece::Piece;

/// The memory that a piece takes.
pub(super) trait MemorySize {
    /// In bytes.
    fn memory_size(&self) -> usize;
}

impl MemorySize for Arc<Piece> {
    fn memory_size(&self) -> usize {
        self.bytes.len()
    }
}

/// The newest pieces of a sequence. Numbers are consecutive.
#[derive(Debug)]
pub(super) struct SequencedBuffer<T> {
    pieces: VecDeque<T>,
    /// Number of `pieces[0]`.
    first: u64,
    bytes: usize,
}

impl<T: MemorySize> SequencedBuffer<T> {
    pub(super) fn new() -> Self {
        Self { pieces: VecDeque::new(), first: 0, bytes: 0 }
    }

    pub(super) fn push(&mut self, piece: T) {
        self.bytes += piece.memory_size();
        self.pieces.push_back(piece);
    }

    pub(super) fn pop_oldest(&mut self) {
        if let Some(oldest) = self.pieces.pop_front() {
            self.bytes -= oldest.memory_size();
            self.first += 1;
        }
    }

    /// Removes all pieces; the numbers continue.
    pub(super) fn clear(&mut self) {
        self.first = self.end();
        self.pieces.clear();
        self.bytes = 0;
    }

    /// Number of the oldest piece.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// One past the number of the newest piece.
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
