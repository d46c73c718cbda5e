//! What the box tells about itself: the page, the numbers, the metrics, the
//! configuration, and who came in the log.

use std::time::Duration;

use serde_json::Value;

use crate::common::livebox::{CAMERA, Livebox};
use crate::common::process::run;
use crate::common::rtsp::Client;
use crate::common::tools::tool;
use crate::common::wait;

const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn the_page_tells_people_and_needs_no_script() {
    let livebox = Livebox::start(CAMERA);

    let page = livebox.http().get("/stat");

    assert_eq!(page.status(), 200);
    let text = page.text();
    for part in ["<a href=\"/camera/\">camera</a>", "on-demand", "Up for", "640x360"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(!text.contains("<script"));
    assert!(!text.contains("127.0.0.1"), "nobody's address is shown");
}

#[test]
fn the_numbers_of_page_programs_and_prometheus_go_with_what_happens() {
    let livebox = Livebox::start(CAMERA);
    let stat = || -> Value {
        serde_json::from_str(&livebox.http().get("/stat.json").text()).expect("it is JSON")
    };
    let before = stat();
    assert_eq!(before["schema"], 1);
    assert_eq!(before["feeds"][0]["running"], false);
    assert_eq!(before["totals"]["clients"], 0);

    let watching = Client::connect(livebox.rtsp_port(), "/camera").play();
    let seen = wait::until("bytes are counted", LIMIT, || {
        let now = stat();
        (now["streams"][0]["bytes"].as_u64() > Some(100_000)).then_some(now)
    });

    let stream = &seen["streams"][0];
    assert_eq!(seen["feeds"][0]["running"], true);
    assert_eq!(stream["state"], "live");
    assert_eq!(stream["clients"], 1);
    assert_eq!((&stream["width"], &stream["height"]), (&640.into(), &360.into()));
    assert!(stream["newest_frame_age_s"].as_f64() < Some(20.0), "{stream}");
    assert!(stream["bytes_in"].as_u64() > Some(50_000), "{stream}");
    assert!(stream.get("client_list").is_none(), "addresses are nobody's business");
    let metrics = livebox.http().get("/metrics").text();
    assert_eq!(value_of(&metrics, "livebox_stream_live{stream=\"camera\"}"), 1.0);
    assert_eq!(value_of(&metrics, "livebox_stream_readers{stream=\"camera\"}"), 1.0);
    assert!(value_of(&metrics, "livebox_stream_sent_bytes_total{stream=\"camera\"}") > 1e5);
    drop(watching);
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
    let pages = "pages: {stat: /my/state, stat_json: off, metrics: no}\n";
    let livebox = Livebox::start(&format!("{CAMERA}{pages}"));
    let status = |path: &str| livebox.http().get(path).status();
    for (path, wanted) in [
        ("/my/state", 200),
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
