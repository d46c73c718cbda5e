//! Commands that run once for each request: their whole output is the answer.

use super::bytes::{LIMIT, wait_for_running};
use crate::common::livebox::Livebox;

#[test]
fn all_that_a_command_writes_is_the_answer() {
    let livebox = Livebox::start(
        "streams: {date: {command: 'printf %s%s a b', client: shot, type: text/plain, url: /x/d}}\n",
    );
    for path in ["/x/d", "/stream/date"] {
        let answer = livebox.get(path);
        assert_eq!((answer.status(), answer.text().as_str()), (200, "ab"), "{path}");
        assert_eq!(answer.header("Content-Length"), Some("2"));
        assert_eq!(answer.header("Content-Type"), Some("text/plain"));
        let cache = "no-cache, no-store, must-revalidate, public, max-age=0";
        assert_eq!(answer.header("Cache-Control"), Some(cache));
    }
    assert_eq!(livebox.http().request("POST", "/x/d").answer().status(), 405);
}

#[test]
fn a_picture_of_a_feed_by_ones_own_program() {
    let film = "ffmpeg -v error -re -f lavfi -i testsrc=size=320x240:rate=25 -c:v libx264 \
                -preset ultrafast -tune zerolatency -pix_fmt yuv420p -g 25 -f mpegts -";
    let shot = "ffmpeg -v error -probesize 100k -analyzeduration 0 -f mpegts -i - -frames:v 1 \
                -f image2pipe -c:v png -";
    let livebox = Livebox::start(&format!(
        "feeds: {{film: {{command: {film:?}}}}}\n\
         streams: {{snap: {{feed: film, command: {shot:?}, client: shot, type: image/png}}}}\n"
    ));
    // At once, and in the midst of the film.
    for _ in 0..3 {
        let answer = livebox.get("/snap");
        assert_eq!(answer.status(), 200, "{}", answer.text());
        assert!(answer.body.starts_with(b"\x89PNG"));
        let size = [&answer.body[16..20], &answer.body[20..24]];
        assert_eq!(size, [320u32.to_be_bytes(), 240u32.to_be_bytes()]);
    }
    livebox.log().wait_for("feed film is idle", LIMIT);
}

#[test]
fn a_command_that_fails_is_answered_with_what_it_said_without_secrets() {
    let livebox = Livebox::start(
        "streams:\n  a: {client: shot, command: \"sh -c 'echo \\\"<b>boom</b> rtsp://u:pw7@h/\\\" >&2; exit 4'\"}\n  \
         b: {client: shot, command: /nothing/here}\n  \
         c: {command: \"sh -c 'echo no camera >&2; exit 3'\", type: video/mp2t}\n",
    );
    let failed = livebox.get("/a");
    assert_eq!(failed.status(), 500);
    assert_eq!(failed.text(), "<pre>&lt;b&gt;boom&lt;/b&gt; rtsp://•••@h/\n</pre>\n");
    assert_eq!(failed.header("Content-Type"), Some("text/html; charset=utf-8"));

    let missing = livebox.get("/b");
    assert_eq!(missing.status(), 500);
    assert!(missing.text().contains("is not installed"), "{}", missing.text());

    let silent = livebox.get("/c");
    assert_eq!(silent.status(), 503);
    assert!(silent.text().contains("exit status 3: no camera"), "{}", silent.text());
}

#[test]
fn an_answer_without_an_end_is_cut_off_and_nothing_is_left_running() {
    let livebox = Livebox::start(
        "streams:\n  a: {client: shot, command: 'cat /dev/zero'}\n  \
         b: {client: shot, command: 'sleep 31.5'}\n",
    );
    let answer = livebox.get("/a");
    assert_eq!(answer.status(), 500);
    assert!(answer.text().contains("more than 16 MiB"), "{}", answer.text());
    wait_for_running(&livebox, "/dev/zero", 0);

    // Five ask; four are served at a time, and who leaves ends its command.
    let asked: Vec<_> = (0..5)
        .map(|_| {
            let mut socket = std::net::TcpStream::connect(livebox.http().address).unwrap();
            std::io::Write::write_all(&mut socket, b"GET /b HTTP/1.1\r\nHost: localhost\r\n\r\n")
                .unwrap();
            socket
        })
        .collect();
    wait_for_running(&livebox, "sleep 31.5", 4);
    drop(asked);
    wait_for_running(&livebox, "sleep 31.5", 0);
}
