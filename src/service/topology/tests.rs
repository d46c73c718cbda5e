//! Wanted pushes of a topology, on a paused clock with pipelines that start no process.

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::config::parse_text;
use crate::engine::tests::fake::{Behaviour, FakePipelines};
use crate::model::failure::Failure;
use crate::service::push_gate::{Activity, PushError};

const TEXT: &str = "feeds: {a: {test: clock}}\nstreams: {a: {}}\n\
    pushes:\n  one: {stream: a, url: 'rtmp://a.example/live', key: KEY}\n  \
    two: {stream: a, url: 'rtmp://b.example/live', key: KEY, start: true}\n";

/// The topology of [`TEXT`] with the state file in `folder`; stops the clock.
async fn topology(folder: &Path) -> (Topology, FakePipelines) {
    let state_file = StateFile::open(folder).await.unwrap();
    tokio::time::pause();
    let (settings, pipelines) = (parse_text(TEXT).unwrap(), FakePipelines::default());
    let factory = Arc::new(pipelines.clone());
    (Topology::new(settings, String::new(), state_file, factory).await.0, pipelines)
}

/// A folder in which nothing is saved.
fn nowhere() -> &'static Path {
    Path::new("/nowhere/at/all")
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test]
async fn pushes_run_after_a_restart_of_the_service_as_an_operator_left_them() {
    let folder = tempfile::tempdir().unwrap();
    let saved = SavedPushes::new(Arc::new(StateFile::open(folder.path()).await.unwrap()));
    let settings = parse_text(TEXT).unwrap();
    saved.save(&settings.pushes[0], true).await;
    saved.save(&settings.pushes[1], false).await;

    let (topology, pipelines) = topology(folder.path()).await;
    pass(60).await;
    let is_running = |name: &str| pipelines.device(name).is_running();
    assert!(is_running("push one") && !is_running("push two"));
    assert_eq!(["one", "two"].map(|name| topology.push(name).unwrap().is_wanted()), [true, false]);
}

#[tokio::test]
async fn operations_that_do_not_fit_the_state_of_a_push_are_rejected() {
    let (topology, pipelines) = topology(nowhere()).await;
    let push = topology.push("one").unwrap();
    let gate = &topology.push_gate;
    let live = PushError::Started(Activity::Streaming);
    let waiting = PushError::Started(Activity::Preparing);

    assert_eq!(gate.stop(push, now()).await, Err(PushError::Stopped(Activity::Idle)));
    assert_eq!(topology.start_push(push, now()).await, Ok(()));
    pass(1).await;
    assert_eq!(topology.start_push(push, now()).await, Err(live));
    assert_eq!(gate.retry(push, now()).await, Err(PushError::NotWaiting(Activity::Streaming)));

    pipelines.set("push one", Behaviour::Fails(Failure::Ended));
    pass(60).await;
    assert_eq!(topology.start_push(push, now()).await, Err(waiting));
    pipelines.set("push one", Behaviour::Works);
    assert_eq!(gate.retry(push, now()).await, Ok(()));
    pass(1).await;
    assert!(pipelines.device("push one").is_running());

    assert_eq!(gate.stop(push, now()).await, Ok(()));
    pass(1).await;
    assert_eq!(gate.stop(push, now()).await, Err(PushError::Stopped(Activity::Idle)));
    assert!(!pipelines.device("push one").is_running());
}

#[tokio::test]
async fn a_push_that_waits_for_its_receiver_is_still_wanted_after_a_reload() {
    let (before, pipelines) = topology(nowhere()).await;
    pipelines.set("push two", Behaviour::Fails(Failure::Ended));
    pass(60).await;
    let text = TEXT.replace("b.example", "c.example");
    let (after, _) = before.next(parse_text(&text).unwrap(), String::new(), Vec::new()).await;
    pipelines.set("push two", Behaviour::Works);
    pass(1).await;
    assert!(after.push("two").unwrap().is_wanted());
    assert!(pipelines.device("push two").is_running(), "the new receiver is tried at once");
}
