//! WebM and Matroska: EBML elements, clusters of blocks (RFC 8794, RFC 9559).

use bytes::Bytes;

use super::{MAX_ELEMENT, Marks, Next};

const EBML: u64 = 0x1a45_dfa3;
const SEGMENT: u64 = 0x1853_8067;
const TRACKS: u64 = 0x1654_ae6b;
const CLUSTER: u64 = 0x1f43_b675;
const TRACK_ENTRY: u64 = 0xae;
const TRACK_NUMBER: u64 = 0xd7;
const TRACK_TYPE: u64 = 0x83;
const SIMPLE_BLOCK: u64 = 0xa3;
const BLOCK_GROUP: u64 = 0xa0;
const BLOCK: u64 = 0xa1;
const REFERENCE: u64 = 0xfb;

/// Maximum bytes of an identifier and a length.
const MAX_HEAD: usize = 12;

/// Longer block groups are skipped without being parsed.
const MAX_GROUP: u64 = 512 << 10;

#[derive(Debug, Default)]
pub(super) struct Webm {
    header: Vec<u8>,
    has_header: bool,
    /// The number of the video track.
    video: Option<u64>,
    /// Position of a cluster whose first picture has not come yet.
    cluster: Option<u64>,
}

/// Identifier and length of an element.
#[derive(Clone, Copy, Debug)]
struct Head {
    id: u64,
    /// Bytes of identifier and length.
    head: usize,
    /// Bytes of the body; `None` if unknown: the element ends where another
    /// begins.
    body: Option<u64>,
}

impl Webm {
    pub(super) fn next(&mut self, held: &[u8], begin: u64, marks: &mut Marks) -> Next {
        let head = match Head::read(held) {
            Ok(head) => head,
            Err(wanted) if wanted <= MAX_HEAD => return Next::More(wanted),
            Err(_) => return Next::Failed,
        };
        if begin == 0 && head.id != EBML {
            return Next::Failed;
        }
        match (head.id, self.has_header) {
            (CLUSTER, _) => self.cluster(begin, marks),
            (SEGMENT, false) => {
                self.header.extend_from_slice(&held[..head.head]);
                Next::Element { after: 0 }
            }
            (_, false) => self.extend_header(held, head),
            (SIMPLE_BLOCK | BLOCK_GROUP, true) => self.block(held, head, marks),
            (_, true) => match head.body {
                Some(body) => Next::Element { after: body },
                None => Next::Failed,
            },
        }
    }

    fn cluster(&mut self, begin: u64, marks: &mut Marks) -> Next {
        if !self.has_header {
            self.has_header = true;
            marks.header = Some(Bytes::from(std::mem::take(&mut self.header)));
        }
        marks.edge = Some(begin);
        self.cluster = Some(begin);
        if self.video.is_none() {
            marks.key = Some(begin);
        }
        // The elements of a cluster are parsed as if they followed it.
        Next::Element { after: 0 }
    }

    /// Appends a whole element to the header.
    fn extend_header(&mut self, held: &[u8], head: Head) -> Next {
        let Some(whole) = head.body.and_then(|body| body.checked_add(head.head as u64)) else {
            return Next::Failed;
        };
        if (held.len() as u64) < whole {
            return Next::More(usize::try_from(whole).unwrap_or(usize::MAX));
        }
        self.header.extend_from_slice(held);
        if self.header.len() > MAX_ELEMENT {
            return Next::Failed;
        }
        if head.id == TRACKS {
            self.video = find_video(&held[head.head..]);
        }
        Next::Element { after: 0 }
    }

