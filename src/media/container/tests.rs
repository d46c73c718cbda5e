//! Marks of small handmade containers, and of arbitrary bytes.

use proptest::prelude::*;

use super::*;

const CONTAINERS: [Container; 5] =
    [Container::Ts, Container::Mp4, Container::Webm, Container::Flv, Container::Wav];

fn scanned(container: Container, bytes: &[u8]) -> Marks {
    let mut scan = Scan::new(Some(container));
    scan.push(bytes);
    scan.marks().clone()
}

/// A packet of `pid` whose payload begins with `payload`.
fn packet(pid: u16, starts: bool, indicator: bool, payload: &[u8]) -> Vec<u8> {
    let high = (pid >> 8) as u8 | if starts { 0x40 } else { 0 };
    let mut packet = vec![0x47, high, pid as u8, 0x30, 1, if indicator { 0x40 } else { 0 }];
    packet.extend_from_slice(payload);
    packet.resize(188, 0xff);
    packet
}

/// A table in the payload of a packet, with its pointer, length and checksum.
fn table(id: u8, body: &[u8]) -> Vec<u8> {
    let length = body.len() + 4;
    let mut table = vec![0, id, 0xb0 | (length >> 8) as u8, length as u8];
    table.extend_from_slice(body);
    table.extend_from_slice(&[0; 4]);
    table
}

/// Tables with video of the stream type `kind` on 0x100 and audio on 0x101.
fn tables(kind: u8) -> Vec<u8> {
    let pat = packet(0, true, false, &table(0, &[0, 1, 0xc1, 0, 0, 0, 1, 0xf0, 0]));
    let map = [0, 1, 0xc1, 0, 0, 0xe1, 0, 0xf0, 0, kind, 0xe1, 0, 0xf0, 0, 0x0f, 0xe1, 1, 0xf0, 0];
    [pat, packet(0x1000, true, false, &table(2, &map))].concat()
}

#[test]
fn the_header_of_a_transport_stream_is_its_tables_and_random_access_is_a_key() {
    let mut bytes = tables(0x1b);
    bytes.extend(packet(0x100, true, true, &[0, 0, 1, 0xe0]));
    bytes.extend(packet(0x100, true, false, &[0, 0, 1, 0xe0]));
    bytes.extend(packet(0x101, true, true, &[0, 0, 1, 0xc0]));
    let marks = scanned(Container::Ts, &bytes);
    assert_eq!(marks.header.as_deref(), Some(&bytes[..376]));
    assert_eq!(marks.key, Some(376));
    assert_eq!(marks.edge, Some(4 * 188));
}

#[test]
fn an_idr_picture_without_a_random_access_indicator_is_a_key() {
    let mut bytes = tables(0x1b);
    bytes.extend(packet(0x100, true, false, &[0, 0, 1, 0xe0, 0, 0, 1, 0x09, 0, 0, 1, 0x67, 4]));
    assert_eq!(scanned(Container::Ts, &bytes).key, Some(376));
}

#[test]
fn a_transport_stream_without_video_can_be_joined_at_every_packet() {
    let mut bytes = tables(0x0f);
    bytes.extend(packet(0x101, true, false, &[0, 0, 1, 0xc0]));
    bytes.extend(packet(0x101, false, false, &[]));
    let marks = scanned(Container::Ts, &bytes);
    assert_eq!((marks.key, marks.edge), (Some(3 * 188), Some(3 * 188)));
}

#[test]
fn garbage_before_and_within_a_transport_stream_is_skipped() {
    let clean = [tables(0x1b), packet(0x100, true, true, &[0, 0, 1, 0xe0])].concat();
    let noise = vec![0xaa; 1000];
    let bytes = [noise.clone(), clean.clone(), noise, clean.clone(), clean].concat();
    let marks = scanned(Container::Ts, &bytes);
    assert!(marks.header.is_some());
    assert_eq!(marks.key, Some(bytes.len() as u64 - 188));
}

