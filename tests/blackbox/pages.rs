//! Pages, static files and what is not there.

use crate::common::http::Http;
use crate::common::livebox::{CAMERA, Launch, Livebox};

#[test]
fn the_pages_have_a_video_and_no_script() {
    let livebox = Livebox::start(CAMERA);

    for path in ["/", "/camera/"] {
        let page = livebox.get(path);
        assert_eq!(page.status(), 200, "{path}");
        assert!(page.header("Content-Type").is_some_and(|kind| kind.starts_with("text/html")));
        let text = page.text().to_ascii_lowercase();
        assert!(text.contains("<video"), "{path} has no picture: {text}");
        assert!(text.contains("/camera.mp4"), "{path} does not name the stream: {text}");
        assert!(!text.contains("<script"), "{path} has a script: {text}");
    }
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
fn the_docroot_gives_away_nothing_hidden_and_nothing_outside() {
    let (livebox, http) = with_docroot();

    for path in
        ["/../secret.txt", "/sub/../../secret.txt", "/%2e%2e/secret.txt", "/..%2fsecret.txt"]
    {
        let answer = http.get(path);
        assert!(matches!(answer.status(), 400 | 403 | 404), "{path}: {}", answer.status());
        assert!(!answer.text().contains("outside"), "{path}");
    }
    for path in ["/.git/config", "/.hidden", "/sub/.hidden"] {
        let answer = http.get(path);
        assert!(matches!(answer.status(), 400 | 403 | 404), "{path}: {}", answer.status());
    }
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
        ("secret.txt", "outside"),
    ] {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().expect("files have a folder")).expect("writable");
        std::fs::write(path, content).expect("the folder is writable");
    }
    let livebox = Launch::with(CAMERA)
        .argument("--docroot")
        .argument(root.to_str().expect("temporary folders have plain names"))
        .start();
    let http = livebox.http();
    ((livebox, folder), http)
}
