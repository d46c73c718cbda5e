//! The packager's output for good, late, changed and damaged input.

use std::sync::OnceLock;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::base::time::MediaTime;
use crate::media::aac;
use crate::media::h264::{NalType, nal_units};
use crate::media::samples::{Video, interleaved, placeholders, tone};

mod players;

const START: MediaTime = MediaTime(10_000_000_000);
const FRAME: Duration = Duration::from_nanos(33_333_333);
const BOTH: Expect = Expect { video: Some(FRAME), audio: true };
const VIDEO: Expect = Expect { video: Some(FRAME), audio: false };
const AUDIO: Expect = Expect { video: None, audio: true };

#[test]
fn each_pushed_picture_completes_its_own_chunk() {
    let mut packager = running(VIDEO);
    for (index, unit) in pictures().iter().enumerate() {
        let out = packager.push(unit.clone()).unwrap();
        assert_eq!(inits(&out).len(), usize::from(index == 0));
        let [chunk] = &chunks(&out)[..] else { panic!("picture {index}: {out:?}") };
        assert_eq!(chunk.key, index % 15 == 0);
        assert_eq!((chunk.start(), chunk.units.len()), (unit.dts, 1));
    }
    let tracks = packager.tracks().unwrap();
    assert_eq!(tracks.codecs(), "avc1.64000d");
    assert_eq!(tracks.video.as_ref().map(|video| (video.width, video.height)), Some((320, 240)));
}

#[test]
fn the_first_chunk_of_a_run_is_a_key_frame() {
    let mut packager = running(VIDEO);
    assert!(push_all(&mut packager, &pictures()[10..15]).is_empty());
    let out = push_all(&mut packager, &pictures()[15..17]);
    assert!(matches!(out[..], [Packaged::Init(_), Packaged::Chunk(_), Packaged::Chunk(_)]));

    packager.begin_run(MediaTime::default(), VIDEO);
    assert!(push_all(&mut packager, &pictures()[17..20]).is_empty());
}

#[test]
fn frames_captured_before_the_run_are_ignored() {
    let mut packager = Packager::new();
    packager.begin_run(pictures()[15].pts, VIDEO);
    assert!(push_all(&mut packager, &pictures()[..15]).is_empty());
    let out = push_all(&mut packager, &pictures()[15..16]);
    assert_eq!(chunks(&out)[0].start(), pictures()[15].dts);
}

#[test]
fn a_run_waits_for_its_own_audio_configuration() {
    let mut packager = running(BOTH);
    packager.audio_config(aac::lc_config(48_000, 2).unwrap());
    push_all(&mut packager, &pictures()[..3]);

    packager.begin_run(START, BOTH);
    assert!(push_all(&mut packager, &pictures()[15..18]).is_empty());
    packager.audio_config(aac::lc_config(48_000, 2).unwrap());
    let out = push_all(&mut packager, &pictures()[18..19]);
    assert!(inits(&out).is_empty(), "the tracks are the same");
    assert_eq!(chunks(&out).len(), 4);
}

#[test]
fn pending_audio_precedes_the_next_picture_in_one_fragment() {
    let mut packager = running(BOTH);
    packager.audio_config(aac::lc_config(48_000, 2).unwrap());
    push_all(&mut packager, &pictures()[..1]);
    assert!(push_all(&mut packager, &sounds()[..3]).is_empty());

    let out = push_all(&mut packager, &pictures()[1..2]);
    let [chunk] = &chunks(&out)[..] else { panic!("{out:?}") };
    let kinds: Vec<_> = chunk.units.iter().map(|unit| unit.track).collect();
    use TrackKind::{Audio, Video};
    assert_eq!(kinds, [Audio, Audio, Audio, Video]);
    assert!(chunk.has_video() && !chunk.key);
    assert_eq!([chunk.audio_bytes(), chunk.video_bytes()].concat(), chunk.bytes);
    let video_alone = chunk.video_bytes();
    assert_eq!(&video_alone[4..8], b"moof");
    assert_eq!(chunk.start(), pictures()[1].dts);
    for (unit, sound) in chunk.units.iter().zip(&sounds()[..3]) {
        assert_eq!(chunk.payload(unit), sound.data);
        assert_eq!((unit.pts, unit.dts), (sound.pts, sound.dts));
    }
}

