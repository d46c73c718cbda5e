//! The lifecycle of one pipeline, as a state machine.
//!
//! Nothing here sleeps, spawns, logs or touches GStreamer. The supervisor
//! feeds events in and carries out the effects that come back.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::base::backoff::Backoff;
use crate::model::failure::Failure;

/// The number of a run; events of an earlier run are ignored.
pub type Run = u32;

/// How long each phase may take, and what follows a failure.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Without output for this long after its start, a pipeline is stuck.
    pub start_timeout: Duration,
    /// Without progress for this long while live, a pipeline is stuck.
    pub stall_timeout: Duration,
    /// A pipeline that has not stopped after this long is abandoned.
    pub stop_timeout: Duration,
    pub backoff: Backoff,
    /// The share that is taken off each delay, `0.0..=1.0`; fixed per pipeline, so that
    /// pipelines that failed together retry at different times.
    pub spread: f64,
    /// The failure of a pipeline that has been stuck for this long.
    pub stuck: fn(Duration) -> Failure,
}

/// Time live after which earlier failures stop counting. One frame is not enough.
const FORGIVENESS: Duration = Duration::from_secs(10);

#[derive(Clone, Debug, PartialEq)]
pub enum Phase {
    Idle,
    Starting {
        give_up_at: Instant,
    },
    /// A frame has come out; a state change of the pipeline is not enough.
    Live {
        since: Instant,
        progress: u64,
        progressed_at: Instant,
    },
    Stopping {
        give_up_at: Instant,
    },
    /// Down after a failure; the next attempt is at `retry_at`.
    Waiting {
        retry_at: Instant,
        cause: Failure,
    },
    /// Down after a failure; not retried until it is wanted anew or an operator acts.
    Ended {
        cause: Failure,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    Wanted,
    Unwanted,
    /// An operator requests a restart now.
    Restart,
    /// An operator requests the next attempt now; a running pipeline is not restarted.
    TryNow,
    /// An operator has started, stopped or edited it, so that earlier failures say
    /// nothing about the next run.
    ForgetFailures,
    /// The first frame of a run has come out.
    FirstOutput(Run),
    /// The number of frames (or bytes) that have come out of a run.
    Progress(Run, u64),
    /// No output of a run is expected now, so that silence is no stall.
    AtRest(Run),
    /// A run has ended and has released its devices and sockets.
    Ended(Run, Failure),
    /// [`Lifecycle::deadline`] may have passed.
    Tick,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    Start(Run),
    Stop,
}

/// How many ends of runs are kept.
const MAX_ENDS: usize = 5;

#[derive(Debug)]
pub struct Lifecycle {
    phase: Phase,
    wanted: bool,
    run: Run,
    failures: u32,
    /// The first failure since it was live for ten seconds or an operator acted.
    first_failure: Option<Failure>,
    all_failures: u32,
    last_failure: Option<Failure>,
    /// The last few ends of runs, oldest first.
    ends: VecDeque<(Instant, Failure)>,
    limits: Limits,
    resurrect: bool,
    has_been_live: bool,
}

impl Lifecycle {
    pub fn new(limits: Limits) -> Self {
        Self {
            phase: Phase::Idle,
            wanted: false,
            run: 0,
            failures: 0,
            first_failure: None,
            all_failures: 0,
            last_failure: None,
            ends: VecDeque::new(),
            limits,
            resurrect: true,
            has_been_live: false,
        }
    }

    /// Sets whether failures are retried (`resurrect: true`, the default).
    pub fn resurrecting(mut self, resurrect: bool) -> Self {
        self.resurrect = resurrect;
        self
    }

    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// The current run, or the last one; 0 before the first.
    pub fn run(&self) -> Run {
        self.run
    }

    /// Whether any frame or byte has ever come out.
    pub fn has_been_live(&self) -> bool {
        self.has_been_live
    }

    /// Failures in a row, until the pipeline has been live for ten seconds.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// The first failure since it was live for ten seconds; later ones are often only
    /// its consequence.
    pub fn first_failure(&self) -> Option<&Failure> {
        self.first_failure.as_ref()
    }

    /// Failures since this lifecycle began, forgiven ones included.
    pub fn all_failures(&self) -> u32 {
        self.all_failures
    }

    /// The last failure, however long ago.
    pub fn last_failure(&self) -> Option<&Failure> {
        self.last_failure.as_ref()
    }

    /// When and why the last few runs ended, oldest first.
    pub fn ends(&self) -> &VecDeque<(Instant, Failure)> {
        &self.ends
    }

