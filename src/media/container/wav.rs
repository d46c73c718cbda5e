//! WAV: a header of chunks, then endless samples.

use bytes::Bytes;

use super::{Marks, Next};

/// Sample frames between two edges.
const EDGE_FRAMES: u64 = 64;

#[derive(Debug, Default)]
pub(super) struct Wav {
    header: Vec<u8>,
    /// Bytes of one sample frame.
    frame: u64,
    has_header: bool,
}

impl Wav {
    pub(super) fn next(&mut self, held: &[u8], begin: u64, marks: &mut Marks) -> Next {
        if self.has_header {
            (marks.edge, marks.key) = (Some(begin), Some(begin));
            return Next::Element { after: self.frame * EDGE_FRAMES - 1 };
        }
        match (begin, held.len()) {
            (0, ..12) => return Next::More(12),
            (0, _) if &held[..4] == b"RIFF" && &held[8..12] == b"WAVE" => {
                self.header.extend_from_slice(held);
                return Next::Element { after: 0 };
            }
            (0, _) => return Next::Failed,
            (_, ..8) => return Next::More(8),
            (_, _) => {}
        }
        let length = u32::from_le_bytes([held[4], held[5], held[6], held[7]]) as usize;
        let whole = 8 + length + length % 2;
        match &held[..4] {
            b"data" => {
                self.header.extend_from_slice(&held[..8]);
                marks.header = Some(Bytes::from(std::mem::take(&mut self.header)));
                self.has_header = self.frame > 0;
                if self.has_header { Next::Element { after: 0 } } else { Next::Failed }
            }
            _ if held.len() < whole => Next::More(whole),
            id => {
                if id == b"fmt " && length >= 16 {
                    self.frame = u64::from(u16::from_le_bytes([held[20], held[21]]));
                }
                self.header.extend_from_slice(held);
                let is_too_long = self.header.len() > super::MAX_ELEMENT;
                if is_too_long { Next::Failed } else { Next::Element { after: 0 } }
            }
        }
    }
}