#[test]
fn audio_does_not_wait_for_missing_pictures() {
    let mut packager = running(BOTH);
    packager.audio_config(aac::lc_config(48_000, 2).unwrap());
    push_all(&mut packager, &pictures()[..1]);
    let out = push_all(&mut packager, &sounds()[..9]);
    let sizes: Vec<_> = chunks(&out).iter().map(|chunk| chunk.units.len()).collect();
    assert_eq!(sizes, [4, 4]);
    assert!(chunks(&out).iter().all(|chunk| !chunk.key && !chunk.has_video()));
    assert!(chunks(&out)[0].annex_b().is_empty());
}

#[test]
fn a_stream_without_video_has_chunks_of_two_audio_frames_that_are_all_key() {
    let mut packager = running(AUDIO);
    assert!(push_all(&mut packager, &sounds()[..5]).is_empty(), "the configuration is unknown");
    packager.audio_config(aac::lc_config(48_000, 2).unwrap());
    let out = push_all(&mut packager, &sounds()[5..9]);
    assert_eq!(inits(&out)[0].tracks.codecs(), "mp4a.40.2");
    let chunks = chunks(&out);
    assert!(chunks.iter().all(|chunk| chunk.key && chunk.units.len() == 2), "{chunks:?}");
    assert_eq!(chunks[0].start(), sounds()[5].dts);
}

#[test]
fn pictures_wait_for_the_audio_configuration_and_none_is_lost() {
    let mut packager = running(BOTH);
    let early = interleaved(pictures()[..10].to_vec(), sounds()[..14].to_vec());
    assert!(push_all(&mut packager, &early).is_empty());

    packager.audio_config(aac::lc_config(48_000, 2).unwrap());
    let mut out = push_all(&mut packager, &sounds()[14..15]);
    out.extend(push_all(&mut packager, &pictures()[10..11]));

    assert!(matches!(out[0], Packaged::Init(_)));
    let units: Vec<_> = chunks(&out).iter().flat_map(|chunk| chunk.units.clone()).collect();
    let times = |kind| {
        let of_kind = units.iter().filter(move |unit| unit.track == kind);
        of_kind.map(|unit| unit.dts).collect::<Vec<_>>()
    };
    let expected: Vec<_> = pictures()[..11].iter().map(|unit| unit.dts).collect();
    assert_eq!(times(TrackKind::Video), expected);
    // Audio from before its configuration cannot be decoded.
    assert_eq!(times(TrackKind::Audio), [sounds()[14].dts]);
}

#[test]
fn pictures_do_not_wait_for_ever_for_the_audio_configuration() {
    let mut packager = running(BOTH);
    let pictures = placeholders(START, 210, 30);
    assert!(push_all(&mut packager, &pictures[..150]).is_empty());
    let out = push_all(&mut packager, &pictures[150..152]);
    assert_eq!(inits(&out)[0].tracks.audio, None);
    assert_eq!(chunks(&out).len(), 122, "the newest four seconds, and one more");
    assert!(push_all(&mut packager, &sounds()[..9]).is_empty(), "it cannot be decoded");

    packager.audio_config(aac::lc_config(48_000, 2).unwrap());
    push_all(&mut packager, &sounds()[9..12]);
    let out = push_all(&mut packager, &pictures[152..]);
    let [init] = &inits(&out)[..] else { panic!("a new init at the key frame: {out:?}") };
    assert_eq!((init.generation, init.tracks.audio.is_some()), (2, true));
}

