//! Another configuration while everything runs: who notices, and who does not.

use std::io::Read as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::bytes::{COUNTER, number, running, wait_for_running};
use crate::common::http::Http;
use crate::common::livebox::{API, Livebox};
use crate::common::receiver::Receiver;
use crate::common::rtsp::Client;
use crate::common::viewer::Viewer;
use crate::common::{proc, wait};

const LIMIT: Duration = wait::TIMEOUT;

const ONE: &str = "  one: {test: clock, size: 320x180, fps: 25, audio: tone}\n";
const TWO: &str = "  two: {test: clock, size: 320x180, fps: 25}\n";

/// Two feeds with a stream each.
fn pair() -> String {
    format!(
        "feeds:\n{ONE}{TWO}streams:\n  one: {{bitrate: 400k}}\n  two: {{bitrate: 400k}}\npushes: {{}}\n"
    )
}

fn changed(config: &str, from: &str, to: &str) -> String {
    assert!(config.contains(from), "{from} in {config}");
    config.replace(from, to)
}

/// What `/stat.json` says of a stream.
fn stream(livebox: &Livebox, name: &str) -> Value {
    let stat = livebox.get("/stat.json").json();
    let all = ["streams", "byte_streams"].map(|kind| stat[kind].as_array().cloned());
    let mut all = all.into_iter().flatten().flatten();
    all.find(|stream| stream["name"] == name).unwrap_or_else(|| panic!("no {name} in {stat}"))
}

fn refused(livebox: &Livebox, config: &str) -> Value {
    livebox.rewrite(config);
    let answer = livebox.http().request("POST", &format!("{API}/reload")).answer();
    assert_eq!(answer.status(), 400, "{}", answer.text());
    answer.json()
}

#[test]
fn who_watches_an_untouched_stream_notices_nothing() {
    let receiver = Receiver::start();
    let push = format!(
        "pushes: {{far: {{stream: one, url: '{}', key: K, start: true}}}}\n",
        receiver.url()
    );
    let config = changed(&pair(), "pushes: {}\n", &push);
    let livebox = Livebox::start(&config);
    let viewer = Viewer::connect(livebox.http(), "/one.mp4?pad=0");
    let player = Client::connect(livebox.rtsp_port(), "/one").play();
    receiver.wait_for_more(10_000, LIMIT);
    viewer.wait_for_more(25, LIMIT);

    let other = changed(&config, "two: {bitrate: 400k}", "two: {bitrate: 500k}\n  three: {}");
    let other = changed(&other, TWO, &format!("{TWO}  three: {{test: clock, size: 160x120}}\n"));
    let outcome = livebox.reload(&other);
    assert_eq!(outcome["streams"]["changed"], json!(["two"]));
    assert_eq!(outcome["streams"]["added"], json!(["three"]));
    livebox.reload(&config);
    // Another order is another default, and nothing else.
    let (ones, twos) = ("  one: {bitrate: 400k}\n", "  two: {bitrate: 400k}\n");
    livebox.reload(&changed(&config, &format!("{ones}{twos}"), &format!("{twos}{ones}")));
    assert!(livebox.get("/").text().contains("src=\"/two.mp4\""), "{}", livebox.get("/").text());

    let packets = player.packets();
    receiver.wait_for_more(20_000, LIMIT);
    viewer.wait_for_more(50, LIMIT).assert_nothing_is_missing();
    wait::until("packets come", LIMIT, || (player.packets() > packets + 50).then_some(()));
    assert!(!player.is_over());
    assert_eq!(receiver.recordings().len(), 1, "the push has connected again");
    assert_eq!(livebox.log().count("stream one is live"), 1);
    assert_eq!(livebox.log().count("push far is live"), 1);
}

