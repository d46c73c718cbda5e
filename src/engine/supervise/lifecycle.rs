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
    /// An operator wants the next attempt now, without a fresh start of what runs.
    TryNow,
    /// An operator has started, stopped or edited it: earlier failures tell
    /// nothing about what comes next.
    Forget,
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
    /// What went wrong first since it was live for long, or an operator came.
    first_failure: Option<Failure>,
    all_failures: u32,
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
            first_failure: None,
            all_failures: 0,
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

    /// Why it went down first since it was live for ten seconds: what came
    /// after that is often only the consequence.
    pub fn first_failure(&self) -> Option<&Failure> {
        self.first_failure.as_ref()
    }

    /// Failures since this lifecycle began, forgiven ones included.
    pub fn all_failures(&self) -> u32 {
        self.all_failures
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
            Event::TryNow => self.on_try_now(now),
            Event::Forget => self.on_forget(),
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

    fn on_try_now(&mut self, now: Instant) -> Option<Effect> {
        match self.phase {
            Phase::Waiting { ref mut retry_at, .. } => {
                self.failures = 0;
                *retry_at = now;
                None
            }
            Phase::Over { .. } => Some(self.start(now)),
            Phase::Idle | Phase::Starting { .. } | Phase::Live { .. } | Phase::Stopping { .. } => {
                None
            }
        }
    }

    fn on_forget(&mut self) -> Option<Effect> {
        self.failures = 0;
        self.first_failure = None;
        self.last_failure = None;
        None
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
                self.first_failure = None;
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
        self.first_failure.get_or_insert_with(|| cause.clone());
        self.failures += 1;
        self.all_failures += 1;
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
mod tests;