#[test]
fn audio_that_ends_before_the_first_picture_is_dropped() {
    let mut packager = running(BOTH);
    packager.audio_config(aac::lc_config(48_000, 2).unwrap());
    assert!(push_all(&mut packager, &sounds()[..40]).is_empty());
    let out = push_all(&mut packager, &pictures()[15..16]);
    let first = &chunks(&out)[0].units[0];
    let picture = pictures()[15].pts;
    assert_eq!(first.track, TrackKind::Audio);
    assert!(first.dts <= picture && first.dts + first.duration > picture);
}

#[test]
fn pending_units_are_bounded_and_start_with_a_key_frame() {
    let mut packager = running(BOTH);
    assert!(push_all(&mut packager, &placeholders(START, 150, 15)).is_empty());
    packager.audio_config(aac::lc_config(48_000, 2).unwrap());
    let late = shifted(&sounds()[0], Duration::from_secs(5));
    let out = push_all(&mut packager, &[late]);
    let chunks = chunks(&out);
    assert_eq!(chunks.len(), 120, "the newest four seconds");
    assert!(chunks[0].key);
}

#[test]
fn a_gop_that_is_too_long_to_wait_is_dropped_whole() {
    let mut packager = running(BOTH);
    // The second key frame is the last picture.
    assert!(push_all(&mut packager, &placeholders(START, 131, 130)).is_empty());
    packager.audio_config(aac::lc_config(48_000, 2).unwrap());
    let late = shifted(&sounds()[0], Duration::from_secs(5));
    let chunks = chunks(&push_all(&mut packager, &[late]));
    assert_eq!(chunks.len(), 1);
    assert!(chunks[0].key);
}

#[test]
fn pending_units_are_bounded_in_bytes() {
    let mut packager = running(BOTH);
    let fat = |unit: AccessUnit| {
        let data = [&unit.data[..], &[0x55; 1 << 20]].concat();
        AccessUnit { data: data.into(), ..unit }
    };
    let units: Vec<_> = placeholders(START, 6, 1).into_iter().map(fat).collect();
    assert!(push_all(&mut packager, &units).is_empty());
    packager.audio_config(aac::lc_config(48_000, 2).unwrap());
    let late = shifted(&sounds()[0], Duration::from_millis(200));
    assert_eq!(chunks(&push_all(&mut packager, &[late])).len(), 3);
}

#[test]
fn a_restart_with_equal_tracks_continues_the_generation() {
    let mut packager = running(BOTH);
    packager.audio_config(aac::lc_config(48_000, 2).unwrap());
    push_all(&mut packager, &both());
    packager.begin_run(MediaTime::default(), BOTH);
    packager.audio_config(aac::lc_config(48_000, 2).unwrap());
    let out = push_all(&mut packager, &both());
    assert!(inits(&out).is_empty());
    assert!(chunks(&out).iter().all(|chunk| chunk.generation == 1));
    assert!(chunks(&out)[0].key);
}

#[test]
fn other_tracks_begin_another_generation() {
    let mut packager = running(BOTH);
    packager.audio_config(aac::lc_config(48_000, 2).unwrap());
    push_all(&mut packager, &both());

    packager.begin_run(MediaTime::default(), BOTH);
    packager.audio_config(aac::lc_config(48_000, 2).unwrap());
    let smaller = Video { size: "160x120", ..Video::default() }.timed(START);
    let out = push_all(&mut packager, &smaller[..2]);
    let [Packaged::Init(init), Packaged::Chunk(chunk), ..] = &out[..] else { panic!("{out:?}") };
    assert_eq!((init.generation, chunk.generation), (2, 2));
    assert_eq!(init.tracks.video.as_ref().unwrap().width, 160);

    packager.begin_run(MediaTime::default(), VIDEO);
    let out = push_all(&mut packager, &smaller[..1]);
    assert_eq!(inits(&out)[0].generation, 3);
    assert_eq!(inits(&out)[0].tracks.audio, None);
}

