//! The life of one pipeline, as a state machine.
//!
//! Nothing here sleeps, spawns, logs or touches GStreamer. The supervisor
//! feeds events in and carries out the effects that come back.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::base::backoff::Backoff;
use crate::model::status::Failure;

/// Counts starts, so that news of an earlier run cannot touch a later one.
pub type Run = u32;

/// How long each phase may take, and what follows a failure.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Without a sign of life for this long after its start, a pipeline is stuck.
    pub first_sign: Duration,
    /// Without progress for this long while live, a pipeline is stuck.
    pub silence: Duration,
    /// A pipeline that has not let go after this long is given up as lost.
    pub letting_go: Duration,
    pub backoff: Backoff,
    /// Taken off each delay, `0.0..=1.0`; fixed per pipeline, so that those
    /// that failed together return apart.
    pub spread: f64,
}

/// This long live, and earlier failures no longer count. One frame does not forgive.
const FORGIVENESS: Duration = Duration::from_secs(10);

#[derive(Clone, Debug, PartialEq)]
pub enum Phase {
    Idle,
    Starting {
        give_up_at: Instant,
    },
    /// A frame came out of it; never the mere result of a state change.
    Live {
        since: Instant,
        progress: u64,
        progressed_at: Instant,
    },
    Stopping {
        give_up_at: Instant,
    },
    /// Down after a failure; starts again by itself at `retry_at`.
    Waiting {
        retry_at: Instant,
        cause: Failure,
    },
    /// Down after a failure, and not to be started again before it is wanted anew.
    Over {
        cause: Failure,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    Wanted,
    Unwanted,
    /// An operator wants a fresh start now.
    Restart,
    /// The first frame of a run came out.
    FirstSign(Run),
    /// How many frames (or bytes) have come out of a run so far.
    Progress(Run, u64),
    /// Nothing is asked of a run now: its silence means nothing.
    AtRest(Run),
    /// A run is over and has let go of its devices and sockets.
    Ended(Run, Failure),
    /// [`Lifecycle::deadline`] may have passed.
    Tick,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    Start(Run),
    Stop,
}

/// So many ends of runs are remembered.
const ENDS: usize = 5;

#[derive(Debug)]
pub struct Lifecycle {
    phase: Phase,
    wanted: bool,
    run: Run,
    failures: u32,
    last_failure: Option<Failure>,
    /// The newest ends of runs, the last one at the end.
    ends: VecDeque<(Instant, Failure)>,
    limits: Limits,
    resurrect: bool,
    has_lived: bool,
}

impl Lifecycle {
    pub fn new(limits: Limits) -> Self {
        Self {
            phase: Phase::Idle,
            wanted: false,
            run: 0,
            failures: 0,
            last_failure: None,
            ends: VecDeque::new(),
            limits,
            resurrect: true,
            has_lived: false,
        }
    }

    /// This lifecycle; unless `resurrect`, it ends with the first failure.
    pub fn resurrecting(mut self, resurrect: bool) -> Self {
        self.resurrect = resurrect;
        self
    }

    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// The run that is going on, or the last one.
    pub fn run(&self) -> Run {
        self.run
    }

    /// Whether anything has ever come out.
    pub fn has_lived(&self) -> bool {
        self.has_lived
    }

    /// Failures in a row, until the pipeline has been live for ten seconds.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Why it went down the last time, however long ago that was.
    pub fn last_failure(&self) -> Option<&Failure> {
        self.last_failure.as_ref()
    }

    /// When and why runs ended, the newest few, the last one at the end.
    pub fn ends(&self) -> &VecDeque<(Instant, Failure)> {
        &self.ends
    }

