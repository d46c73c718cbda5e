//! Fragmented MP4: a movie box, then fragments (ISO/IEC 14496-12).

use bytes::Bytes;

use super::{MAX_ELEMENT, Marks, Next, big_endian};

const BOX_HEADER: usize = 8;
const LARGE_HEADER: usize = 16;

/// `sample_is_non_sync_sample` of sample flags.
const NOT_SYNC: u64 = 0x0001_0000;

#[derive(Debug, Default)]
pub(super) struct Mp4 {
    header: Vec<u8>,
    /// The parsed movie box.
    movie: Option<Movie>,
}

#[derive(Debug, Default)]
struct Movie {
    /// The number of the video track.
    video: Option<u64>,
    /// The default sample flags of the video track.
    flags: u64,
}

impl Mp4 {
    pub(super) fn next(&mut self, held: &[u8], begin: u64, marks: &mut Marks) -> Next {
        if held.len() < BOX_HEADER {
            return Next::More(BOX_HEADER);
        }
        let (small, kind) = (big_endian(held, 0, 4), &held[4..8]);
        let length = match small {
            // The box extends to the end of the file, which a stream does not have.
            0 => return Next::Failed,
            1 if held.len() < LARGE_HEADER => return Next::More(LARGE_HEADER),
            1 => big_endian(held, 8, 8),
            small => small,
        };
        let Some(after) = length.checked_sub(held.len() as u64) else { return Next::Failed };
        let Some(movie) = &self.movie else { return self.before_fragments(held, length) };
        match kind {
            b"moof" if after > 0 => {
                marks.edge = Some(begin);
                Next::More(usize::try_from(length).unwrap_or(usize::MAX))
            }
            b"moof" => {
                if movie.begins_with_key(&held[BOX_HEADER..]) {
                    marks.key = Some(begin);
                }
                if marks.header.is_none() {
                    marks.header = Some(Bytes::from(std::mem::take(&mut self.header)));
                }
                Next::Element { after: 0 }
            }
            _ => Next::Element { after },
        }
    }

    /// Appends a box to the header.
    fn before_fragments(&mut self, held: &[u8], length: u64) -> Next {
        if (held.len() as u64) < length {
            return Next::More(usize::try_from(length).unwrap_or(usize::MAX));
        }
        self.header.extend_from_slice(held);
        if self.header.len() > MAX_ELEMENT {
            return Next::Failed;
        }
        if &held[4..8] == b"moov" {
            self.movie = Some(Movie::parse(&held[BOX_HEADER..]));
        }
        Next::Element { after: 0 }
    }
}

impl Movie {
    fn parse(moov: &[u8]) -> Self {
        let is_video = |trak: &&[u8]| {
            let hdlr = find(trak, b"mdia").and_then(|mdia| find(mdia, b"hdlr"));
            hdlr.and_then(|hdlr| hdlr.get(8..12)) == Some(b"vide")
        };
        let track = boxes(moov).filter(|(kind, _)| kind == b"trak").map(|(_, trak)| trak);
        let video = track.into_iter().find(is_video).and_then(|trak| {
            let tkhd = find(trak, b"tkhd")?;
            // After two times, which have 64 bits in version 1.
            Some(big_endian(tkhd, if tkhd.first() == Some(&1) { 20 } else { 12 }, 4))
        });
        let extends = find(moov, b"mvex").unwrap_or_default();
        let defaults = boxes(extends)
            .find(|(kind, trex)| kind == b"trex" && Some(big_endian(trex, 4, 4)) == video);
        let flags = defaults.map_or(0, |(_, trex)| big_endian(trex, 20, 4));
        Self { video, flags }
    }

    /// Whether the first video sample of this fragment is a sync sample; true
    /// without a video track.
    fn begins_with_key(&self, moof: &[u8]) -> bool {
        let Some(video) = self.video else { return true };
        boxes(moof).filter(|(kind, _)| kind == b"traf").any(|(_, traf)| {
            let Some(tfhd) = find(traf, b"tfhd") else { return false };
            let is_video = big_endian(tfhd, 4, 4) == video;
            let flags = find(traf, b"trun").and_then(|trun| self.first_flags(tfhd, trun));
            is_video && flags.is_some_and(|flags| flags & NOT_SYNC == 0)
        })
    }

    /// The flags of a fragment's first sample; `None` without samples.
    fn first_flags(&self, tfhd: &[u8], trun: &[u8]) -> Option<u64> {
        let flags = big_endian(trun, 1, 3);
        let has = |bit: u64| flags & bit != 0;
        if big_endian(trun, 4, 4) == 0 {
            return None;
        }
        let data_offset = if has(0x1) { 4 } else { 0 };
        if has(0x4) {
            return Some(big_endian(trun, 8 + data_offset, 4));
        }
        if has(0x400) {
            let before = [0x100, 0x200].iter().filter(|bit| has(**bit)).count() * 4;
            return Some(big_endian(trun, 8 + data_offset + before, 4));
        }
        let optional = big_endian(tfhd, 1, 3);
        if optional & 0x20 == 0 {
            return Some(self.flags);
        }
        let sizes = [(0x1, 8), (0x2, 4), (0x8, 4), (0x10, 4)];
        let before: usize =
            sizes.iter().filter(|(bit, _)| optional & bit != 0).map(|(_, size)| size).sum();
        Some(big_endian(tfhd, 8 + before, 4))
    }
}

fn find<'a>(parent: &'a [u8], wanted: &[u8; 4]) -> Option<&'a [u8]> {
    boxes(parent).find(|(kind, _)| kind == wanted).map(|(_, body)| body)
}

/// The boxes inside `body`: their types and their bodies.
fn boxes(mut body: &[u8]) -> impl Iterator<Item = ([u8; 4], &[u8])> {
    std::iter::from_fn(move || {
        let kind = body.get(4..BOX_HEADER)?.try_into().ok()?;
        let length = usize::try_from(big_endian(body, 0, 4)).ok()?;
        let inner = body.get(BOX_HEADER..length)?;
        body = &body[length..];
        Some((kind, inner))
    })
}
