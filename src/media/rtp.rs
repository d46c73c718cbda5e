//! Packages chunks as RTP: H.264 (RFC 6184) and AAC (RFC 3640).
//!
//! A chunk's packets are written once, framed for an RTSP connection (RFC 2326,
//! section 10.12); senders of datagrams split the frames. Sequence numbers and
//! timestamps belong to the stream, not to a viewer, so that all viewers share
//! every byte.

use std::time::Duration;

use bytes::Bytes;
use rtp_types::{RtpPacketBuilder, RtpPacketMut};

use super::packager::{Chunk, Unit};
use crate::base::time::MediaTime;
use crate::model::unit::TrackKind;

/// Maximum bytes of a packet: with the headers of IPv6, UDP and a tunnel it
/// fits into Ethernet's 1500.
pub const MAX_PACKET: usize = 1400;

/// Ticks per second of video timestamps (RFC 6184, section 8.1).
pub const VIDEO_CLOCK: u32 = 90_000;

/// Dynamic payload types (RFC 3551, section 6), as in the session description.
pub const VIDEO_TYPE: u8 = 96;
pub const AUDIO_TYPE: u8 = 97;

/// Duration of a squeezed picture, in ticks of the video clock: 3.3 ms.
const SQUEEZED: u32 = 300;

/// Bytes of a frame's header: `$`, the channel, and two bytes of length.
const FRAME: usize = 4;
const HEADER: usize = 12;
const MAX_PAYLOAD: usize = MAX_PACKET - HEADER;

/// Fragmentation unit A: its type, and its two bytes before each part of a NAL
/// unit (RFC 6184, section 5.8).
const FU_A: u8 = 28;
const FU_HEADER: usize = 2;

/// An access unit header of 16 bits, after its length in bits (RFC 3640, section 3.3.6).
const AU_HEADER: usize = 4;

/// The default channel of a track's RTP packets; the next channel is for its
/// RTCP packets.
pub fn channel(track: TrackKind) -> u8 {
    match track {
        TrackKind::Video => 0,
        TrackKind::Audio => 2,
    }
}

/// The sequence numbers of a chunk's first packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers {
    source: u32,
    video: u16,
    audio: u16,
}

impl Numbers {
    /// The numbers of a stream's first chunk. `source` identifies the stream.
    pub fn first(source: u32) -> Self {
        Self { source, video: 0, audio: 0 }
    }

    /// The numbers of the chunk that follows `chunk`.
    pub fn after(self, chunk: &Chunk) -> Self {
        let count = |track| {
            let units = chunk.units.iter().filter(|unit| unit.track == track);
            units.map(|unit| count(chunk, unit)).sum::<usize>() as u16
        };
        Self {
            video: self.video.wrapping_add(count(TrackKind::Video)),
            audio: self.audio.wrapping_add(count(TrackKind::Audio)),
            ..self
        }
    }

    /// The synchronization source of a track (RFC 3550, section 5.1).
    pub fn source(self, track: TrackKind) -> u32 {
        match track {
            TrackKind::Video => self.source,
            TrackKind::Audio => !self.source,
        }
    }

    /// The sequence number of a track's first packet.
    pub fn sequence(self, track: TrackKind) -> u16 {
        match track {
            TrackKind::Video => self.video,
            TrackKind::Audio => self.audio,
        }
    }
}

/// The framed packets of one chunk: first the audio, then the video.
#[derive(Clone, Debug)]
pub struct Packets {
    bytes: Bytes,
    audio_len: usize,
    video: Load,
    audio: Load,
}

/// Counts for RTCP sender reports: packets, and bytes without their headers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    pub packets: u32,
    pub octets: u32,
}

impl Load {
    /// Counts framed packets.
    pub fn from_framed(framed: &[u8]) -> Self {
        packets(framed).fold(Self::default(), |load, (_, packet)| {
            load.plus(Self { packets: 1, octets: packet.len().saturating_sub(HEADER) as u32 })
        })
    }

