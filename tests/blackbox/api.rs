//! The livebox API: status, control, start and stop, and how they refuse.

use serde_json::{Value, json};

use crate::common::http::Answer;
use crate::common::livebox::{API, CAMERA, Launch, Livebox};

#[test]
fn status_has_every_field_with_its_type() {
    let livebox = Launch::on_default().start();

    let answer = livebox.get(&format!("{API}/status"));

    assert_eq!(answer.status(), 200);
    let status = answer.json();
    assert_eq!(status["product"], "com.youtube.livebox");
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert!(status["name"].as_str().is_some_and(|name| !name.is_empty()), "{status}");
    assert!(status["id"].as_str().is_some_and(|id| !id.is_empty()), "{status}");
    assert_eq!(status["status"], "idle");
    assert!(status["cpu"].as_f64().is_some_and(|cpu| cpu >= 0.0), "{status}");
    assert!(status["disk"].as_f64().is_some_and(|disk| (0.0..=100.0).contains(&disk)), "{status}");
    assert!(status["net"].is_u64(), "{status}");
    assert!(status["timestamp"].as_str().is_some_and(is_timestamp), "{status}");
}

#[test]
fn control_of_the_default_has_the_promised_values() {
    let livebox = Launch::on_default().start();

    let control = livebox.control();

    for (field, value) in [
        ("name", Value::Null),
        ("url", Value::Null),
        ("resolution", json!("360p")),
        ("bitrate", json!(750_000)),
        ("audio", json!("feed")),
        ("fps", json!(25)),
        ("quality", Value::Null),
    ] {
        assert_eq!(control.get(field), Some(&value), "{field} in {control}");
    }
}

#[test]
fn post_control_changes_what_it_names_and_answers_with_the_whole() {
    let livebox = Launch::on_default().start();

    let answer = livebox.set_control(&json!({
        "name": "quiet-otter", "url": "rtmp://127.0.0.1/live2", "resolution": "720p",
        "bitrate": 3_000_000, "audio": "silence", "fps": 30, "quality": 20,
    }));

    assert_eq!(answer.status(), 200, "{}", answer.text());
    let control = answer.json();
    assert_eq!(control, livebox.control());
    assert_eq!(control["resolution"], "720p");
    assert_eq!(control["bitrate"], 3_000_000);
    assert_eq!(control["audio"], "silence");
    assert_eq!(control["fps"], 30);
    assert_eq!(control["quality"], 20);
    assert_eq!(control["url"], "rtmp://127.0.0.1/live2");
    let partial = livebox.set_control(&json!({"fps": 15})).json();
    assert_eq!((&partial["fps"], &partial["quality"]), (&json!(15), &json!(20)));
}

#[test]
fn the_stream_key_is_masked_when_read_back_also_inside_a_url() {
    let livebox = Launch::on_default().start();

    let named = livebox.set_control(&json!({"name": "quiet-otter", "url": "rtmp://127.0.0.1/a"}));
    let in_url = livebox.set_control(&json!({"name": null, "url": "rtmp://127.0.0.1/a/loud-fox"}));

    assert_eq!(named.status(), 200, "{}", named.text());
    assert!(!named.text().contains("quiet-otter"), "{}", named.text());
    assert!(named.json()["name"].is_string(), "{}", named.text());
    assert_eq!(in_url.status(), 200, "{}", in_url.text());
    assert!(!in_url.text().contains("loud-fox"), "{}", in_url.text());
    assert!(!livebox.control().to_string().contains("loud-fox"));
}

#[test]
fn a_masked_key_sent_back_unchanged_keeps_the_key() {
    let livebox = Launch::on_default().start();
    let first = livebox.set_control(&json!({"name": "quiet-otter", "url": "rtmp://127.0.0.1/a"}));

    let again = livebox.set_control(&json!({"name": first.json()["name"], "fps": 15}));

    assert_eq!(again.status(), 200, "{}", again.text());
    assert_eq!(again.json()["name"], first.json()["name"]);
}

#[test]
fn a_resolution_brings_its_bitrate_unless_the_request_has_one() {
    let livebox = Launch::on_default().start();
    let bitrate_after = |body: Value| {
        let answer = livebox.set_control(&body);
        assert_eq!(answer.status(), 200, "{body}: {}", answer.text());
        answer.json()["bitrate"].as_u64().expect("the bit rate is a whole number")
    };

    assert_eq!(bitrate_after(json!({"bitrate": 123_000})), 123_000);
    for (resolution, bitrate) in [
        ("240p", 400_000),
        ("360p", 750_000),
        ("480p", 1_000_000),
        ("720p", 2_500_000),
        ("1080p", 4_500_000),
    ] {
        assert_eq!(bitrate_after(json!({"resolution": resolution})), bitrate, "{resolution}");
    }
    assert_eq!(bitrate_after(json!({"bitrate": 600_000, "resolution": "480p"})), 600_000);
}