    /// When the supervisor owes an [`Event::Tick`], if ever.
    pub fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Idle | Phase::Over { .. } => None,
            Phase::Starting { give_up_at } | Phase::Stopping { give_up_at } => Some(give_up_at),
            Phase::Live { progressed_at, .. } => Some(progressed_at + self.limits.silence),
            Phase::Waiting { retry_at, .. } => Some(retry_at),
        }
    }

    pub fn on(&mut self, event: Event, now: Instant) -> Option<Effect> {
        match event {
            Event::Wanted => self.on_wanted(now),
            Event::Unwanted => self.on_unwanted(now),
            Event::Restart => self.on_restart(now),
            Event::FirstSign(run) if run == self.run => self.on_first_sign(now),
            Event::Progress(run, count) if run == self.run => self.on_progress(count, now),
            Event::AtRest(run) if run == self.run => self.on_rest(now),
            Event::Ended(run, cause) if run == self.run => self.on_ended(cause, now),
            Event::FirstSign(_) | Event::Progress(..) | Event::AtRest(_) | Event::Ended(..) => None,
            Event::Tick => self.on_tick(now),
        }
    }

    fn on_wanted(&mut self, now: Instant) -> Option<Effect> {
        self.wanted = true;
        matches!(self.phase, Phase::Idle).then(|| self.start(now))
    }

    fn on_unwanted(&mut self, now: Instant) -> Option<Effect> {
        self.wanted = false;
        match self.phase {
            Phase::Starting { .. } | Phase::Live { .. } => {
                self.phase = Phase::Stopping { give_up_at: now + self.limits.letting_go };
                Some(Effect::Stop)
            }
            // Not forgiven: who wants it next would fail the same way, and
            // the log would tell it as news.
            Phase::Waiting { .. } | Phase::Over { .. } => {
                self.phase = Phase::Idle;
                None
            }
            Phase::Idle | Phase::Stopping { .. } => None,
        }
    }

    fn on_restart(&mut self, now: Instant) -> Option<Effect> {
        match self.phase {
            Phase::Starting { .. } | Phase::Live { .. } => {
                self.note_end(Failure::Restart, now);
                self.phase = Phase::Waiting { retry_at: now, cause: Failure::Restart };
                Some(Effect::Stop)
            }
            Phase::Waiting { ref mut retry_at, .. } => {
                *retry_at = now;
                None
            }
            Phase::Over { .. } => Some(self.start(now)),
            Phase::Idle | Phase::Stopping { .. } => None,
        }
    }

    fn on_first_sign(&mut self, now: Instant) -> Option<Effect> {
        if matches!(self.phase, Phase::Starting { .. }) {
            self.has_lived = true;
            self.phase = Phase::Live { since: now, progress: 0, progressed_at: now };
        }
        None
    }

    fn on_progress(&mut self, count: u64, now: Instant) -> Option<Effect> {
        if let Phase::Live { since, progress, progressed_at } = &mut self.phase
            && count != *progress
        {
            *progress = count;
            *progressed_at = now;
            if now.duration_since(*since) >= FORGIVENESS {
                self.failures = 0;
            }
        }
        None
    }

    fn on_rest(&mut self, now: Instant) -> Option<Effect> {
        match &mut self.phase {
            Phase::Starting { give_up_at } => *give_up_at = now + self.limits.first_sign,
            Phase::Live { progressed_at, .. } => *progressed_at = now,
            Phase::Idle | Phase::Stopping { .. } | Phase::Waiting { .. } | Phase::Over { .. } => {}
        }
        None
    }

    fn on_ended(&mut self, cause: Failure, now: Instant) -> Option<Effect> {
        match self.phase {
            Phase::Starting { .. } | Phase::Live { .. } => {
                self.wait(cause, now);
                None
            }
            Phase::Stopping { .. } => self.after_stop(now),
            Phase::Idle | Phase::Waiting { .. } | Phase::Over { .. } => None,
        }
    }

    fn on_tick(&mut self, now: Instant) -> Option<Effect> {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return None;
        }
        match self.phase {
            Phase::Idle | Phase::Over { .. } => None,
            Phase::Starting { .. } => {
                self.wait(Failure::NoFrames { after: self.limits.first_sign }, now);
                Some(Effect::Stop)
            }
            Phase::Live { .. } => {
                self.wait(Failure::NoFrames { after: self.limits.silence }, now);
                Some(Effect::Stop)
            }
            Phase::Stopping { .. } => self.after_stop(now),
            Phase::Waiting { .. } => Some(self.start(now)),
        }
    }

    fn start(&mut self, now: Instant) -> Effect {
        self.run += 1;
        self.phase = Phase::Starting { give_up_at: now + self.limits.first_sign };
        Effect::Start(self.run)
    }

    fn after_stop(&mut self, now: Instant) -> Option<Effect> {
        self.phase = Phase::Idle;
        self.wanted.then(|| self.start(now))
    }

    fn wait(&mut self, cause: Failure, now: Instant) {
        self.failures += 1;
        self.last_failure = Some(cause.clone());
        self.note_end(cause.clone(), now);
        if !self.resurrect {
            self.phase = Phase::Over { cause };
            return;
        }
        let delay = self.limits.backoff.delay(self.failures, self.limits.spread);
        self.phase = Phase::Waiting { retry_at: now + delay, cause };
    }

    fn note_end(&mut self, cause: Failure, now: Instant) {
        if self.ends.len() == ENDS {
            self.ends.pop_front();
        }
        self.ends.push_back((now, cause));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        first_sign: Duration::from_secs(10),
        silence: Duration::from_secs(5),
        letting_go: Duration::from_secs(3),
        backoff: Backoff::PUSH,
        spread: 0.0,
    };

    fn second(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn live(now: Instant) -> Lifecycle {
        let mut life = Lifecycle::new(LIMITS);
        assert_eq!(life.on(Event::Wanted, now), Some(Effect::Start(1)));
        life.on(Event::FirstSign(1), now);
        life
    }

    #[test]
    fn a_camera_that_never_delivers_is_stopped_and_retried_later_each_time() {
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
    fn what_is_not_resurrected_stays_down_until_it_is_wanted_anew() {
        let now = zero();
        let mut life = Lifecycle::new(LIMITS).resurrecting(false);
        life.on(Event::Wanted, now);
        life.on(Event::FirstSign(1), now);
        life.on(Event::Ended(1, Failure::Ended), now);
        assert_eq!(*life.phase(), Phase::Over { cause: Failure::Ended });
        assert_eq!(life.deadline(), None);
        assert_eq!(life.on(Event::Tick, now + second(100)), None);

        assert_eq!(life.on(Event::Unwanted, now + second(101)), None);
        assert_eq!(life.on(Event::Wanted, now + second(102)), Some(Effect::Start(2)));
    }

    #[test]
    fn a_live_camera_that_falls_silent_is_stuck_whatever_it_says() {
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
    fn one_good_frame_does_not_forgive_but_ten_seconds_do() {
        let now = zero();
        let mut life = live(now);
        life.on(Event::Ended(1, Failure::Ended), now);
        life.on(Event::Tick, now);
        life.on(Event::FirstSign(2), now);
        life.on(Event::Progress(2, 1), now + second(9));
        assert_eq!(life.failures(), 1);

        life.on(Event::Progress(2, 2), now + second(10));
        assert_eq!(life.failures(), 0);
        assert_eq!(life.last_failure(), Some(&Failure::Ended));
    }

    #[test]
    fn news_of_an_earlier_run_changes_nothing() {
        let now = zero();
        let mut life = live(now);
        life.on(Event::Ended(1, Failure::Ended), now);
        life.on(Event::Tick, now);
        let before = life.phase().clone();

        life.on(Event::Ended(1, Failure::Ended), now);
        life.on(Event::FirstSign(1), now);
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
    fn who_is_wanted_again_while_stopping_starts_when_that_is_over() {
        let now = zero();
        let mut life = live(now);
        life.on(Event::Unwanted, now);
        assert_eq!(life.on(Event::Wanted, now), None);
        assert_eq!(life.on(Event::Ended(1, Failure::Ended), now), Some(Effect::Start(2)));
    }

    #[test]
    fn a_pipeline_that_hangs_while_stopping_is_given_up() {
        let now = zero();
        let mut life = live(now);
        life.on(Event::Unwanted, now);
        life.on(Event::Tick, now + second(3));
        assert_eq!(*life.phase(), Phase::Idle);
    }

    #[test]
    fn the_newest_ends_are_remembered_with_their_causes() {
        let mut now = zero();
        let mut life = live(now);
        life.on(Event::Restart, now);
        assert_eq!(*life.ends(), [(now, Failure::Restart)]);
        for run in 2..12 {
            now += second(60);
            life.on(Event::Tick, now);
            life.on(Event::Ended(run, Failure::Ended), now);
        }
        assert_eq!(life.ends().len(), ENDS);
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
    fn a_failing_pipeline_that_nobody_wants_any_more_rests() {
        let now = zero();
        let mut life = live(now);
        life.on(Event::Ended(1, Failure::Ended), now);
        assert_eq!(life.on(Event::Unwanted, now), None);
        assert_eq!(*life.phase(), Phase::Idle);
        assert_eq!(life.deadline(), None);
    }

    #[test]
    fn a_camera_that_fails_each_new_viewer_is_not_news_each_time() {
        let now = zero();
        let mut life = Lifecycle::new(LIMITS);
        for viewer in 1..=3 {
            assert_eq!(life.on(Event::Wanted, now), Some(Effect::Start(viewer)));
            life.on(Event::Ended(viewer, Failure::Ended), now);
            life.on(Event::Unwanted, now);
        }
        assert_eq!(life.failures(), 3);
    }

    #[expect(clippy::disallowed_methods, reason = "tests choose their own zero")]
    fn zero() -> Instant {
        Instant::now()
    }

    proptest::proptest! {
        /// Whatever happens: it never runs twice at once, and a wanted pipeline
        /// always has a deadline or is about to be told something.
        #[test]
        fn a_wanted_pipeline_never_rests(events in proptest::collection::vec(0u8..7, 0..200)) {
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
                    3 => Event::FirstSign(run),
                    4 => Event::Progress(run, u64::from(run)),
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
}
