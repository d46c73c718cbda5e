//! Pages, static files and what is not there.

use std::time::Duration;

use crate::common::clip::{Clips, SHORT};
use crate::common::http::Http;
use crate::common::livebox::{CAMERA, Launch, Livebox, livebox};
use crate::common::wait;

const REFRESH: &str = "http-equiv=\"refresh\"";
const LIMIT: Duration = wait::TIMEOUT;

#[test]
fn the_pages_have_a_video_and_one_script_of_this_server() {
    let livebox = Livebox::start(CAMERA);

    for path in ["/", "/camera/"] {
        let page = livebox.get(path);
        assert_eq!(page.status(), 200, "{path}");
        assert!(page.header("Content-Type").is_some_and(|kind| kind.starts_with("text/html")));
        let text = page.text().to_ascii_lowercase();
        assert!(text.contains("<video"), "{path} has no picture: {text}");
        assert!(text.contains("/camera.mp4"), "{path} does not name the stream: {text}");
        assert_eq!(text.matches("<script").count(), 1, "{path}: {text}");
        assert!(text.contains("src=\"/assets/player.js\"></script>"), "{path}: {text}");
        let policy = page.header("Content-Security-Policy").expect("there is one");
        assert!(policy.contains("script-src 'self';"), "{path}: {policy}");
        assert!(!text.contains(REFRESH), "{path} would interrupt the picture: {text}");
    }
}

#[test]
fn a_camera_that_is_away_is_told_in_words_by_a_page_that_looks_again() {
    let livebox =
        Livebox::start("feeds:\n  camera: {v4l2: /dev/video99}\nstreams:\n  camera: {}\n");

    // The first visit as well: nobody has asked for the camera before.
    for path in ["/", "/camera/"] {
        let page = livebox.get(path);
        assert_eq!(page.status(), 200, "{path}");
        let text = page.text();
        assert!(text.contains("There is no picture now"), "{path}: {text}");
        assert!(text.contains("/dev/video99"), "{path} gives no reason: {text}");
        let refresh = format!("<noscript><meta {REFRESH}");
        assert!(text.contains(&refresh), "{path} does not look again: {text}");
        assert!(!text.contains("<video"), "{path} has a dead video: {text}");
    }
}

#[test]
fn a_feed_that_comes_back_is_shown_by_a_page_that_rests() {
    let clips = Clips::new();
    let (film, aside) = (clips.make("aside.mp4", SHORT), clips.folder().join("clip.mp4"));
    let config = format!("feeds:\n  clip: {{file: {}}}\nstreams:\n  clip: {{}}\n", aside.display());
    let livebox = Livebox::start(&config);
    assert!(livebox.get("/").text().contains("No such file"));

    std::fs::rename(&film, &aside).expect("the folder is writable");

    let text = wait::until("the page has a video", LIMIT, || {
        Some(livebox.get("/").text()).filter(|text| text.contains("<video"))
    });
    assert!(!text.contains(REFRESH) && !text.contains("no picture"), "{text}");
}

#[test]
fn a_box_with_several_streams_plays_the_first_and_lists_them_all() {
    let livebox = Livebox::start(
        "feeds:\n  one: {test: clock, size: 320x180, fps: 15}\n  two: {test: clock}\n\
         streams:\n  right: {feed: one, bitrate: 300k}\n  left: {feed: two, bitrate: 300k}\n",
    );

    let text = livebox.get("/").text();

    assert!(text.contains("/right.mp4"), "{text}");
    assert!(text.contains("/left/") && text.contains("/right/"), "{text}");
}

#[test]
fn a_viewer_is_shown_streams_and_an_operator_the_box() {
    let hash = livebox(&["password"], "secret\n").stdout;
    let more = "pushes: {far: {stream: camera, url: \"rtmp://127.0.0.1:9/live2\", key: k}}";
    let livebox =
        Livebox::start(&format!("{CAMERA}{more}\naccess: {{password: '{}'}}\n", hash.trim()));
    // Of anybody with the password `secret`.
    let secret = "Basic YW55Ym9keTpzZWNyZXQ=";
    let home = || livebox.http().request("GET", "/").host("box.example");

    let viewers = home().answer().text();
    assert!(viewers.contains("/camera.m3u8") && viewers.contains("<video"), "{viewers}");
    for part in ["far", "Viewers", "x264enc", "API", "/api/"] {
        assert!(!viewers.contains(part), "{part} is not for viewers: {viewers}");
    }
    for link in ["href=\"/stat\"", "href=\"/recordings\"", "href=\"/dashboard\""] {
        assert!(viewers.contains(link), "{link} is missing: {viewers}");
    }

    // At once: nobody has shown the password before.
    let operators = home().header("Authorization", secret).answer().text();
    assert!(operators.contains("far") && operators.contains("Viewers"), "{operators}");
    let wrong = home().header("Authorization", "Basic YW55Ym9keTpndWVzcw==").answer();
    assert_eq!((wrong.status(), wrong.text().contains("far")), (200, false));
}