#[test]
fn bitrates_are_read_as_people_write_them() {
    let livebox = Launch::on_default().start();

    for (text, bitrate) in [
        ("800kpbs", 800_000),
        ("800kbps", 800_000),
        ("800kb", 800_000),
        ("800k", 800_000),
        ("1M", 1_000_000),
        ("1Mb", 1_000_000),
        ("1Mbps", 1_000_000),
        ("100000", 100_000),
    ] {
        let answer = livebox.set_control(&json!({"bitrate": text}));
        assert_eq!(answer.status(), 200, "{text}: {}", answer.text());
        assert_eq!(answer.json()["bitrate"], bitrate, "{text}");
    }
}

#[test]
fn forms_are_understood_like_json() {
    let livebox = Launch::on_default().start();
    let control = format!("{API}/control");
    let post = || livebox.http().request("POST", &control);
    let parts = "--b0\r\nContent-Disposition: form-data; name=\"resolution\"\r\n\r\n480p\r\n\
                 --b0\r\nContent-Disposition: form-data; name=\"fps\"\r\n\r\n30\r\n--b0--\r\n";

    let encoded = post().form("bitrate=800k&resolution=240p").answer();
    let multipart = post().body("multipart/form-data; boundary=b0", parts.as_bytes()).answer();
    let strings = post().json(&json!({"fps": "15", "timestamp": "whenever"})).answer();
    let alias = post().json(&json!({"framerate": 20})).answer();

    for answer in [&encoded, &multipart, &strings, &alias] {
        assert_eq!(answer.status(), 200, "{}", answer.text());
    }
    assert_eq!(encoded.json()["bitrate"], 800_000);
    assert_eq!(encoded.json()["resolution"], "240p");
    assert_eq!(multipart.json()["resolution"], "480p");
    assert_eq!(multipart.json()["fps"], 30);
    assert_eq!(strings.json()["fps"], 15);
    assert_eq!(alias.json()["fps"], 20);
}

#[test]
fn a_wrong_value_is_named_and_nothing_is_changed() {
    let livebox = Launch::on_default().start();
    let before = livebox.control();

    for (field, value) in [
        ("resolution", json!("999p")),
        ("resolution", json!(7)),
        ("bitrate", json!("fast")),
        ("bitrate", json!(-5)),
        ("bitrate", json!(0)),
        ("fps", json!(0)),
        ("fps", json!("many")),
        ("fps", json!(2.5)),
        ("audio", json!("opera")),
        ("quality", json!(99)),
        ("quality", json!("best")),
        ("url", json!("http://example.org/")),
        ("url", json!("rtmp://")),
        ("url", json!({"a": 1})),
        ("name", json!(["a"])),
    ] {
        // A good value beside the wrong one must not be taken over either.
        let good = if field == "fps" { ("audio", json!("feed")) } else { ("fps", json!(29)) };
        let mut body = json!({field: value});
        body[good.0] = good.1;
        let answer = livebox.set_control(&body);
        refused(&answer, &format!("Invalid value for '{field}'"));
        assert_eq!(livebox.control(), before, "{body} was taken over in part");
    }
}

#[test]
fn a_body_that_is_no_control_information_is_refused() {
    let livebox = Launch::on_default().start();
    let before = livebox.control();
    let post = |kind: &str, body: &[u8]| {
        livebox.http().request("POST", &format!("{API}/control")).body(kind, body).answer()
    };

    refused(&post("application/json", b"{\"colour\": \"red\"}"), "Unknown field 'colour'");
    let list = post("application/json", b"[1, 2]").json();
    let reason = list["reason"].as_str().expect("there is a reason");
    assert!(reason.starts_with("Invalid control information"), "{list}");
    for body in [&b"{\"fps\": "[..], b"nonsense", b"\xff\xfe", b"{\"fps\":30}}"] {
        let answer = post("application/json", body);
        assert_eq!(answer.status(), 400, "{body:?}: {}", answer.text());
        assert_eq!(answer.json()["code"], 400);
    }
    let huge = format!("{{\"name\": \"{}\"}}", "x".repeat(1_000_000));
    let answer = post("application/json", huge.as_bytes());
    assert!(matches!(answer.status(), 400 | 413), "{}", answer.status());
    assert_eq!(livebox.control(), before);
}

