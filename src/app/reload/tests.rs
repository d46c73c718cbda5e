//! Whole reloads on a paused clock, with pipelines that start no process.

use tokio::signal::unix::{SignalKind, signal};

use super::*;
use crate::base::disk::Folders;
use crate::base::lock::Lock;
use crate::base::shutdown;
use crate::config::parse_text;
use crate::engine::tests::fake::{Behaviour, FakePipelines};
use crate::hub::Reader;
use crate::outputs::push::Push;
use crate::service::Service;
use crate::service::reloads::Reloads;
use crate::store::state_file::StateFile;

const TEXT: &str = "\
feeds:
  a: {test: clock}
  b: {test: clock}
  c: {test: clock}
streams:
  a: {}
  b: {}
  c: {}
pushes:
  tube: {stream: a, url: 'rtmp://a.example/live', key: KEY, start: true}
  other: {stream: b, url: 'rtmp://b.example/live', key: KEY, start: true}
";

/// A service without servers.
struct Setup {
    pipelines: FakePipelines,
    topology: watch::Receiver<Arc<Topology>>,
    reloads: Reloads,
    text: Arc<Lock<String>>,
    _trigger: shutdown::Trigger,
}

impl Setup {
    /// Starts a service, and then stops the clock.
    async fn new(text: &str) -> Self {
        let (pipelines, text) = (FakePipelines::default(), Arc::new(Lock::new(text.to_owned())));
        let state_file = StateFile::open("/nowhere/at/all".as_ref()).await.unwrap();
        tokio::time::pause();
        let settings = parse_text(&text.lock()).unwrap();
        let factory = Arc::new(pipelines.clone());
        let (topology, tasks) = Topology::new(settings, String::new(), state_file, factory).await;
        let topology = watch::Sender::new(Arc::new(topology));
        let (reloads, requests) = Reloads::channel();
        let watched = topology.subscribe();
        let service = Service::new(watched.clone(), reloads.clone(), None, Folders::default());
        let reloader = Reloader {
            source: Arc::new(source(&text)),
            topology,
            state: Arc::new(http::state(Arc::new(service))),
            recordings: None,
            tasks,
            requests,
            hangups: signal(SignalKind::hangup()).unwrap(),
            probations: Vec::new(),
            reading: None,
        };
        let (trigger, shutdown) = shutdown::channel();
        tokio::spawn(reloader.run(shutdown));
        Self { pipelines, topology: watched, reloads, text, _trigger: trigger }
    }

    /// Edits the configuration and reloads it.
    async fn reload(&self, from: &str, to: &str) -> Result<Changes, ReloadError> {
        let edited = self.text.lock().replace(from, to);
        assert_ne!(edited, *self.text.lock(), "{from:?} is in the file");
        *self.text.lock() = edited;
        self.reloads.request().await
    }

    fn topology(&self) -> Arc<Topology> {
        Arc::clone(&self.topology.borrow())
    }

    /// Joins a stream and waits for its init segment.
    async fn join(&self, name: &str) -> Reader {
        let topology = self.topology();
        let stream = topology.registry.find(&name.parse().unwrap()).unwrap();
        stream.join_within(Duration::from_secs(10)).await.unwrap().0
    }

    fn push(&self, name: &str) -> Arc<Push> {
        Arc::clone(self.topology().push(name).unwrap())
    }

    fn starts(&self, name: &str) -> usize {
        self.pipelines.starts(name)
    }

    fn is_running(&self, name: &str) -> bool {
        self.pipelines.device(name).is_running()
    }

    fn fps(&self, stream: &str) -> u32 {
        let topology = self.topology();
        topology.registry.find(&stream.parse().unwrap()).unwrap().plan().fps().fps()
    }
}

/// The configuration in `text`.
fn source(text: &Arc<Lock<String>>) -> Source {
    let text = Arc::clone(text);
    let load = move || match parse_text(&text.lock()) {
        Ok(settings) => Ok(Loaded { settings, origin: "a test".to_owned(), warnings: Vec::new() }),
        Err(problems) => Err(LoadError::Problems { origin: "a test".to_owned(), problems }),
    };
    Source { load: Box::new(load), show: |_| String::new(), set_level: Box::new(|_| {}) }
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test]
async fn a_reload_restarts_what_it_changes_and_nothing_else() {
    let setup = Setup::new(TEXT).await;
    let (a, b, c) = (setup.join("a").await, setup.join("b").await, setup.join("c").await);
    pass(60).await;
    let old = "b: {test: clock}\n  c: {test: clock}\nstreams:\n  a: {}\n  b: {}\n  c: {}";
    let new = "b: {test: clock, fps: 5}\nstreams:\n  a: {}\n  b: {}";
    let changes = setup.reload(old, new).await.unwrap();
    assert_eq!(
        changes.summary(),
        "changed feed b; removed feed c; changed stream b; removed stream c"
    );
    pass(60).await;

    let starts = ["stream a", "push tube", "stream b", "push other", "stream c"];
    assert_eq!(starts.map(|name| setup.starts(name)), [1, 1, 2, 1, 1]);
    assert_eq!(starts.map(|name| setup.is_running(name)), [true, true, true, true, false]);
    let is_retired = |viewer: &Reader| viewer.stream().is_retired();
    assert_eq!([&a, &b, &c].map(is_retired), [false, false, true]);
}

