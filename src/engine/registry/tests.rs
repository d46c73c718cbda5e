//! Feeds and streams under supervision, on a paused clock.

use super::*;
use crate::base::time::now;
use crate::config::parse_text;
use crate::engine::tests::fake::{Behaviour, FakePipelines};

const HOUR: Duration = Duration::from_secs(3600);

/// The registry of a configuration.
struct Setup {
    settings: Settings,
    registry: Registry,
    pipelines: FakePipelines,
    flows: bytes::Registry,
}

impl Setup {
    fn new(text: &str) -> Self {
        let (settings, pipelines) = (parse_text(text).unwrap(), FakePipelines::default());
        let factory: Arc<dyn PipelineFactory> = Arc::new(pipelines.clone());
        let (flows, _) = bytes::Registry::new(&settings, Arc::clone(&factory));
        let (registry, _) = Registry::new(&settings, &flows, factory);
        Self { settings, registry, pipelines, flows }
    }

    fn stream(&self, name: &str) -> &Arc<Stream> {
        self.registry.find(&name.parse().unwrap()).unwrap()
    }

    fn is_live(&self, name: &str) -> bool {
        matches!(self.stream(name).state(now()), State::Live { .. })
    }
}

async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

#[tokio::test(start_paused = true)]
async fn a_viewer_starts_the_feed_and_the_last_one_to_leave_stops_it() {
    let setup = Setup::new("feeds: {front: {test: clock}}\nstreams: {front: {}}\n");
    pass(HOUR).await;
    assert_eq!(setup.pipelines.starts("stream front"), 0);

    let viewer = setup.stream("front").join_within(HOUR).await.unwrap();
    assert!(setup.is_live("front"));
    drop(viewer);
    pass(Duration::from_secs(1)).await;
    let device = setup.pipelines.device("stream front");
    assert_eq!((device.starts().len(), device.is_running()), (1, false));
}

#[tokio::test(start_paused = true)]
async fn a_feed_that_fails_for_a_day_is_retried_every_five_seconds_and_recovers() {
    let setup = Setup::new("feeds: {front: {test: clock}}\nstreams: {front: {}}\n");
    setup.pipelines.set("stream front", Behaviour::Fails(Failure::Ended));
    let mut viewer = setup.stream("front").hub().join();
    pass(24 * HOUR).await;

    let starts = setup.pipelines.device("stream front").starts();
    let gaps: Vec<_> = starts.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let ms: Vec<_> = gaps.iter().take(6).map(|gap| gap.as_millis()).collect();
    assert_eq!(ms, [0, 500, 1000, 2000, 4000, 5000]);
    assert!(gaps[6..].iter().all(|gap| gap.as_secs() == 5), "the delay stays at its ceiling");
    assert_eq!(starts.len(), 17_284);
    assert!(viewer.try_next().is_none());

    setup.pipelines.set("stream front", Behaviour::Works);
    let first = tokio::time::timeout(Duration::from_millis(5500), viewer.next()).await;
    assert!(matches!(first, Ok(Read::Init(_))), "the viewer of the first day gets the picture");
    assert!(setup.is_live("front"));
}

#[tokio::test(start_paused = true)]
async fn a_feed_that_gives_no_frame_is_restarted_until_it_gives_one() {
    let setup = Setup::new("feeds: {front: {test: clock}}\nstreams: {front: {}}\n");
    setup.pipelines.set("stream front", Behaviour::Silent);
    let mut viewer = setup.stream("front").hub().join();
    pass(HOUR).await;

    let starts = setup.pipelines.starts("stream front");
    // Ten seconds for the first frame, and at most five until the next attempt.
    assert!((240..=245).contains(&starts), "{starts} starts in an hour");
    let failure = Failure::NoFrames { after: Duration::from_secs(10) };
    assert_eq!(setup.stream("front").last_failure(), Some(failure));

    setup.pipelines.set("stream front", Behaviour::Works);
    viewer.next().await;
    assert!(setup.is_live("front"));
}