#[test]
fn a_viewer_with_the_password_of_a_stream_does_not_count_as_one_who_guesses() {
    let [all, own] = ["secret\n", "own\n"].map(|word| livebox(&["password"], word).stdout);
    let livebox = Livebox::start(&format!(
        "access: {{password: '{}'}}\nfeeds: {{cam: {{test: clock, size: 320x180}}}}\n\
         streams: {{front: {{feed: cam, password: '{}'}}, open: {{feed: cam}}}}\n",
        all.trim(),
        own.trim()
    ));
    let home = |secret: &str| livebox.http().request("GET", "/").header("Authorization", secret);

    let viewers = home("Basic YW55Ym9keTpvd24=").answer().text();
    assert!(viewers.contains("/front.mp4") && !viewers.contains("Viewers"), "{viewers}");
    assert_eq!(livebox.log().count("wrong password"), 0);
    // An operator sees streams with passwords as well, by one check.
    let operators = home("Basic YW55Ym9keTpzZWNyZXQ=").answer().text();
    assert!(operators.contains("/front.mp4") && operators.contains("Viewers"), "{operators}");
}

#[test]
fn a_browser_is_told_in_words_and_a_program_in_json() {
    let hash = livebox(&["password"], "secret\n").stdout;
    let livebox = Livebox::start(&format!(
        "feeds: {{camera: {{test: clock}}}}\nstreams: {{camera: {{password: '{}'}}}}\n",
        hash.trim()
    ));
    let asked = |accept: &str| {
        livebox.http().request("GET", "/camera/?a=1").header("Accept", accept).answer()
    };

    let page = asked("text/html,application/xhtml+xml,*/*;q=0.8");
    assert_eq!(page.status(), 401);
    assert!(page.header("WWW-Authenticate").is_some());
    assert_eq!(page.header("Content-Type"), Some("text/html; charset=utf-8"));
    let text = page.text();
    assert!(text.contains("A password is needed") && text.contains("/camera/?a=1"), "{text}");

    for accept in ["*/*", "application/json"] {
        let answer = asked(accept);
        assert_eq!((answer.status(), &answer.json()["code"]), (401, &401.into()));
    }
}

#[test]
fn a_stream_answers_where_programs_look_for_mjpg_streamer() {
    let livebox = Livebox::start(CAMERA);

    for path in ["/camera/", "/camera", "/"] {
        let picture = livebox.get(&format!("{path}?action=snapshot"));
        assert_eq!(picture.header("Content-Type"), Some("image/jpeg"), "{path}");
        assert!(picture.body.starts_with(b"\xff\xd8\xff"), "{path}");
        let (head, mut body) = livebox.http().open(&format!("{path}?action=stream&1700000000"));
        let kind = head.header("Content-Type").expect("there is one").to_owned();
        assert!(kind.starts_with("multipart/x-mixed-replace"), "{path}: {kind}");
        body.take_bytes(10_000).expect("pictures come");
        assert!(livebox.get(&format!("{path}?action=fly")).text().contains("<video"), "{path}");
    }
}

#[test]
fn a_number_in_a_query_that_is_none_is_refused() {
    let livebox = Livebox::start(CAMERA);

    for query in [
        "/api/livebox/v1/recordings?limit=a",
        "/api/livebox/v1/recordings?limit=0",
        "/api/livebox/v1/recordings?limit=1001",
        "/api/livebox/v1/recordings?limit=1&limit=2",
        "/recordings?notice=a",
        "/dashboard?notice=a",
        "/camera.mjpeg?fps=a",
        "/camera.mjpeg?quality=a",
        "/camera/pic?width=a",
        "/camera/pic?ago=a",
        "/camera.mp4?pad=a",
    ] {
        let answer = livebox.get(query);
        assert_eq!((answer.status(), &answer.json()["code"]), (400, &400.into()), "{query}");
    }
    let refused = livebox.get("/api/livebox/v1/recordings?limit=a").json();
    assert_eq!(refused["valid"], "1 to 1000");
    assert_eq!(livebox.get("/api/livebox/v1/recordings?limit=7").status(), 200);
}

