//! Streams as their readers see them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{Limits, Read, Reader, Stream};
use crate::base::time::MediaTime;
use crate::media::aac;
use crate::media::edge::BLOCK;
use crate::media::packager::Expect;
use crate::media::samples::{Video, placeholders, tone};
use crate::model::unit::{AccessUnit, TrackKind};

const FRAME: Duration = Duration::from_millis(40);
const GOP: u32 = 10;

#[test]
fn late_joiners_start_at_the_newest_key_frame_with_its_init_segment() {
    let stream = stream(Duration::from_secs(10), 1 << 20);
    run(&stream, 0, 25);
    let mut reader = stream.join();

    assert!(matches!(reader.try_next(), Some(Read::Init(_))));
    assert_eq!(numbers(&mut reader), [20, 21, 22, 23, 24]);
    assert!(reader.try_next().is_none());
}

#[test]
fn a_reader_that_joins_before_the_first_frame_gets_every_frame() {
    let stream = stream(Duration::from_secs(10), 1 << 20);
    let mut reader = stream.join();
    assert!(reader.try_next().is_none());
    run(&stream, 0, 3);
    assert!(matches!(reader.try_next(), Some(Read::Init(_))));
    assert_eq!(numbers(&mut reader), [0, 1, 2]);
}

#[test]
fn a_reader_that_joins_at_the_edge_gets_a_burst_and_then_only_new_frames() {
    let stream = stream(Duration::from_secs(10), 1 << 20);
    assert!(stream.join_at_edge().is_none());
    run(&stream, 0, 95);
    let (mut reader, init, burst) = stream.join_at_edge().unwrap();
    assert!(reader.try_next().is_none());

    // Frame 50 is the newest key frame that is followed by forty pictures.
    let frames = burst.bytes.windows(4).filter(|window| window == b"moof").count();
    assert_eq!((frames, init.generation), (45, 1));
    let (_, _, again) = stream.join_at_edge().unwrap();
    assert_eq!(again.bytes.as_ptr(), burst.bytes.as_ptr(), "made once for all joiners");

    publish(&stream, 95, 97);
    assert_eq!(numbers(&mut reader), [95, 96]);
}

#[test]
fn a_past_picture_comes_with_the_pieces_needed_to_decode_it() {
    let stream = stream(Duration::from_secs(10), 1 << 20);
    assert_eq!(stream.past(Duration::ZERO).unwrap_err().reach, None);
    run(&stream, 0, 25);

    let newest = stream.past(Duration::ZERO).unwrap();
    let times: Vec<_> = newest.pieces.iter().map(|piece| piece.start()).collect();
    assert_eq!(times, [20, 21, 22, 23, 24].map(at));
    assert!(newest.pieces[0].key);

    let reach = stream.past(Duration::from_secs(60)).unwrap_err().reach.unwrap();
    assert!(reach < Duration::from_secs(60), "{reach:?}");
}

#[test]
fn every_viewer_of_a_padded_stream_is_in_the_same_phase() {
    let stream = stream(Duration::from_secs(60), 4 << 20);
    let mut reader = stream.join();
    run(&stream, 0, 1);
    for mut unit in placeholders(at(1), 400, 10) {
        unit.data = [&unit.data[..], &[0x55; 5000]].concat().into();
        stream.publish(unit).unwrap();
    }
    let (mut phase, mut pads) = (None, 0);
    while let Some(read) = reader.try_next() {
        let Read::Chunk(piece) = read else { continue };
        let padding = piece.padding();
        let begin = padding.phase.unwrap();
        assert!(phase.is_none_or(|phase| phase == begin));
        let pad = padding.pad.as_ref().map_or(0, |pad| pad.len());
        pads += usize::from(pad > 0);
        phase = Some((begin + piece.bytes.len() + pad) % BLOCK);
    }
    assert!(pads > 30, "{pads}");
}

#[test]
fn a_slow_reader_learns_how_much_it_lost_and_continues_at_the_newest_key_frame() {
    let stream = stream(Duration::from_millis(400), 1 << 20);
    let counter = Arc::default();
    let mut reader = stream.join().with_lost_counter(&counter);
    run(&stream, 0, 3);
    assert!(matches!(reader.try_next(), Some(Read::Init(_))));
    assert_eq!(numbers(&mut reader), [0, 1, 2]);

    publish(&stream, 3, 60);
    let Some(Read::Skipped(lost)) = reader.try_next() else { panic!("should have lagged") };
    assert_eq!(lost, 47);
    assert_eq!(counter.load(std::sync::atomic::Ordering::Relaxed), 47);
    assert_eq!(numbers(&mut reader), [50, 51, 52, 53, 54, 55, 56, 57, 58, 59]);
}

#[test]
fn the_ring_never_holds_more_bytes_than_its_limit() {
    let stream = stream(Duration::from_secs(3600), 2_000);
    run(&stream, 0, 500);
    let mut reader = stream.join();
    let mut bytes = 0;
    while let Some(read) = reader.try_next() {
        if let Read::Chunk(chunk) = read {
            bytes += chunk.bytes.len();
        }
    }
    assert!((1..=2_000).contains(&bytes), "{bytes}");
}