#[test]
fn what_is_added_is_found_and_what_is_removed_is_gone() {
    let livebox = Livebox::start(&pair());
    let viewer = Viewer::connect(livebox.http(), "/two.mp4");
    let player = Client::connect(livebox.rtsp_port(), "/two").play();
    let (_, mut pictures) = livebox.http().open("/two.mjpeg");
    pictures.take_bytes(1000).expect("pictures come");
    viewer.wait_for_more(10, LIMIT);

    let three = changed(&pair(), TWO, "  three: {test: clock, size: 160x120, fps: 10}\n");
    let three = changed(&three, "two: {bitrate: 400k}", "three: {url: /cams/three}");
    let outcome = livebox.reload(&three);
    assert_eq!(outcome["feeds"]["removed"], json!(["two"]));

    wait::until("the viewer is let go", LIMIT, || viewer.seen().ended);
    wait::until("the player is let go", LIMIT, || player.is_over().then_some(()));
    pictures.read_to_end(&mut Vec::new()).expect("pictures end in order");
    for path in ["/two.mp4", "/two/", "/two", "/two/pic", "/two/hls/live.m3u8"] {
        assert_eq!(livebox.get(path).status(), 404, "{path}");
    }
    assert_eq!(Client::connect(livebox.rtsp_port(), "/two").ask("DESCRIBE").0, 404);
    Viewer::connect(livebox.http(), "/cams/three.mp4").wait_for_more(5, LIMIT);
    assert_eq!(livebox.get("/cams/three/pic").status(), 200);
    assert_eq!(Client::connect(livebox.rtsp_port(), "/cams/three").ask("DESCRIBE").0, 200);
    let stat = livebox.get("/stat.json").json();
    assert_eq!(stat["streams"].as_array().map(Vec::len), Some(2));
}

#[test]
fn a_stream_that_moves_or_is_encoded_alike_keeps_its_viewers() {
    let livebox = Livebox::start(&pair());
    let viewer = Viewer::connect(livebox.http(), "/one.mp4?pad=0");
    viewer.wait_for_more(10, LIMIT);

    let moved = changed(&pair(), "one: {bitrate: 400k}", "one: {bitrate: 400k, url: /front}");
    assert_eq!(livebox.reload(&moved)["streams"]["adjusted"], json!(["one"]));
    assert_eq!(livebox.get("/one.mp4").status(), 404);
    Viewer::connect(livebox.http(), "/front.mp4").wait_for_more(5, LIMIT);
    viewer.wait_for_more(20, LIMIT).assert_nothing_is_missing();

    let more = changed(&moved, "one: {bitrate: 400k", "one: {bitrate: 410k");
    assert_eq!(livebox.reload(&more)["streams"]["changed"], json!(["one"]));
    let seen = viewer.wait_for_more(50, LIMIT);
    seen.assert_time_goes_forward();
    assert_eq!(seen.ended, None);
}

#[test]
fn a_stream_of_another_size_ends_for_its_viewers_and_begins_anew() {
    let livebox = Livebox::start(&pair());
    let viewer = Viewer::connect(livebox.http(), "/one.mp4");
    viewer.wait_for_more(10, LIMIT);

    livebox.reload(&changed(
        &pair(),
        "one: {test: clock, size: 320x180",
        "one: {test: clock, size: 160x90",
    ));

    wait::until("the viewer is let go", LIMIT, || viewer.seen().ended);
    Viewer::connect(livebox.http(), "/one.mp4").wait_for_more(5, LIMIT);
    assert_eq!(stream(&livebox, "one")["width"], 160);
}

#[test]
fn a_second_stream_of_a_feed_comes_and_goes_and_the_first_one_stays_connected() {
    let livebox = Livebox::start(&pair());
    let viewer = Viewer::connect(livebox.http(), "/one.mp4?pad=0");
    viewer.wait_for_more(10, LIMIT);

    let small = "one: {bitrate: 400k}\n  small: {feed: one, size: 160x90, bitrate: 200k}";
    let shared = changed(&pair(), "one: {bitrate: 400k}", small);
    livebox.reload(&shared);
    let second = Viewer::connect(livebox.http(), "/small.mp4?pad=0");
    second.wait_for_more(10, LIMIT);
    let seen = viewer.wait_for_more(25, LIMIT);
    seen.assert_time_goes_forward();
    assert_eq!(seen.ended, None);

    // Who is left alone with the feed notices nothing, nor of a third one.
    let alone = Viewer::connect(livebox.http(), "/one.mp4?pad=0");
    alone.wait_for_more(10, LIMIT);
    livebox.reload(&pair());
    wait::until("the second is let go", LIMIT, || second.seen().ended);
    livebox.reload(&shared);
    Viewer::connect(livebox.http(), "/small.mp4").wait_for_more(5, LIMIT);
    assert_eq!(alone.wait_for_more(25, LIMIT).ended, None);
    assert_eq!(livebox.log().count("feed one is live"), 1);
    assert_eq!(livebox.log().count("stream one is live"), 2);
}