#[test]
fn other_parameter_sets_within_a_run_begin_another_generation() {
    let mut packager = running(VIDEO);
    push_all(&mut packager, &placeholders(START, 20, 15));
    let other = Video { size: "160x120", ..Video::default() }.timed(START);
    let out = push_all(&mut packager, &[shifted(&other[0], Duration::from_secs(1))]);
    let [Packaged::Init(init), Packaged::Chunk(chunk)] = &out[..] else { panic!("{out:?}") };
    assert_eq!((init.generation, chunk.generation), (2, 2));
}

#[test]
fn the_duration_of_a_frame_comes_from_the_feed_or_is_nominal() {
    let duration_of = |duration: Option<Duration>, unit: &AccessUnit| {
        let mut packager = running(VIDEO);
        let out = push_all(&mut packager, &[AccessUnit { duration, ..unit.clone() }]);
        chunks(&out)[0].units[0].duration
    };
    let picture = &placeholders(START, 1, 1)[0];
    let stated = Duration::from_millis(40);
    assert_eq!(duration_of(Some(stated), picture), stated);
    assert_eq!(duration_of(None, picture), FRAME);
    assert_eq!(duration_of(Some(Duration::ZERO), picture), FRAME);
    assert_eq!(duration_of(Some(Duration::MAX), picture), MAX_DURATION);
}

#[test]
fn a_new_audio_configuration_takes_effect_with_the_next_key_frame() {
    let mut packager = running(BOTH);
    packager.audio_config(aac::lc_config(48_000, 2).unwrap());
    push_all(&mut packager, &pictures()[..3]);
    packager.audio_config(aac::lc_config(44_100, 1).unwrap());
    let early =
        push_all(&mut packager, &interleaved(pictures()[3..15].to_vec(), sounds()[..20].to_vec()));
    assert!(early.iter().all(|packaged| matches!(packaged, Packaged::Chunk(_))));
    assert_eq!(chunks(&early).len(), 12);
    assert!(chunks(&early).iter().all(|chunk| chunk.units.len() == 1), "pictures only");

    let out = push_all(&mut packager, &pictures()[15..16]);
    let [Packaged::Init(init), Packaged::Chunk(chunk)] = &out[..] else { panic!("{out:?}") };
    assert_eq!(init.tracks.audio, aac::lc_config(44_100, 1));
    assert_eq!((chunk.generation, chunk.units.len()), (2, 21));
}

#[test]
fn a_malformed_unit_is_skipped_and_the_next_ones_are_packaged() {
    let mut packager = running(VIDEO);
    push_all(&mut packager, &pictures()[..2]);
    for (data, error) in [
        (vec![], Malformed::NoPicture),
        (vec![7; 100], Malformed::NoPicture),
        (vec![0, 0, 0, 1, 0x06, 5, 1, 0x80], Malformed::NoPicture),
        (vec![0, 0, 0, 1, 0x41], Malformed::NoPicture),
        (vec![0, 0, 0, 1, 0xc1, 1, 2, 3], Malformed::ForbiddenBit),
        (vec![0, 0, 1, 0x67, 0xff, 0, 0, 1, 0x41, 1, 2], Malformed::Truncated),
        (vec![0x41; MAX_UNIT + 1], Malformed::TooLong(MAX_UNIT + 1)),
    ] {
        let unit = AccessUnit { data: data.into(), ..pictures()[2].clone() };
        assert_eq!(packager.push(unit).unwrap_err(), error);
    }
    assert_eq!(chunks(&push_all(&mut packager, &pictures()[2..15])).len(), 13);
}

