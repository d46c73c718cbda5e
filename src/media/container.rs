//! Where a joiner may enter bytes that livebox only passes on.
//!
//! A scan looks at a container while it goes by and remembers three things: the
//! header without which nothing can be decoded, the newest place where an
//! element begins, and the newest intra frame. It changes no byte and holds at
//! most one element. What it does not understand it leaves alone.

mod flv;
mod mp4;
mod ts;
mod wav;
mod webm;

use bytes::Bytes;

/// No header or element that is looked into is longer; a stream with a longer
/// one is passed on without its marks.
const LONGEST: usize = 1 << 20;

/// So many bytes tell one container from another.
const FIRST: usize = 8;

/// The containers that are understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    /// MPEG-TS, ISO/IEC 13818-1.
    Ts,
    /// Fragmented MP4, ISO/IEC 14496-12.
    Mp4,
    /// WebM and Matroska, RFC 9559.
    Webm,
    /// FLV, Adobe's specification 10.1, annex E.
    Flv,
    Wav,
}

/// What is known of a run's bytes so far. Places are counted from its begin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// What a decoder needs first.
    pub header: Option<Bytes>,
    /// The newest place where an element begins.
    pub edge: Option<u64>,
    /// The newest place from which pictures can be decoded; the edge, where
    /// there are no pictures.
    pub key: Option<u64>,
}

impl Container {
    /// The container that this content type means.
    pub fn of(content_type: &str) -> Option<Self> {
        let kind = content_type.split(';').next().unwrap_or_default().trim();
        match kind.to_ascii_lowercase().as_str() {
            "video/mp2t" => Some(Container::Ts),
            "video/mp4" | "audio/mp4" => Some(Container::Mp4),
            "video/webm" | "audio/webm" | "video/x-matroska" | "audio/x-matroska" => {
                Some(Container::Webm)
            }
            "video/x-flv" => Some(Container::Flv),
            "audio/wav" | "audio/x-wav" | "audio/vnd.wave" => Some(Container::Wav),
            _ => None,
        }
    }
}

/// Looks at the bytes of one run.
#[derive(Debug)]
pub struct Scan {
    grammar: Grammar,
    /// The element that is being looked into, as far as it is there.
    held: Vec<u8>,
    /// So many bytes of it must be there before it is looked at again.
    wanted: usize,
    /// So many bytes pass unseen before the next element.
    skip: u64,
    /// Bytes so far.
    at: u64,
    is_lost: bool,
    marks: Marks,
}

#[derive(Debug)]
enum Grammar {
    /// The first bytes will tell.
    Unknown,
    Ts(ts::Ts),
    Mp4(mp4::Mp4),
    Webm(webm::Webm),
    Flv(flv::Flv),
    Wav(wav::Wav),
}

impl Grammar {
    fn of(container: Container) -> Self {
        match container {
            Container::Ts => Grammar::Ts(ts::Ts::default()),
            Container::Mp4 => Grammar::Mp4(mp4::Mp4::default()),
            Container::Webm => Grammar::Webm(webm::Webm::default()),
            Container::Flv => Grammar::Flv(flv::Flv::default()),
            Container::Wav => Grammar::Wav(wav::Wav::default()),
        }
    }

    /// By the bytes that each container begins with.
    fn told_by(first: &[u8]) -> Option<Self> {
        let container = match first {
            [0x47, ..] => Container::Ts,
            [_, _, _, _, b'f', b't', b'y', b'p', ..] => Container::Mp4,
            [0x1a, 0x45, 0xdf, 0xa3, ..] => Container::Webm,
            [b'F', b'L', b'V', ..] => Container::Flv,
            [b'R', b'I', b'F', b'F', ..] => Container::Wav,
            _ => return None,
        };
        Some(Self::of(container))
    }
}

/// What a grammar says of the bytes that are there of an element.
#[derive(Debug)]
enum Next {
    /// It must see so many bytes of it, those that are there included.
    More(usize),
    /// So many bytes after those it has seen, the next element begins.
    Element { after: u64 },
    /// It understands nothing more of this run.
    Lost,
}

impl Scan {
    /// Where the container is not given, the first bytes tell it.
    pub fn new(container: Option<Container>) -> Self {
        Self {
            grammar: container.map_or(Grammar::Unknown, Grammar::of),
            held: Vec::new(),
            wanted: 1,
            skip: 0,
            at: 0,
            is_lost: false,
            marks: Marks::default(),
        }
    }

    /// What is known so far. After a scan has lost its way, nothing.
    pub fn marks(&self) -> &Marks {
        &self.marks
    }

    /// Looks at the next bytes of the run.
    pub fn push(&mut self, mut data: &[u8]) {
        while !data.is_empty() && !self.is_lost {
            let passed = usize::try_from(self.skip).unwrap_or(usize::MAX).min(data.len());
            self.skip -= passed as u64;
            self.at += passed as u64;
            data = &data[passed..];
            let taken = (self.wanted - self.held.len()).min(data.len());
            self.held.extend_from_slice(&data[..taken]);
            self.at += taken as u64;
            data = &data[taken..];
            if self.held.len() == self.wanted {
                self.look();
            }
        }
    }

    fn look(&mut self) {
        if matches!(self.grammar, Grammar::Unknown) {
            if self.held.len() < FIRST {
                self.wanted = FIRST;
                return;
            }
            match Grammar::told_by(&self.held) {
                Some(grammar) => self.begin(grammar),
                None => self.is_lost = true,
            }
            return;
        }
        let (held, begin) = (&self.held, self.at - self.held.len() as u64);
        let next = match &mut self.grammar {
            Grammar::Unknown => Next::Lost,
            Grammar::Ts(grammar) => grammar.next(held, begin, &mut self.marks),
            Grammar::Mp4(grammar) => grammar.next(held, begin, &mut self.marks),
            Grammar::Webm(grammar) => grammar.next(held, begin, &mut self.marks),
            Grammar::Flv(grammar) => grammar.next(held, begin, &mut self.marks),
            Grammar::Wav(grammar) => grammar.next(held, begin, &mut self.marks),
        };
        match next {
            Next::More(wanted) if (self.held.len() + 1..=LONGEST).contains(&wanted) => {
                self.wanted = wanted;
            }
            Next::Element { after } => {
                self.skip = after;
                self.held.clear();
                self.wanted = 1;
            }
            Next::More(_) | Next::Lost => {
                self.is_lost = true;
                self.held = Vec::new();
                self.marks = Marks::default();
            }
        }
    }
}

impl Scan {
    /// Looks at what is there already as this container.
    fn begin(&mut self, grammar: Grammar) {
        let first = std::mem::take(&mut self.held);
        (self.grammar, self.wanted, self.at) = (grammar, 1, 0);
        self.push(&first);
    }
}

/// A big-endian number of up to eight bytes; zero where they are not there.
fn big_endian(bytes: &[u8], at: usize, length: usize) -> u64 {
    let there = bytes.get(at..at + length).unwrap_or_default();
    there.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests;
