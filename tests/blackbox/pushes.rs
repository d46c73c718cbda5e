//! Pushes over failures and restarts: what is told of them, the backup, and
//! what a power cut leaves.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use serde_json::{Value, json};

use crate::common::livebox::{API, CAMERA, Launch, Livebox};
use crate::common::receiver::Receiver;
use crate::common::wait;

const LIMIT: Duration = wait::TIMEOUT;
const KEY: &str = "quiet-otter-4711-zz";

#[test]
fn a_running_push_tells_its_bytes_rate_and_whether_the_stream_is_fit() {
    let receiver = Receiver::start();
    let livebox = Livebox::start(&with_push(&receiver.url(), "start: true"));

    // A busy machine hands over late pictures together, and shortly counts more.
    let push = wait::until("the rates are measured", LIMIT, || {
        let push = far(&livebox);
        let fitness = &push["preflight"];
        let fps = fitness["fps"].as_f64().unwrap_or_default();
        let is_measured = fitness["key_frame_seconds"].is_number()
            && fitness["bitrate"].is_number()
            && (24.0..=26.0).contains(&fps);
        (push["bitrate"].as_u64() > Some(0) && is_measured).then_some(push)
    });

    assert_eq!((&push["state"], &push["wanted"]), (&json!("live"), &json!(true)));
    assert_eq!((&push["dropped"], &push["last_error"]), (&json!(0), &Value::Null));
    assert!(push["bytes"].as_u64() > Some(10_000), "{push}");
    let fitness = &push["preflight"];
    assert_eq!((&fitness["width"], &fitness["height"]), (&json!(640), &json!(360)));
    assert_eq!(fitness["key_frame_seconds"], 1.0);
    assert_eq!(fitness["stream_has_audio"], true);
    assert!(!push.to_string().contains(KEY), "{push}");
}

#[test]
fn advice_says_what_the_receiver_will_not_like() {
    let receiver = Receiver::start();
    let config = with_push(&receiver.url(), "start: true, audio: feed")
        .replace("audio: tone}", "audio: none}")
        .replace("bitrate: 750k", "bitrate: 150k, gop: 5s");
    let livebox = Livebox::start(&config);

    wait::until("all three are told", LIMIT, || {
        let advice = far(&livebox)["preflight"]["advice"].to_string();
        ["5.0 s apart", "is too low for", "silence is sent"]
            .iter()
            .all(|part| advice.contains(part))
            .then_some(())
    });
}

#[test]
fn a_failing_push_tells_its_last_error_and_when_it_tries_again() {
    let mut receiver = Receiver::start();
    receiver.crash();
    let livebox = Livebox::start(&with_push(&receiver.url(), "start: true"));

    let push = wait::until("it waits", LIMIT, || {
        let push = far(&livebox);
        push["next_retry_seconds"].is_number().then_some(push)
    });
    assert_eq!(push["state"], "waiting");
    let error = push["last_error"].as_str().expect("there is an error");
    let details = push["last_error_details"].as_str().expect("GStreamer has a message");
    assert!(details.starts_with("rtmp2sink: "), "{details}");
    assert!(error.contains("refuses connections"), "{error}");

    receiver.come_back();
    let push = wait::until("it is live", LIMIT, || {
        let push = far(&livebox);
        (push["state"] == "live").then_some(push)
    });
    assert!(
        push["last_error"].as_str().is_some_and(|error| error.contains("refuses connections")),
        "{push}"
    );
    assert!(push["restarts"].as_u64() >= Some(1), "{push}");
}

#[test]
fn a_refused_stream_key_is_named_with_the_remedy_and_the_message_behind_it_on_request() {
    // A receiver closes the connection when its check of the key refuses it.
    let web = Receiver::start();
    let check = format!("on_publish http://127.0.0.1:{}/nowhere;", web.http_port());
    let receiver = Receiver::with(&check);
    let livebox = Livebox::start(&with_push(&receiver.url(), "start: true"));
    let say = "The receiver refused the stream key. Copy it again.";

    let push = wait::until("the key is refused", LIMIT, || {
        let push = far(&livebox);
        (push["last_error"] == say).then_some(push)
    });

    let details = push["last_error_details"].as_str().expect("GStreamer has a message");
    assert!(details.contains("'publish' cmd failed"), "{details}");
    let page = livebox.get("/dashboard").text();
    assert!(page.contains(say) && !page.contains("rtmp2sink"), "{page}");
    let page = livebox.get("/dashboard?details=1").text();
    assert!(page.contains("rtmp2sink: ") && !page.contains("http-equiv=\"refresh\""), "{page}");
    assert!(livebox.get("/stat").text().contains("<details"), "the message can be opened");
    let log = livebox.log().text();
    assert!(log.contains("refused the stream key") && log.contains("rtmp2sink: "), "{log}");
    assert!(![page, log, push.to_string()].iter().any(|text| text.contains(KEY)));
}

