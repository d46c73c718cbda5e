//! Streams and pages that are not for everybody.

use std::sync::OnceLock;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use crate::common::browser::{Browser, Scripts};
use crate::common::http::{Head, Request};
use crate::common::livebox::{API, Livebox, livebox};
use crate::common::process::run;
use crate::common::receiver::Receiver;
use crate::common::rtsp::Client;
use crate::common::tools::tool;
use crate::common::viewer::Viewer;
use crate::common::vlc::Vlc;
use crate::common::{probe, proc, wait};

const LIMIT: Duration = wait::TIMEOUT;

/// Every way in which the first stream leaves.
const WAYS: &[&str] = &[
    "/front",
    "/front/",
    "/front.mp4",
    "/front.h264",
    "/front.ts",
    "/front.aac",
    "/front.m3u8",
    "/front/hls/live.m3u8",
    "/front/pic",
    "/stream.mp4",
    "/stream.h264",
    "/stream.ts",
    "/stream.aac",
    "/stream.m3u8",
    "/stream/pic",
    "/streaminf.m3u8",
    // The same path, written in another way.
    "/%66ront.mp4",
    "/stream%2Emp4",
];

/// The ways of the stream of bytes.
const OF_BYTES: &[&str] = &["/cams/raw.ts", "/stream/raw"];

/// Two streams with a password each, and one for everybody.
fn config() -> String {
    format!(
        "access: {{password: '{}'}}\n\
         feeds:\n  cam: {{test: clock, size: 320x180, fps: 25, audio: tone}}\n\
         streams:\n  front: {{feed: cam, bitrate: 300k, password: '{}'}}\n  \
         open: {{feed: cam, bitrate: 300k}}\n  \
         raw: {{command: 'sh -c \"while echo 1; do sleep 0.1; done\"', url: /cams/raw.ts, \
         password: '{}'}}\n",
        hash("of all"),
        hash("of front"),
        hash("of raw"),
    )
}

#[test]
fn every_way_out_of_a_stream_asks_for_its_password() {
    let livebox = Livebox::start(&config());
    let (front, raw) = (WAYS.iter().map(|way| (way, "front")), OF_BYTES.iter());
    for (way, name) in front.chain(raw.map(|way| (way, "raw"))) {
        for method in ["GET", "HEAD"] {
            let ask = || livebox.http().request(method, way);
            let (head, _) = ask().send().unwrap();
            assert_eq!(head.status, 401, "{method} {way}");
            let challenge = head.header("WWW-Authenticate").expect("there is a challenge");
            let realm = format!("Basic realm=\"livebox stream {name}\"");
            assert!(challenge.starts_with(&realm), "{way}: {challenge}");
            assert_eq!(status(with(ask(), "wrong")), 401, "{method} {way}");
            let right = format!("of {name}");
            assert_eq!(status(with(ask(), &right)), 200, "{method} {way}");
            assert_eq!(status(with(ask(), "of all")), 200, "{method} {way} as operator");
        }
        // Nobody learns from it whether a method is known there.
        assert_eq!(status(livebox.http().request("DELETE", way)), 401, "{way}");
    }
    let playlist = with(livebox.http().request("GET", "/front/hls/live.m3u8"), "of front");
    let text = playlist.answer().text();
    let segment = text.lines().rfind(|line| !line.starts_with('#')).expect("there is one");
    let ask = || livebox.http().request("GET", &format!("/front/hls/{segment}"));
    assert_eq!(status(ask()), 401);
    let (head, _) = with(ask(), "of front").send().unwrap();
    assert_eq!(head.status, 200);
    let cached = head.header("Cache-Control").expect("segments say how long they last");
    assert!(cached.contains("private") && !cached.contains("public"), "{cached}");
    assert_eq!(livebox.get("/open.m3u8").status(), 200);
    assert!(!livebox.log().text().contains("of front"));
}

