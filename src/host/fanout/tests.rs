//! Distribution of frames, and what is kept of a run.

use bytes::Bytes;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;
use crate::media::aac::lc_config;

const GIVEN: Given = Given { pictures: Some(Pictures::H264 { in_order: true }), sound: true };

/// A fanout and a run of its feed.
fn fanout() -> (Arc<Fanout>, FeedRun) {
    let fanout = Fanout::new("front".parse().unwrap());
    let run = begun(&fanout);
    (fanout, run)
}

fn begun(fanout: &Arc<Fanout>) -> FeedRun {
    let run = fanout.begin_run(MediaTime(0));
    run.writer().announce(GIVEN);
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

/// A subscriber of video that records the times.
fn subscribed(fanout: &Arc<Fanout>) -> (Subscription, UnboundedReceiver<u64>) {
    let (sender, times) = unbounded_channel();
    let subscription = fanout.subscribe(TrackKind::Video, move |frame| {
        if let Frame::Unit(unit) = frame {
            sender.send(unit.dts.0).unwrap();
        }
    });
    (subscription, times)
}

fn all(times: &mut UnboundedReceiver<u64>) -> Vec<u64> {
    std::iter::from_fn(|| times.try_recv().ok()).collect()
}

#[test]
fn late_subscribers_get_the_pictures_since_the_newest_key_frame() {
    let (fanout, run) = fanout();
    let writer = run.writer();
    for unit in [key(1), delta(2), key(3), delta(4)] {
        assert!(writer.unit(unit));
    }
    assert_eq!(fanout.begin(), Some(MediaTime(3)));

    let (_subscription, mut times) = subscribed(&fanout);
    writer.unit(delta(5));

    assert_eq!(all(&mut times), [3, 4, 5]);
}

#[test]
fn pictures_before_the_first_key_frame_of_a_run_are_ignored() {
    let (fanout, run) = fanout();
    let writer = run.writer();
    let (_subscription, mut times) = subscribed(&fanout);
    assert!(!writer.unit(delta(1)));
    assert!(writer.unit(key(2)));
    let run = begun(&fanout);
    assert!(!run.writer().unit(delta(3)));
    assert_eq!(all(&mut times), [2]);
    assert_eq!(fanout.begin(), None);
}

#[test]
fn kept_frames_are_dropped_with_their_run() {
    let (fanout, run) = fanout();
    run.writer().unit(key(1));
    run.writer().audio_config(lc_config(48_000, 2).unwrap());
    drop(run);

    let (_pictures, mut times) = subscribed(&fanout);
    let (sender, mut sounds) = unbounded_channel();
    let _sounds = fanout.subscribe(TrackKind::Audio, move |_| sender.send(()).unwrap());

    assert_eq!(fanout.begin(), None);
    assert!(all(&mut times).is_empty() && sounds.try_recv().is_err());
    assert_eq!(fanout.earliest(MediaTime(9)), MediaTime(9));
}

#[test]
fn a_pipeline_that_outlives_its_run_does_not_write_into_the_next() {
    let (fanout, first) = fanout();
    let late = first.writer();
    let second = fanout.begin_run(MediaTime(10));
    drop(first);
    let (_subscription, mut times) = subscribed(&fanout);

    assert!(!late.unit(key(1)));
    late.announce(Given { pictures: None, ..GIVEN });
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
    writer.unit(picture(0x41, 2, MAX_GOP_BYTES));
    writer.unit(delta(3));
    assert_eq!(fanout.begin(), None);
    writer.unit(key(4));
    assert_eq!(fanout.begin(), Some(MediaTime(4)));
}

#[test]
fn a_dropped_subscription_gets_no_more_frames() {
    let (fanout, run) = fanout();
    let writer = run.writer();
    let (subscription, mut times) = subscribed(&fanout);
    assert!(writer.has_video_subscribers());
    drop(subscription);
    writer.unit(key(1));
    assert!(!writer.has_video_subscribers());
    assert!(all(&mut times).is_empty());
}

#[test]
fn unchanged_media_of_a_run_do_not_wake_receivers() {
    let (fanout, run) = fanout();
    let writer = run.writer();
    let mut given = fanout.given();
    given.mark_unchanged();
    writer.announce(GIVEN);
    assert!(!given.has_changed().unwrap());
    writer.announce(Given { sound: false, ..GIVEN });
    assert!(given.has_changed().unwrap());
}

#[test]
fn pictures_once_out_of_order_are_expected_to_be_so_in_the_next_run() {
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
fn pictures_out_of_display_order_are_detected() {
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
    // A server whose clock was set back.
    assert!(in_order(&[5000, 5040, 40, 80, 120]));
}