#[test]
fn what_the_failures_began_with_stays_beside_the_newest() {
    // The first answers nothing that is RTMP, the second refuses the connection.
    let web = Receiver::start();
    let mut gone = Receiver::start();
    gone.crash();
    let url = format!("rtmp://127.0.0.1:{}/live2", web.http_port());
    let backup = format!("start: true, backup: \"{}\"", gone.url());
    let livebox = Livebox::start(&with_push(&url, &backup));

    let push = wait::until("both have failed", LIMIT, || {
        let push = far(&livebox);
        let refused =
            push["last_error"].as_str().is_some_and(|error| error.contains("refuses connections"));
        refused.then_some(push)
    });

    let first = push["first_error"].as_str().expect("there is a first error");
    assert!(!first.contains("refuses connections"), "{push}");
    let page = livebox.get("/dashboard").text();
    assert!(page.contains("First error:"), "{page}");
}

#[test]
fn an_operator_ends_the_wait_for_the_next_try() {
    let mut receiver = Receiver::start();
    receiver.crash();
    let livebox = Livebox::start(&with_push(&receiver.url(), "start: true"));
    let retry = || livebox.http().put(&format!("{API}/pushes/far/retry"));
    let long_wait = || far(&livebox)["next_retry_seconds"].as_f64().filter(|wait| *wait > 12.0);
    wait::until("it waits for long", LIMIT * 3, long_wait);
    receiver.come_back();

    let answer = retry();

    assert_eq!(answer.status(), 200, "{}", answer.text());
    let at = wait::now();
    receiver.wait_for_more(1, LIMIT);
    assert!(at.elapsed() < Duration::from_secs(10), "{:?}", at.elapsed());
    let answer =
        wait::until("it is live", LIMIT, || (far(&livebox)["state"] == "live").then(retry));
    assert_eq!(answer.status(), 400, "{}", answer.text());
    assert_eq!(far(&livebox)["state"], "live", "it is disturbed");
}

#[test]
fn a_push_that_is_started_again_by_hand_does_not_wait_for_what_failed_before() {
    let mut old = Receiver::start();
    old.crash();
    let livebox = Livebox::start(&with_push(&old.url(), "start: true"));
    let long_wait = || far(&livebox)["next_retry_seconds"].as_f64().filter(|wait| *wait > 3.0);
    wait::until("it waits for long", LIMIT * 3, long_wait);

    assert_eq!(livebox.stop_push().status(), 200);
    assert_ne!(far(&livebox)["last_error"], Value::Null, "one wants to read it");
    let mut new = Receiver::start();
    new.crash();
    let set = livebox.set_control(&json!({"url": new.url()}));
    assert_eq!(set.status(), 200, "{}", set.text());
    let push = far(&livebox);
    assert_eq!((&push["first_error"], &push["last_error"]), (&Value::Null, &Value::Null));

    assert_eq!(livebox.start_push().status(), 200);
    let wait = wait::until("it waits", LIMIT, || far(&livebox)["next_retry_seconds"].as_f64());
    assert!(wait <= 4.0, "{wait} s: the delays go on where they were");
}

#[test]
fn after_a_failure_the_backup_is_tried_and_then_the_first_again() {
    let (mut first, mut second) = (Receiver::start(), Receiver::start());
    let backup = format!("start: true, backup: \"{}\"", second.url());
    let livebox = Livebox::start(&with_push(&first.url(), &backup));
    first.wait_for_more(50_000, LIMIT);
    assert_eq!(far(&livebox)["using"], "url");

    first.crash();
    second.wait_for_more(50_000, LIMIT);
    let push = wait::until("it is live", LIMIT, || {
        let push = far(&livebox);
        (push["state"] == "live").then_some(push)
    });
    assert_eq!(push["using"], "backup");
    assert!(push["url"].as_str().is_some_and(|url| url.starts_with(&second.url())), "{push}");

    first.come_back();
    second.crash();
    first.wait_for_more(50_000, LIMIT);
    assert_eq!(far(&livebox)["using"], "url");
}

