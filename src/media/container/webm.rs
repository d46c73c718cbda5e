//! WebM and Matroska: EBML elements, clusters of blocks (RFC 8794, RFC 9559).

use bytes::Bytes;

use super::{LONGEST, Marks, Next};

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

/// Identifier and length at their longest.
const LONGEST_HEAD: usize = 12;

/// No block of pictures that is looked for lies in a longer group.
const LONGEST_GROUP: u64 = 512 << 10;

#[derive(Debug, Default)]
pub(super) struct Webm {
    header: Vec<u8>,
    is_announced: bool,
    /// The track of pictures, if there is one.
    pictures: Option<u64>,
    /// Where the cluster begins whose first picture is looked for.
    cluster: Option<u64>,
}

/// The begin of an element.
#[derive(Clone, Copy, Debug)]
struct Head {
    id: u64,
    /// Bytes of identifier and length.
    head: usize,
    /// Nothing where it is not known: the element ends where another begins.
    body: Option<u64>,
}

impl Webm {
    pub(super) fn next(&mut self, held: &[u8], begin: u64, marks: &mut Marks) -> Next {
        let head = match Head::read(held) {
            Ok(head) => head,
            Err(wanted) if wanted <= LONGEST_HEAD => return Next::More(wanted),
            Err(_) => return Next::Lost,
        };
        if begin == 0 && head.id != EBML {
            return Next::Lost;
        }
        match (head.id, self.is_announced) {
            (CLUSTER, _) => self.enter(begin, marks),
            (SEGMENT, false) => {
                self.header.extend_from_slice(&held[..head.head]);
                Next::Element { after: 0 }
            }
            (_, false) => self.gather(held, head),
            (SIMPLE_BLOCK | BLOCK_GROUP, true) => self.block(held, head, marks),
            (_, true) => match head.body {
                Some(body) => Next::Element { after: body },
                None => Next::Lost,
            },
        }
    }

    fn enter(&mut self, begin: u64, marks: &mut Marks) -> Next {
        if !self.is_announced {
            self.is_announced = true;
            marks.header = Some(Bytes::from(std::mem::take(&mut self.header)));
        }
        marks.edge = Some(begin);
        self.cluster = Some(begin);
        if self.pictures.is_none() {
            marks.key = Some(begin);
        }
        // What is inside is looked at as if it stood beside it.
        Next::Element { after: 0 }
    }

    /// An element of the header, whole.
    fn gather(&mut self, held: &[u8], head: Head) -> Next {
        let Some(whole) = head.body.and_then(|body| body.checked_add(head.head as u64)) else {
            return Next::Lost;
        };
        if (held.len() as u64) < whole {
            return Next::More(usize::try_from(whole).unwrap_or(usize::MAX));
        }
        self.header.extend_from_slice(held);
        if self.header.len() > LONGEST {
            return Next::Lost;
        }
        if head.id == TRACKS {
            self.pictures = pictures_of(&held[head.head..]);
        }
        Next::Element { after: 0 }
    }

    fn block(&mut self, held: &[u8], head: Head, marks: &mut Marks) -> Next {
        let Some(body) = head.body else { return Next::Lost };
        // Track, time and flags; of a group whether it refers to another picture.
        let wanted = match head.id {
            BLOCK_GROUP if body <= LONGEST_GROUP => body,
            BLOCK_GROUP => return Next::Element { after: body },
            _ => body.min(12),
        };
        let whole = head.head + wanted as usize;
        if held.len() < whole {
            return Next::More(whole);
        }
        if let (Some(cluster), Some(own)) = (self.cluster, self.pictures) {
            let inside = &held[head.head..whole];
            let (track, is_key) = match head.id {
                SIMPLE_BLOCK => simple(inside),
                _ => group(inside),
            };
            if track == Some(own) {
                // Only the first picture of a cluster is where one can enter.
                self.cluster = None;
                if is_key {
                    marks.key = Some(cluster);
                }
            }
        }
        match body.checked_sub(held.len() as u64 - head.head as u64) {
            Some(after) => Next::Element { after },
            None => Next::Lost,
        }
    }
}

impl Head {
    /// The begin of an element, or how many bytes are needed for it.
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

/// A number of variable length, and whether it is one: all ones are none.
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
        let inside = body.get(head.head..end)?;
        body = &body[end..];
        Some((head.id, inside))
    })
}

fn unsigned(bytes: &[u8]) -> u64 {
    bytes.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn pictures_of(tracks: &[u8]) -> Option<u64> {
    let value =
        |entry, wanted| elements(entry).find(|(id, _)| *id == wanted).map(|(_, v)| unsigned(v));
    let mut entries = elements(tracks).filter(|(id, _)| *id == TRACK_ENTRY).map(|(_, entry)| entry);
    entries.find(|entry| value(entry, TRACK_TYPE) == Some(1)).and_then(|e| value(e, TRACK_NUMBER))
}

/// The track of a block, and whether it is marked as one to enter at.
fn simple(block: &[u8]) -> (Option<u64>, bool) {
    let (track, rest) = track_of(block);
    (track, rest.get(2).is_some_and(|flags| flags & 0x80 != 0))
}

/// The same of a group: it may be entered at where it refers to no other.
fn group(body: &[u8]) -> (Option<u64>, bool) {
    let block = elements(body).find(|(id, _)| *id == BLOCK).map(|(_, block)| block);
    let track = block.and_then(|block| track_of(block).0);
    (track, !elements(body).any(|(id, _)| id == REFERENCE))
}

/// The track number, and what follows it.
fn track_of(block: &[u8]) -> (Option<u64>, &[u8]) {
    let length = block.first().map_or(9, |first| first.leading_zeros() as usize + 1);
    match block.get(..length) {
        Some(bytes) if length <= 8 => (Some(number(bytes).0), &block[length..]),
        Some(_) | None => (None, &[]),
    }
}