#[test]
fn a_file_that_is_no_use_changes_nothing_and_says_why() {
    let mut livebox = Livebox::start(&pair());
    let viewer = Viewer::connect(livebox.http(), "/one.mp4?pad=0");
    viewer.wait_for_more(10, LIMIT);

    let wrong = changed(&pair(), "size: 320x180, fps: 25, audio: tone", "fps: 0, sise: 3");
    let told = refused(&livebox, &wrong);
    let problems = told["problems"].to_string();
    assert!(problems.contains("feeds.one.fps (line 2)"), "{told}");
    assert!(problems.contains("feeds.one.sise"), "{told}");
    assert_eq!(told["problems"].as_array().map(Vec::len), Some(2));
    for text in
        ["", "\t", "\u{0}\u{1}", "a: &a [*a, *a]", &"x: [".repeat(5000), &"y".repeat(1 << 21)]
    {
        let told = refused(&livebox, text);
        assert!(told["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{told}");
    }
    livebox.rewrite(&wrong);
    livebox.process().signal("HUP");
    livebox.log().wait_for("feeds.one.sise", LIMIT);

    viewer.wait_for_more(25, LIMIT).assert_nothing_is_missing();
    assert_eq!(livebox.log().count("stream one is live"), 1);
    // And the next one counts.
    livebox.rewrite(&changed(&pair(), "two: {bitrate: 400k}", "two: {url: /moved}"));
    livebox.process().signal("HUP");
    wait::until("it has moved", LIMIT, || (livebox.get("/moved").status() == 200).then_some(()));
}

#[test]
fn only_who_may_change_things_may_have_the_file_read() {
    let livebox = Livebox::start(&pair());
    let ask = || livebox.http().request("POST", &format!("{API}/reload"));

    let answer = ask().header("X-Forwarded-For", "10.0.0.7").answer();
    assert_eq!(answer.status(), 403, "{}", answer.text());
    assert_eq!(ask().header("Origin", "http://other.example").answer().status(), 403);
    assert_eq!(livebox.get(&format!("{API}/reload")).status(), 405);
    assert_eq!(ask().answer().status(), 200);
}

#[test]
fn pages_password_and_log_take_effect_and_what_cannot_is_named() {
    let mut livebox = Livebox::start(&pair());
    let hash = crate::common::livebox::livebox(&["password"], "quiet\n").stdout;
    let more = format!(
        "server: {{mdns: true, docroot: /tmp}}\nrtsp: {{multicast: true, user: u, password: p}}\n\
         pages: {{stat: /state, config: true}}\nlog: {{level: debug, folder: /tmp}}\n\
         access: {{password: '{}'}}\n",
        hash.trim()
    );

    let outcome = livebox.reload(&format!("{}{more}", pair()));

    let later = json!(["server.docroot", "server.mdns", "log.folder"]);
    assert_eq!(outcome["at_next_start"], later);
    livebox.log().wait_for("at the next start: server.docroot, server.mdns, log.folder", LIMIT);
    assert_eq!((livebox.get("/stat").status(), livebox.get("/state").status()), (404, 200));
    assert!(livebox.get("/config").text().contains("level: debug"));
    livebox.get("/one/pic");
    livebox.log().wait_for(" DEBUG host feed one says: runs", LIMIT);
    assert_eq!(Client::connect(livebox.rtsp_port(), "/one").ask("DESCRIBE").0, 401);
    let http = livebox.http();
    let ask = |header: &str| {
        let request = http.request("GET", &format!("{API}/control"));
        request.header("Via", "x").header("Authorization", header).answer().status()
    };
    assert_eq!(ask("Basic YTpxdWlldA=="), 200);
    assert_eq!(ask("Basic YTpsb3Vk"), 401);

    livebox.rewrite(&pair());
    livebox.process().signal("HUP");
    wait::until("it is as before", LIMIT, || (livebox.get("/stat").status() == 200).then_some(()));
    assert_eq!(ask("Basic YTpxdWlldA=="), 403);
    assert_eq!(Client::connect(livebox.rtsp_port(), "/one").ask("DESCRIBE").0, 200);
}

#[test]
fn a_new_password_of_a_stream_lets_go_who_watched_without_it() {
    let livebox = Livebox::start(&pair());
    let viewer = Viewer::connect(livebox.http(), "/one.mp4");
    let player = Client::connect(livebox.rtsp_port(), "/one").play();
    let other = Viewer::connect(livebox.http(), "/two.mp4?pad=0");
    viewer.wait_for_more(10, LIMIT);
    other.wait_for_more(10, LIMIT);
    let hash = crate::common::livebox::livebox(&["password"], "quiet\n").stdout;
    let password = format!("one: {{bitrate: 400k, password: '{}'}}", hash.trim());

    livebox.reload(&changed(&pair(), "one: {bitrate: 400k}", &password));

    wait::until("the viewer is let go", LIMIT, || viewer.seen().ended);
    wait::until("the player is let go", LIMIT, || player.is_over().then_some(()));
    assert_eq!(livebox.get("/one.mp4").status(), 401);
    let ask = livebox.http().request("GET", "/one/pic");
    assert_eq!(ask.header("Authorization", "Basic YTpxdWlldA==").answer().status(), 200);
    other.wait_for_more(10, LIMIT).assert_nothing_is_missing();

    livebox.reload(&pair());
    assert_eq!(livebox.get("/one/pic").status(), 200);
}

#[test]
fn pushes_follow_the_file_and_what_operators_want() {
    let (near, far) = (Receiver::start(), Receiver::start());
    let with = |push: &str| {
        let pushes = format!("pushes: {{far: {{stream: one, {push}}}}}\n");
        changed(&pair(), "pushes: {}\n", &pushes)
    };
    let to = |receiver: &Receiver| format!("url: '{}', key: K", receiver.url());
    let livebox = Livebox::start(&pair());

    livebox.reload(&with(&format!("{}, start: true", to(&near))));
    near.wait_for_more(10_000, LIMIT);
    livebox.reload(&with(&format!("{}, start: true", to(&far))));
    far.wait_for_more(10_000, LIMIT);
    wait::until("it has left", LIMIT, || (!near.is_receiving()).then_some(()));

    // Stopped by hand, it stays so in whatever way the file describes it.
    assert_eq!(livebox.http().put(&format!("{API}/pushes/far/stop")).status(), 200);
    livebox.reload(&with(&format!("{}, start: true", to(&near))));
    let wanted =
        |livebox: &Livebox| livebox.get(&format!("{API}/pushes")).json()[0]["wanted"].clone();
    assert_eq!(wanted(&livebox), false);
    livebox.reload(&with(&format!("{}, start: false", to(&near))));
    assert_eq!(wanted(&livebox), false);
    // Until the file says otherwise.
    assert_eq!(livebox.http().put(&format!("{API}/pushes/far/start")).status(), 200);
    near.wait_for_more(10_000, LIMIT);
    livebox.reload(&pair());
    wait::until("it has ended", LIMIT, || (!near.is_receiving()).then_some(()));
    assert_eq!(livebox.http().put(&format!("{API}/pushes/far/start")).status(), 404);
}

#[test]
fn what_was_set_by_hand_counts_as_long_as_the_file_says_the_same() {
    let livebox = Livebox::start(&pair());
    let set = livebox.set_control(&json!({"fps": 15, "url": "rtmp://a.example/live"}));
    assert_eq!(set.status(), 200, "{}", set.text());

    livebox.reload(&changed(&pair(), "two: {bitrate: 400k}", "two: {bitrate: 500k}"));
    livebox.reload(&changed(&pair(), "one: {bitrate: 400k}", "one: {bitrate: 400k, gop: 2s}"));
    assert_eq!(livebox.control()["fps"], 15);
    livebox.reload(&changed(&pair(), "one: {bitrate: 400k}", "one: {bitrate: 300k}"));
    let control = livebox.control();
    assert_eq!((&control["fps"], &control["bitrate"]), (&json!(25), &json!(300_000)));
    assert_eq!(control["url"], Value::Null);
}

#[test]
fn bytes_of_an_untouched_command_go_on_and_those_of_a_removed_one_end() {
    let config = |mark: &str, more: &str| {
        format!(
            "feeds:\n  count: {{command: {COUNTER:?}}}\n  other: {{command: 'sh -c \"{mark}; cat\"', mode: continuous}}\n\
             streams:\n  plain: {{feed: count, type: text/plain}}\n  \
             cooked: {{feed: count, command: cat, type: text/plain}}\n  other: {{}}\n{more}"
        )
    };
    let yes = "while :; do echo yes; sleep 0.05; done";
    let livebox = Livebox::start(&config(yes, ""));
    let (_, mut plain) = livebox.http().open("/plain");
    let (_, mut cooked) = livebox.http().open("/cooked");
    let (_, mut other) = livebox.http().open("/other");
    number(&mut plain);
    let counter = wait_for_running(&livebox, "%07d", 1);
    let mut next = number(&mut cooked);

    let no = yes.replace("yes", "noo");
    let outcome = livebox.reload(&config(&no, ""));
    assert_eq!(outcome["feeds"]["changed"], json!(["other"]));
    for _ in 0..50 {
        let number = number(&mut cooked);
        assert_eq!(number, next + 1, "a line is lost");
        next = number;
    }
    assert_eq!(running(&livebox, "%07d"), counter);
    // Its viewers are those of what follows.
    let mut text = String::new();
    while !text.contains("noo") {
        text += &String::from_utf8_lossy(&other.take_bytes(1).expect("it goes on"));
    }

    livebox.reload(
        &config(&no, "").replace("  cooked: {feed: count, command: cat, type: text/plain}\n", ""),
    );
    let mut rest = Vec::new();
    cooked.read_to_end(&mut rest).expect("it ends in order");
    assert_eq!(livebox.get("/cooked").status(), 404);
    number(&mut plain);
    assert_eq!(running(&livebox, "%07d"), counter);
}

#[test]
fn a_setting_that_gives_nothing_is_taken_back() {
    let livebox = Livebox::start(&pair());
    let viewer = Viewer::connect(livebox.http(), "/one.mp4?pad=0");
    let other = Viewer::connect(livebox.http(), "/two.mp4?pad=0");
    viewer.wait_for_more(10, LIMIT);
    other.wait_for_more(10, LIMIT);

    let film = "  one: {file: /nowhere/film.mp4, size: 320x180}\n";
    let broken = changed(&pair(), ONE, film);
    // What nobody watches is not judged, and another reload does not save it.
    livebox.reload(&broken);
    let broken = changed(&broken, "two: {bitrate: 400k}", "two: {bitrate: 400k, url: /second}");
    livebox.reload(&broken);

    livebox.log().wait_for("stream one was rolled back to its earlier settings", LIMIT);
    let count = viewer.seen().fragments.len();
    let seen = viewer.wait("the picture is back", LIMIT, |seen| seen.fragments.len() > count + 25);
    seen.assert_time_goes_forward();
    other.wait_for_more(5, LIMIT).assert_nothing_is_missing();
    let page = livebox.get("/stat").text();
    assert!(page.contains("stream one runs with its earlier settings"), "{page}");
    assert!(page.contains("/nowhere/film.mp4"), "{page}");
    assert_eq!(livebox.status()["rolled_back"], json!(["stream one"]));
    assert_eq!(livebox.get("/stat.json").json()["rolled_back"][0]["what"], "stream one");
    assert_eq!(livebox.get("/second").status(), 200, "the rest of the file is in force");

    livebox.reload(&pair());
    assert_eq!(livebox.status()["rolled_back"], json!([]));
    viewer.wait_for_more(10, LIMIT);
}

#[test]
fn a_command_that_dies_gives_way_to_the_one_before_it() {
    let config = |command: &str| {
        format!(
            "feeds: {{count: {{command: {command:?}}}}}\nstreams: {{count: {{type: text/plain}}}}\n"
        )
    };
    let livebox = Livebox::start(&config(COUNTER));
    let (_, mut body) = livebox.http().open("/count");
    number(&mut body);

    livebox.reload(&config("false"));
    livebox.log().wait_for("feed count was rolled back to its earlier settings", LIMIT);

    // The same connection; the counter begins anew.
    wait::until("it counts from one", LIMIT, || (number(&mut body) == 1).then_some(()));
}

#[test]
fn fifty_reloads_in_a_row_leave_nothing_behind() {
    let config = |odd: bool| {
        let (bitrate, name) = if odd { ("410k", "left") } else { ("400k", "right") };
        format!(
            "feeds:\n{ONE}{TWO}  bytes: {{command: {COUNTER:?}, mode: continuous}}\n\
             streams:\n  one: {{bitrate: 400k}}\n  two: {{bitrate: {bitrate}}}\n  \
             {name}: {{feed: bytes, command: cat, type: text/plain}}\n  small{name}: {{feed: two, size: 160x90}}\n"
        )
    };
    let livebox = Livebox::start(&config(false));
    let viewer = Viewer::connect(livebox.http(), "/one.mp4?pad=0");
    let changing = Viewer::connect(livebox.http(), "/two.mp4?pad=0");
    changing.wait_for_more(10, LIMIT);
    let pid = livebox.pid();
    let settled = |odd| {
        livebox.reload(&config(odd));
        changing.wait_for_more(10, LIMIT);
        wait::until("one counter runs", LIMIT, || {
            (running(&livebox, "%07d").len() == 1).then_some(())
        });
        (proc::open_files(pid), proc::threads(pid), proc::children(pid).len())
    };
    settled(true);
    let before = settled(false);

    for round in 0..50 {
        livebox.reload(&config(round % 2 == 0));
    }

    let after = wait::until("files and threads are as before", LIMIT, || {
        let after = settled(false);
        let fits = after.0 <= before.0 + 3 && after.1 <= before.1 + 4 && after.2 == before.2;
        fits.then_some(after)
    });
    assert!(after.0 > 0);
    viewer.wait_for_more(10, LIMIT).assert_nothing_is_missing();
    assert_eq!(changing.seen().ended, None);
}

#[test]
fn reloads_amid_a_storm_of_requests_are_answered_and_so_are_the_requests() {
    let livebox = Livebox::start(&pair());
    let viewer = Viewer::connect(livebox.http(), "/one.mp4?pad=0");
    viewer.wait_for_more(10, LIMIT);
    let is_over = AtomicBool::new(false);
    let http = livebox.http();
    let storm = |path: &'static str| {
        let mut count = 0;
        while !is_over.load(Ordering::Relaxed) {
            count += 1;
            let status = ask(http, path);
            assert!(matches!(status, 200 | 404 | 503), "{path}: {status}");
        }
        count
    };

    let three = changed(&pair(), TWO, "  two: {test: clock, size: 160x120, fps: 10}\n");
    let three = changed(&three, "two: {bitrate: 400k}", "two: {}\n  three: {feed: two}");
    let two = pair();
    thread::scope(|scope| {
        let paths = ["/two/pic", "/three/pic", "/stat.json", "/", "/two.m3u8", "/nothing"];
        let storms: Vec<_> = paths.map(|path| scope.spawn(move || storm(path))).into();
        let reloads = scope.spawn(|| {
            for _ in 0..20 {
                let status = http.request("POST", &format!("{API}/reload")).answer().status();
                assert!(matches!(status, 200 | 400), "a torn file may be read: {status}");
            }
        });
        for round in 0..20 {
            livebox.reload(if round % 2 == 0 { &three } else { &two });
        }
        reloads.join().expect("reloads are answered");
        is_over.store(true, Ordering::Relaxed);
        for storm in storms {
            assert!(storm.join().expect("requests are answered") > 0);
        }
    });

    livebox.reload(&pair());
    viewer.wait_for_more(25, LIMIT).assert_nothing_is_missing();
    assert_eq!(livebox.get("/two/pic").status(), 200);
}

fn ask(http: Http, path: &str) -> u16 {
    http.request("GET", path).try_answer().map_or(0, |answer| answer.status())
}