#[test]
fn a_wav_file_is_joined_between_two_sample_frames() {
    let mut header = b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0\x01\0\x02\0".to_vec();
    header.extend_from_slice(&[0; 8]);
    header.extend_from_slice(b"\x04\0\x10\0LIST\x03\0\0\0abc\0data\xff\xff\xff\xff");
    let bytes = [header.clone(), vec![7; 1000]].concat();
    let marks = scanned(Container::Wav, &bytes);
    assert_eq!(marks.header.as_deref(), Some(header.as_slice()));
    let edge = marks.edge.unwrap() - header.len() as u64;
    assert_eq!((edge % 4, edge), (0, 768));
    assert_eq!(marks.key, marks.edge);
}

fn tag(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut tag = vec![kind, 0, 0, body.len() as u8, 0, 0, 0, 0, 0, 0, 0];
    tag.extend_from_slice(body);
    tag.extend_from_slice(&(11 + body.len() as u32).to_be_bytes());
    tag
}

#[test]
fn the_header_of_an_flv_stream_has_its_decoder_configurations() {
    let header = [
        b"FLV\x01\x05\0\0\0\x09\0\0\0\0".to_vec(),
        tag(18, b"\x02\0\x0aonMetaData"),
        tag(9, &[0x17, 0, 0, 0, 0, 1]),
        tag(8, &[0xaf, 0, 0x12, 0x10]),
    ]
    .concat();
    let pictures = [tag(9, &[0x17, 1, 0, 0, 0, 9]), tag(9, &[0x27, 1, 0, 0, 0, 9])].concat();
    let bytes = [header.as_slice(), &pictures].concat();
    let marks = scanned(Container::Flv, &bytes);
    assert_eq!(marks.header.as_deref(), Some(header.as_slice()));
    assert_eq!(marks.key, Some(header.len() as u64));
    assert_eq!(marks.edge, Some((bytes.len() - pictures.len() / 2) as u64));
}

#[test]
fn a_content_type_selects_its_container_whatever_its_parameters() {
    let container = Container::from_content_type;
    assert_eq!(container("video/MP4; codecs=\"avc1\""), Some(Container::Mp4));
    assert_eq!(container("video/mp2t"), Some(Container::Ts));
    assert_eq!(container("multipart/x-mixed-replace;boundary=x"), None);
}

/// The beginning of each container, so that arbitrary bytes after it reach more
/// of the parser.
fn begin_of(container: Container) -> Vec<u8> {
    match container {
        Container::Ts => tables(0x1b),
        Container::Mp4 => b"\0\0\0\x10ftypiso5\0\0\0\0\0\0\0\x08moov\0\0\0\x08moof".to_vec(),
        Container::Webm => b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67\xff\x1f\x43\xb6\x75\xff".to_vec(),
        Container::Flv => b"FLV\x01\x05\0\0\0\x09\0\0\0\0".to_vec(),
        Container::Wav => b"RIFF\0\0\0\0WAVE".to_vec(),
    }
}

#[test]
fn the_container_is_detected_from_the_first_bytes() {
    let bytes = tables(0x1b);
    let mut scan = Scan::new(None);
    scan.push(&bytes[..5]);
    scan.push(&bytes[5..]);
    assert_eq!(scan.marks(), &scanned(Container::Ts, &bytes));

    let mut scan = Scan::new(None);
    scan.push(b"plain text that is no container");
    assert_eq!(scan.marks(), &Marks::default());
}

proptest! {
    #[test]
    fn no_bytes_cause_a_panic_and_marks_do_not_depend_on_where_reads_end(
        kind in 0..5_usize,
        tail in prop::collection::vec(any::<u8>(), 0..2000),
        size in 1..400_usize,
    ) {
        let container = CONTAINERS[kind];
        let bytes = [begin_of(container), tail].concat();
        let mut scan = Scan::new(Some(container));
        for piece in bytes.chunks(size) {
            scan.push(piece);
        }
        prop_assert_eq!(scan.marks(), &scanned(container, &bytes));
        let positions = [scan.marks().edge, scan.marks().key];
        prop_assert!(positions.iter().flatten().all(|at| *at < bytes.len() as u64));
    }
}
