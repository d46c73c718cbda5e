//! The written boxes as mp4-atom parses them.

use std::time::Duration;

use mp4_atom::{Any, Avcc, Decode, DecodeMaybe, Moof};

use super::*;
use crate::media::aac;
use crate::media::samples::{PPS, SPS};

#[test]
fn the_init_segment_has_no_durations() {
    let tracks = Tracks { video: Some(video()), audio: aac::lc_config(48_000, 2) };
    let (ftyp, moov) = read(&init_segment(&tracks));

    assert_eq!(ftyp.major_brand, b"iso5".into());
    assert!(!ftyp.compatible_brands.contains(&b"cmfc".into()));
    assert_eq!(moov.mvhd.duration, 0);
    let mvex = moov.mvex.unwrap();
    assert_eq!(mvex.mehd, None);
    assert_eq!(mvex.trex.iter().map(|trex| trex.track_id).collect::<Vec<_>>(), [1, 2]);
    let ids: Vec<_> = moov
        .trak
        .iter()
        .map(|trak| (trak.tkhd.track_id, trak.mdia.mdhd.timescale, trak.mdia.mdhd.duration))
        .collect();
    assert_eq!(ids, [(1, 90_000, 0), (2, 48_000, 0)]);
}

#[test]
fn the_sample_entries_have_the_decoder_configurations() {
    let tracks = Tracks { video: Some(video()), audio: aac::lc_config(96_000, 1) };
    let (_, moov) = read(&init_segment(&tracks));

    let [Codec::Avc1(avc1)] = &moov.trak[0].mdia.minf.stbl.stsd.codecs[..] else { panic!() };
    assert_eq!((avc1.visual.width, avc1.visual.height), (320, 240));
    assert_eq!(avc1.avcc.sequence_parameter_sets, [SPS]);
    assert_eq!(avc1.avcc.picture_parameter_sets, [PPS]);
    let Avcc { avc_profile_indication, length_size, ext, .. } = &avc1.avcc;
    assert_eq!((*avc_profile_indication, *length_size), (100, 4));
    assert_eq!(ext.as_ref().map(|ext| (ext.chroma_format, ext.bit_depth_luma)), Some((1, 8)));

    let [Codec::Mp4a(mp4a)] = &moov.trak[1].mdia.minf.stbl.stsd.codecs[..] else { panic!() };
    assert_eq!(mp4a.audio.channel_count, 1);
    assert_eq!(mp4a.audio.sample_rate.integer(), 0, "96 kHz do not fit into 16 bits");
    let config = mp4a.esds.es_desc.dec_config.dec_specific.as_ref().unwrap();
    assert_eq!(config.raw, [0x10, 0x08]);
}

#[test]
fn a_track_keeps_its_number_without_the_other_track() {
    let audio_only = Tracks { video: None, audio: aac::lc_config(44_100, 2) };
    let (ftyp, moov) = read(&init_segment(&audio_only));
    assert_eq!(moov.trak.len(), 1);
    assert_eq!(moov.trak[0].tkhd.track_id, 2);
    assert!(ftyp.compatible_brands.contains(&b"cmfc".into()));
}

#[test]
fn the_header_of_one_frame_has_108_bytes_and_its_times_at_fixed_positions() {
    let sample = Sample { duration: 3003, size: 5, key: true, composition: 0 };
    let fragment = Fragment {
        sequence: 7,
        track: TrackKind::Video,
        decode_time: 0x0123_4567_89ab,
        samples: &[sample],
    };
    let mut bytes = Vec::new();
    fragment.write_header(&mut bytes);
    assert_eq!(bytes.len(), 108);
    assert_eq!(fragment.total_len(), 113);
    assert_eq!(bytes[60..68], 0x0123_4567_89ab_u64.to_be_bytes());
    assert_eq!(bytes[88..92], 3003u32.to_be_bytes());
    assert_eq!(bytes[100..104], 13u32.to_be_bytes(), "the length of the mdat");

    let moof = moof(&bytes);
    assert_eq!(moof.mfhd.sequence_number, 7);
    let [traf] = &moof.traf[..] else { panic!() };
    assert!(traf.tfhd.default_base_is_moof);
    assert_eq!(traf.tfhd.track_id, 1);
    assert_eq!(traf.tfdt.as_ref().unwrap().base_media_decode_time, 0x0123_4567_89ab);
    assert_eq!(traf.trun[0].data_offset, Some(108));
    let entry = traf.trun[0].samples.get(0).unwrap();
    assert_eq!((entry.duration, entry.size), (Some(3003), Some(5)));
    assert_eq!((entry.flags, entry.cts), (Some(0x0200_0000), None));
}

#[test]
fn reordered_frames_carry_their_composition_offset() {
    let samples = [
        Sample { duration: 10, size: 1, key: false, composition: 0 },
        Sample { duration: 10, size: 2, key: false, composition: -20 },
    ];
    let fragment =
        Fragment { sequence: 1, track: TrackKind::Video, decode_time: 0, samples: &samples };
    let mut bytes = Vec::new();
    fragment.write_header(&mut bytes);
    assert_eq!(bytes.len(), fragment.header_len());

    let moof = moof(&bytes);
    let entries: Vec<_> = moof.traf[0].trun[0].samples.iter().collect();
    assert_eq!(entries.iter().map(|entry| entry.cts).collect::<Vec<_>>(), [Some(0), Some(-20)]);
    assert!(entries.iter().all(|entry| entry.flags == Some(0x0101_0000)));
}

fn video() -> VideoInfo {
    VideoInfo {
        sps: Bytes::from_static(SPS),
        pps: Bytes::from_static(PPS),
        width: 320,
        height: 240,
        profile: [100, 0, 13],
        frame_duration: Some(Duration::from_millis(33)),
    }
}

fn read(init: &Bytes) -> (Ftyp, Moov) {
    let mut rest = init.as_ref();
    let ftyp = Ftyp::decode(&mut rest).unwrap();
    let moov = Moov::decode(&mut rest).unwrap();
    assert_eq!(rest, [0u8; 0]);
    (ftyp, moov)
}

fn moof(bytes: &[u8]) -> Moof {
    match Any::decode_maybe(&mut &bytes[..]).unwrap() {
        Some(Any::Moof(moof)) => moof,
        other => panic!("{other:?}"),
    }
}