#[test]
fn what_was_started_and_set_by_hand_goes_on_after_a_power_cut() {
    let receiver = Receiver::start();
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let launch = || Launch::with(CAMERA).env("STATE_DIRECTORY", folder.path());
    let mut livebox = launch().start();
    let set = livebox.set_control(&json!({"resolution": "240p", "fps": 15, "audio": "silence"}));
    assert_eq!(set.status(), 200, "{}", set.text());
    livebox.push_to(&receiver.url(), KEY);
    receiver.wait_for_more(50_000, LIMIT);
    livebox.process().kill();

    let again = launch().start();

    receiver.wait_for_more(50_000, LIMIT);
    let control = again.control();
    assert_eq!((&control["resolution"], &control["fps"]), (&json!("240p"), &json!(15)));
    assert_eq!(control["audio"], "silence");
    let file = folder.path().join("state.json");
    let mode = std::fs::metadata(&file).expect("it is written").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(again.stop_push().status(), 200);
    drop(again);
    assert_eq!(launch().start().state(), "idle");
}

#[test]
fn a_push_that_was_stopped_by_hand_stays_so_although_the_configuration_starts_it() {
    let receiver = Receiver::start();
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let launch = || {
        let config = with_push(&receiver.url(), "start: true");
        Launch::with(&config).env("STATE_DIRECTORY", folder.path())
    };
    let livebox = launch().start();
    receiver.wait_for_more(20_000, LIMIT);
    let written = folder.path().join("state.json").exists();
    assert!(!written, "a start alone writes nothing");
    let stopped = livebox.http().put(&format!("{API}/pushes/far/stop"));
    assert_eq!(stopped.status(), 200, "{}", stopped.text());
    drop(livebox);

    let again = launch().start();

    assert_eq!(far(&again)["wanted"], false);
    let started = again.http().put(&format!("{API}/pushes/far/start"));
    assert_eq!(started.status(), 200, "{}", started.text());
    receiver.wait_for_more(20_000, LIMIT);
}

#[test]
fn without_a_folder_to_write_it_runs_and_says_once_that_it_forgets() {
    let livebox = Launch::with(CAMERA).env("STATE_DIRECTORY", "/nowhere/at/all").start();

    assert_eq!(livebox.set_control(&json!({"fps": 15})).status(), 200);
    assert_eq!(livebox.set_control(&json!({"fps": 20})).status(), 200);

    let log = livebox.log().text();
    assert_eq!(log.matches("by hand is forgotten at the end").count(), 1, "{log}");
    assert_eq!(log.matches("/nowhere/at/all cannot").count(), 1, "{log}");
}

#[test]
fn every_push_is_started_and_stopped_by_its_name() {
    let receiver = Receiver::start();
    let livebox = Livebox::start(&format!(
        "{CAMERA}pushes:\n  one: {{url: \"rtmp://127.0.0.1:1/x\"}}\n  two: {{url: \"{}\", key: two}}\n",
        receiver.url()
    ));
    let ask = |what: &str| livebox.http().put(&format!("{API}/pushes/{what}")).status();

    assert_eq!(ask("two/start"), 200);
    receiver.wait_for_more(20_000, LIMIT);
    assert_eq!(ask("two/start"), 400);
    assert_eq!(livebox.state(), "idle");
    assert_eq!(ask("two/stop"), 200);
    assert_eq!(ask("three/start"), 404);
    assert_eq!(livebox.get(&format!("{API}/pushes/two/start")).status(), 405);
}

#[test]
fn others_may_not_see_where_pushes_go() {
    let livebox = Livebox::start(CAMERA);

    let read = livebox
        .http()
        .request("GET", &format!("{API}/pushes"))
        .header("X-Forwarded-For", "192.0.2.9")
        .answer();

    assert!(matches!(read.status(), 401 | 403), "{}", read.status());
}

fn with_push(url: &str, more: &str) -> String {
    format!("{CAMERA}pushes: {{far: {{stream: camera, url: \"{url}\", key: {KEY}, {more}}}}}\n")
}

/// The push `far` as the API tells it.
fn far(livebox: &Livebox) -> Value {
    let pushes = livebox.get(&format!("{API}/pushes")).json();
    let found = pushes.as_array().and_then(|all| all.iter().find(|push| push["name"] == "far"));
    found.unwrap_or_else(|| panic!("no push far in {pushes}")).clone()
}
