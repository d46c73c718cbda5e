//! Finds where a viewer may join a byte stream, by parsing its container.
//!
//! A scan parses a container incrementally and keeps three marks: the header,
//! which every decoder needs, the newest element boundary, and the newest intra
//! frame. It changes no byte and buffers at most one element. For a container
//! that it cannot parse there are no marks.

mod flv;
mod mp4;
mod ts;
mod wav;
mod webm;

use bytes::Bytes;

/// Maximum bytes of a header, and of an element that must be parsed whole. A
/// stream with a longer one has no marks.
const MAX_ELEMENT: usize = 1 << 20;

/// Bytes needed to detect the container.
const SIGNATURE: usize = 8;

/// The supported containers.
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

/// Properties of the bytes of a run so far. Positions count from its beginning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// The bytes that a decoder needs first.
    pub header: Option<Bytes>,
    /// The newest position where an element begins.
    pub edge: Option<u64>,
    /// The newest position from which video can be decoded; the edge for a
    /// stream without video.
    pub key: Option<u64>,
}

impl Container {
    /// The container with this content type; parameters are ignored.
    pub fn from_content_type(content_type: &str) -> Option<Self> {
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

/// Parses the bytes of one run.
#[derive(Debug)]
pub struct Scan {
    parser: Parser,
    /// The beginning of the current element.
    held: Vec<u8>,
    /// Length of `held` at which the parser is called again.
    wanted: usize,
    /// Bytes to skip before the next element.
    skip: u64,
    /// Bytes so far.
    position: u64,
    has_failed: bool,
    marks: Marks,
}

#[derive(Debug)]
enum Parser {
    /// To be detected from the first bytes.
    Unknown,
    Ts(ts::Ts),
    Mp4(mp4::Mp4),
    Webm(webm::Webm),
    Flv(flv::Flv),
    Wav(wav::Wav),
}

impl Parser {
    fn new(container: Container) -> Self {
        match container {
            Container::Ts => Parser::Ts(ts::Ts::default()),
            Container::Mp4 => Parser::Mp4(mp4::Mp4::default()),
            Container::Webm => Parser::Webm(webm::Webm::default()),
            Container::Flv => Parser::Flv(flv::Flv::default()),
            Container::Wav => Parser::Wav(wav::Wav::default()),
        }
    }

    /// Detects the container by its signature.
    fn detect(first: &[u8]) -> Option<Self> {
        let container = match first {
            [0x47, ..] => Container::Ts,
            [_, _, _, _, b'f', b't', b'y', b'p', ..] => Container::Mp4,
            [0x1a, 0x45, 0xdf, 0xa3, ..] => Container::Webm,
            [b'F', b'L', b'V', ..] => Container::Flv,
            [b'R', b'I', b'F', b'F', ..] => Container::Wav,
            _ => return None,
        };
        Some(Self::new(container))
    }
}

/// The result of parsing the beginning of an element.
#[derive(Debug)]
enum Next {
    /// The parser needs this many bytes of the element, from its beginning.
    More(usize),
    /// The next element begins `after` bytes behind those parsed.
    Element { after: u64 },
    /// The rest of the run cannot be parsed.
    Failed,
}

impl Scan {
    /// Without a container, it is detected from the first bytes.
    pub fn new(container: Option<Container>) -> Self {
        Self {
            parser: container.map_or(Parser::Unknown, Parser::new),
            held: Vec::new(),
            wanted: 1,
            skip: 0,
            position: 0,
            has_failed: false,
            marks: Marks::default(),
        }
    }

    /// The marks so far; none once the bytes cannot be parsed.
    pub fn marks(&self) -> &Marks {
        &self.marks
    }

    /// Parses the next bytes of the run.
    pub fn push(&mut self, mut data: &[u8]) {
        while !data.is_empty() && !self.has_failed {
            let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(data.len());
            self.skip -= skipped as u64;
            self.position += skipped as u64;
            data = &data[skipped..];
            let taken = (self.wanted - self.held.len()).min(data.len());
            self.held.extend_from_slice(&data[..taken]);
            self.position += taken as u64;
            data = &data[taken..];
            if self.held.len() == self.wanted {
                self.parse();
            }
        }
    }

    fn parse(&mut self) {
        if matches!(self.parser, Parser::Unknown) {
            if self.held.len() < SIGNATURE {
                self.wanted = SIGNATURE;
                return;
            }
            match Parser::detect(&self.held) {
                Some(parser) => self.start_with(parser),
                None => self.has_failed = true,
            }
            return;
        }
        let (held, begin) = (&self.held, self.position - self.held.len() as u64);
        let next = match &mut self.parser {
            Parser::Unknown => Next::Failed,
            Parser::Ts(parser) => parser.next(held, begin, &mut self.marks),
            Parser::Mp4(parser) => parser.next(held, begin, &mut self.marks),
            Parser::Webm(parser) => parser.next(held, begin, &mut self.marks),
            Parser::Flv(parser) => parser.next(held, begin, &mut self.marks),
            Parser::Wav(parser) => parser.next(held, begin, &mut self.marks),
        };
        match next {
            Next::More(wanted) if (self.held.len() + 1..=MAX_ELEMENT).contains(&wanted) => {
                self.wanted = wanted;
            }
            Next::Element { after } => {
                self.skip = after;
                self.held.clear();
                self.wanted = 1;
            }
            Next::More(_) | Next::Failed => {
                self.has_failed = true;
                self.held = Vec::new();
                self.marks = Marks::default();
            }
        }
    }
}

impl Scan {
    /// Parses the held bytes again with `parser`.
    fn start_with(&mut self, parser: Parser) {
        let first = std::mem::take(&mut self.held);
        (self.parser, self.wanted, self.position) = (parser, 1, 0);
        self.push(&first);
    }
}

/// A big-endian number of up to eight bytes; zero if `bytes` is too short.
fn big_endian(bytes: &[u8], at: usize, length: usize) -> u64 {
    let bytes = bytes.get(at..at + length).unwrap_or_default();
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests;