    fn block(&mut self, held: &[u8], head: Head, marks: &mut Marks) -> Next {
        let Some(body) = head.body else { return Next::Failed };
        // Of a simple block: track, time and flags. Of a group: all of it, for its
        // references to other pictures.
        let wanted = match head.id {
            BLOCK_GROUP if body <= MAX_GROUP => body,
            BLOCK_GROUP => return Next::Element { after: body },
            _ => body.min(12),
        };
        let whole = head.head + wanted as usize;
        if held.len() < whole {
            return Next::More(whole);
        }
        if let (Some(cluster), Some(video)) = (self.cluster, self.video) {
            let content = &held[head.head..whole];
            let (track, is_key) = match head.id {
                SIMPLE_BLOCK => parse_simple_block(content),
                _ => parse_block_group(content),
            };
            if track == Some(video) {
                // Only at the first picture of a cluster can a viewer join.
                self.cluster = None;
                if is_key {
                    marks.key = Some(cluster);
                }
            }
        }
        match body.checked_sub(held.len() as u64 - head.head as u64) {
            Some(after) => Next::Element { after },
            None => Next::Failed,
        }
    }
}

impl Head {
    /// Parses identifier and length.
    ///
    /// # Errors
    /// The number of bytes that are needed.
    fn read(held: &[u8]) -> Result<Self, usize> {
        let first = *held.first().ok_or(1_usize)?;
        let id_length = first.leading_zeros() as usize + 1;
        if id_length > 4 {
            return Err(usize::MAX);
        }
        let second = *held.get(id_length).ok_or(id_length + 1)?;
        let head = id_length + second.leading_zeros() as usize + 1;
        if second == 0 {
            return Err(usize::MAX);
        }
        let length = held.get(id_length..head).ok_or(head)?;
        let (body, is_known) = number(length);
        let id = held[..id_length].iter().fold(0, |id, byte| id << 8 | u64::from(*byte));
        Ok(Self { id, head, body: is_known.then_some(body) })
    }
}

/// A number of variable length, and whether it is known: all ones mean unknown.
fn number(bytes: &[u8]) -> (u64, bool) {
    let marker = 0x80_u64.checked_shr(bytes.len() as u32 - 1).unwrap_or(0);
    let all = bytes.iter().fold(0, |all, byte| all << 8 | u64::from(*byte));
    let bits = 7 * bytes.len() as u32;
    let value = all & !(marker << (8 * (bytes.len() as u32 - 1)));
    (value, value != (1 << bits) - 1)
}

fn elements(mut body: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    std::iter::from_fn(move || {
        let head = Head::read(body).ok()?;
        let end = head.head.checked_add(usize::try_from(head.body?).ok()?)?;
        let content = body.get(head.head..end)?;
        body = &body[end..];
        Some((head.id, content))
    })
}

fn unsigned(bytes: &[u8]) -> u64 {
    bytes.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// The number of the first video track.
fn find_video(tracks: &[u8]) -> Option<u64> {
    let value =
        |entry, wanted| elements(entry).find(|(id, _)| *id == wanted).map(|(_, v)| unsigned(v));
    let mut entries = elements(tracks).filter(|(id, _)| *id == TRACK_ENTRY).map(|(_, entry)| entry);
    entries.find(|entry| value(entry, TRACK_TYPE) == Some(1)).and_then(|e| value(e, TRACK_NUMBER))
}

/// The track of a simple block, and its key frame flag.
fn parse_simple_block(block: &[u8]) -> (Option<u64>, bool) {
    let (track, rest) = track_of(block);
    (track, rest.get(2).is_some_and(|flags| flags & 0x80 != 0))
}

/// The track of a block group, and whether it is a key frame: it refers to no
/// other picture.
fn parse_block_group(body: &[u8]) -> (Option<u64>, bool) {
    let block = elements(body).find(|(id, _)| *id == BLOCK).map(|(_, block)| block);
    let track = block.and_then(|block| track_of(block).0);
    (track, !elements(body).any(|(id, _)| id == REFERENCE))
}

/// The track number, and the bytes after it.
fn track_of(block: &[u8]) -> (Option<u64>, &[u8]) {
    let length = block.first().map_or(9, |first| first.leading_zeros() as usize + 1);
    match block.get(..length) {
        Some(bytes) if length <= 8 => (Some(number(bytes).0), &block[length..]),
        Some(_) | None => (None, &[]),
    }
}