#[tokio::test(start_paused = true)]
async fn the_cause_of_a_missing_picture_is_known_also_during_the_next_attempt() {
    let setup = Setup::new(SHARED);
    setup.pipelines.set("feed front", Behaviour::Silent);
    let stream = setup.stream("one");
    let _viewer = stream.hub().join();
    pass(Duration::from_secs(9)).await;
    assert_eq!(stream.cause(now()), None, "the first attempt still runs");
    pass(Duration::from_secs(5)).await;
    let failure = Failure::NoFrames { after: Duration::from_secs(10) };
    assert!(matches!(stream.state(now()), State::Starting), "{:?}", stream.state(now()));
    assert_eq!(stream.cause(now()), Some(failure));

    setup.pipelines.set("feed front", Behaviour::Works);
    pass(HOUR).await;
    assert_eq!(stream.cause(now()), None, "what is over is no cause");
}

#[tokio::test(start_paused = true)]
async fn a_feed_without_resurrection_is_started_once_by_each_new_viewer() {
    let setup =
        Setup::new("feeds: {front: {test: clock, resurrect: false}}\nstreams: {front: {}}\n");
    setup.pipelines.set("stream front", Behaviour::Fails(Failure::Ended));
    for starts in 1..=2 {
        let viewer = setup.stream("front").hub().join();
        pass(HOUR).await;
        assert_eq!(setup.pipelines.starts("stream front"), starts);
        drop(viewer);
        pass(Duration::from_secs(1)).await;
    }
}

/// Two streams share the feed `front`; `small` is made from it and shown by `third`.
const SHARED: &str = "feeds: {front: {test: clock}, small: {feed: front, rotation: 180}}\n\
    streams: {one: {feed: front}, two: {feed: front}, third: {feed: small}}\n";

#[tokio::test(start_paused = true)]
async fn a_stream_keeps_its_feed_and_the_one_that_is_made_from_running() {
    let setup = Setup::new(SHARED);
    let viewer = setup.stream("third").join_within(HOUR).await.unwrap();
    let running = |name: &str| setup.pipelines.device(name).is_running();
    assert!(running("stream third") && running("feed small") && running("feed front"));
    assert!(!running("stream one") && !running("stream two"));

    drop(viewer);
    pass(Duration::from_secs(2)).await;
    assert!(!running("stream third") && !running("feed small") && !running("feed front"));
}

#[tokio::test(start_paused = true)]
async fn streams_of_a_feed_share_one_capture() {
    let setup = Setup::new(SHARED);
    let _one = setup.stream("one").join_within(HOUR).await.unwrap();
    let two = setup.stream("two").join_within(HOUR).await.unwrap();
    drop(two);
    pass(HOUR).await;
    assert_eq!(setup.pipelines.starts("feed front"), 1);
    assert!(setup.is_live("one"));
    assert!(!setup.pipelines.device("stream two").is_running());
}

#[tokio::test(start_paused = true)]
async fn a_stream_shows_the_state_of_the_feed_that_is_down() {
    let setup = Setup::new(SHARED);
    setup.pipelines.set("feed front", Behaviour::Fails(Failure::Camera("no such camera".into())));
    let _viewer = setup.stream("one").hub().join();
    pass(Duration::from_secs(60)).await;
    let state = setup.stream("one").state(now());
    let cause = Failure::Camera("no such camera".into());
    assert!(matches!(&state, State::Waiting { cause: own, .. } if *own == cause), "{state:?}");
    assert_eq!(setup.stream("one").last_failure(), Some(cause));
}

/// The next registry, for another configuration.
async fn reload(setup: &Setup, text: &str) -> (Setup, Diff) {
    let settings = parse_text(text).unwrap();
    let diff = Diff::between(&setup.settings, &setup.registry.shared_names(), &settings);
    let (flows, _) = setup.flows.next(&settings, &diff).await;
    let (registry, _) = setup.registry.next(&settings, &flows, &diff).await;
    setup.registry.disconnect_removed(&diff);
    (Setup { settings, registry, pipelines: setup.pipelines.clone(), flows }, diff)
}

