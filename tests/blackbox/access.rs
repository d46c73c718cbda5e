//! Who may do what: the box itself, another host, a proxy, a foreign page.

use std::io::Write as _;
use std::net::TcpStream;
use std::process::Command;

use crate::common::hosts::{Hosts, OTHER};
use crate::common::http::{Request, read_answer};
use crate::common::livebox::{API, CAMERA, Launch, Livebox, livebox};
use crate::common::wait::TIMEOUT;

const PASSWORD: &str = "correct horse";
const CHANGE: &[&str] =
    &["-X", "POST", "-H", "Content-Type: application/json", "-d", "{\"fps\":15}"];
const CREDENTIALS: &str = "admin:correct horse";
const BASIC: &str = "Basic YWRtaW46Y29ycmVjdCBob3JzZQ==";

#[test]
fn without_a_password_only_the_box_itself_may_read_control_or_change_anything() {
    let hosts = Hosts::new();
    let livebox = on_box(&hosts, CAMERA);
    let control = format!("{API}/control");
    let restart = format!("{API}/streams/camera/restart");

    for (path, arguments) in [
        (&control, &[][..]),
        (&control, CHANGE),
        (&format!("{API}/start"), &["-X", "PUT"]),
        (&format!("{API}/stop"), &["-X", "PUT"]),
        (&restart, &["-X", "POST"]),
        (&control, &["-u", CREDENTIALS]),
    ] {
        let fetched = hosts.curl_from_other(livebox.port(), path, arguments);
        assert!(matches!(fetched.status, 401 | 403), "{path} {arguments:?}: {fetched:?}");
    }
    let here = hosts.curl_on_box(livebox.port(), &control, CHANGE);
    assert_eq!(here.status, 200, "{here:?}");
    let line = livebox.log().wait_for("livebox password", TIMEOUT);
    assert!(line.contains("everybody whom a proxy on it lets through"), "{line}");
}

#[test]
fn everybody_may_watch_and_read_the_status() {
    let hosts = Hosts::new();
    let livebox = on_box(&hosts, CAMERA);

    for path in ["/", "/camera/", &format!("{API}/status")] {
        let fetched = hosts.curl_from_other(livebox.port(), path, &[]);
        assert_eq!(fetched.status, 200, "{path}: {fetched:?}");
    }
    let arguments = ["--max-time", "2", "-o", "/dev/null"];
    let watched = hosts.curl_from_other(livebox.port(), "/camera.mp4", &arguments);
    assert_eq!(watched.status, 200, "{watched:?}");
}

#[test]
fn with_a_password_another_host_may_what_the_box_may() {
    let hosts = Hosts::new();
    let livebox = on_box(&hosts, &with_password());
    let control = format!("{API}/control");
    let ask = |arguments: &[&str]| {
        hosts.curl_from_other(livebox.port(), &control, &[CHANGE, arguments].concat())
    };

    let nobody = ask(&["-i"]);
    assert_eq!(nobody.status, 401, "{nobody:?}");
    assert!(nobody.text.to_ascii_lowercase().contains("www-authenticate: basic"), "{nobody:?}");
    assert_eq!(ask(&["-u", "admin:wrong"]).status, 401);
    assert_eq!(ask(&["-H", "Authorization: Basic !!!"]).status, 401);
    let known = ask(&["-u", CREDENTIALS]);
    assert_eq!(known.status, 200, "{known:?}");
    assert!(known.text.contains("\"fps\":15") || known.text.contains("\"fps\": 15"), "{known:?}");
    // What comes from loopback may come through a proxy.
    let here = |arguments: &[&str]| hosts.curl_on_box(livebox.port(), &control, arguments).status;
    assert_eq!((here(&[]), here(&["-u", CREDENTIALS])), (401, 200));
}

#[test]
fn the_box_needs_no_password_where_the_configuration_trusts_it() {
    let hosts = Hosts::new();
    let trusting = with_password().replace("access: {", "access: {local: trusted, ");
    let livebox = on_box(&hosts, &trusting);
    let control = format!("{API}/control");

    assert_eq!(hosts.curl_on_box(livebox.port(), &control, CHANGE).status, 200);
    let by_name = hosts.curl_on_box(livebox.port(), &control, &["-H", "Host: box.example"]);
    assert_eq!(by_name.status, 401, "{by_name:?}");
    assert_eq!(hosts.curl_from_other(livebox.port(), &control, &[]).status, 401);
    livebox.log().wait_for("access.local is trusted", TIMEOUT);
}

#[test]
fn a_request_that_came_through_a_proxy_is_not_the_box_itself() {
    let livebox = Livebox::start(CAMERA);

    for (name, value) in [
        ("X-Forwarded-For", OTHER),
        ("X-Forwarded-For", "127.0.0.1"),
        ("Forwarded", "for=127.0.0.1"),
        ("X-Real-IP", "127.0.0.1"),
        ("Via", "1.1 proxy"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "box.example"),
        ("X-Forwarded", "for=127.0.0.1"),
        ("X-Original-Forwarded-For", "127.0.0.1"),
        ("True-Client-IP", "127.0.0.1"),
        ("X-Cluster-Client-IP", "127.0.0.1"),
        ("Fly-Client-IP", "127.0.0.1"),
    ] {
        let answer = change(&livebox).header(name, value).answer();
        assert!(matches!(answer.status(), 401 | 403), "{name}: {}", answer.status());
    }
    assert_eq!(change(&livebox).answer().status(), 200);
}