#[test]
fn after_a_malformed_key_frame_pictures_are_skipped_up_to_the_next_one() {
    let mut packager = running(VIDEO);
    push_all(&mut packager, &pictures()[..15]);
    let broken = [&pictures()[15].data[..], &[0, 0, 1, 0xff, 1]].concat();
    let broken = AccessUnit { data: broken.into(), ..pictures()[15].clone() };
    assert_eq!(packager.push(broken).unwrap_err(), Malformed::ForbiddenBit);
    assert!(push_all(&mut packager, &pictures()[16..30]).is_empty());

    let next = shifted(&pictures()[0], Duration::from_secs(1));
    let out = push_all(&mut packager, &[next]);
    assert!(matches!(&out[..], [Packaged::Chunk(chunk)] if chunk.key));
}

#[test]
fn a_key_frame_without_parameter_sets_gets_the_known_ones() {
    let bare = |unit: &AccessUnit| {
        let nals = nal_units(&unit.data).filter(|nal| {
            !matches!(
                NalType::of(nal[0]),
                NalType::SequenceParameterSet | NalType::PictureParameterSet
            )
        });
        let data = nals.flat_map(|nal| [&[0, 0, 1], nal].concat()).collect::<Vec<_>>();
        AccessUnit { data: data.into(), ..unit.clone() }
    };
    let mut packager = running(VIDEO);
    assert_eq!(packager.push(bare(&pictures()[0])).unwrap_err(), Malformed::NoParameterSets);
    assert!(push_all(&mut packager, &pictures()[1..15]).is_empty());

    push_all(&mut packager, &pictures()[15..16]);
    let out = packager.push(bare(&shifted(&pictures()[15], FRAME))).unwrap();
    let types: Vec<_> =
        nal_units(&chunks(&out)[0].annex_b()).map(|nal| NalType::of(nal[0])).collect();
    use NalType::{IdrSlice, PictureParameterSet, SequenceParameterSet};
    assert_eq!(types[..2], [SequenceParameterSet, PictureParameterSet]);
    assert_eq!(types.last(), Some(&IdrSlice));
}

#[test]
fn annex_b_is_made_once_and_has_all_nal_units_except_delimiters_and_filler() {
    let mut packager = running(VIDEO);
    for unit in pictures() {
        let stuffed = [&unit.data[..], &[0, 0, 1, 0x0c, 0xff, 0xff, 0x80]].concat();
        let out = packager.push(AccessUnit { data: stuffed.into(), ..unit.clone() }).unwrap();
        let chunk = &chunks(&out)[0];
        let expected: Vec<_> = nal_units(&unit.data).filter(|nal| nal[0] & 0x1f != 9).collect();
        let annex_b = chunk.annex_b();
        assert_eq!(nal_units(&annex_b).collect::<Vec<_>>(), expected);
        assert_eq!(annex_b.len(), chunk.payload(&chunk.units[0]).len());
        assert_eq!(annex_b.as_ptr(), chunk.annex_b().as_ptr());
    }
}

