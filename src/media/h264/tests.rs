//! NAL units and parameter sets: of a real encoder, handmade, and damaged.

use proptest::prelude::*;

use super::*;
use crate::media::samples::Video;

#[test]
fn nal_units_are_found_after_both_start_codes_and_without_trailing_zeros() {
    let stream = [
        &[0xff, 0xff][..], // not part of any
        &[0, 0, 0, 1, 0x67, 1, 2],
        &[0, 0, 1, 0x68, 3, 0, 0], // two zeros too many
        &[0, 0, 1],                // empty
        &[0, 0, 0, 0, 1, 0x65, 0, 0, 3, 1],
        &[0, 0, 0],
    ]
    .concat();

    let units: Vec<_> = nal_units(&stream).collect();
    assert_eq!(units, [&[0x67, 1, 2][..], &[0x68, 3], &[0x65, 0, 0, 3, 1]]);
}

#[test]
fn bytes_without_a_start_code_hold_no_nal_unit() {
    for bytes in [&[][..], &[0], &[0, 0, 1], &[0, 0, 0, 1], &[1, 2, 3, 4], &[0, 0, 2, 1]] {
        assert_eq!(nal_units(bytes).count(), 0, "{bytes:?}");
    }
}

#[test]
fn sizes_and_profiles_of_a_real_encoder_are_parsed() {
    for (size, profile, pixels, expected) in [
        ("320x240", "baseline", "yuv420p", (320, 240, [66, 0xc0], 1, 8)),
        ("320x240", "main", "yuv420p", (320, 240, [77, 0x40], 1, 8)),
        ("1920x1080", "high", "yuv420p", (1920, 1080, [100, 0], 1, 8)),
        ("322x242", "high", "yuv420p", (322, 242, [100, 0], 1, 8)),
        ("320x240", "high422", "yuv422p", (320, 240, [122, 0], 2, 8)),
        ("162x122", "high444", "yuv444p", (162, 122, [244, 0], 3, 8)),
        ("320x240", "high10", "yuv420p10le", (320, 240, [110, 0], 1, 10)),
    ] {
        let sps = sps_of(Video { size, profile, pixels, fps: 5, ..Video::default() });
        let read = (
            sps.width,
            sps.height,
            [sps.profile[0], sps.profile[1]],
            sps.chroma_format,
            sps.luma_depth,
        );
        assert_eq!(read, expected, "{size} {profile} {pixels}");
        assert_eq!(sps.chroma_depth, sps.luma_depth);
        assert_eq!(sps.frame_duration, Some(Duration::from_millis(200)));
    }
}

/// A field of a handmade parameter set.
enum Field {
    Bits(u32, u64),
    Ue(u32),
    Se(i32),
}

#[test]
fn scaling_lists_and_picture_order_cycles_are_skipped() {
    use Field::{Bits, Se, Ue};
    let mut fields = vec![Bits(24, 0x64_00_1f), Ue(0), Ue(1), Ue(0), Ue(0), Bits(1, 0), Bits(1, 1)];
    // A full 4x4 list, one that ends at once, six absent ones.
    fields.push(Bits(1, 1));
    fields.extend((0..16).map(|_| Se(1)));
    fields.extend([Bits(1, 1), Se(-8), Bits(6, 0)]);
    // Picture order type 1 with a cycle of three.
    fields.extend([Ue(0), Ue(1), Bits(1, 0), Se(-5), Se(7), Ue(3), Se(1), Se(-2), Se(3)]);
    // One reference frame; 40x23 macroblocks, cropped to 632x360; no VUI.
    fields.extend([Ue(1), Bits(1, 0), Ue(39), Ue(22), Bits(1, 1), Bits(1, 1)]);
    fields.extend([Bits(1, 1), Ue(1), Ue(3), Ue(0), Ue(4), Bits(1, 0)]);

    let sps = parse_sps(&written(&fields)).unwrap();
    assert_eq!((sps.width, sps.height, sps.frame_duration), (632, 360, None));
}

#[test]
fn the_height_of_interlaced_pictures_includes_both_fields() {
    use Field::{Bits, Ue};
    let fields = [
        &[Bits(24, 0x4d_00_1f), Ue(0), Ue(0), Ue(0), Ue(0), Ue(1), Bits(1, 0)][..],
        // 120x34 macroblocks per field, cropped by 2 units of 4 lines.
        &[Ue(119), Ue(33), Bits(1, 0), Bits(1, 0), Bits(1, 1)],
        &[Bits(1, 1), Ue(0), Ue(0), Ue(0), Ue(2), Bits(1, 0)],
    ];
    let sps = parse_sps(&written(fields.into_iter().flatten())).unwrap();
    assert_eq!((sps.width, sps.height), (1920, 1080));
}

#[test]
fn each_invalid_parameter_set_has_its_own_error() {
    use Field::{Bits, Ue};
    let start = || vec![Bits(24, 0x42_c0_1f), Ue(0), Ue(0), Ue(0), Ue(0), Ue(1), Bits(1, 0)];
    let with = |rest: Vec<Field>| {
        let mut fields = start();
        fields.extend(rest);
        parse_sps(&written(&fields))
    };
    let too_wide = with(vec![Ue(1024), Ue(10)]);
    assert_eq!(too_wide, Err(Malformed::Impossible("width")));
    let too_high = with(vec![Ue(10), Ue(1000), Bits(1, 0), Bits(1, 0), Bits(1, 1), Bits(1, 0)]);
    assert_eq!(too_high, Err(Malformed::Impossible("height")));
    let nothing_left =
        with(vec![Ue(0), Ue(0), Bits(3, 0b111), Ue(4), Ue(4), Ue(0), Ue(0), Bits(1, 0)]);
    assert_eq!(nothing_left, Err(Malformed::Impossible("cropping")));
    let huge_crop =
        with(vec![Ue(0), Ue(0), Bits(3, 0b111), Ue(u32::MAX - 1), Ue(u32::MAX - 1), Ue(0), Ue(0)]);
    assert_eq!(huge_crop, Err(Malformed::Impossible("cropping")));

    assert_eq!(parse_sps(&[]), Err(Malformed::Truncated));
    assert_eq!(parse_sps(&[0x67, 0x42, 0xc0, 0x1f]), Err(Malformed::Truncated));
    assert_eq!(parse_sps(&[0x68, 0x42, 0xc0, 0x1f]), Err(Malformed::Impossible("type")));
    assert_eq!(parse_sps(&[0x67; 5000]), Err(Malformed::Impossible("length")));
}

