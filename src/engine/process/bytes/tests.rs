//! Byte feeds and streams under supervision, on a paused clock.

use std::collections::BTreeSet;

use super::*;
use crate::config::parse_text;
use crate::engine::tests::fake::{Behaviour, FakePipelines};

const DAY: Duration = Duration::from_secs(86_400);

/// The feed `clip` from the program `camera`; `cooked` goes through the program `filter`.
const TEXT: &str = "\
feeds:
  clip: {command: camera}
streams:
  raw: {feed: clip, type: video/x-matroska, url: /raw}
  cooked: {feed: clip, command: filter, client: shared, type: text/plain, url: /cooked}
";

struct Setup {
    settings: Settings,
    registry: Registry,
    pipelines: FakePipelines,
}

impl Setup {
    fn new(text: &str) -> Self {
        let (settings, pipelines) = (parse_text(text).unwrap(), FakePipelines::default());
        let (registry, _) = Registry::new(&settings, Arc::new(pipelines.clone()));
        Self { settings, registry, pipelines }
    }

    fn stream(&self, name: &str) -> &Arc<Stream> {
        self.registry.find(&name.parse().unwrap()).unwrap()
    }

    fn join(&self, name: &str) -> Viewer {
        self.stream(name).join(Begin::Run).unwrap()
    }

    fn is_running(&self, program: &str) -> bool {
        self.pipelines.device(program).is_running()
    }

    /// The registry of another configuration.
    async fn reloaded(&self, text: &str) -> Self {
        let settings = parse_text(text).unwrap();
        let diff = Diff::between(&self.settings, &BTreeSet::new(), &settings);
        let (registry, _) = self.registry.next(&settings, &diff).await;
        self.registry.disconnect_removed(&registry);
        Self { settings, registry, pipelines: self.pipelines.clone() }
    }
}

async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

#[tokio::test(start_paused = true)]
async fn a_command_runs_from_the_first_viewer_to_the_last() {
    let setup = Setup::new(TEXT);
    pass(DAY).await;
    assert!(!setup.is_running("camera"));
    let (mut one, mut other) = (setup.join("raw"), setup.join("raw"));
    one.next().await.unwrap();
    other.next().await.unwrap();
    drop(one);
    pass(DAY / 24).await;
    assert!(setup.is_running("camera"));
    drop(other);
    pass(Duration::from_secs(1)).await;
    assert!(!setup.is_running("camera"));
    assert_eq!(setup.pipelines.starts("camera"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_viewer_stays_while_the_command_ends_and_starts_again() {
    let setup = Setup::new(TEXT);
    let mut viewer = setup.join("raw");
    for _ in 0..5 {
        setup.pipelines.set("camera", Behaviour::Works);
        viewer.next().await.unwrap();
        setup.pipelines.set("camera", Behaviour::Fails(Failure::Command("it ended".into())));
        pass(Duration::from_secs(20)).await;
    }
    let cause = Failure::Command("it ended".into());
    assert_eq!(setup.stream("raw").cause(), Some(cause));
}

#[tokio::test(start_paused = true)]
async fn a_command_that_fails_for_a_day_is_retried_every_five_seconds_and_recovers() {
    let setup = Setup::new(TEXT);
    setup.pipelines.set("camera", Behaviour::Fails(Failure::Ended));
    let mut viewer = setup.join("raw");
    pass(DAY).await;
    assert_eq!(setup.pipelines.starts("camera"), 17_284);

    setup.pipelines.set("camera", Behaviour::Works);
    tokio::time::timeout(Duration::from_millis(5500), viewer.next()).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_command_without_resurrection_ends_its_viewers() {
    let setup = Setup::new(&TEXT.replace("command: camera", "command: camera, resurrect: false"));
    let mut viewer = setup.join("raw");
    viewer.next().await.unwrap();
    setup.pipelines.set("camera", Behaviour::Fails(Failure::Ended));
    while viewer.next().await.is_ok() {}
    pass(DAY).await;
    assert_eq!(setup.pipelines.starts("camera"), 1);
}

#[tokio::test(start_paused = true)]
async fn viewers_of_a_shared_command_keep_it_and_its_feed_running() {
    let setup = Setup::new(TEXT);
    let mut viewer = setup.join("cooked");
    viewer.next().await.unwrap();
    pass(Duration::from_secs(60)).await;
    assert!(setup.is_running("filter") && setup.is_running("camera"));
    drop(viewer);
    pass(Duration::from_secs(2)).await;
    assert!(!setup.is_running("filter") && !setup.is_running("camera"));
}

#[tokio::test(start_paused = true)]
async fn a_reload_restarts_the_changed_command_and_keeps_the_others() {
    let text = "feeds: {a: {command: one}, b: {command: two}, c: {command: three}}\n\
        streams: {a: {feed: a, type: text/plain}, b: {feed: b, type: text/plain}, \
        c: {feed: c, type: text/plain}}\n";
    let before = Setup::new(text);
    let [mut a, mut b, mut c] = ["a", "b", "c"].map(|name| before.join(name));
    for viewer in [&mut a, &mut b, &mut c] {
        viewer.next().await.unwrap();
    }
    let text = "feeds: {a: {command: one}, b: {command: another}}\n\
        streams: {a: {feed: a, type: text/plain}, b: {feed: b, type: text/plain}}\n";
    let after = before.reloaded(text).await;
    pass(Duration::from_secs(60)).await;
    assert!(after.is_running("one") && after.is_running("another"));
    assert!(!after.is_running("two") && !after.is_running("three"));
    assert_eq!(after.pipelines.starts("one"), 1);
    a.next().await.unwrap();
    b.next().await.unwrap();
    assert_eq!(c.next().await, Err(None), "its stream was removed");
}