#[test]
fn units_of_an_unexpected_track_are_ignored() {
    let mut packager = running(VIDEO);
    assert!(push_all(&mut packager, sounds()).is_empty());
    packager.begin_run(MediaTime::default(), AUDIO);
    assert!(push_all(&mut packager, pictures()).is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_cause_a_panic(
        units in prop::collection::vec(
            (any::<bool>(), prop::collection::vec(any::<u8>(), 0..100), any::<u64>(), any::<u64>()),
            1..20,
        ),
        expect in expectations(),
    ) {
        let mut packager = running(expect);
        packager.audio_config(aac::lc_config(48_000, 2).unwrap());
        for (is_video, data, pts, dts) in units {
            let track = if is_video { TrackKind::Video } else { TrackKind::Audio };
            let duration = pts.is_multiple_of(3).then(|| Duration::from_nanos(dts));
            let (pts, dts) = (MediaTime(pts), MediaTime(dts));
            packager.push(AccessUnit { track, pts, dts, duration, data: data.into() }).ok();
        }
    }

    #[test]
    fn damaged_pictures_never_damage_the_container(
        damage in prop::collection::vec((0usize..30, any::<usize>(), any::<u8>()), 0..20),
        cut in prop::option::of((0usize..30, any::<usize>())),
    ) {
        let mut units: Vec<_> = pictures().iter().map(|unit| unit.data.to_vec()).collect();
        for (unit, at, byte) in damage {
            let at = at % units[unit].len();
            units[unit][at] = byte;
        }
        if let Some((unit, length)) = cut {
            let length = length % units[unit].len();
            units[unit].truncate(length);
        }
        let mut packager = running(VIDEO);
        let mut generation = 0;
        for (data, unit) in units.into_iter().zip(pictures()) {
            let unit = AccessUnit { data: data.into(), ..unit.clone() };
            for packaged in packager.push(unit).unwrap_or_default() {
                match packaged {
                    Packaged::Init(init) => generation = init.generation,
                    Packaged::Chunk(chunk) => {
                        prop_assert_eq!(chunk.generation, generation);
                        players::check_boxes(&chunk);
                    }
                }
            }
        }
    }

    #[test]
    fn decode_times_increase_whatever_the_times_of_the_feed(
        times in prop::collection::vec(10_000_000_000u64..10_100_000_000, 2..30),
    ) {
        let mut packager = running(VIDEO);
        let mut latest = 0;
        for (unit, time) in pictures().iter().zip(times) {
            let time = MediaTime(time);
            let out = packager.push(AccessUnit { pts: time, dts: time, ..unit.clone() }).unwrap();
            let chunk = &chunks(&out)[0];
            prop_assert_eq!(chunk.units[0].dts, time);
            let tfdt = players::check_boxes(chunk)[0].decode_time;
            prop_assert!(tfdt > latest);
            latest = tfdt;
        }
    }
}

fn expectations() -> impl Strategy<Value = Expect> {
    prop::sample::select(vec![BOTH, VIDEO, AUDIO])
}

fn running(expect: Expect) -> Packager {
    let mut packager = Packager::new();
    packager.begin_run(MediaTime::default(), expect);
    packager
}

/// One second in two GOPs; 320x240, 30 frames per second.
fn pictures() -> &'static [AccessUnit] {
    static PICTURES: OnceLock<Vec<AccessUnit>> = OnceLock::new();
    PICTURES.get_or_init(|| Video::default().timed(START))
}

/// One second, 48 kHz stereo.
fn sounds() -> &'static [AccessUnit] {
    static SOUNDS: OnceLock<Vec<AccessUnit>> = OnceLock::new();
    SOUNDS.get_or_init(|| tone(START))
}

fn both() -> Vec<AccessUnit> {
    interleaved(pictures().to_vec(), sounds().to_vec())
}

fn shifted(unit: &AccessUnit, by: Duration) -> AccessUnit {
    AccessUnit { pts: unit.pts + by, dts: unit.dts + by, ..unit.clone() }
}

fn push_all(packager: &mut Packager, units: &[AccessUnit]) -> Vec<Packaged> {
    units.iter().flat_map(|unit| packager.push(unit.clone()).unwrap()).collect()
}

fn inits(out: &[Packaged]) -> Vec<Arc<Init>> {
    out.iter()
        .filter_map(|packaged| match packaged {
            Packaged::Init(init) => Some(Arc::clone(init)),
            Packaged::Chunk(_) => None,
        })
        .collect()
}

fn chunks(out: &[Packaged]) -> Vec<Arc<Chunk>> {
    out.iter()
        .filter_map(|packaged| match packaged {
            Packaged::Init(_) => None,
            Packaged::Chunk(chunk) => Some(Arc::clone(chunk)),
        })
        .collect()
}

fn bytes(out: &[Packaged]) -> Vec<Bytes> {
    out.iter()
        .map(|packaged| match packaged {
            Packaged::Init(init) => init.bytes.clone(),
            Packaged::Chunk(chunk) => chunk.bytes.clone(),
        })
        .collect()
}