    /// The sum; the counts wrap around (RFC 3550, section 6.4.1).
    pub fn plus(self, other: Self) -> Self {
        Self {
            packets: self.packets.wrapping_add(other.packets),
            octets: self.octets.wrapping_add(other.octets),
        }
    }
}

impl Packets {
    /// Writes the packets of `chunk`; `audio_clock` is the audio sample rate.
    pub fn new(chunk: &Chunk, numbers: Numbers, audio_clock: u32) -> Self {
        let mut bytes = Vec::with_capacity(chunk.bytes.len() + chunk.bytes.len() / 32 + 256);
        let mut audio_len = 0;
        let mut audio = TrackWriter::new(TrackKind::Audio, numbers, audio_clock);
        let mut video = TrackWriter::new(TrackKind::Video, numbers, VIDEO_CLOCK);
        for unit in &chunk.units {
            match unit.track {
                TrackKind::Audio => audio.write_audio(chunk, unit, &mut bytes),
                TrackKind::Video => video.write_video(chunk, unit, &mut bytes),
            }
            if unit.track == TrackKind::Audio {
                audio_len = bytes.len();
            }
        }
        let audio = Load::from_framed(&bytes[..audio_len]);
        let video = Load::from_framed(&bytes[audio_len..]);
        Self { bytes: bytes.into(), audio_len, video, audio }
    }

    /// The packets of both tracks.
    pub fn all(&self) -> Bytes {
        self.bytes.clone()
    }

    /// The counts of one track.
    pub fn load(&self, track: TrackKind) -> Load {
        match track {
            TrackKind::Audio => self.audio,
            TrackKind::Video => self.video,
        }
    }

    /// The packets of one track.
    pub fn of_track(&self, track: TrackKind) -> Bytes {
        match track {
            TrackKind::Audio => self.bytes.slice(..self.audio_len),
            TrackKind::Video => self.bytes.slice(self.audio_len..),
        }
    }
}

/// The RTP timestamp of `time` with a clock of so many ticks per second.
pub fn timestamp(time: MediaTime, clock: u32) -> u32 {
    // Wraps around, for video every 13 hours (RFC 3550, section 5.1).
    time.nearest_ticks(clock) as u32
}

/// Copies the packets of a picture with a squeezed timestamp: `left` more
/// pictures follow, the last of them at the timestamp `end`.
pub fn squeezed(framed: &[u8], end: u32, left: u32) -> Bytes {
    let time = end.wrapping_sub(left.saturating_mul(SQUEEZED));
    let mut bytes = framed.to_vec();
    for_each_packet(&mut bytes, |_, packet| {
        if let Ok(mut packet) = RtpPacketMut::parse(packet) {
            packet.set_timestamp(time);
        }
    });
    bytes.into()
}

/// The duration of `left` squeezed pictures.
pub fn squeezed_span(left: u32) -> Duration {
    Duration::from_secs(1) * left.saturating_mul(SQUEEZED) / VIDEO_CLOCK
}

/// Copies `framed` with its channels replaced by `map`.
pub fn map_channels(framed: &[u8], map: impl Fn(u8) -> u8) -> Bytes {
    let mut bytes = framed.to_vec();
    for_each_packet(&mut bytes, |channel, _| *channel = map(*channel));
    bytes.into()
}

/// The channel and the packet of each frame.
pub fn packets(framed: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut rest = framed;
    std::iter::from_fn(move || {
        let (head, tail) = rest.split_first_chunk::<FRAME>()?;
        let (packet, next) = tail.split_at_checked(length_in(head))?;
        rest = next;
        Some((head[1], packet))
    })
}

/// Frames a packet.
pub fn framed(channel: u8, packet: &[u8]) -> Bytes {
    let mut bytes = Vec::with_capacity(FRAME + packet.len());
    bytes.extend_from_slice(&frame(channel, packet.len()));
    bytes.extend_from_slice(packet);
    bytes.into()
}

