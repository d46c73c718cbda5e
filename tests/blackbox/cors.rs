//! What pages of other sites may read.

use serde_json::json;

use crate::common::browser::{Browser, Scripts};
use crate::common::livebox::{Livebox, livebox};

const ORIGIN: &str = "https://player.example";
const ALLOWED: &str = "Access-Control-Allow-Origin";

fn config() -> String {
    let hash = livebox(&["password"], "secret\n").stdout;
    format!(
        "feeds:\n  cam: {{test: clock, size: 320x180, fps: 25, audio: tone}}\n  \
         away: {{v4l2: /dev/video99}}\n\
         streams:\n  open: {{feed: cam, bitrate: 300k}}\n  away: {{feed: away}}\n  \
         closed: {{feed: cam, bitrate: 300k, password: '{}'}}\n  \
         raw: {{command: 'sh -c \"while echo 1; do sleep 0.1; done\"', url: /raw}}\n",
        hash.trim()
    )
}

#[test]
fn media_without_a_password_is_for_every_site_and_so_are_its_errors() {
    let livebox = Livebox::start(&config());

    for (path, status) in [
        ("/open.m3u8", 200),
        ("/open/hls/live.m3u8", 200),
        ("/open/hls/0-0.m4s", 404),
        ("/open.mp4", 200),
        ("/open.mp4?pad=7", 400),
        ("/open.ts", 200),
        ("/open.mjpeg", 200),
        ("/open/pic", 200),
        ("/stream.mp4", 200),
        ("/away.mp4", 503),
        ("/raw", 200),
    ] {
        let request = livebox.http().request("GET", path).header("Origin", ORIGIN);
        let (head, _) = request.send().expect("it is answered");
        assert_eq!((head.status, head.header(ALLOWED)), (status, Some("*")), "{path}");
        let preflight = livebox.http().request("OPTIONS", path).header("Origin", ORIGIN);
        let preflight = preflight.header("Access-Control-Request-Method", "GET").answer();
        assert_eq!((preflight.status(), preflight.header(ALLOWED)), (204, Some("*")), "{path}");
        assert_eq!(preflight.header("Access-Control-Allow-Headers"), Some("*"), "{path}");
    }
    let refused = livebox.http().request("DELETE", "/open.mp4").answer();
    assert_eq!((refused.status(), refused.header(ALLOWED)), (405, Some("*")));
}

#[test]
fn pages_figures_and_protected_streams_are_for_no_other_site() {
    let livebox = Livebox::start(&config());
    // Of anybody with the password `secret`.
    let secret = "Basic YW55Ym9keTpzZWNyZXQ=";

    for path in ["/", "/open/", "/stat", "/stat.json", "/metrics", "/api/v1/status", "/closed.m3u8"]
    {
        let request = livebox.http().request("GET", path).header("Origin", ORIGIN);
        let (head, _) = request.header("Authorization", secret).send().expect("it is answered");
        assert_eq!((head.status, head.header(ALLOWED)), (200, None), "{path}");
    }
    let preflight = livebox.http().request("OPTIONS", "/closed.m3u8").header("Origin", ORIGIN);
    let preflight = preflight.answer();
    assert_eq!((preflight.status(), preflight.header(ALLOWED)), (401, None));
}

#[test]
fn a_page_of_another_site_reads_a_playlist_with_headers_of_its_own() {
    let livebox = Livebox::start(&config());
    let other = Livebox::start(&config());
    let browser = Browser::start(Scripts::Allowed);
    // A page without a content security policy.
    browser.open(&other.url("/stat.json"));

    let fetched = |path: &str| {
        let url = livebox.url(path);
        browser.evaluate(&format!(
            "return fetch('{url}', {{headers: {{'X-Player': '1'}}}})\
             .then(answer => answer.status, () => 'blocked')"
        ))
    };

    assert_eq!(fetched("/open.m3u8"), json!(200));
    assert_eq!(fetched("/open/hls/0-0.m4s"), json!(404));
    assert_eq!(fetched("/stat.json"), json!("blocked"));
}