#[test]
fn a_reader_continues_after_a_restart_of_the_feed_without_a_new_init() {
    let stream = stream(Duration::from_secs(10), 1 << 20);
    let mut reader = stream.join();
    run(&stream, 0, 5);
    assert!(matches!(reader.try_next(), Some(Read::Init(_))));
    assert_eq!(numbers(&mut reader).len(), 5);

    stream.end_run();
    run(&stream, 50, 55);
    assert_eq!(numbers(&mut reader), [50, 51, 52, 53, 54]);
}

#[test]
fn a_reader_that_joins_between_two_runs_gets_no_frame_of_the_ended_one() {
    let stream = stream(Duration::from_secs(10), 1 << 20);
    let _keeps_the_ring = stream.join();
    run(&stream, 0, 5);
    stream.end_run();
    let mut reader = stream.join();
    assert!(reader.try_next().is_none());

    run(&stream, 50, 52);
    assert!(matches!(reader.try_next(), Some(Read::Init(_))));
    assert_eq!(numbers(&mut reader), [50, 51]);
}

#[test]
fn another_picture_size_comes_with_a_new_init_segment() {
    let stream = stream(Duration::from_secs(60), 16 << 20);
    let mut reader = stream.join();
    for (size, second) in [("320x240", 0), ("160x120", 10)] {
        stream.begin_run(
            MediaTime::default(),
            Expect { video: Some(FRAME), audio: false },
            2_000_000,
        );
        let video = Video { size, ..Video::default() };
        for unit in video.timed(MediaTime::ORIGIN + Duration::from_secs(second)) {
            stream.publish(unit).unwrap();
        }
        stream.end_run();
    }
    let mut widths = Vec::new();
    while let Some(read) = reader.try_next() {
        if let Read::Init(init) = read {
            widths.push(init.tracks.video.as_ref().map(|video| video.width));
        }
    }
    // The reader was slower than the change: the old init segment is gone, and
    // the frames that need it are skipped.
    assert_eq!(widths.last(), Some(&Some(160)));
}

#[test]
fn a_malformed_frame_is_counted_and_the_next_one_is_published() {
    let stream = stream(Duration::from_secs(10), 1 << 20);
    run(&stream, 0, 2);
    let broken = AccessUnit {
        track: TrackKind::Video,
        pts: at(2),
        dts: at(2),
        duration: None,
        data: Bytes::from_static(b"no start code in here"),
    };
    assert!(stream.publish(broken).is_err());
    publish(&stream, 3, 5);
    assert_eq!((stream.malformed(), stream.frames()), (1, 4));
}

#[test]
fn pictures_are_counted_or_audio_frames_without_video() {
    let count = |video: Option<Duration>| {
        let stream = stream(Duration::from_secs(10), 1 << 20);
        stream.begin_run(MediaTime::default(), Expect { video, audio: true }, 2_000_000);
        stream.audio_config(aac::lc_config(48_000, 2).unwrap());
        if video.is_some() {
            publish(&stream, 0, 1);
        }
        for sound in tone(at(0)).into_iter().take(20) {
            stream.publish(sound).unwrap();
        }
        (stream.frames(), stream.chunks() > 1)
    };
    assert_eq!(count(Some(FRAME)), (1, true));
    assert_eq!(count(None), (20, true));
}

#[test]
fn the_stream_counts_its_readers() {
    let stream = stream(Duration::from_secs(10), 1 << 20);
    let first = stream.join();
    let second = stream.join();
    assert_eq!(stream.reader_count(), 2);
    drop((first, second));
    assert_eq!(stream.reader_count(), 0);
}

#[tokio::test]
async fn a_waiting_reader_is_woken_by_the_next_frame() {
    let stream = stream(Duration::from_secs(10), 1 << 20);
    let mut reader = stream.join();
    let waiting = tokio::spawn(async move { reader.next().await });
    tokio::task::yield_now().await;
    run(&stream, 0, 1);
    assert!(matches!(waiting.await.unwrap(), Read::Init(_)));
}

fn stream(span: Duration, bytes: usize) -> Arc<Stream> {
    Stream::new("test".parse().unwrap(), Limits { span, bytes, gop: GOP * FRAME })
}

/// Begins a run and publishes the frames `from..to`.
fn run(stream: &Stream, from: u32, to: u32) {
    stream.begin_run(MediaTime::default(), Expect { video: Some(FRAME), audio: false }, 2_000_000);
    publish(stream, from, to);
}

/// Publishes the frames `from..to` of a picture with a key frame every [`GOP`] frames.
fn publish(stream: &Stream, from: u32, to: u32) {
    let frames = placeholders(at(0), to, GOP).into_iter().enumerate();
    for (number, mut unit) in frames.skip(from as usize) {
        let time = at(u32::try_from(number).unwrap());
        (unit.pts, unit.dts) = (time, time);
        stream.publish(unit).unwrap();
    }
}

fn at(number: u32) -> MediaTime {
    MediaTime::ORIGIN + FRAME * number
}

/// The numbers of the frames that can be read without waiting.
fn numbers(reader: &mut Reader) -> Vec<u128> {
    let mut numbers = Vec::new();
    while let Some(read) = reader.try_next() {
        let Read::Chunk(chunk) = read else { panic!("should be a chunk, not {read:?}") };
        numbers.push(chunk.start().since(MediaTime::ORIGIN).as_nanos() / FRAME.as_nanos());
    }
    numbers
}