#[test]
fn start_without_a_url_and_stop_while_idle_are_not_possible() {
    let livebox = Launch::on_default().start();

    for action in ["start", "stop"] {
        let answer = livebox.http().put(&format!("{API}/{action}"));
        assert_eq!(answer.status(), 400, "{action}: {}", answer.text());
        assert_eq!(answer.json()["code"], 400);
        assert!(answer.json()["reason"].as_str().is_some_and(|reason| !reason.is_empty()));
    }
    assert_eq!(livebox.state(), "idle");
}

#[test]
fn start_and_stop_answer_with_the_status() {
    let livebox = Launch::on_default().start();
    // Nobody listens there: the push keeps trying.
    let url = format!("rtmp://127.0.0.1:{}/live2", crate::common::ports::free());
    livebox.set_control(&json!({"url": url, "name": "quiet-otter"}));

    let started = livebox.start_push();
    let again = livebox.start_push();
    let stopped = livebox.stop_push();

    assert_eq!(started.status(), 200, "{}", started.text());
    assert_eq!(started.json()["status"], "preparing");
    assert_eq!(again.status(), 400, "{}", again.text());
    assert_eq!(stopped.status(), 200, "{}", stopped.text());
    assert!(matches!(stopped.json()["status"].as_str(), Some("stopping" | "idle")));
}

#[test]
fn reading_never_starts_or_stops_anything() {
    let livebox = Launch::on_default().start();

    for action in ["start", "stop"] {
        let answer = livebox.get(&format!("{API}/{action}"));
        assert_eq!(answer.status(), 405, "{action}");
        assert_eq!(answer.header("Allow"), Some("PUT"), "{action}");
    }
}

#[test]
fn unknown_places_and_wrong_methods_are_refused_as_json() {
    let livebox = Launch::on_default().start();
    let unknown = livebox.get(&format!("{API}/nope"));
    let wrong = livebox.http().request("DELETE", &format!("{API}/control")).answer();
    let restart = livebox.http().request("POST", &format!("{API}/streams/nope/restart")).answer();

    for (answer, code) in [(&unknown, 404), (&wrong, 405), (&restart, 404)] {
        assert_eq!(answer.status(), code, "{}", answer.text());
        assert_eq!(answer.json()["code"], code);
        is_api_answer(answer);
    }
    let reason = unknown.json()["reason"].as_str().expect("there is a reason").to_owned();
    assert!(reason.starts_with("Not Found"), "{reason}");
    let allowed = wrong.header("Allow").expect("the allowed methods are named");
    assert!(allowed.contains("GET") && allowed.contains("POST"), "{allowed}");
}

#[test]
fn every_answer_is_json_with_one_newline_at_its_end() {
    let livebox = Launch::on_default().start();

    for path in ["status", "control"] {
        is_api_answer(&livebox.get(&format!("{API}/{path}")));
    }
    is_api_answer(&livebox.set_control(&json!({"fps": 30})));
    is_api_answer(&livebox.start_push());
}

#[test]
fn the_short_base_path_leads_to_the_same() {
    let livebox = Launch::on_default().start();

    let set = livebox.http().post("/api/v1/control", &json!({"fps": 30}));

    assert_eq!(set.status(), 200, "{}", set.text());
    assert_eq!(livebox.control()["fps"], 30);
    assert_eq!(livebox.get("/api/v1/status").json()["product"], "com.youtube.livebox");
    assert_eq!(livebox.get("/api/v1/nope").status(), 404);
}

#[test]
fn a_service_without_a_push_still_has_a_status_and_cannot_start_one_without_a_url() {
    let livebox = Livebox::start(CAMERA);

    assert_eq!(livebox.state(), "idle");
    assert_eq!(livebox.start_push().status(), 400);
}

fn refused(answer: &Answer, reason: &str) {
    assert_eq!(answer.status(), 400, "{}", answer.text());
    assert_eq!(answer.json()["code"], 400, "{}", answer.text());
    assert_eq!(answer.json()["reason"], reason, "{}", answer.text());
    is_api_answer(answer);
}

fn is_api_answer(answer: &Answer) {
    let kind = answer.header("Content-Type").expect("there is a content type");
    assert!(kind.starts_with("application/json"), "{kind}");
    let text = answer.text();
    assert!(text.ends_with('\n') && !text.ends_with("\n\n"), "{text:?}");
}

/// ISO 8601, to the second at least.
fn is_timestamp(text: &str) -> bool {
    text.len() >= 19 && text.as_bytes()[4] == b'-' && text.as_bytes()[10] == b'T'
}
