//! The judges of the other tests, judged: each must be able to say no.

use crate::common::fmp4::{Fragment, Track};
use crate::common::viewer::Seen;
use crate::common::wait;

#[test]
fn a_timeline_without_a_break_is_accepted() {
    let seen = seen(&[0, 40, 80, 120]);

    seen.assert_nothing_is_missing();
    seen.assert_time_goes_forward();
    assert!((seen.span(b"vide") - 0.16).abs() < 1e-9);
}

#[test]
#[should_panic(expected = "the timeline has breaks")]
fn a_single_frame_that_is_missing_is_noticed() {
    seen(&[0, 40, 120]).assert_nothing_is_missing();
}

#[test]
#[should_panic(expected = "fragment numbers are left out")]
fn a_fragment_number_that_is_left_out_is_noticed() {
    let mut seen = seen(&[0, 40, 80]);
    seen.fragments[2].sequence += 1;

    seen.assert_nothing_is_missing();
}

#[test]
#[should_panic(expected = "time runs back")]
fn time_that_stands_still_is_noticed() {
    seen(&[0, 40, 40]).assert_time_goes_forward();
}

#[test]
#[should_panic(expected = "the connection ended")]
fn a_connection_that_ended_is_noticed() {
    let mut seen = seen(&[0, 40]);
    seen.ended = Some("reset".to_owned());

    seen.assert_nothing_is_missing();
}

/// A picture of 25 frames a second with fragments at these milliseconds.
fn seen(milliseconds: &[u64]) -> Seen {
    let fragment = |(sequence, decode_time)| Fragment {
        sequence,
        track: 1,
        decode_time,
        duration: 40,
        key: true,
        arrived: wait::now(),
    };
    Seen {
        tracks: vec![Track { id: 1, handler: *b"vide", timescale: 1000 }],
        fragments: (1..).zip(milliseconds.iter().copied()).map(fragment).collect(),
        ended: None,
    }
}
