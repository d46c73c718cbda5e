//! MPEG-TS: packets of 188 bytes, tables that name the video (ISO/IEC 13818-1).

use bytes::Bytes;

use super::{Marks, Next, big_endian};

const PACKET: usize = 188;
const SYNC: u8 = 0x47;

/// A program map that is spread over more packets than this is not looked for.
const MAP_PACKETS: usize = 8;

/// Stream types of pictures: MPEG-1, MPEG-2, MPEG-4, H.264, H.265, H.266, AVS.
const PICTURES: [u8; 8] = [0x01, 0x02, 0x10, 0x1b, 0x24, 0x33, 0x42, 0xd2];
const H264: u8 = 0x1b;

#[derive(Debug, Default)]
pub(super) struct Ts {
    /// Packets in a row that began where they should.
    in_step: u32,
    /// The packet of the program association table.
    association: Option<[u8; PACKET]>,
    map_pid: Option<u16>,
    /// The packets of a program map that is not complete yet.
    map: Vec<u8>,
    /// The bytes of that map.
    section: Vec<u8>,
    pictures: Pictures,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Pictures {
    #[default]
    Unknown,
    None,
    On {
        pid: u16,
        kind: u8,
    },
}

impl Ts {
    pub(super) fn next(&mut self, held: &[u8], begin: u64, marks: &mut Marks) -> Next {
        if held[0] != SYNC {
            self.in_step = 0;
            return Next::Element { after: 0 };
        }
        if held.len() < PACKET {
            // The very first byte counts as being in step: it usually is.
            if self.in_step > 0 || begin == 0 {
                self.enter(begin, marks);
            }
            return Next::More(PACKET);
        }
        if self.in_step > 0 || begin == 0 {
            let packet: &[u8; PACKET] = held.try_into().expect("a whole packet was asked for");
            self.packet(packet, begin, marks);
        }
        self.in_step = self.in_step.saturating_add(1);
        Next::Element { after: 0 }
    }

    fn enter(&self, begin: u64, marks: &mut Marks) {
        marks.edge = Some(begin);
        if self.pictures == Pictures::None {
            marks.key = Some(begin);
        }
    }

    fn packet(&mut self, packet: &[u8; PACKET], begin: u64, marks: &mut Marks) {
        let pid = (big_endian(packet, 1, 2) & 0x1fff) as u16;
        let starts = packet[1] & 0x40 != 0;
        let adaptation = if packet[3] & 0x20 != 0 { usize::from(packet[4]) + 1 } else { 0 };
        let payload = match packet[3] & 0x10 {
            0 => &[],
            _ => packet.get(4 + adaptation..).unwrap_or_default(),
        };
        if pid == 0 && starts {
            self.associate(packet, payload);
        } else if Some(pid) == self.map_pid {
            self.extend_map(packet, payload, starts, marks);
        } else if let Pictures::On { pid: video, kind } = self.pictures
            && video == pid
            && starts
        {
            let may_be_entered = adaptation > 1 && packet[5] & 0x40 != 0;
            if may_be_entered || (kind == H264 && has_parameters(payload)) {
                marks.key = Some(begin);
            }
        }
    }

    /// The first program of the table.
    fn associate(&mut self, packet: &[u8; PACKET], payload: &[u8]) {
        let Some(section) = section(payload) else { return };
        let entries = section.get(8..section.len().saturating_sub(4)).unwrap_or_default();
        let program = entries.chunks_exact(4).find(|entry| big_endian(entry, 0, 2) != 0);
        if let (0, Some(program)) = (section[0], program) {
            let pid = (big_endian(program, 2, 2) & 0x1fff) as u16;
            if self.map_pid != Some(pid) {
                (self.map_pid, self.pictures) = (Some(pid), Pictures::Unknown);
            }
            self.association = Some(*packet);
        }
    }

    fn extend_map(&mut self, packet: &[u8], payload: &[u8], starts: bool, marks: &mut Marks) {
        if starts {
            self.map.clear();
            self.section.clear();
            // A pointer says how much of the last section comes first.
            let Some(after) = payload.get(1 + usize::from(payload.first().copied().unwrap_or(0))..)
            else {
                return;
            };
            self.section.extend_from_slice(after);
        } else if self.map.is_empty() || self.map.len() >= MAP_PACKETS * PACKET {
            return;
        } else {
            self.section.extend_from_slice(payload);
        }
        self.map.extend_from_slice(packet);
        let length = 3 + (big_endian(&self.section, 1, 2) & 0x0fff) as usize;
        if self.section.len() >= length && self.section.first() == Some(&2) {
            self.pictures = pictures_of(&self.section[..length]);
            if let Some(association) = &self.association {
                let header = [association.as_slice(), &self.map].concat();
                if marks.header.as_deref() != Some(header.as_slice()) {
                    marks.header = Some(Bytes::from(header));
                }
            }
            self.map.clear();
        }
    }
}

/// The section that begins in this payload, if it ends there as well.
fn section(payload: &[u8]) -> Option<&[u8]> {
    let section = payload.get(1 + usize::from(*payload.first()?)..)?;
    let length = 3 + (big_endian(section, 1, 2) & 0x0fff) as usize;
    section.get(..length).filter(|section| section.len() >= 12)
}

/// The first track of pictures in a program map.
fn pictures_of(section: &[u8]) -> Pictures {
    let skipped = 12 + (big_endian(section, 10, 2) & 0x0fff) as usize;
    let mut rest = section.get(skipped..section.len().saturating_sub(4)).unwrap_or_default();
    while let [kind, high, low, ..] = *rest {
        if PICTURES.contains(&kind) {
            return Pictures::On { pid: u16::from_be_bytes([high & 0x1f, low]), kind };
        }
        let information = (big_endian(rest, 3, 2) & 0x0fff) as usize;
        rest = rest.get(5 + information..).unwrap_or_default();
    }
    Pictures::None
}

/// Whether a sequence parameter set or an IDR picture begins in these bytes:
/// some encoders do not set the indicator.
fn has_parameters(payload: &[u8]) -> bool {
    let begins = |window: &[u8]| window[..3] == [0, 0, 1] && matches!(window[3] & 0x1f, 5 | 7);
    payload.windows(4).any(begins)
}
