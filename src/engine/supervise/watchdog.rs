//! Feeds the watchdog of whoever runs the service, as long as it does its work.
//!
//! A camera or a receiver that is away does not count: its supervisor tries it
//! again, and a restart of the service would help nobody. What counts is a
//! supervisor that is gone, does not listen, or leaves undone what was due.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use log::{error, info};
use tokio::time::MissedTickBehavior;

use super::supervisor::Supervisor;

/// A busy machine wakes a supervisor late; this much is not a reason to worry.
const GRACE: Duration = Duration::from_secs(5);

/// How many times it is fed in each period of the watchdog, so that one late
/// round does not end the service.
const ROUNDS: u32 = 4;

/// Calls `feed` several times in each `period` for as long as all that
/// `supervisors` gives at that moment do their work.
pub async fn watch(
    supervisors: impl Fn() -> Vec<Supervisor>,
    period: Duration,
    feed: impl Fn(),
) -> Infallible {
    // A period of nothing is no period that anyone can keep.
    let every = (period / ROUNDS).max(Duration::from_millis(1));
    let mut round = tokio::time::interval(every);
    round.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut was_well = true;
    loop {
        round.tick().await;
        let stuck = stuck(supervisors(), every).await;
        let is_well = stuck.is_none();
        if is_well {
            feed();
        }
        match (was_well, stuck) {
            (true, Some(what)) => error!("{what} hangs; the watchdog is not fed until it goes on"),
            (false, None) => info!("everything goes on; the watchdog is fed again"),
            (true, None) | (false, Some(_)) => {}
        }
        was_well = is_well;
    }
}

/// The first that does not do its work.
async fn stuck(supervisors: Vec<Supervisor>, patience: Duration) -> Option<String> {
    for supervisor in supervisors {
        let answers = tokio::time::timeout(patience, supervisor.answers()).await;
        let now = tokio::time::Instant::now().into_std();
        let is_stuck = !answers.unwrap_or(false) || is_overdue(supervisor.report().deadline, now);
        if is_stuck && !supervisor.is_told_to_end() {
            return Some(supervisor.what().to_owned());
        }
    }
    None
}

/// Whether what was due at `deadline` should have happened long ago.
fn is_overdue(deadline: Option<Instant>, now: Instant) -> bool {
    deadline.is_some_and(|deadline| now.saturating_duration_since(deadline) > GRACE)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::sync::{mpsc, watch as channel};

    use super::*;
    use crate::base::backoff::Backoff;
    use crate::config::settings::Mode;
    use crate::engine::supervise::demand::Demand;
    use crate::engine::supervise::lifecycle::{Event, Lifecycle, Limits, Run};
    use crate::engine::supervise::supervisor::{Pipeline, Pulse};
    use crate::model::status::Failure;

    const LIMITS: Limits = Limits {
        first_sign: Duration::from_secs(10),
        silence: Duration::from_secs(5),
        letting_go: Duration::from_secs(3),
        backoff: Backoff::FEED,
        spread: 0.0,
    };

    const PERIOD: Duration = Duration::from_secs(20);

    /// What a pipeline does when it is started, and when it is asked.
    #[derive(Clone)]
    enum Camera {
        Away,
        Silent,
        /// Its supervisor breaks as soon as this is set.
        Breaks(Arc<AtomicBool>),
    }

    impl Pipeline for Camera {
        fn start(&mut self, run: Run, news: mpsc::Sender<Event>) {
            let event = match self {
                Camera::Away => Event::Ended(run, Failure::Ended),
                Camera::Silent | Camera::Breaks(_) => Event::FirstSign(run),
            };
            news.try_send(event).unwrap();
        }

        fn stop(&mut self) {}

        fn pulse(&self) -> Pulse {
            match self {
                Camera::Away | Camera::Silent => Pulse::Count(1),
                Camera::Breaks(now) => {
                    assert!(!now.load(Ordering::Relaxed), "it breaks");
                    Pulse::AtRest
                }
            }
        }
    }

    fn supervise(camera: Camera) -> (Supervisor, channel::Sender<usize>) {
        let needed = channel::Sender::new(1);
        let (supervisor, _) = Supervisor::spawn(
            "stream test".to_owned(),
            camera,
            Lifecycle::new(LIMITS),
            Demand::new(Mode::OnDemand),
            needed.subscribe(),
        );
        (supervisor, needed)
    }

    /// How often the watchdog is fed while `seconds` pass.
    async fn feedings(supervisor: &Supervisor, seconds: u64) -> u32 {
        let count = Cell::new(0);
        let supervisors = || vec![supervisor.clone()];
        let watching = watch(supervisors, PERIOD, || count.set(count.get() + 1));
        tokio::time::timeout(Duration::from_secs(seconds), watching).await.unwrap_err();
        count.get()
    }

    #[tokio::test(start_paused = true)]
    async fn a_camera_that_is_away_or_falls_silent_is_no_reason_to_restart_the_service() {
        for camera in [Camera::Away, Camera::Silent] {
            let (supervisor, _needed) = supervise(camera);
            assert_eq!(feedings(&supervisor, 602).await, 602 / 5 + 1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_without_viewers_feeds_its_watchdog() {
        let (supervisor, needed) = supervise(Camera::Away);
        needed.send_replace(0);
        assert_eq!(feedings(&supervisor, 602).await, 602 / 5 + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_supervisor_that_is_gone_ends_the_feeding() {
        let breaks = Arc::new(AtomicBool::new(false));
        let (supervisor, _needed) = supervise(Camera::Breaks(Arc::clone(&breaks)));
        assert!(feedings(&supervisor, 20).await > 0);

        breaks.store(true, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(feedings(&supervisor, 60).await, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_supervisor_that_was_told_to_end_is_not_missed() {
        let (supervisor, _needed) = supervise(Camera::Away);
        supervisor.end().await;
        assert_eq!(feedings(&supervisor, 602).await, 602 / 5 + 1);
    }

    #[test]
    fn what_was_due_long_ago_is_overdue_and_what_was_due_just_now_is_not() {
        let due = tokio::time::Instant::now().into_std();
        assert!(!is_overdue(None, due));
        assert!(!is_overdue(Some(due), due + GRACE));
        assert!(!is_overdue(Some(due + PERIOD), due));
        assert!(is_overdue(Some(due), due + GRACE + Duration::from_secs(1)));
    }
}
