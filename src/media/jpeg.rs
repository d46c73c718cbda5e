//! Whole JPEGs out of bytes in which they lie, whatever is between them
//! (ITU-T T.81, annex B): the parts of `multipart/x-mixed-replace`, or one
//! picture after the other.

use bytes::Bytes;

/// A picture that is longer is none.
const LONGEST: usize = 16 << 20;

const SOI: u8 = 0xd8;
const EOI: u8 = 0xd9;
const SOS: u8 = 0xda;

/// Looks for the next picture.
#[derive(Debug, Default)]
pub struct Finder {
    /// From the begin of a picture on, once there is one.
    held: Vec<u8>,
    /// So far the picture is understood.
    at: usize,
    /// Whether that is inside of a scan.
    is_scan: bool,
}

impl Finder {
    /// Takes more bytes, and gives the picture that they complete. What follows
    /// that one in `bytes` is left alone.
    pub fn push(&mut self, bytes: &[u8]) -> Option<Bytes> {
        self.held.extend_from_slice(bytes);
        loop {
            if self.at == 0 && !self.begin() {
                return None;
            }
            match self.walk() {
                Step::Whole(end) => {
                    let jpeg = Bytes::copy_from_slice(&self.held[..end]);
                    *self = Self::default();
                    return Some(jpeg);
                }
                Step::More if self.held.len() <= LONGEST => return None,
                Step::More | Step::Broken => {
                    // The next one may begin anywhere behind its first byte.
                    self.held.drain(..1);
                    (self.at, self.is_scan) = (0, false);
                }
            }
        }
    }

    /// Whether a picture has begun; lets go of what is before it.
    fn begin(&mut self) -> bool {
        let begin = self.held.windows(3).position(|three| three == [0xff, SOI, 0xff]);
        let before = begin.unwrap_or(self.held.len().saturating_sub(2));
        self.held.drain(..before);
        if begin.is_some() {
            self.at = 2;
        }
        begin.is_some()
    }

    fn walk(&mut self) -> Step {
        loop {
            if self.is_scan {
                let Some(found) = scan_end(&self.held[self.at..]) else {
                    // The last byte may be the first half of a marker.
                    self.at = self.held.len().saturating_sub(1).max(self.at);
                    return Step::More;
                };
                self.at += found;
                self.is_scan = false;
            }
            match self.held[self.at..] {
                [0xff, 0xff, ..] => self.at += 1,
                [0xff, EOI, ..] => return Step::Whole(self.at + 2),
                // They have no length.
                [0xff, 0x01 | 0xd0..=0xd7, ..] => self.at += 2,
                [0xff, 0x00 | SOI, ..] => return Step::Broken,
                [0xff, marker, high, low, ..] => {
                    let length = usize::from(u16::from_be_bytes([high, low]));
                    if length < 2 {
                        return Step::Broken;
                    }
                    if self.held.len() < self.at + 2 + length {
                        return Step::More;
                    }
                    self.at += 2 + length;
                    self.is_scan = marker == SOS;
                }
                [0xff] | [0xff, _] | [0xff, _, _] | [] => return Step::More,
                [_, ..] => return Step::Broken,
            }
        }
    }
}

enum Step {
    /// Up to here.
    Whole(usize),
    More,
    Broken,
}

/// Where the marker begins that ends a scan.
fn scan_end(scan: &[u8]) -> Option<usize> {
    let is_end = |two: &[u8]| two[0] == 0xff && !matches!(two[1], 0x00 | 0xd0..=0xd7 | 0xff);
    scan.windows(2).position(is_end)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With a thumbnail in it, as cameras write them.
    fn jpeg(fill: u8) -> Vec<u8> {
        let thumbnail = [0xff, SOI, 0xff, EOI];
        let mut jpeg = vec![0xff, SOI, 0xff, 0xe1, 0, 6];
        jpeg.extend(thumbnail);
        jpeg.extend([0xff, SOS, 0, 3, 1]);
        jpeg.extend([fill, 0xff, 0x00, 0xff, 0xd3, fill, 0xff, EOI]);
        jpeg
    }

    #[test]
    fn a_picture_is_found_whole_in_whatever_pieces_it_comes() {
        let head = b"\r\n--x\r\nContent-Type: image/jpeg\r\n\r\n";
        let stream = [&jpeg(1)[9..], head, &jpeg(2), head, &jpeg(3)].concat();
        for size in 1..stream.len() {
            let mut finder = Finder::default();
            let found = stream.chunks(size).find_map(|part| finder.push(part));
            assert_eq!(found.unwrap(), jpeg(2), "in pieces of {size}");
        }
    }

    #[test]
    fn what_is_broken_is_left_for_the_next() {
        let mut stream = vec![0xff, SOI, 0xff, 0xe0, 0, 0, 7];
        stream.extend(jpeg(4));
        assert_eq!(Finder::default().push(&stream).unwrap(), jpeg(4));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_survived_and_what_is_found_is_framed(
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