#[test]
fn an_unknown_path_is_not_found_and_a_wrong_method_names_the_allowed_ones() {
    let livebox = Livebox::start(CAMERA);

    for path in ["/nothing", "/nothing.mp4", "/camera/nothing", "/api", "/camera.mp5"] {
        assert_eq!(livebox.get(path).status(), 404, "{path}");
    }
    let wrong = livebox.http().request("DELETE", "/camera.mp4").answer();
    assert_eq!(wrong.status(), 405);
    assert!(wrong.header("Allow").is_some_and(|allowed| allowed.contains("GET")));
}

#[test]
fn a_path_may_be_written_with_percent_signs() {
    let livebox = Livebox::start(CAMERA);

    for (path, status) in [("/camer%61.mp4", 200), ("/%63amera/", 200), ("/camera%2Fpic", 404)] {
        assert_eq!(livebox.http().request("HEAD", path).answer().status(), status, "{path}");
    }
}

#[test]
fn files_of_the_docroot_are_served_with_their_type_and_index() {
    let (livebox, http) = with_docroot();

    let text = http.get("/a.txt");
    let index = http.get("/sub/");

    assert_eq!((text.status(), text.text().as_str()), (200, "hi\n"));
    assert!(text.header("Content-Type").is_some_and(|kind| kind.starts_with("text/plain")));
    assert!(text.header("Last-Modified").is_some());
    assert_eq!((index.status(), index.text().as_str()), (200, "<p>sub</p>"));
    assert!(index.header("Content-Type").is_some_and(|kind| kind.starts_with("text/html")));
    assert_eq!(http.get("/missing.txt").status(), 404);
    drop(livebox);
}

#[test]
fn the_index_of_the_docroot_is_the_home_page_where_there_is_no_other() {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    std::fs::write(folder.path().join("index.html"), "<p>mine</p>").expect("it is writable");
    let root = folder.path().to_str().expect("temporary folders have plain names");
    let launch = Launch::with(&format!("{CAMERA}pages: {{home: no}}\n"));
    let livebox = launch.argument("--docroot").argument(root).start();

    assert_eq!(livebox.get("/").text(), "<p>mine</p>");
    assert_eq!(livebox.get("/camera/").status(), 200);
}

#[test]
fn the_docroot_gives_away_nothing_hidden_and_nothing_outside() {
    let (livebox, http) = with_docroot();

    for path in
        ["/../secret.txt", "/sub/../../secret.txt", "/%2e%2e/secret.txt", "/..%2fsecret.txt"]
    {
        let answer = http.get(path);
        assert!(matches!(answer.status(), 400 | 403 | 404), "{path}: {}", answer.status());
        assert!(!answer.text().contains("outside"), "{path}");
    }
    for path in ["/.git/config", "/.hidden", "/sub/.hidden", "/link.txt", "/folder/secret.txt"] {
        let answer = http.get(path);
        assert!(matches!(answer.status(), 400 | 403 | 404), "{path}: {}", answer.status());
        assert!(!answer.text().contains("outside"), "{path}");
    }
    drop(livebox);
}

#[test]
fn an_authority_that_issues_certificates_finds_its_proof_in_the_docroot() {
    let (livebox, http) = with_docroot();

    assert_eq!(http.get("/.well-known/acme-challenge/token").text(), "proof");
    drop(livebox);
}

#[test]
fn a_docroot_that_is_not_there_is_a_problem_at_the_start() {
    let finished = Launch::with(CAMERA).argument("--docroot").argument("/nowhere/at/all").finish();

    assert_ne!(finished.code, Some(0));
    assert!(finished.stderr.contains("/nowhere/at/all"), "{}", finished.stderr);
}

/// A service with a folder of static files beside a secret.
fn with_docroot() -> ((Livebox, tempfile::TempDir), Http) {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let root = folder.path().join("www");
    for (path, content) in [
        ("www/a.txt", "hi\n"),
        ("www/sub/index.html", "<p>sub</p>"),
        ("www/.hidden", "hidden"),
        ("www/sub/.hidden", "hidden"),
        ("www/.git/config", "hidden"),
        ("www/.well-known/acme-challenge/token", "proof"),
        ("secret.txt", "outside"),
    ] {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().expect("files have a folder")).expect("writable");
        std::fs::write(path, content).expect("the folder is writable");
    }
    for (link, to) in [("link.txt", "../secret.txt"), ("folder", "..")] {
        std::os::unix::fs::symlink(to, root.join(link)).expect("the folder is writable");
    }
    let livebox = Launch::with(CAMERA)
        .argument("--docroot")
        .argument(root.to_str().expect("temporary folders have plain names"))
        .start();
    let http = livebox.http();
    ((livebox, folder), http)
}
