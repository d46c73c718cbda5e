//! MPEG-TS: packets of 188 bytes and tables that list the tracks (ISO/IEC 13818-1).

use bytes::Bytes;

use super::{Marks, Next, big_endian};

const PACKET: usize = 188;
const SYNC: u8 = 0x47;

/// Maximum packets of a program map table.
const MAX_PMT_PACKETS: usize = 8;

/// Stream types of video: MPEG-1, MPEG-2, MPEG-4, H.264, H.265, H.266, AVS.
const VIDEO_TYPES: [u8; 8] = [0x01, 0x02, 0x10, 0x1b, 0x24, 0x33, 0x42, 0xd2];
const H264: u8 = 0x1b;

#[derive(Debug, Default)]
pub(super) struct Ts {
    /// Consecutive packets that began with a sync byte.
    synced_packets: u32,
    /// The packet of the program association table.
    pat: Option<[u8; PACKET]>,
    pmt_pid: Option<u16>,
    /// The packets of an incomplete program map table.
    pmt_packets: Vec<u8>,
    /// The section bytes of that table.
    section: Vec<u8>,
    video: Video,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Video {
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
            self.synced_packets = 0;
            return Next::Element { after: 0 };
        }
        if held.len() < PACKET {
            // The first byte of a run is taken for a packet boundary: it usually is.
            if self.synced_packets > 0 || begin == 0 {
                self.mark_edge(begin, marks);
            }
            return Next::More(PACKET);
        }
        if self.synced_packets > 0 || begin == 0 {
            let packet: &[u8; PACKET] = held.try_into().expect("a whole packet was requested");
            self.packet(packet, begin, marks);
        }
        self.synced_packets = self.synced_packets.saturating_add(1);
        Next::Element { after: 0 }
    }

    fn mark_edge(&self, begin: u64, marks: &mut Marks) {
        marks.edge = Some(begin);
        if self.video == Video::None {
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
            self.program_association(packet, payload);
        } else if Some(pid) == self.pmt_pid {
            self.program_map(packet, payload, starts, marks);
        } else if let Video::On { pid: video, kind } = self.video
            && video == pid
            && starts
        {
            let is_random_access = adaptation > 1 && packet[5] & 0x40 != 0;
            if is_random_access || (kind == H264 && has_parameters(payload)) {
                marks.key = Some(begin);
            }
        }
    }

    /// Selects the first program of the table.
    fn program_association(&mut self, packet: &[u8; PACKET], payload: &[u8]) {
        let Some(section) = section(payload) else { return };
        let entries = section.get(8..section.len().saturating_sub(4)).unwrap_or_default();
        let program = entries.chunks_exact(4).find(|entry| big_endian(entry, 0, 2) != 0);
        if let (0, Some(program)) = (section[0], program) {
            let pid = (big_endian(program, 2, 2) & 0x1fff) as u16;
            if self.pmt_pid != Some(pid) {
                (self.pmt_pid, self.video) = (Some(pid), Video::Unknown);
            }
            self.pat = Some(*packet);
        }
    }

    fn program_map(&mut self, packet: &[u8], payload: &[u8], starts: bool, marks: &mut Marks) {
        if starts {
            self.pmt_packets.clear();
            self.section.clear();
            // The pointer field: bytes of the last section that come first.
            let Some(after) = payload.get(1 + usize::from(payload.first().copied().unwrap_or(0))..)
            else {
                return;
            };
            self.section.extend_from_slice(after);
        } else if self.pmt_packets.is_empty() || self.pmt_packets.len() >= MAX_PMT_PACKETS * PACKET
        {
            return;
        } else {
            self.section.extend_from_slice(payload);
        }
        self.pmt_packets.extend_from_slice(packet);
        let length = 3 + (big_endian(&self.section, 1, 2) & 0x0fff) as usize;
        if self.section.len() >= length && self.section.first() == Some(&2) {
            self.video = find_video(&self.section[..length]);
            if let Some(pat) = &self.pat {
                let header = [pat.as_slice(), &self.pmt_packets].concat();
                if marks.header.as_deref() != Some(header.as_slice()) {
                    marks.header = Some(Bytes::from(header));
                }
            }
            self.pmt_packets.clear();
        }
    }
}

/// The section that begins in this payload, if it is complete.
fn section(payload: &[u8]) -> Option<&[u8]> {
    let section = payload.get(1 + usize::from(*payload.first()?)..)?;
    let length = 3 + (big_endian(section, 1, 2) & 0x0fff) as usize;
    section.get(..length).filter(|section| section.len() >= 12)
}

/// The first video track of a program map.
fn find_video(section: &[u8]) -> Video {
    let skipped = 12 + (big_endian(section, 10, 2) & 0x0fff) as usize;
    let mut rest = section.get(skipped..section.len().saturating_sub(4)).unwrap_or_default();
    while let [kind, high, low, ..] = *rest {
        if VIDEO_TYPES.contains(&kind) {
            return Video::On { pid: u16::from_be_bytes([high & 0x1f, low]), kind };
        }
        let information = (big_endian(rest, 3, 2) & 0x0fff) as usize;
        rest = rest.get(5 + information..).unwrap_or_default();
    }
    Video::None
}

/// Whether a sequence parameter set or an IDR picture begins in these bytes:
/// some encoders do not set the random access indicator.
fn has_parameters(payload: &[u8]) -> bool {
    let begins = |window: &[u8]| window[..3] == [0, 0, 1] && matches!(window[3] & 0x1f, 5 | 7);
    payload.windows(4).any(begins)
}
