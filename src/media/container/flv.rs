//! FLV: a header, then tags of sound, pictures and data.

use bytes::Bytes;

use super::{LONGEST, Marks, Next, big_endian};

/// File header and the length of no tag before.
const FILE_HEADER: usize = 13;
const TAG_HEADER: usize = 11;
/// What follows a tag: its length.
const TRAILER: usize = 4;

const SOUND: u8 = 8;
const PICTURE: u8 = 9;
const DATA: u8 = 18;

#[derive(Debug, Default)]
pub(super) struct Flv {
    file: Vec<u8>,
    /// The newest tag of each kind that a decoder needs first.
    data: Vec<u8>,
    pictures: Vec<u8>,
    sound: Vec<u8>,
    has_pictures: bool,
}

impl Flv {
    pub(super) fn next(&mut self, held: &[u8], begin: u64, marks: &mut Marks) -> Next {
        if begin == 0 {
            return self.begin(held);
        }
        // The first byte of the body, and the second, say what it holds.
        let wanted = TAG_HEADER + 2;
        if held.len() < wanted {
            if held.len() == 1 {
                self.enter(begin, marks);
            }
            return Next::More(wanted);
        }
        let length = big_endian(held, 1, 3) as usize;
        let whole = TAG_HEADER + length + TRAILER;
        let (kind, first, second) = (held[0] & 0x1f, held[TAG_HEADER], held[TAG_HEADER + 1]);
        let configures = match kind {
            DATA => true,
            PICTURE => first & 0x0f == 7 && second == 0,
            SOUND => first >> 4 == 10 && second == 0,
            _ => return Next::Lost,
        };
        if configures && held.len() < whole {
            return Next::More(whole);
        }
        if configures {
            return self.configure(kind, held, marks);
        }
        if kind == PICTURE && length > 0 {
            self.has_pictures = true;
            let is_intra = first >> 4 & 7 == 1;
            if is_intra {
                marks.key = Some(begin);
            }
            self.announce(marks);
        }
        match (whole as u64).checked_sub(held.len() as u64) {
            Some(after) => Next::Element { after },
            None => Next::Lost,
        }
    }

    fn begin(&mut self, held: &[u8]) -> Next {
        if held.len() < FILE_HEADER {
            return Next::More(FILE_HEADER);
        }
        if &held[..3] != b"FLV" || big_endian(held, 5, 4) != 9 {
            return Next::Lost;
        }
        self.has_pictures = held[4] & 1 != 0;
        self.file = held.to_vec();
        Next::Element { after: 0 }
    }

    fn enter(&self, begin: u64, marks: &mut Marks) {
        marks.edge = Some(begin);
        if !self.has_pictures {
            marks.key = Some(begin);
        }
    }

    fn configure(&mut self, kind: u8, tag: &[u8], marks: &mut Marks) -> Next {
        let place = match kind {
            PICTURE => &mut self.pictures,
            SOUND => &mut self.sound,
            _ => &mut self.data,
        };
        *place = tag.to_vec();
        if self.data.len() + self.pictures.len() + self.sound.len() > LONGEST {
            return Next::Lost;
        }
        if marks.header.is_some() || kind == PICTURE || !self.has_pictures {
            self.write(marks);
        }
        Next::Element { after: 0 }
    }

    /// Pictures without a configuration need no more than what was seen.
    fn announce(&self, marks: &mut Marks) {
        if marks.header.is_none() {
            self.write(marks);
        }
    }

    fn write(&self, marks: &mut Marks) {
        let parts = [&self.file, &self.data, &self.pictures, &self.sound];
        marks.header = Some(Bytes::from(parts.map(Vec::as_slice).concat()));
    }
}
