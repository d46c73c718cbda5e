//! The state machine, driven by events and times.

use super::*;

pub(in crate::engine::supervise) const LIMITS: Limits = Limits {
    start_timeout: Duration::from_secs(10),
    stall_timeout: Duration::from_secs(5),
    stop_timeout: Duration::from_secs(3),
    backoff: Backoff::PUSH,
    spread: 0.0,
    stuck: Failure::no_frames,
};

fn second(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn live(now: Instant) -> Lifecycle {
    let mut life = Lifecycle::new(LIMITS);
    assert_eq!(life.on(Event::Wanted, now), Some(Effect::Start(1)));
    life.on(Event::FirstOutput(1), now);
    life
}

#[test]
fn a_camera_without_frames_is_stopped_and_retried_with_growing_delays() {
    let mut now = zero();
    let mut life = Lifecycle::new(LIMITS);
    assert_eq!(life.on(Event::Wanted, now), Some(Effect::Start(1)));

    for (run, wait_ms) in [(2, 0), (3, 500), (4, 1000), (5, 2000)] {
        now = life.deadline().unwrap();
        assert_eq!(life.on(Event::Tick, now), Some(Effect::Stop));
        assert_eq!(life.deadline(), Some(now + Duration::from_millis(wait_ms)));

        now = life.deadline().unwrap();
        assert_eq!(life.on(Event::Tick, now), Some(Effect::Start(run)));
    }
}

#[test]
fn a_pipeline_without_resurrection_stays_down_until_it_is_wanted_anew() {
    let now = zero();
    let mut life = Lifecycle::new(LIMITS).resurrecting(false);
    life.on(Event::Wanted, now);
    life.on(Event::FirstOutput(1), now);
    life.on(Event::Ended(1, Failure::Ended), now);
    assert_eq!(*life.phase(), Phase::Ended { cause: Failure::Ended });
    assert_eq!(life.deadline(), None);
    assert_eq!(life.on(Event::Tick, now + second(100)), None);

    assert_eq!(life.on(Event::Unwanted, now + second(101)), None);
    assert_eq!(life.on(Event::Wanted, now + second(102)), Some(Effect::Start(2)));
}

#[test]
fn a_live_camera_without_progress_is_stopped_and_retried() {
    let now = zero();
    let mut life = live(now);
    life.on(Event::Progress(1, 30), now + second(1));
    life.on(Event::Progress(1, 30), now + second(4));

    assert_eq!(life.on(Event::Tick, now + second(5)), None);
    assert_eq!(life.on(Event::Tick, now + second(6)), Some(Effect::Stop));
    let Phase::Waiting { cause, .. } = life.phase() else { panic!("should wait") };
    assert_eq!(*cause, Failure::NoFrames { after: second(5) });
}

#[test]
fn failures_are_forgiven_after_ten_seconds_live_not_after_one_frame() {
    let now = zero();
    let mut life = live(now);
    life.on(Event::Ended(1, Failure::Ended), now);
    life.on(Event::Tick, now);
    life.on(Event::FirstOutput(2), now);
    life.on(Event::Progress(2, 1), now + second(9));
    assert_eq!(life.failures(), 1);

    life.on(Event::Progress(2, 2), now + second(10));
    assert_eq!(life.failures(), 0);
    assert_eq!(life.last_failure(), Some(&Failure::Ended));
}

#[test]
fn events_of_an_earlier_run_change_nothing() {
    let now = zero();
    let mut life = live(now);
    life.on(Event::Ended(1, Failure::Ended), now);
    life.on(Event::Tick, now);
    let before = life.phase().clone();

    life.on(Event::Ended(1, Failure::Ended), now);
    life.on(Event::FirstOutput(1), now);
    life.on(Event::Progress(1, 99), now);
    assert_eq!(*life.phase(), before);
}

#[test]
fn stopping_waits_until_the_device_is_free() {
    let now = zero();
    let mut life = live(now);
    assert_eq!(life.on(Event::Unwanted, now), Some(Effect::Stop));
    assert!(matches!(life.phase(), Phase::Stopping { .. }));
    life.on(Event::Ended(1, Failure::Ended), now);
    assert_eq!(*life.phase(), Phase::Idle);
}

#[test]
fn a_pipeline_wanted_again_while_stopping_starts_after_the_stop() {
    let now = zero();
    let mut life = live(now);
    life.on(Event::Unwanted, now);
    assert_eq!(life.on(Event::Wanted, now), None);
    assert_eq!(life.on(Event::Ended(1, Failure::Ended), now), Some(Effect::Start(2)));
}

#[test]
fn a_pipeline_that_hangs_while_stopping_is_abandoned() {
    let now = zero();
    let mut life = live(now);
    life.on(Event::Unwanted, now);
    life.on(Event::Tick, now + second(3));
    assert_eq!(*life.phase(), Phase::Idle);
}

#[test]
fn the_last_ends_are_kept_with_their_causes() {
    let mut now = zero();
    let mut life = live(now);
    life.on(Event::Restart, now);
    assert_eq!(*life.ends(), [(now, Failure::Restart)]);
    for run in 2..12 {
        now += second(60);
        life.on(Event::Tick, now);
        life.on(Event::Ended(run, Failure::Ended), now);
    }
    assert_eq!(life.ends().len(), MAX_ENDS);
    assert_eq!(life.ends().back(), Some(&(now, Failure::Ended)));
}

#[test]
fn an_operators_restart_does_not_count_as_a_failure() {
    let now = zero();
    let mut life = live(now);
    assert_eq!(life.on(Event::Restart, now), Some(Effect::Stop));
    assert_eq!(life.failures(), 0);
    assert_eq!(life.on(Event::Tick, now), Some(Effect::Start(2)));
}

#[test]
fn the_total_counts_failures_only_and_keeps_forgiven_ones() {
    let now = zero();
    let mut life = live(now);
    life.on(Event::Unwanted, now);
    life.on(Event::Ended(1, Failure::Ended), now);
    life.on(Event::Wanted, now);
    life.on(Event::FirstOutput(2), now);
    life.on(Event::Restart, now);
    assert_eq!(life.all_failures(), 0);

    life.on(Event::Tick, now);
    life.on(Event::FirstOutput(3), now);
    life.on(Event::Ended(3, Failure::Ended), now);
    life.on(Event::Tick, now);
    life.on(Event::FirstOutput(4), now);
    life.on(Event::Progress(4, 1), now + second(10));
    assert_eq!((life.failures(), life.all_failures()), (0, 1));
}

#[test]
fn a_failing_pipeline_that_is_unwanted_becomes_idle() {
    let now = zero();
    let mut life = live(now);
    life.on(Event::Ended(1, Failure::Ended), now);
    assert_eq!(life.on(Event::Unwanted, now), None);
    assert_eq!(*life.phase(), Phase::Idle);
    assert_eq!(life.deadline(), None);
}

#[test]
fn failures_are_counted_across_viewers() {
    let now = zero();
    let mut life = Lifecycle::new(LIMITS);
    for viewer in 1..=3 {
        assert_eq!(life.on(Event::Wanted, now), Some(Effect::Start(viewer)));
        life.on(Event::Ended(viewer, Failure::Ended), now);
        life.on(Event::Unwanted, now);
    }
    assert_eq!(life.failures(), 3);
}

/// Fails `times` in a row.
fn failing(times: u32, now: Instant) -> Lifecycle {
    let mut life = Lifecycle::new(LIMITS);
    life.on(Event::Wanted, now);
    for time in 1..=times {
        let run = life.run();
        let cause = if time == 1 { "the key is wrong" } else { "connection reset" };
        life.on(Event::Ended(run, Failure::Command(cause.to_owned())), now);
        if time < times {
            life.on(Event::Tick, life.deadline().unwrap());
        }
    }
    life
}

#[test]
fn the_first_failure_is_kept_until_ten_seconds_live() {
    let now = zero();
    let mut life = failing(4, now);
    let text = |failure: Option<&Failure>| failure.map(ToString::to_string);
    assert_eq!(text(life.first_failure()).as_deref(), Some("the key is wrong"));
    assert_eq!(text(life.last_failure()).as_deref(), Some("connection reset"));

    life.on(Event::Tick, life.deadline().unwrap());
    let run = life.run();
    life.on(Event::FirstOutput(run), now);
    life.on(Event::Progress(run, 1), now + second(9));
    assert!(life.first_failure().is_some());
    life.on(Event::Progress(run, 2), now + second(10));
    assert_eq!(life.first_failure(), None);
    assert!(life.last_failure().is_some());
}

#[test]
fn an_edit_by_an_operator_forgets_failures() {
    let now = zero();
    let mut life = failing(9, now);
    life.on(Event::Unwanted, now);
    life.on(Event::ForgetFailures, now);
    assert_eq!((life.failures(), life.first_failure(), life.last_failure()), (0, None, None));

    life.on(Event::Wanted, now);
    let run = life.run();
    life.on(Event::Ended(run, Failure::Ended), now);
    assert_eq!(life.deadline(), Some(now), "the first retry is immediate");
}

#[test]
fn trying_now_ends_the_wait_and_resets_the_backoff() {
    let now = zero();
    let mut life = failing(9, now);
    assert!(life.deadline().unwrap() >= now + second(20));
    assert_eq!(life.on(Event::TryNow, now), None);
    assert_eq!(life.on(Event::Tick, now), Some(Effect::Start(10)));
    assert!(life.last_failure().is_some());
    life.on(Event::Ended(10, Failure::Ended), now);
    assert_eq!(life.deadline(), Some(now));
}

#[test]
fn trying_now_does_not_disturb_running_or_idle_pipelines() {
    let now = zero();
    let mut life = live(now);
    let before = life.phase().clone();
    assert_eq!(life.on(Event::TryNow, now), None);
    assert_eq!(*life.phase(), before);

    let mut idle = Lifecycle::new(LIMITS);
    assert_eq!(idle.on(Event::TryNow, now), None);
    assert_eq!(*idle.phase(), Phase::Idle);

    let mut over = Lifecycle::new(LIMITS).resurrecting(false);
    over.on(Event::Wanted, now);
    over.on(Event::Ended(1, Failure::Ended), now);
    assert_eq!(over.on(Event::TryNow, now), Some(Effect::Start(2)));
}

#[expect(clippy::disallowed_methods, reason = "tests choose their own zero")]
fn zero() -> Instant {
    Instant::now()
}

proptest::proptest! {
    /// After any events, a wanted pipeline has a deadline, and a stop has a run.
    #[test]
    fn a_wanted_pipeline_always_has_a_deadline(events in proptest::collection::vec(0u8..9, 0..200)) {
        let mut now = zero();
        let mut life = Lifecycle::new(LIMITS);
        let mut running = false;
        for event in events {
            now += Duration::from_millis(700);
            let run = life.run();
            let effect = life.on(match event {
                0 => Event::Wanted,
                1 => Event::Unwanted,
                2 => Event::Restart,
                3 => Event::FirstOutput(run),
                4 => Event::Progress(run, u64::from(run)),
                7 => Event::TryNow,
                8 => Event::ForgetFailures,
                5 => { running = false; Event::Ended(run, Failure::Ended) }
                _ => Event::Tick,
            }, now);
            match effect {
                Some(Effect::Start(_)) => running = true,
                Some(Effect::Stop) => assert!(running || life.run() > 0),
                None => {}
            }
            assert!(!life.wanted || life.deadline().is_some());
        }
    }
}