#[test]
fn a_list_tells_nothing_but_the_name_of_what_is_not_for_everybody() {
    let receiver = Receiver::start();
    let more = format!(
        "pushes: {{tube: {{stream: front, url: \"{}\", key: k, start: true}}}}\npages: {{clients: yes}}\n",
        receiver.url()
    );
    let livebox = Livebox::start(&format!("{}{more}", config()));
    receiver.wait_for_more(50_000, LIMIT);

    for path in ["/", "/stat", "/stat.json", "/metrics"] {
        let text = livebox.get(path).text();
        for part in ["/front.mp4", "/front.ts", "tube", "mpegts", "stream=\"front\"", "video/mp2t"]
        {
            assert!(!text.contains(part), "{path} tells {part}: {text}");
        }
        assert!(text.contains("open"), "{path} tells of what is open: {text}");
    }
    let home = livebox.get("/").text();
    assert!(!home.contains("<video"), "{home}");
    assert!(home.contains("<a href=\"/front\">front</a>"), "{home}");
    let shown = with(livebox.http().request("GET", "/"), "of front").answer().text();
    assert!(shown.contains("<video") && shown.contains("/front.mp4"), "{shown}");
    let stat: Value = with(livebox.http().request("GET", "/stat.json"), "of front").answer().json();
    assert_eq!(stat["streams"].as_array().map(Vec::len), Some(2), "{stat}");
}

#[test]
fn the_pages_about_the_box_may_have_a_password() {
    let more = format!("pages: {{config: yes, password: '{}'}}\n", hash("of pages"));
    let livebox = Livebox::start(&format!("{}{more}", config()));

    for path in ["/stat", "/stat.json", "/metrics", "/config"] {
        let ask = || livebox.http().request("GET", path);
        assert_eq!(status(ask()), 401, "{path}");
        assert_eq!(status(with(ask(), "of front")), 401, "{path}");
        let answer = with(ask(), "of pages").answer();
        assert_eq!(answer.status(), 200, "{path}");
        // Whoever may see the state of the box sees all of it.
        assert!(answer.text().contains("front"), "{path}: {}", answer.text());
        assert_eq!(status(with(ask(), "of all")), 200, "{path}");
    }
    for path in ["/", "/open/", &format!("{API}/status")] {
        assert_eq!(livebox.get(path).status(), 200, "{path}");
    }
}

#[test]
fn players_that_are_given_the_password_in_the_address_play() {
    let livebox = Livebox::start(&config());
    let known = |path: &str| livebox.url(path).replace("http://", "http://anna:of%20front@");

    for path in ["/front.mp4", "/front.ts", "/front.m3u8", "/stream.mp4"] {
        assert_eq!(probe::streams(&known(path), None).codecs(), ["h264", "aac"], "{path}");
    }
    probe::decode(&known("/front.m3u8"), 3);
    let mut gst = tool("gst-launch-1.0");
    gst.args(["-q", "souphttpsrc", &format!("location={}", livebox.url("/front.ts"))]);
    gst.args(["user-id=anna", "user-pw=of front", "!", "tsdemux", "!", "h264parse", "!"]);
    gst.args(["fakesink", "num-buffers=50"]);
    let finished = run(&mut gst, b"", LIMIT);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    let mut curl = tool("curl");
    curl.args(["-s", "-o", "/dev/null", "-w", "%{http_code}", "-u", "u:of front"]);
    assert_eq!(run(curl.arg(livebox.url("/front/pic")), b"", LIMIT).stdout, "200");
}

#[test]
fn vlc_plays_a_stream_whose_password_stands_in_the_address() {
    let livebox = Livebox::start(&config());

    let url = livebox.url("/front.mp4").replace("http://", "http://anna:of%20front@");

    Vlc::play(&url).wait(50, 320 * 180, 1);
}

#[test]
fn chromium_plays_a_stream_whose_password_stands_in_the_address() {
    let livebox = Livebox::start(&config());
    let browser = Browser::start(Scripts::Allowed);

    browser.open(&livebox.url("/front/").replace("http://", "http://anna:of%20front@"));

    let time = "return document.querySelector('video').currentTime";
    let first =
        wait::until("it plays", LIMIT, || Some(browser.number(time)).filter(|time| *time > 0.0));
    wait::until("it goes on", LIMIT, || (browser.number(time) > first + 1.0).then_some(()));
}