#[test]
fn implausible_timing_is_ignored() {
    for (units_in_tick, time_scale) in [(0, 50), (1, 0), (u32::MAX, 1), (1, u32::MAX)] {
        assert_eq!(parse_sps(&timed(units_in_tick, time_scale)).unwrap().frame_duration, None);
    }
    let sps = parse_sps(&timed(1001, 60_000)).unwrap();
    assert_eq!(sps.frame_duration, Some(Duration::from_nanos(33_366_666)));
}

#[test]
fn a_parameter_set_that_ends_inside_its_vui_still_has_its_size() {
    let whole = timed(1, 50);
    let sps = parse_sps(&whole[..whole.len() - 6]).unwrap();
    assert_eq!((sps.width, sps.height, sps.frame_duration), (16, 16, None));
}

proptest! {
    #[test]
    fn no_bytes_cause_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for nal in nal_units(&bytes) {
            prop_assert!(!nal.is_empty() && nal.last() != Some(&0));
        }
        check_sps(&bytes)?;
    }

    #[test]
    fn no_damaged_parameter_set_causes_a_panic(
        at in 1usize..60, byte: u8, length in 0usize..60,
    ) {
        let mut sps = timed(1001, 60_000);
        let at = at % sps.len();
        sps[at] = byte;
        sps.truncate(length.max(1));
        check_sps(&sps)?;
    }

    #[test]
    fn nal_units_after_start_codes_are_found_unchanged(
        nals in prop::collection::vec(prop::collection::vec(1u8.., 1..20), 0..10),
        long: bool,
    ) {
        let code: &[u8] = if long { &[0, 0, 0, 1] } else { &[0, 0, 1] };
        let stream: Vec<u8> = nals.iter().flat_map(|nal| [code, nal].concat()).collect();
        prop_assert_eq!(nal_units(&stream).collect::<Vec<_>>(), nals);
    }
}

fn check_sps(bytes: &[u8]) -> Result<(), TestCaseError> {
    for sps in [bytes, &[&[0x67], bytes].concat()] {
        if let Ok(sps) = parse_sps(sps) {
            prop_assert!((1..=MAX_SIDE).contains(&sps.width));
            prop_assert!((1..=MAX_SIDE).contains(&sps.height));
        }
    }
    Ok(())
}

fn sps_of(video: Video) -> Sps {
    let units = video.units();
    let sps = nal_units(&units[0])
        .find(|nal| NalType::of(nal[0]) == NalType::SequenceParameterSet)
        .unwrap();
    parse_sps(sps).unwrap()
}

/// A 16x16 baseline SPS with this timing.
fn timed(units_in_tick: u32, time_scale: u32) -> Vec<u8> {
    use Field::{Bits, Ue};
    written(&[
        Bits(24, 0x42_c0_1f),
        Ue(0),
        Ue(0),
        Ue(0),
        Ue(0),
        Ue(1),
        Bits(1, 0),
        Ue(0),
        Ue(0),
        Bits(3, 0b110), // frames only, direct inference, no cropping
        Bits(1, 1),     // VUI
        Bits(9, 0b1_1111_1111),
        Bits(32, 0x0001_0001), // sample aspect ratio 1:1, written out
        Bits(2, 0b11),         // overscan
        Bits(6, 0b11_0101),    // video signal with colours
        Bits(24, 0x01_01_01),
        Bits(1, 1), // chroma location
        Ue(0),
        Ue(0),
        Bits(1, 1), // timing
        Bits(32, units_in_tick.into()),
        Bits(32, time_scale.into()),
        Bits(1, 1),
    ])
}

/// An SPS of these fields, with stop bit and emulation prevention.
fn written<'a>(fields: impl IntoIterator<Item = &'a Field>) -> Vec<u8> {
    let mut bits = String::new();
    let ue = |bits: &mut String, value: u64| {
        let code = format!("{:b}", value + 1);
        bits.push_str(&"0".repeat(code.len() - 1));
        bits.push_str(&code);
    };
    for field in fields {
        match *field {
            Field::Bits(width, value) => {
                bits.push_str(&format!("{value:0width$b}", width = width as usize));
            }
            Field::Ue(value) => ue(&mut bits, value.into()),
            Field::Se(value) if value > 0 => ue(&mut bits, value as u64 * 2 - 1),
            Field::Se(value) => ue(&mut bits, value.unsigned_abs() as u64 * 2),
        }
    }
    bits.push('1');
    bits.push_str(&"0".repeat((8 - bits.len() % 8) % 8));
    let mut nal = vec![0x67];
    for byte in bits.as_bytes().chunks(8) {
        let byte = byte.iter().fold(0, |byte, bit| byte << 1 | (bit - b'0'));
        if byte <= 3 && nal.ends_with(&[0, 0]) {
            nal.push(3);
        }
        nal.push(byte);
    }
    nal
}