fn for_each_packet(framed: &mut [u8], mut change: impl FnMut(&mut u8, &mut [u8])) {
    let mut rest = framed;
    while let Some((head, tail)) = rest.split_first_chunk_mut::<FRAME>()
        && let Some((packet, next)) = tail.split_at_mut_checked(length_in(head))
    {
        change(&mut head[1], packet);
        rest = next;
    }
}

fn length_in(head: &[u8; FRAME]) -> usize {
    usize::from(u16::from_be_bytes([head[2], head[3]]))
}

fn frame(channel: u8, length: usize) -> [u8; FRAME] {
    // Fits: `MAX_PACKET` bounds packets.
    let [high, low] = (length as u16).to_be_bytes();
    [b'$', channel, high, low]
}

/// The number of packets of a unit.
fn count(chunk: &Chunk, unit: &Unit) -> usize {
    let payload = chunk.payload(unit);
    match unit.track {
        TrackKind::Video => nals(&payload).map(packet_count).sum(),
        TrackKind::Audio => payload.len().div_ceil(MAX_PAYLOAD - AU_HEADER),
    }
}

/// The number of packets of a NAL unit.
fn packet_count(nal: &[u8]) -> usize {
    match nal.len() {
        0..=MAX_PAYLOAD => 1,
        length => (length - 1).div_ceil(MAX_PAYLOAD - FU_HEADER),
    }
}

/// The NAL units of a picture that has a length of four bytes before each.
fn nals(avcc: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = avcc;
    std::iter::from_fn(move || {
        let (length, tail) = rest.split_first_chunk::<4>()?;
        let (nal, next) = tail.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        rest = next;
        Some(nal)
    })
}

/// Writes one track's packets.
struct TrackWriter {
    channel: u8,
    payload_type: u8,
    source: u32,
    next: u16,
    clock: u32,
}

impl TrackWriter {
    fn new(track: TrackKind, numbers: Numbers, clock: u32) -> Self {
        let payload_type = match track {
            TrackKind::Video => VIDEO_TYPE,
            TrackKind::Audio => AUDIO_TYPE,
        };
        let (source, next) = (numbers.source(track), numbers.sequence(track));
        Self { channel: channel(track), payload_type, source, next, clock }
    }

    fn write_video(&mut self, chunk: &Chunk, unit: &Unit, bytes: &mut Vec<u8>) {
        let payload = chunk.payload(unit);
        let time = timestamp(unit.pts, self.clock);
        let mut nals = nals(&payload).peekable();
        while let Some(nal) = nals.next() {
            let is_last_nal = nals.peek().is_none();
            if nal.len() <= MAX_PAYLOAD {
                self.write([nal, &[]], time, is_last_nal, bytes);
            } else {
                self.write_fragments(nal, time, is_last_nal, bytes);
            }
        }
    }

    fn write_fragments(&mut self, nal: &[u8], time: u32, is_last_nal: bool, bytes: &mut Vec<u8>) {
        let Some((header, body)) = nal.split_first() else { return };
        let (indicator, kind) = (header & 0xe0 | FU_A, header & 0x1f);
        let mut parts = body.chunks(MAX_PAYLOAD - FU_HEADER).peekable();
        let mut start = 0x80;
        while let Some(part) = parts.next() {
            let is_last = parts.peek().is_none();
            let end = if is_last { 0x40 } else { 0 };
            let marker = is_last_nal && is_last;
            self.write([&[indicator, start | end | kind], part], time, marker, bytes);
            start = 0;
        }
    }

    /// Writes one frame per packet; a long frame in parts, each after the header
    /// of the whole frame.
    fn write_audio(&mut self, chunk: &Chunk, unit: &Unit, bytes: &mut Vec<u8>) {
        let payload = chunk.payload(unit);
        let time = timestamp(unit.pts, self.clock);
        // The size has 13 bits; AAC frames have at most 6 KiB.
        let [high, low] = ((payload.len().min(0x1fff) as u16) << 3).to_be_bytes();
        let mut parts = payload.chunks(MAX_PAYLOAD - AU_HEADER).peekable();
        while let Some(part) = parts.next() {
            let is_last = parts.peek().is_none();
            self.write([&[0, 16, high, low], part], time, is_last, bytes);
        }
    }

