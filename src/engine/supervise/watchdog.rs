//! Feeds the watchdog of the service manager (systemd) while all supervisors work.
//!
//! A camera or a receiver that is away does not count: its supervisor retries, and
//! a restart of the service would not help. What counts is a supervisor that has
//! ended by itself, does not answer, or is overdue with a timer.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use log::{error, info};
use tokio::time::MissedTickBehavior;

use super::supervisor::Supervisor;
use crate::base::time;

/// How late a timer of a supervisor may be, as a busy machine wakes tasks late.
const GRACE: Duration = Duration::from_secs(5);

/// How many times the watchdog is fed in each of its periods, so that one late
/// round does not end the service.
const ROUNDS_PER_PERIOD: u32 = 4;

/// Calls `feed` four times in each `period` while all of the present `supervisors`
/// work.
pub async fn watch(
    supervisors: impl Fn() -> Vec<Supervisor>,
    period: Duration,
    feed: impl Fn(),
) -> Infallible {
    // A period of zero would panic in `interval`.
    let interval = (period / ROUNDS_PER_PERIOD).max(Duration::from_millis(1));
    let mut round = tokio::time::interval(interval);
    round.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut was_well = true;
    loop {
        round.tick().await;
        let stuck = stuck(supervisors(), interval).await;
        let is_well = stuck.is_none();
        if is_well {
            feed();
        }
        match (was_well, stuck) {
            (true, Some(name)) => error!("{name} hangs; the watchdog is not fed until it answers"),
            (false, None) => info!("all supervisors work; the watchdog is fed again"),
            (true, None) | (false, Some(_)) => {}
        }
        was_well = is_well;
    }
}

/// The name of the first supervisor that does not work.
async fn stuck(supervisors: Vec<Supervisor>, timeout: Duration) -> Option<String> {
    for supervisor in supervisors {
        let is_responsive = tokio::time::timeout(timeout, supervisor.is_responsive()).await;
        let now = time::now();
        let is_stuck =
            !is_responsive.unwrap_or(false) || is_overdue(supervisor.report().deadline, now);
        if is_stuck && !supervisor.is_ending() {
            return Some(supervisor.name().to_owned());
        }
    }
    None
}

/// Whether `deadline` passed more than [`GRACE`] ago.
fn is_overdue(deadline: Option<Instant>, now: Instant) -> bool {
    deadline.is_some_and(|deadline| now.saturating_duration_since(deadline) > GRACE)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::sync::watch as channel;

    use super::*;
    use crate::base::backoff::Backoff;
    use crate::config::settings::Mode;
    use crate::engine::supervise::demand::Demand;
    use crate::engine::supervise::lifecycle::{Lifecycle, Limits, tests};
    use crate::engine::tests::fake::{Behaviour, Device};
    use crate::model::failure::Failure;

    const LIMITS: Limits = Limits { backoff: Backoff::FEED, ..tests::LIMITS };

    const PERIOD: Duration = Duration::from_secs(20);

    fn supervise(camera: &Device) -> (Supervisor, channel::Sender<usize>) {
        let needed = channel::Sender::new(1);
        let (supervisor, _) = Supervisor::spawn(
            "stream test".to_owned(),
            camera.pipeline(),
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
    async fn a_missing_or_stalled_camera_does_not_restart_the_service() {
        for behaviour in [Behaviour::Fails(Failure::Ended), Behaviour::Stalls] {
            let (supervisor, _needed) = supervise(&Device::new(behaviour));
            assert_eq!(feedings(&supervisor, 602).await, 602 / 5 + 1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_without_viewers_feeds_its_watchdog() {
        let (supervisor, needed) = supervise(&Device::new(Behaviour::Fails(Failure::Ended)));
        needed.send_replace(0);
        assert_eq!(feedings(&supervisor, 602).await, 602 / 5 + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_supervisor_that_panicked_ends_the_feeding() {
        let camera = Device::new(Behaviour::Works);
        let (supervisor, _needed) = supervise(&camera);
        assert!(feedings(&supervisor, 20).await > 0);

        camera.set(Behaviour::Panics);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(feedings(&supervisor, 60).await, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_supervisor_that_ended_on_request_does_not_count() {
        let (supervisor, _needed) = supervise(&Device::new(Behaviour::Fails(Failure::Ended)));
        supervisor.end().await;
        assert_eq!(feedings(&supervisor, 602).await, 602 / 5 + 1);
    }

    #[test]
    fn a_deadline_is_overdue_after_the_grace_time() {
        let due = time::now();
        assert!(!is_overdue(None, due));
        assert!(!is_overdue(Some(due), due + GRACE));
        assert!(!is_overdue(Some(due + PERIOD), due));
        assert!(is_overdue(Some(due), due + GRACE + Duration::from_secs(1)));
    }
}
