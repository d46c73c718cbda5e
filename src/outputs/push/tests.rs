//! Pushes under supervision, on a paused clock.

use super::*;
use crate::base::time::now;
use crate::config::parse_text;
use crate::engine::process::bytes;
use crate::engine::registry::Registry;
use crate::engine::tests::fake::{Behaviour, Device, FakePipelines};

const DAY: Duration = Duration::from_secs(86_400);

/// A push of the stream `front`, and what keeps the two running.
struct Setup {
    push: Arc<Push>,
    receiver: Device,
    camera: Device,
    _registry: Registry,
}

impl Setup {
    fn new() -> Self {
        let text = "feeds: {front: {test: clock}}\nstreams: {front: {}}\n\
            pushes: {tube: {url: 'rtmp://a.example/live', key: KEY}}\n";
        let (settings, pipelines) = (parse_text(text).unwrap(), FakePipelines::default());
        let factory: Arc<dyn PipelineFactory> = Arc::new(pipelines.clone());
        let (flows, _) = bytes::Registry::new(&settings, Arc::clone(&factory));
        let (registry, _) = Registry::new(&settings, &flows, factory);
        let (push, _) = Push::spawn(&settings.pushes[0], &registry.streams()[0], &pipelines, 0.0);
        Self {
            push,
            receiver: pipelines.device("push tube"),
            camera: pipelines.device("stream front"),
            _registry: registry,
        }
    }

    async fn start(&self) {
        let to = destination(self.push.settings(), self.push.stream()).unwrap();
        self.push.start(to).await;
    }

    /// Waits until it sends.
    async fn live(&self) {
        let is_live = |report: &Report| matches!(report.phase, Phase::Live { .. });
        self.push.supervisor().watch().wait_for(is_live).await.unwrap();
    }

    fn is_live(&self) -> bool {
        matches!(self.push.state(now()), State::Live { .. })
    }
}

async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

/// The delays between the runs of a device, in milliseconds.
fn delays(device: &Device) -> Vec<u128> {
    device.starts().windows(2).map(|pair| (pair[1] - pair[0]).as_millis()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_push_runs_its_stream_from_its_start_to_its_stop() {
    let setup = Setup::new();
    pass(DAY).await;
    assert!(!setup.push.is_wanted() && setup.receiver.starts().is_empty());

    setup.start().await;
    assert_eq!(setup.push.first_attempt().await, Ok(()));
    pass(Duration::from_secs(60)).await;
    assert!(setup.is_live() && setup.camera.is_running());
    assert!(setup.push.bytes_out() > 0);

    setup.push.stop();
    pass(Duration::from_secs(2)).await;
    assert!(!setup.receiver.is_running() && !setup.camera.is_running());
    pass(DAY).await;
    assert_eq!(setup.receiver.starts().len(), 1, "a push that was stopped is not retried");
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_refuses_for_a_day_is_retried_every_thirty_seconds() {
    let setup = Setup::new();
    let refused = Failure::Element { element: "rtmp2sink".into(), message: "refused".into() };
    setup.receiver.set(Behaviour::Fails(refused.clone()));
    setup.start().await;
    assert_eq!(setup.push.first_attempt().await, Err(refused));
    pass(DAY).await;

    let delays = delays(&setup.receiver);
    assert_eq!(delays[..7], [0, 500, 1000, 2000, 4000, 8000, 16_000]);
    assert!(delays[7..].iter().all(|delay| *delay == 30_000), "the delay stays at its ceiling");
    assert_eq!(delays.len(), 2885);
    assert!(setup.push.is_wanted(), "a push is never given up");

    setup.receiver.set(Behaviour::Works);
    pass(Duration::from_secs(31)).await;
    assert!(setup.is_live());
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_takes_nothing_is_left_and_tried_again() {
    let setup = Setup::new();
    setup.start().await;
    pass(Duration::from_secs(60)).await;
    setup.receiver.set(Behaviour::Silent);
    pass(Duration::from_secs(8)).await;
    assert_eq!(setup.receiver.starts().len(), 2, "it is stuck after five seconds");
    let failure = setup.push.status(now()).last_failure;
    assert_eq!(failure, Some(Failure::NothingTaken { after: Duration::from_secs(5) }));

    setup.receiver.set(Behaviour::Works);
    pass(Duration::from_secs(1)).await;
    assert!(setup.is_live());
}

#[tokio::test(start_paused = true)]
async fn ten_good_seconds_reset_the_delay_and_one_second_does_not() {
    let setup = Setup::new();
    setup.receiver.set(Behaviour::Fails(Failure::Ended));
    setup.start().await;
    pass(Duration::from_secs(20)).await;
    for (good, expected_s) in [(1, 1 + 30), (20, 20)] {
        setup.receiver.set(Behaviour::Works);
        setup.live().await;
        let runs = setup.receiver.starts().len();
        pass(Duration::from_secs(good)).await;
        setup.receiver.set(Behaviour::Fails(Failure::Ended));
        pass(Duration::from_secs(40)).await;
        assert_eq!(delays(&setup.receiver)[runs - 1] / 1000, expected_s);
    }
}

#[tokio::test(start_paused = true)]
async fn an_operator_need_not_wait_for_the_next_attempt() {
    let setup = Setup::new();
    setup.receiver.set(Behaviour::Fails(Failure::Ended));
    setup.start().await;
    pass(Duration::from_secs(600)).await;
    setup.receiver.set(Behaviour::Works);
    setup.push.retry_now().await;
    pass(Duration::from_secs(1)).await;
    assert!(setup.is_live());
}