    /// When an [`Event::Tick`] is due, if any.
    pub fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Idle | Phase::Ended { .. } => None,
            Phase::Starting { give_up_at } | Phase::Stopping { give_up_at } => Some(give_up_at),
            Phase::Live { progressed_at, .. } => Some(progressed_at + self.limits.stall_timeout),
            Phase::Waiting { retry_at, .. } => Some(retry_at),
        }
    }

    /// Takes an event and returns what has to be done.
    pub fn on(&mut self, event: Event, now: Instant) -> Option<Effect> {
        match event {
            Event::Wanted => self.on_wanted(now),
            Event::Unwanted => self.on_unwanted(now),
            Event::Restart => self.on_restart(now),
            Event::TryNow => self.on_try_now(now),
            Event::ForgetFailures => self.on_forget_failures(),
            Event::FirstOutput(run) if run == self.run => self.on_first_output(now),
            Event::Progress(run, count) if run == self.run => self.on_progress(count, now),
            Event::AtRest(run) if run == self.run => self.on_at_rest(now),
            Event::Ended(run, cause) if run == self.run => self.on_ended(cause, now),
            Event::FirstOutput(_) | Event::Progress(..) | Event::AtRest(_) | Event::Ended(..) => {
                None
            }
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
                self.phase = Phase::Stopping { give_up_at: now + self.limits.stop_timeout };
                Some(Effect::Stop)
            }
            // Failures are kept: the next start would fail the same way, and would be
            // logged as a first failure.
            Phase::Waiting { .. } | Phase::Ended { .. } => {
                self.phase = Phase::Idle;
                None
            }
            Phase::Idle | Phase::Stopping { .. } => None,
        }
    }

    fn on_restart(&mut self, now: Instant) -> Option<Effect> {
        match self.phase {
            Phase::Starting { .. } | Phase::Live { .. } => {
                self.record_end(Failure::Restart, now);
                self.phase = Phase::Waiting { retry_at: now, cause: Failure::Restart };
                Some(Effect::Stop)
            }
            Phase::Waiting { ref mut retry_at, .. } => {
                *retry_at = now;
                None
            }
            Phase::Ended { .. } => Some(self.start(now)),
            Phase::Idle | Phase::Stopping { .. } => None,
        }
    }

    fn on_try_now(&mut self, now: Instant) -> Option<Effect> {
        match self.phase {
            Phase::Waiting { ref mut retry_at, .. } => {
                self.failures = 0;
                *retry_at = now;
                None
            }
            Phase::Ended { .. } => Some(self.start(now)),
            Phase::Idle | Phase::Starting { .. } | Phase::Live { .. } | Phase::Stopping { .. } => {
                None
            }
        }
    }

    fn on_forget_failures(&mut self) -> Option<Effect> {
        self.failures = 0;
        self.first_failure = None;
        self.last_failure = None;
        None
    }

    fn on_first_output(&mut self, now: Instant) -> Option<Effect> {
        if matches!(self.phase, Phase::Starting { .. }) {
            self.has_been_live = true;
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
                self.first_failure = None;
            }
        }
        None
    }

    fn on_at_rest(&mut self, now: Instant) -> Option<Effect> {
        match &mut self.phase {
            Phase::Starting { give_up_at } => *give_up_at = now + self.limits.start_timeout,
            Phase::Live { progressed_at, .. } => *progressed_at = now,
            Phase::Idle | Phase::Stopping { .. } | Phase::Waiting { .. } | Phase::Ended { .. } => {}
        }
        None
    }

    fn on_ended(&mut self, cause: Failure, now: Instant) -> Option<Effect> {
        match self.phase {
            Phase::Starting { .. } | Phase::Live { .. } => {
                self.fail(cause, now);
                None
            }
            Phase::Stopping { .. } => self.after_stop(now),
            Phase::Idle | Phase::Waiting { .. } | Phase::Ended { .. } => None,
        }
    }

    fn on_tick(&mut self, now: Instant) -> Option<Effect> {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return None;
        }
        match self.phase {
            Phase::Idle | Phase::Ended { .. } => None,
            Phase::Starting { .. } => {
                self.fail((self.limits.stuck)(self.limits.start_timeout), now);
                Some(Effect::Stop)
            }
            Phase::Live { .. } => {
                self.fail((self.limits.stuck)(self.limits.stall_timeout), now);
                Some(Effect::Stop)
            }
            Phase::Stopping { .. } => self.after_stop(now),
            Phase::Waiting { .. } => Some(self.start(now)),
        }
    }

    fn start(&mut self, now: Instant) -> Effect {
        self.run += 1;
        self.phase = Phase::Starting { give_up_at: now + self.limits.start_timeout };
        Effect::Start(self.run)
    }

    fn after_stop(&mut self, now: Instant) -> Option<Effect> {
        self.phase = Phase::Idle;
        self.wanted.then(|| self.start(now))
    }

    fn fail(&mut self, cause: Failure, now: Instant) {
        self.first_failure.get_or_insert_with(|| cause.clone());
        self.failures += 1;
        self.all_failures += 1;
        self.last_failure = Some(cause.clone());
        self.record_end(cause.clone(), now);
        if !self.resurrect {
            self.phase = Phase::Ended { cause };
            return;
        }
        let delay = self.limits.backoff.delay(self.failures, self.limits.spread);
        self.phase = Phase::Waiting { retry_at: now + delay, cause };
    }

    fn record_end(&mut self, cause: Failure, now: Instant) {
        if self.ends.len() == MAX_ENDS {
            self.ends.pop_front();
        }
        self.ends.push_back((now, cause));
    }
}

#[cfg(test)]
pub(super) mod tests;
