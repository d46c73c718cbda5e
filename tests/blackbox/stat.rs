//! What the box tells about itself: the page, the numbers, the metrics, the
//! configuration, and who came in the log.

use std::time::Duration;

use serde_json::Value;

use crate::common::browser::{Browser, Scripts};
use crate::common::livebox::{CAMERA, Livebox};
use crate::common::process::run;
use crate::common::rtsp::Client;
use crate::common::tools::tool;
use crate::common::viewer::{Seen, Viewer};
use crate::common::wait;

const LIMIT: Duration = wait::TIMEOUT;

#[test]
fn the_page_tells_people_and_needs_no_script() {
    let livebox = Livebox::start(CAMERA);

    let page = livebox.http().get("/stat");

    assert_eq!(page.status(), 200);
    let text = page.text();
    for part in ["<a href=\"/camera/\">camera</a>", "on-demand", "Uptime", "640x360"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(!text.contains("http-equiv"), "it does not load anew: {text}");
    assert!(!text.contains("127.0.0.1"), "nobody's address is shown");
}

#[test]
fn frames_are_pictures_and_not_the_sound_between_them() {
    let livebox = Livebox::start(
        "feeds: {slow: {test: clock, size: 320x180, fps: 4, audio: tone}}\nstreams: {slow: {}}\n",
    );
    let viewer = Viewer::connect(livebox.http(), "/slow.mp4");
    viewer.wait("twenty pictures", LIMIT, |seen| pictures(seen) >= 20);

    let frames = livebox.get("/stat.json").json()["streams"][0]["frames"].as_u64();

    // The stream began with this viewer, who may be a few seconds behind; of sound there are 47 a second.
    let seen = pictures(&viewer.seen());
    assert!(frames.is_some_and(|frames| (20..seen + 60).contains(&frames)), "{frames:?}, {seen}");
}

fn pictures(seen: &Seen) -> u64 {
    let video = seen.tracks.iter().find(|track| &track.handler == b"vide").map(|track| track.id);
    seen.fragments.iter().filter(|fragment| Some(fragment.track) == video).count() as u64
}

#[test]
fn the_numbers_of_page_programs_and_prometheus_go_with_what_happens() {
    let livebox = Livebox::start(CAMERA);
    let stat = || -> Value {
        serde_json::from_str(&livebox.http().get("/stat.json").text()).expect("it is JSON")
    };
    let before = stat();
    assert_eq!(before["schema"], 3);
    assert_eq!(before["feeds"][0]["running"], false);
    assert_eq!(before["totals"]["viewers"], 0);

    let watching = Client::connect(livebox.rtsp_port(), "/camera").play();
    let seen = wait::until("bytes are counted", LIMIT, || {
        let now = stat();
        (now["streams"][0]["bytes"].as_u64() > Some(100_000)).then_some(now)
    });

    let stream = &seen["streams"][0];
    assert_eq!(seen["feeds"][0]["running"], true);
    assert_eq!(stream["state"], "live");
    assert_eq!(stream["viewers"], 1);
    assert_eq!((&stream["width"], &stream["height"]), (&640.into(), &360.into()));
    assert!(stream["newest_frame_age_s"].as_f64() < Some(20.0), "{stream}");
    assert!(stream["bytes_in"].as_u64() > Some(50_000), "{stream}");
    assert!(stream.get("viewer_list").is_none(), "addresses are nobody's business");
    let metrics = livebox.http().get("/metrics").text();
    assert_eq!(value_of(&metrics, "livebox_stream_live{stream=\"camera\"}"), 1.0);
    assert_eq!(value_of(&metrics, "livebox_stream_readers{stream=\"camera\"}"), 1.0);
    assert!(value_of(&metrics, "livebox_stream_sent_bytes_total{stream=\"camera\"}") > 1e5);
    drop(watching);
}

#[test]
fn rest_has_no_rate_and_a_start_on_demand_is_no_restart() {
    let livebox = Livebox::start(
        "feeds: {camera: {test: clock, size: 320x180, fps: 15, audio: tone}}\n\
         streams: {camera: {bitrate: 300k}}\n",
    );
    let stream = || livebox.get("/stat.json").json()["streams"][0].clone();
    for visit in 1..=2 {
        let watching = Viewer::connect(livebox.http(), "/camera.mp4");
        // Sound leaves alone between some of so few pictures.
        wait::until("the rate is right", LIMIT, || {
            let fps = stream()["fps"].as_f64().unwrap_or_default();
            ((14.5..15.5).contains(&fps)).then_some(())
        });
        assert!(stream()["bitrate"].as_u64() > Some(0), "visit {visit}");
        drop(watching);
        wait::until("it rests", LIMIT, || (stream()["state"] == "idle").then_some(()));
    }

    let rests = stream();
    assert_eq!((&rests["fps"], &rests["bitrate"]), (&Value::Null, &Value::Null), "{rests}");
    assert_eq!(rests["restarts"], 0, "{rests}");
    let metrics = livebox.get("/metrics").text();
    assert_eq!(value_of(&metrics, "livebox_stream_restarts_total{stream=\"camera\"}"), 0.0);
}

#[test]
fn the_numbers_are_what_their_description_says() {
    let feeds = "feeds: {camera: {test: clock, size: 320x180}, bad: {command: 'false'}}\n";
    let streams = "streams: {camera: {}, bad: {}}\n";
    let push =
        "pushes: {far: {stream: camera, url: 'rtmp://127.0.0.1:9/live', key: k, start: true}}\n";
    let more = format!("{push}pages: {{clients: yes}}\n");
    let livebox = Livebox::start(&format!("{feeds}{streams}{more}"));
    let watching = Client::connect(livebox.rtsp_port(), "/camera").play();
    assert_eq!(livebox.get("/bad").status(), 503);
    let schema = livebox.get("/assets/stat.schema.json").json();

    let stat = wait::until("something has failed", LIMIT, || {
        let stat = livebox.get("/stat.json").json();
        let has_ends = |list: &str, index: usize| stat[list][index]["ends"][0].is_object();
        (has_ends("pushes", 0) && has_ends("feeds", 1)).then_some(stat)
    });

    assert_described(&stat, &schema, &schema, "");
    assert_eq!(stat["schema"], schema["properties"]["schema"]["const"]);
    let why = &stat["feeds"][1]["ends"][0]["reason"];
    assert_eq!(why, "The command failed with exit status 1.");
    assert_eq!(stat["streams"][0]["viewer_list"][0]["way"], "rtsp");
    let page = livebox.get("/stat").text();
    assert!(page.contains("The command failed with exit status 1"), "{page}");
    drop(watching);
}

/// Fails unless `value` has exactly the fields that `schema` describes, of the
/// types that it says.
fn assert_described(value: &Value, schema: &Value, root: &Value, place: &str) {
    if schema["$ref"].is_string() {
        return assert_described(value, &root["$defs"]["end"], root, place);
    }
    assert!(
        root == schema || schema["description"].is_string() || place.ends_with("end"),
        "{place}"
    );
    let one = schema["type"].as_str();
    let types = schema["type"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let types: Vec<&str> = types.chain(one).collect();
    let is_of = |kind: &&str| match *kind {
        "integer" => value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "object" => value.is_object(),
        "array" => value.is_array(),
        "null" => value.is_null(),
        other => panic!("{place}: {other}?"),
    };
    assert!(types.is_empty() || types.iter().any(is_of), "{place} is {value}, not {types:?}");
    if let Value::Array(allowed) = &schema["enum"] {
        assert!(allowed.contains(value), "{place}: {value}");
    }
    if let Value::Array(all) = value {
        all.iter().for_each(|one| assert_described(one, &schema["items"], root, place));
    }
    let Value::Object(fields) = value else { return };
    for (name, field) in fields {
        let described = schema["properties"].get(name);
        let described = described.unwrap_or_else(|| panic!("{place}.{name} is not described"));
        assert_described(field, described, root, &format!("{place}.{name}"));
    }
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        assert!(fields.contains_key(name), "{place}.{name} is missing");
    }
}

#[test]
fn the_page_keeps_its_numbers_fresh_where_scripts_run() {
    let livebox = Livebox::start(CAMERA);
    let browser = Browser::start(Scripts::Allowed);
    browser.open(&livebox.url("/stat"));
    let text = || browser.evaluate("return document.querySelector('.stat').innerText").to_string();
    browser.evaluate("window.isTheSame = true");
    assert!(!text().contains("640×360"), "{}", text());

    let watching = Client::connect(livebox.rtsp_port(), "/camera").play();

    wait::until("the page tells", LIMIT, || text().contains("640×360").then_some(()));
    assert_eq!(browser.evaluate("return window.isTheSame"), true, "it was not loaded anew");
    drop(watching);
}

#[test]
fn times_are_in_the_viewers_zone_where_scripts_run_and_in_utc_elsewhere() {
    let livebox = Livebox::start(CAMERA);
    let page = livebox.get("/stat").text();
    assert!(page.contains(" UTC</time>"), "{page}");

    let browser = Browser::start(Scripts::Allowed);
    browser.move_to_zone("Pacific/Kiritimati");
    browser.open(&livebox.url("/stat"));
    // That zone is 14 hours ahead of UTC.
    let shown = "const time = document.querySelector('.stat time'); \
                 const local = new Date(time.textContent); \
                 return Math.round((local - new Date(time.dateTime)) / 1000);";
    let text = || browser.evaluate("return document.querySelector('.stat time').textContent");

    wait::until("the script has run", LIMIT, || {
        (!text().to_string().contains("UTC")).then_some(())
    });

    // The text is read as a time of the browser's zone.
    assert_eq!(browser.evaluate(shown), 0, "{}", text());
    let offset =
        "return new Date(document.querySelector('.stat time').dateTime).getTimezoneOffset()";
    assert_eq!(browser.evaluate(offset), -14 * 60);
}

#[test]
fn what_shows_something_cannot_be_posted_to() {
    let livebox = Livebox::start(CAMERA);
    for path in ["/", "/stat", "/stat.json", "/metrics", "/camera.mp4"] {
        let answer = livebox.http().request("POST", path).answer();
        assert_eq!((answer.status(), answer.header("Allow")), (405, Some("GET, HEAD")), "{path}");
        let (head, _) = livebox.http().request("HEAD", path).send().unwrap();
        assert_eq!(head.status, 200, "{path}");
    }
}

#[test]
fn every_line_of_the_metrics_is_one_that_prometheus_reads() {
    let livebox = Livebox::start(CAMERA);
    let metrics = livebox.http().get("/metrics").text();
    let mut known = Vec::new();
    for line in metrics.lines() {
        let words: Vec<_> = line.split(' ').collect();
        match words[..] {
            ["#", "TYPE", name, "counter" | "gauge"] => known.push(name),
            ["#", "HELP", _, ..] => {}
            [sample, value] => {
                let name = sample.split('{').next().expect("a split has a first piece");
                assert!(known.contains(&name), "{line} has no type");
                assert!(value.parse::<f64>().is_ok(), "{line}");
                assert!(!sample.contains('{') || sample.ends_with("\"}"), "{line}");
            }
            _ => panic!("{line:?} is neither a comment nor a sample"),
        }
    }
    assert!(known.len() > 10, "{metrics}");
}

#[test]
fn viewers_are_listed_where_that_is_wished() {
    let livebox = Livebox::start(&format!("{CAMERA}pages: {{clients: yes}}\n"));
    let watching = Client::connect(livebox.rtsp_port(), "/camera").play();
    let listed = || livebox.http().get("/stat").text().contains("<td>127.0.0.1</td>");
    wait::until("the viewer is listed", LIMIT, || listed().then_some(()));
    drop(watching);
    wait::until("the viewer is gone", LIMIT, || (!listed()).then_some(()));
}

#[test]
fn pages_can_be_elsewhere_or_nowhere() {
    let pages = "pages: {home: no, stat: /my/state, stat_json: off, metrics: no}\n";
    let livebox = Livebox::start(&format!("{CAMERA}{pages}"));
    let status = |path: &str| livebox.http().get(path).status();
    for (path, wanted) in [
        ("/my/state", 200),
        ("/", 404),
        ("/stat", 404),
        ("/stat.json", 404),
        ("/metrics", 404),
        ("/config", 404),
    ] {
        assert_eq!(status(path), wanted, "{path}");
    }
}

#[test]
fn the_configuration_is_shown_without_secrets_where_that_is_wished() {
    let more = "rtsp: {user: anna, password: woodpecker}\npages: {config: yes}\n\
                pushes: {one: {url: 'rtmp://127.0.0.1:1/live', key: KEY-1}}\n";
    let livebox = Livebox::start(&format!("{CAMERA}{more}"));

    let text = livebox.http().get("/config").text();

    assert!(text.contains("bitrate: 750k") && text.contains("config: \"/config\""), "{text}");
    assert!(!text.contains("woodpecker") && !text.contains("KEY-1"), "{text}");
}

#[test]
fn who_comes_is_one_line_with_address_path_and_status() {
    let livebox = Livebox::start(CAMERA);
    let mut curl = tool("curl");
    let url = |path: &str| format!("http://127.0.0.1:{}{path}", livebox.port());
    curl.args(["-s", "-o", "/dev/null", &url("/nope?key=KEY-1"), &url("/stat"), &url("/stat")]);

    assert_eq!(run(&mut curl, b"", LIMIT).code, Some(0));

    livebox.log().wait_for("127.0.0.1 GET /nope 404", LIMIT);
    let log = livebox.log().text();
    assert!(
        !log.contains("KEY-1") && !log.contains("GET /stat"),
        "one connection, one line: {log}"
    );
}

fn value_of(metrics: &str, sample: &str) -> f64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(sample));
    let value = line.unwrap_or_else(|| panic!("no {sample} in {metrics}"));
    value.trim().parse().expect("values are numbers")
}