#[tokio::test(start_paused = true)]
async fn a_reload_touches_only_what_it_changes() {
    let before = Setup::new(
        "feeds: {a: {test: clock}, b: {test: clock}, c: {test: clock}}\n\
         streams: {a: {}, b: {}, c: {}}\n",
    );
    let mut viewers = Vec::new();
    for name in ["a", "b", "c"] {
        viewers.push(before.stream(name).join_within(HOUR).await.unwrap().0);
    }
    let (after, _) = reload(
        &before,
        "feeds: {a: {test: clock}, b: {test: clock, fps: 5}, d: {test: clock}}\n\
         streams: {a: {}, b: {}, d: {}}\n",
    )
    .await;
    pass(Duration::from_secs(60)).await;

    let pipelines = &after.pipelines;
    let starts = |name: &str| pipelines.starts(&format!("stream {name}"));
    assert_eq!((starts("a"), starts("b"), starts("c"), starts("d")), (1, 2, 1, 0));
    assert!(after.is_live("a") && after.is_live("b"));
    assert!(!pipelines.device("stream c").is_running());
    let [a, b, c] = viewers.as_slice() else { unreachable!("there are three") };
    let is_retired = |viewer: &Reader| viewer.stream().is_retired();
    assert_eq!((is_retired(a), is_retired(b), is_retired(c)), (false, false, true));
}

#[tokio::test(start_paused = true)]
async fn a_feed_that_becomes_shared_restarts_once_and_its_viewers_stay() {
    let before = Setup::new("feeds: {front: {test: clock}}\nstreams: {one: {feed: front}}\n");
    let (mut viewer, _) = before.stream("one").join_within(HOUR).await.unwrap();
    let (after, _) = reload(
        &before,
        "feeds: {front: {test: clock}}\nstreams: {one: {feed: front}, two: {feed: front}}\n",
    )
    .await;
    let position = viewer.stream().chunks();
    pass(Duration::from_secs(60)).await;
    assert!(after.is_live("one"));
    assert_eq!(after.pipelines.starts("feed front"), 1);
    assert!(viewer.stream().chunks() > position && viewer.try_next().is_some());

    let (alone, diff) =
        reload(&after, "feeds: {front: {test: clock}}\nstreams: {one: {feed: front}}\n").await;
    pass(Duration::from_secs(60)).await;
    assert!(diff.streams.continues(&"one".parse().unwrap()));
    assert!(alone.is_live("one"));
    assert_eq!(alone.pipelines.starts("feed front"), 1, "the last stream is not interrupted");
}

#[tokio::test(start_paused = true)]
async fn a_stream_from_the_tracks_of_a_command_keeps_the_command_running() {
    let text = "feeds: {clip: {command: camera}, front: {feed: clip}}\nstreams: {front: {}}\n";
    let setup = Setup::new(text);
    let running = |name: &str| setup.pipelines.device(name).is_running();
    let viewer = setup.stream("front").join_within(HOUR).await.unwrap();
    assert!(running("camera") && running("feed front") && running("stream front"));

    let cause = Failure::Command("it ended".into());
    setup.pipelines.set("camera", Behaviour::Fails(cause.clone()));
    pass(Duration::from_secs(60)).await;
    let state = setup.stream("front").state(now());
    assert!(matches!(&state, State::Waiting { cause: own, .. } if *own == cause), "{state:?}");

    setup.pipelines.set("camera", Behaviour::Works);
    pass(Duration::from_secs(6)).await;
    assert!(setup.is_live("front"));
    drop(viewer);
    pass(Duration::from_secs(2)).await;
    assert!(!running("camera") && !running("feed front") && !running("stream front"));
}