#[test]
fn a_page_of_another_origin_can_never_change_anything() {
    let livebox = Livebox::start(&with_password());
    let own = livebox.url("");

    for origin in ["http://evil.example", "null", "http://127.0.0.1:1", "https://localhost"] {
        let answer = change(&livebox).header("Origin", origin).answer();
        assert_eq!(answer.status(), 403, "{origin}: {}", answer.text());
        let answer =
            change(&livebox).header("Origin", origin).header("Authorization", BASIC).answer();
        assert_eq!(answer.status(), 403, "{origin} with the password: {}", answer.text());
    }
    let ours = change(&livebox).header("Origin", &own);
    assert_eq!(ours.header("Authorization", BASIC).answer().status(), 200);
}

#[test]
fn a_name_that_an_attacker_points_at_loopback_is_not_the_box_itself() {
    let livebox = Livebox::start(CAMERA);
    let port = livebox.port();

    let rebound = format!("evil.example:{port}");
    let answer = change(&livebox).host(&rebound).answer();
    assert!(matches!(answer.status(), 400 | 401 | 403 | 421), "{}", answer.status());
    let origin = format!("http://{rebound}");
    let answer = change(&livebox).host(&rebound).header("Origin", &origin).answer();
    assert!(matches!(answer.status(), 400 | 401 | 403 | 421), "{}", answer.status());
    let read = livebox.http().request("GET", &format!("{API}/control")).host(&rebound).answer();
    assert!(matches!(read.status(), 400 | 401 | 403 | 421), "{}", read.status());
    for own in [format!("localhost:{port}"), format!("127.0.0.1:{port}"), format!("[::1]:{port}")] {
        assert_eq!(change(&livebox).host(&own).answer().status(), 200, "{own}");
    }
}

#[test]
fn a_request_that_can_be_read_in_two_ways_is_refused() {
    let livebox = Livebox::start(CAMERA);
    let (port, own) = (livebox.port(), livebox.url(""));

    for host in ["localhost:x@evil", "[::1]evil", "localhost:80:80", "localhost@evil", "a b", ""] {
        assert_eq!(change(&livebox).host(host).answer().status(), 400, "{host}");
        let watching = livebox.http().request("GET", "/camera/").host(host);
        assert_eq!(watching.answer().status(), 400, "{host}");
    }
    for (name, first, second) in [
        ("Host", None, format!("localhost:{port}")),
        ("Origin", Some(own.clone()), "http://evil.example".to_owned()),
        ("Origin", Some(own.clone()), own),
        ("Sec-Fetch-Site", Some("same-origin".to_owned()), "cross-site".to_owned()),
        ("Authorization", Some("Basic YTpi".to_owned()), "Basic YTpj".to_owned()),
    ] {
        let request = first.iter().fold(change(&livebox), |all, value| all.header(name, value));
        let answer = request.header(name, &second).answer();
        assert_eq!(answer.status(), 400, "{name}: {}", answer.text());
    }
    let absolute = livebox.http().request("GET", "http://evil.example/camera/");
    assert_eq!(absolute.answer().status(), 400);
    assert_eq!(change(&livebox).answer().status(), 200);
}

#[test]
fn a_request_without_a_host_is_answered_only_in_http_1_0_which_knows_none() {
    let livebox = Livebox::start(CAMERA);
    let asked = |request: &str| {
        let mut socket = TcpStream::connect(livebox.http().address).expect("it listens");
        socket.set_read_timeout(Some(TIMEOUT)).expect("a limit can be set");
        socket.write_all(request.as_bytes()).expect("it is taken");
        read_answer(socket).expect("it is answered").0.status
    };
    assert_eq!(asked("GET /camera/ HTTP/1.1\r\n\r\n"), 400);
    assert_eq!(asked("GET /camera/ HTTP/1.1\r\nHost:\r\n\r\n"), 400);
    assert_eq!(asked("GET http://localhost/camera/ HTTP/1.1\r\n\r\n"), 400);
    assert_eq!(asked("GET /camera/ HTTP/1.0\r\n\r\n"), 200);
}

#[test]
fn other_names_than_the_listed_ones_are_misdirected() {
    let listed = format!("{CAMERA}server: {{hosts: [box.example, cam.local]}}\n");
    let livebox = Livebox::start(&listed);
    let port = livebox.port();
    let status = |host: &str, path: &str| {
        livebox.http().request("GET", path).host(host).send().expect("it is answered").0.status
    };

    for path in ["/", "/camera/", "/camera.mp4", "/recordings", "/assets/livebox.css", "/none"] {
        for host in ["evil.example", "evil.example:80", "sub.box.example", "localhost.evil.example"]
        {
            assert_eq!(status(host, path), 421, "{host} {path}");
        }
    }
    for host in ["box.example", "CAM.local:8000", "localhost", "192.0.2.1", "[2001:db8::1]:80"] {
        assert_eq!(status(host, "/camera/"), 200, "{host}");
    }
    livebox.reload(CAMERA);
    assert_eq!(status(&format!("evil.example:{port}"), "/camera/"), 200);
}

fn change(livebox: &Livebox) -> Request {
    livebox
        .http()
        .request("POST", &format!("{API}/control"))
        .json(&serde_json::json!({"audio": "silence"}))
}

/// The service on the box of `hosts`, reachable from both.
fn on_box(hosts: &Hosts, config: &str) -> Livebox {
    let runner: Command = hosts.on_box();
    Launch::with(config).run_by(runner).bind("0.0.0.0").start()
}

fn with_password() -> String {
    let hash = livebox(&["password"], &format!("{PASSWORD}\n")).stdout;
    format!("{CAMERA}access: {{password: '{}'}}\n", hash.trim())
}