#[tokio::test]
async fn an_invalid_configuration_changes_nothing() {
    let setup = Setup::new(TEXT).await;
    let _viewer = setup.join("a").await;
    let before = setup.topology();
    let refused =
        setup.reload("a: {test: clock}", "a: {test: clock, fps: 5000}").await.unwrap_err();
    assert_eq!(refused.problems.len(), 1, "{refused:?}");
    assert!(Arc::ptr_eq(&before, &setup.topology()));
    pass(60).await;
    assert_eq!(setup.starts("stream a"), 1);
}

#[tokio::test]
async fn settings_that_give_no_frame_within_ten_seconds_are_rolled_back() {
    let setup = Setup::new(TEXT).await;
    setup.pipelines.set("stream c", Behaviour::WorksUpTo { fps: 30 });
    let viewer = setup.join("c").await;
    let before = setup.fps("c");
    setup.reload("c: {test: clock}", "c: {test: clock, fps: 60}").await.unwrap();
    pass(9).await;
    assert_eq!(setup.fps("c"), 60);
    assert!(setup.topology().rolled_back.is_empty());

    pass(2).await;
    assert_eq!(setup.fps("c"), before);
    let topology = setup.topology();
    let [rolled_back] = topology.rolled_back.as_slice() else { panic!("one unit is rolled back") };
    assert_eq!(rolled_back.what, "stream c");
    let chunks = viewer.stream().chunks();
    pass(1).await;
    assert!(viewer.stream().chunks() > chunks, "the viewer gets frames again");
    assert_eq!(setup.starts("stream a"), 1, "other streams are not touched");
    pass(3600).await;
    assert_eq!(setup.fps("c"), before);
}

#[tokio::test]
async fn settings_that_work_stay() {
    let setup = Setup::new(TEXT).await;
    setup.pipelines.set("stream c", Behaviour::WorksUpTo { fps: 30 });
    let _viewer = setup.join("c").await;
    setup.reload("c: {test: clock}", "c: {test: clock, fps: 20}").await.unwrap();
    pass(1).await;
    // A failure after the first frame is no reason to go back.
    setup.pipelines.set("stream c", Behaviour::Silent);
    pass(60).await;
    assert_eq!(setup.fps("c"), 20);
    assert!(setup.topology().rolled_back.is_empty());
}

#[tokio::test]
async fn settings_of_a_stream_without_viewers_are_not_on_probation() {
    let setup = Setup::new(TEXT).await;
    setup.pipelines.set("stream c", Behaviour::WorksUpTo { fps: 30 });
    setup.reload("c: {test: clock}", "c: {test: clock, fps: 60}").await.unwrap();
    pass(60).await;
    assert_eq!((setup.fps("c"), setup.starts("stream c")), (60, 0));
}

#[tokio::test]
async fn a_reload_during_the_probation_begins_another_one() {
    let setup = Setup::new(TEXT).await;
    setup.pipelines.set("stream c", Behaviour::WorksUpTo { fps: 30 });
    let _viewer = setup.join("c").await;
    setup.reload("c: {test: clock}", "c: {test: clock, fps: 60}").await.unwrap();
    pass(5).await;
    setup.reload("c: {test: clock, fps: 60}", "c: {test: clock, fps: 10}").await.unwrap();
    pass(60).await;
    assert_eq!(setup.fps("c"), 10);
    assert!(setup.topology().rolled_back.is_empty());
}

#[tokio::test]
async fn pushes_are_started_and_stopped_as_the_configuration_says() {
    let setup = Setup::new(TEXT).await;
    pass(10).await;
    setup
        .reload(
            "url: 'rtmp://b.example/live', key: KEY, start: true",
            "url: 'rtmp://b.example/live', key: KEY",
        )
        .await
        .unwrap();
    pass(10).await;
    assert!(setup.is_running("push tube") && !setup.is_running("push other"));
    assert!(!setup.push("other").is_wanted());

    setup.reload("key: KEY}", "key: KEY, start: true}").await.unwrap();
    pass(10).await;
    assert!(setup.is_running("push other"));
    assert_eq!(setup.starts("push tube"), 1, "a push that stays is not interrupted");
}