#[test]
fn rtsp_asks_for_the_password_of_a_stream_and_no_other_login_opens_it() {
    let more = "rtsp: {user: anna, password: woodpecker, multicast: yes}\n";
    let livebox = Livebox::start(&format!("{}{more}", config()));
    let asked = |path: &str, user: &str, password: &str| {
        let line = format!("Authorization: {}\r\n", basic(user, password));
        Client::connect(livebox.rtsp_port(), path).ask_with("DESCRIBE", &line).0
    };

    let answer = Client::connect(livebox.rtsp_port(), "/front").say(
        format!("DESCRIBE {} RTSP/1.0\r\nCSeq: 1\r\n\r\n", livebox.rtsp_url("/front")).as_bytes(),
    );
    assert!(answer.starts_with("RTSP/1.0 401"), "{answer}");
    assert!(answer.contains("Basic realm=\"livebox stream front\""), "{answer}");
    assert!(!answer.contains("Digest"), "a hash cannot check it: {answer}");
    assert_eq!(asked("/front", "anna", "woodpecker"), 401);
    assert_eq!(asked("/front", "anna", "of front"), 200);
    assert_eq!(asked("/front", "anna", "of all"), 200);
    assert_eq!(asked("/open", "anna", "of front"), 401);
    assert_eq!(asked("/open", "anna", "woodpecker"), 200);
    for method in ["SETUP", "PLAY"] {
        assert_eq!(Client::connect(livebox.rtsp_port(), "/front").ask(method).0, 401, "{method}");
    }
    // What goes to a group can be read by all of the network.
    let known = format!("Authorization: {}\r\n", basic("anna", "of front"));
    let many = format!("{known}Transport: RTP/AVP;multicast\r\n");
    let mut client = Client::connect(livebox.rtsp_port(), "/front/stream=0");
    assert_eq!(client.ask_with("SETUP", &many).0, 461);

    let url = livebox.rtsp_url("/front").replace("rtsp://", "rtsp://anna:of%20front@");
    assert_eq!(probe::streams(&url, None).codecs(), ["h264", "aac"]);
    let mut gst = tool("gst-launch-1.0");
    gst.args(["-q", "rtspsrc", &format!("location={}", livebox.rtsp_url("/front"))]);
    gst.args(["user-id=anna", "user-pw=of front", "protocols=tcp", "!", "rtph264depay", "!"]);
    gst.args(["fakesink", "num-buffers=50"]);
    let finished = run(&mut gst, b"", LIMIT);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
}

#[test]
fn a_hundred_who_come_at_once_cost_one_check_and_who_guesses_keeps_nobody_out() {
    let livebox = Livebox::start(&config());
    let ask = |password: &str| {
        with(livebox.http().request("HEAD", "/front.ts"), password).send().map(|(head, _)| head)
    };
    let one_check = spent(&livebox, || assert_eq!(ask("of all").unwrap().status, 200));
    let viewer = Viewer::connect(livebox.http(), "/open.mp4");

    let all = spent(&livebox, || {
        std::thread::scope(|scope| {
            let asking: Vec<_> = (0..100).map(|_| scope.spawn(|| ask("of front"))).collect();
            for asked in asking {
                assert_eq!(asked.join().unwrap().unwrap().status, 200);
            }
        });
    });
    // The operator's password was checked against two hashes.
    assert!(all < one_check * 3.0 + 1.0, "{all} s of CPU for a hundred, {one_check} s for one");

    std::thread::scope(|scope| {
        let guessing: Vec<_> =
            (0..9).map(|number| scope.spawn(move || ask(&format!("guess {number}")))).collect();
        let begin = wait::now();
        for _ in 0..50 {
            assert_eq!(ask("of front").unwrap().status, 200);
        }
        assert!(wait::now() - begin < Duration::from_secs(25), "who is known waits");
        let told: Vec<_> = guessing.into_iter().map(|guess| guess.join().unwrap()).collect();
        let refused = |head: &Head| matches!(head.status, 401 | 503);
        assert!(told.iter().flatten().all(refused), "{told:?}");
    });
    let seen = viewer.wait_for_more(50, LIMIT);
    seen.assert_time_goes_forward();
}

/// CPU seconds that `what` costs the service.
fn spent(livebox: &Livebox, what: impl FnOnce()) -> f64 {
    let before = proc::cpu_seconds(livebox.pid());
    what();
    proc::cpu_seconds(livebox.pid()) - before
}

fn with(request: Request, password: &str) -> Request {
    request.header("Authorization", &basic("anybody", password))
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")))
}

/// The status alone: what is behind it may have no end.
fn status(request: Request) -> u16 {
    request.send().expect("it is answered").0.status
}

/// As `livebox password` makes it, once for each password.
fn hash(password: &str) -> String {
    static KNOWN: OnceLock<Vec<(&str, String)>> = OnceLock::new();
    let made = |password| {
        let made = livebox(&["password"], &format!("{password}\n")).stdout;
        (password, made.trim().to_owned())
    };
    let all = ["of all", "of front", "of raw", "of pages"];
    let known = KNOWN.get_or_init(|| all.map(made).into());
    let found = known.iter().find(|(known, _)| *known == password);
    found.expect("it is one of those").1.clone()
}
