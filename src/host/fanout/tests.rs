//! Frames of runs, handed out and kept.

use bytes::Bytes;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;
use crate::media::aac::lc_config;

const GIVEN: Given = Given { pictures: Some(Pictures::H264 { in_order: true }), sound: true };

/// An fanout and a run of its feed.
fn fanout() -> (Arc<Fanout>, FeedRun) {
    let fanout = Fanout::new("front".parse().unwrap());
    let run = begun(&fanout);
    (fanout, run)
}

fn begun(fanout: &Arc<Fanout>) -> FeedRun {
    let run = fanout.begin_run(MediaTime(0));
    run.writer().promise(GIVEN);
    run
}

fn picture(header: u8, at: u64, bytes: usize) -> AccessUnit {
    let mut data = vec![1; bytes];
    data[..5].copy_from_slice(&[0, 0, 0, 1, header]);
    let time = MediaTime(at);
    AccessUnit {
        track: TrackKind::Video,
        pts: time,
        dts: time,
        duration: None,
        data: Bytes::from(data),
    }
}

fn key(at: u64) -> AccessUnit {
    picture(0x65, at, 100)
}

fn delta(at: u64) -> AccessUnit {
    picture(0x41, at, 100)
}

/// A taker of pictures that notes their times.
fn taken(fanout: &Arc<Fanout>) -> (Taking, UnboundedReceiver<u64>) {
    let (tell, times) = unbounded_channel();
    let taking = fanout.take(TrackKind::Video, move |frame| {
        if let Frame::Unit(unit) = frame {
            tell.send(unit.dts.0).unwrap();
        }
    });
    (taking, times)
}

fn all(times: &mut UnboundedReceiver<u64>) -> Vec<u64> {
    std::iter::from_fn(|| times.try_recv().ok()).collect()
}

#[test]
fn who_comes_late_gets_the_pictures_since_the_newest_key_frame() {
    let (fanout, run) = fanout();
    let writer = run.writer();
    for unit in [key(1), delta(2), key(3), delta(4)] {
        assert!(writer.unit(unit));
    }
    assert_eq!(fanout.begin(), Some(MediaTime(3)));

    let (_taking, mut times) = taken(&fanout);
    writer.unit(delta(5));

    assert_eq!(all(&mut times), [3, 4, 5]);
}

#[test]
fn pictures_before_the_first_key_frame_of_a_run_go_nowhere() {
    let (fanout, run) = fanout();
    let writer = run.writer();
    let (_taking, mut times) = taken(&fanout);
    assert!(!writer.unit(delta(1)));
    assert!(writer.unit(key(2)));
    let run = begun(&fanout);
    assert!(!run.writer().unit(delta(3)));
    assert_eq!(all(&mut times), [2]);
    assert_eq!(fanout.begin(), None);
}

#[test]
fn what_is_kept_of_a_run_ends_with_it() {
    let (fanout, run) = fanout();
    run.writer().unit(key(1));
    run.writer().audio_config(lc_config(48_000, 2).unwrap());
    drop(run);

    let (_pictures, mut times) = taken(&fanout);
    let (tell, mut sounds) = unbounded_channel();
    let _sounds = fanout.take(TrackKind::Audio, move |_| tell.send(()).unwrap());

    assert_eq!(fanout.begin(), None);
    assert!(all(&mut times).is_empty() && sounds.try_recv().is_err());
    assert_eq!(fanout.earliest(MediaTime(9)), MediaTime(9));
}

#[test]
fn a_pipeline_that_goes_on_after_its_run_writes_into_no_other() {
    let (fanout, first) = fanout();
    let late = first.writer();
    let second = fanout.begin_run(MediaTime(10));
    drop(first);
    let (_taking, mut times) = taken(&fanout);

    assert!(!late.unit(key(1)));
    late.promise(Given { pictures: None, ..GIVEN });
    assert!(second.writer().unit(key(11)));

    assert_eq!(all(&mut times), [11]);
    assert_eq!(*fanout.given().borrow(), Some(GIVEN));
    assert_eq!(fanout.earliest(MediaTime(12)), MediaTime(10));
}

#[test]
fn a_group_of_pictures_that_is_too_long_is_not_kept() {
    let (fanout, run) = fanout();
    let writer = run.writer();
    writer.unit(key(1));
    writer.unit(picture(0x41, 2, PAST_BYTES));
    writer.unit(delta(3));
    assert_eq!(fanout.begin(), None);
    writer.unit(key(4));
    assert_eq!(fanout.begin(), Some(MediaTime(4)));
}

#[test]
fn who_lets_go_gets_nothing_more() {
    let (fanout, run) = fanout();
    let writer = run.writer();
    let (taking, mut times) = taken(&fanout);
    assert!(writer.has_viewers());
    drop(taking);
    writer.unit(key(1));
    assert!(!writer.has_viewers());
    assert!(all(&mut times).is_empty());
}

#[test]
fn a_run_that_gives_the_same_is_no_change() {
    let (fanout, run) = fanout();
    let writer = run.writer();
    let mut given = fanout.given();
    given.mark_unchanged();
    writer.promise(GIVEN);
    assert!(!given.has_changed().unwrap());
    writer.promise(Given { sound: false, ..GIVEN });
    assert!(given.has_changed().unwrap());
}

#[test]
fn pictures_that_were_once_out_of_order_are_not_trusted_again() {
    const MS: u64 = 1_000_000;
    let (fanout, run) = fanout();
    let writer = run.writer();
    for time in [40, 160, 80, 120, 280, 200, 240] {
        writer.unit(key(time * MS));
    }
    let _again = begun(&fanout);
    let pictures = fanout.given().borrow().unwrap().pictures;
    assert_eq!(pictures, Some(Pictures::H264 { in_order: false }));
}

#[test]
fn pictures_that_are_shown_in_another_order_are_told_of() {
    const MS: u64 = 1_000_000;
    let in_order = |times: &[u64]| {
        let (fanout, run) = fanout();
        for time in times {
            run.writer().unit(key(time * MS));
        }
        let given = *fanout.given().borrow();
        given.unwrap().pictures == GIVEN.pictures
    };
    assert!(in_order(&[40, 80, 120, 160]));
    assert!(!in_order(&[40, 160, 80, 120, 280, 200, 240]));
    // A server whose clock was set back goes on from there.
    assert!(in_order(&[5000, 5040, 40, 80, 120]));
}
