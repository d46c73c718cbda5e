//! Finds whole JPEGs in a byte stream, independent of the bytes between them
//! (ITU-T T.81, annex B): the parts of `multipart/x-mixed-replace`, or
//! concatenated pictures.

use bytes::Bytes;

/// Maximum bytes of a picture.
const MAX_PICTURE: usize = 16 << 20;

const SOI: u8 = 0xd8;
const EOI: u8 = 0xd9;
const SOS: u8 = 0xda;

/// Finds the next picture.
#[derive(Debug, Default)]
pub struct Finder {
    /// The bytes from the beginning of a picture on.
    held: Vec<u8>,
    /// Bytes of `held` that are parsed.
    parsed: usize,
    /// Whether `parsed` is inside a scan.
    is_in_scan: bool,
}

impl Finder {
    /// Appends bytes; returns the picture that they complete. The rest of
    /// `bytes` is discarded then.
    pub fn push(&mut self, bytes: &[u8]) -> Option<Bytes> {
        self.held.extend_from_slice(bytes);
        loop {
            if self.parsed == 0 && !self.find_start() {
                return None;
            }
            match self.parse() {
                Step::Whole(end) => {
                    let jpeg = Bytes::copy_from_slice(&self.held[..end]);
                    *self = Self::default();
                    return Some(jpeg);
                }
                Step::More if self.held.len() <= MAX_PICTURE => return None,
                Step::More | Step::Malformed => {
                    // Another picture may begin after the first byte of this one.
                    self.held.drain(..1);
                    (self.parsed, self.is_in_scan) = (0, false);
                }
            }
        }
    }

    /// Whether a picture has begun; discards the bytes before it.
    fn find_start(&mut self) -> bool {
        let begin = self.held.windows(3).position(|three| three == [0xff, SOI, 0xff]);
        let before = begin.unwrap_or(self.held.len().saturating_sub(2));
        self.held.drain(..before);
        if begin.is_some() {
            self.parsed = 2;
        }
        begin.is_some()
    }

    fn parse(&mut self) -> Step {
        loop {
            if self.is_in_scan {
                let Some(found) = scan_end(&self.held[self.parsed..]) else {
                    // The last byte may be the first half of a marker.
                    self.parsed = self.held.len().saturating_sub(1).max(self.parsed);
                    return Step::More;
                };
                self.parsed += found;
                self.is_in_scan = false;
            }
            match self.held[self.parsed..] {
                [0xff, 0xff, ..] => self.parsed += 1,
                [0xff, EOI, ..] => return Step::Whole(self.parsed + 2),
                // Markers without a length.
                [0xff, 0x01 | 0xd0..=0xd7, ..] => self.parsed += 2,
                [0xff, 0x00 | SOI, ..] => return Step::Malformed,
                [0xff, marker, high, low, ..] => {
                    let length = usize::from(u16::from_be_bytes([high, low]));
                    if length < 2 {
                        return Step::Malformed;
                    }
                    if self.held.len() < self.parsed + 2 + length {
                        return Step::More;
                    }
                    self.parsed += 2 + length;
                    self.is_in_scan = marker == SOS;
                }
                [0xff] | [0xff, _] | [0xff, _, _] | [] => return Step::More,
                [_, ..] => return Step::Malformed,
            }
        }
    }
}

enum Step {
    /// The picture is complete and has this many bytes.
    Whole(usize),
    More,
    Malformed,
}

/// Position of the marker that ends a scan.
fn scan_end(scan: &[u8]) -> Option<usize> {
    let is_end = |two: &[u8]| two[0] == 0xff && !matches!(two[1], 0x00 | 0xd0..=0xd7 | 0xff);
    scan.windows(2).position(is_end)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A picture with an embedded thumbnail, as cameras write them.
    fn jpeg(fill: u8) -> Vec<u8> {
        let thumbnail = [0xff, SOI, 0xff, EOI];
        let mut jpeg = vec![0xff, SOI, 0xff, 0xe1, 0, 6];
        jpeg.extend(thumbnail);
        jpeg.extend([0xff, SOS, 0, 3, 1]);
        jpeg.extend([fill, 0xff, 0x00, 0xff, 0xd3, fill, 0xff, EOI]);
        jpeg
    }

    #[test]
    fn a_picture_is_found_wherever_reads_end() {
        let head = b"\r\n--x\r\nContent-Type: image/jpeg\r\n\r\n";
        let stream = [&jpeg(1)[9..], head, &jpeg(2), head, &jpeg(3)].concat();
        for size in 1..stream.len() {
            let mut finder = Finder::default();
            let found = stream.chunks(size).find_map(|part| finder.push(part));
            assert_eq!(found.unwrap(), jpeg(2), "in pieces of {size}");
        }
    }

    #[test]
    fn a_malformed_picture_is_skipped() {
        let mut stream = vec![0xff, SOI, 0xff, 0xe0, 0, 0, 7];
        stream.extend(jpeg(4));
        assert_eq!(Finder::default().push(&stream).unwrap(), jpeg(4));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_cause_a_panic_and_every_picture_has_its_markers(
            parts in proptest::collection::vec(proptest::collection::vec(
                proptest::prop_oneof![Just(0xffu8), Just(SOI), Just(EOI), Just(SOS), any::<u8>()],
                0..40,
            ), 0..20)
        ) {
            let mut finder = Finder::default();
            for part in parts {
                if let Some(found) = finder.push(&part) {
                    proptest::prop_assert!(found.starts_with(&[0xff, SOI]) && found.ends_with(&[0xff, EOI]));
                }
            }
        }
    }

    use proptest::prelude::{Just, any};
}