    fn write(&mut self, payload: [&[u8]; 2], time: u32, marker: bool, bytes: &mut Vec<u8>) {
        let length = HEADER + payload[0].len() + payload[1].len();
        bytes.extend_from_slice(&frame(self.channel, length));
        RtpPacketBuilder::<_, &[u8]>::new()
            .payload_type(self.payload_type)
            .sequence_number(self.next)
            .timestamp(time)
            .ssrc(self.source)
            .marker_bit(marker)
            .payload(payload[0])
            .payload(payload[1])
            .write_into_vec_unchecked(bytes);
        self.next = self.next.wrapping_add(1);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rtp_types::RtpPacket;

    use super::*;
    use crate::media::packager::{Expect, Packaged, Packager};
    use crate::media::samples::placeholders;
    use crate::model::unit::AccessUnit;

    const FRAME_SPAN: Duration = Duration::from_millis(40);

    fn chunks(count: u32) -> Vec<Arc<Chunk>> {
        let mut packager = Packager::new();
        packager.begin_run(MediaTime::default(), Expect { video: Some(FRAME_SPAN), audio: false });
        packaged(&mut packager, placeholders(MediaTime::ORIGIN, count, 15))
    }

    fn packaged(
        packager: &mut Packager,
        units: impl IntoIterator<Item = AccessUnit>,
    ) -> Vec<Arc<Chunk>> {
        let packaged = units.into_iter().flat_map(|unit| packager.push(unit).unwrap());
        packaged
            .filter_map(|item| match item {
                Packaged::Chunk(chunk) => Some(chunk),
                Packaged::Init(_) => None,
            })
            .collect()
    }

    /// The NAL units as a receiver reassembles them.
    fn received(framed: &[u8]) -> Vec<Vec<u8>> {
        let mut nals: Vec<Vec<u8>> = Vec::new();
        for (_, packet) in packets(framed) {
            assert!(packet.len() <= MAX_PACKET);
            let packet = RtpPacket::parse(packet).unwrap();
            match packet.payload() {
                [indicator, header, part @ ..] if indicator & 0x1f == FU_A => {
                    if header & 0x80 != 0 {
                        nals.push(vec![indicator & 0xe0 | header & 0x1f]);
                    }
                    nals.last_mut().unwrap().extend_from_slice(part);
                }
                whole => nals.push(whole.to_vec()),
            }
        }
        nals
    }

    #[test]
    fn a_receiver_reassembles_the_same_nal_units() {
        for chunk in chunks(20) {
            let packets = Packets::new(&chunk, Numbers::first(7), 48_000);
            let unit = &chunk.units[0];
            let sent: Vec<_> = nals(&chunk.payload(unit)).map(<[u8]>::to_vec).collect();
            assert_eq!(received(&packets.all()), sent);
        }
    }

    #[test]
    fn numbers_continue_from_chunk_to_chunk_and_the_marker_ends_a_picture() {
        let mut numbers = Numbers::first(7);
        let mut expected = 0u16;
        for chunk in chunks(40) {
            let framed = Packets::new(&chunk, numbers, 48_000).all();
            let packets: Vec<_> = packets(&framed).map(|(_, packet)| packet).collect();
            for (index, packet) in packets.iter().enumerate() {
                let packet = RtpPacket::parse(packet).unwrap();
                assert_eq!(packet.sequence_number(), expected);
                assert_eq!(packet.marker_bit(), index + 1 == packets.len());
                assert_eq!(packet.timestamp(), timestamp(chunk.units[0].pts, VIDEO_CLOCK));
                expected = expected.wrapping_add(1);
            }
            numbers = numbers.after(&chunk);
            assert_eq!(numbers.sequence(TrackKind::Video), expected);
        }
    }

    #[test]
    fn audio_precedes_the_picture_and_has_its_frame_size() {
        let mut packager = Packager::new();
        packager.begin_run(MediaTime::default(), Expect { video: Some(FRAME_SPAN), audio: true });
        packager.audio_config(crate::media::aac::lc_config(48_000, 2).unwrap());
        let sounds = [371, 5000].map(|length| AccessUnit {
            track: TrackKind::Audio,
            pts: MediaTime::ORIGIN,
            dts: MediaTime::ORIGIN,
            duration: None,
            data: vec![0x21; length].into(),
        });
        let mut units = placeholders(MediaTime::ORIGIN, 3, 15);
        units.splice(1..1, sounds);
        let chunks = packaged(&mut packager, units);
        let chunk = chunks.iter().find(|chunk| chunk.units.len() == 3).unwrap();

        let packets_of_chunk = Packets::new(chunk, Numbers::first(7), 48_000);
        let sound = packets_of_chunk.of_track(TrackKind::Audio);

        let sizes: Vec<_> = packets(&sound)
            .map(|(channel, packet)| {
                assert_eq!(channel, 2);
                let packet = RtpPacket::parse(packet).unwrap();
                let payload = packet.payload();
                assert_eq!(payload[..2], [0, 16], "one header of 16 bits");
                let whole = u16::from_be_bytes([payload[2], payload[3]]) >> 3;
                (whole, payload.len() - AU_HEADER, packet.marker_bit())
            })
            .collect();
        let full = MAX_PAYLOAD - AU_HEADER;
        assert_eq!(sizes[..2], [(371, 371, true), (5000, full, false)]);
        assert_eq!(sizes[2..].iter().map(|(_, length, _)| length).sum::<usize>(), 5000 - full);
        assert!(sizes.last().unwrap().2);
        let all = packets_of_chunk.all();
        assert!(all.starts_with(&sound));
        assert_eq!(all[sound.len()..], packets_of_chunk.of_track(TrackKind::Video));
    }

    #[test]
    fn squeezed_pictures_end_at_the_last_one() {
        let chunk = &chunks(1)[0];
        let framed = Packets::new(chunk, Numbers::first(7), 48_000).all();

        let past = squeezed(&framed, 90_000, 2);

        for (_, packet) in packets(&past) {
            assert_eq!(RtpPacket::parse(packet).unwrap().timestamp(), 90_000 - 600);
        }
        assert_eq!(received(&past), received(&framed));
        let early = squeezed(&framed, 100, 1);
        let (_, first) = packets(&early).next().unwrap();
        assert_eq!(RtpPacket::parse(first).unwrap().timestamp(), 100u32.wrapping_sub(300));
    }

    #[test]
    fn packets_and_their_payload_are_counted() {
        let packet = framed(0, &[0; 112]);
        let load = Load::from_framed(&[packet.clone(), packet].concat());
        assert_eq!(load, Load { packets: 2, octets: 200 });
    }

    #[test]
    fn channels_can_be_replaced() {
        let framed = [framed(0, b"one"), framed(2, b"two")].concat();
        let other = map_channels(&framed, |channel| channel + 4);
        let found: Vec<_> = packets(&other).collect();
        assert_eq!(found, [(4, &b"one"[..]), (6, &b"two"[..])]);
    }

    proptest::proptest! {
        #[test]
        fn a_nal_unit_of_any_length_is_reassembled(length in 1usize..20_000, header in 0u8..=0x7f) {
            let mut nal = vec![header & 0xe0 | 5; 1];
            nal.resize(length, 0xa5);
            let mut writer = TrackWriter::new(TrackKind::Video, Numbers::first(1), VIDEO_CLOCK);
            let mut bytes = Vec::new();
            if nal.len() <= MAX_PAYLOAD {
                writer.write([&nal, &[]], 0, true, &mut bytes);
            } else {
                writer.write_fragments(&nal, 0, true, &mut bytes);
            }
            assert_eq!(received(&bytes), [nal.clone()]);
            assert_eq!(usize::from(writer.next), packet_count(&nal));
        }

        #[test]
        fn no_framed_bytes_cause_a_panic(mut bytes: Vec<u8>) {
            packets(&bytes).count();
            for_each_packet(&mut bytes, |_, _| {});
        }
    }
}
