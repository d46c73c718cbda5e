//! FLV: a file header, then tags of audio, video and script data.

use bytes::Bytes;

use super::{MAX_ELEMENT, Marks, Next, big_endian};

/// The file header and `PreviousTagSize0`.
const FILE_HEADER: usize = 13;
const TAG_HEADER: usize = 11;
/// `PreviousTagSize`, after each tag.
const TRAILER: usize = 4;

const AUDIO: u8 = 8;
const VIDEO: u8 = 9;
const SCRIPT: u8 = 18;

#[derive(Debug, Default)]
pub(super) struct Flv {
    file_header: Vec<u8>,
    /// The newest configuration tag of each kind.
    script: Vec<u8>,
    video: Vec<u8>,
    audio: Vec<u8>,
    has_video: bool,
}

impl Flv {
    pub(super) fn next(&mut self, held: &[u8], begin: u64, marks: &mut Marks) -> Next {
        if begin == 0 {
            return self.file_header(held);
        }
        // The first two bytes of the body give the codec and the packet type.
        let wanted = TAG_HEADER + 2;
        if held.len() < wanted {
            if held.len() == 1 {
                self.mark_edge(begin, marks);
            }
            return Next::More(wanted);
        }
        let length = big_endian(held, 1, 3) as usize;
        let whole = TAG_HEADER + length + TRAILER;
        let (kind, first, second) = (held[0] & 0x1f, held[TAG_HEADER], held[TAG_HEADER + 1]);
        let is_configuration = match kind {
            SCRIPT => true,
            VIDEO => first & 0x0f == 7 && second == 0,
            AUDIO => first >> 4 == 10 && second == 0,
            _ => return Next::Failed,
        };
        if is_configuration && held.len() < whole {
            return Next::More(whole);
        }
        if is_configuration {
            return self.configuration(kind, held, marks);
        }
        if kind == VIDEO && length > 0 {
            self.has_video = true;
            let is_intra = first >> 4 & 7 == 1;
            if is_intra {
                marks.key = Some(begin);
            }
            // Video without a configuration tag needs no further header.
            if marks.header.is_none() {
                self.set_header(marks);
            }
        }
        match (whole as u64).checked_sub(held.len() as u64) {
            Some(after) => Next::Element { after },
            None => Next::Failed,
        }
    }

    fn file_header(&mut self, held: &[u8]) -> Next {
        if held.len() < FILE_HEADER {
            return Next::More(FILE_HEADER);
        }
        if &held[..3] != b"FLV" || big_endian(held, 5, 4) != 9 {
            return Next::Failed;
        }
        self.has_video = held[4] & 1 != 0;
        self.file_header = held.to_vec();
        Next::Element { after: 0 }
    }

    fn mark_edge(&self, begin: u64, marks: &mut Marks) {
        marks.edge = Some(begin);
        if !self.has_video {
            marks.key = Some(begin);
        }
    }

    fn configuration(&mut self, kind: u8, tag: &[u8], marks: &mut Marks) -> Next {
        let stored = match kind {
            VIDEO => &mut self.video,
            AUDIO => &mut self.audio,
            _ => &mut self.script,
        };
        *stored = tag.to_vec();
        if self.script.len() + self.video.len() + self.audio.len() > MAX_ELEMENT {
            return Next::Failed;
        }
        if marks.header.is_some() || kind == VIDEO || !self.has_video {
            self.set_header(marks);
        }
        Next::Element { after: 0 }
    }

    fn set_header(&self, marks: &mut Marks) {
        let parts = [&self.file_header, &self.script, &self.video, &self.audio];
        marks.header = Some(Bytes::from(parts.map(Vec::as_slice).concat()));
    }
}
