//! Those who only connect, by the thousand: they take little, and keep nobody out.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::common::http::Http;
use crate::common::livebox::{CAMERA, Livebox};
use crate::common::process::run;
use crate::common::rtsp::Client;
use crate::common::tls::Pair;
use crate::common::tools::tool;
use crate::common::viewer::Viewer;
use crate::common::{proc, wait};

const LIMIT: Duration = wait::TIMEOUT;

const MANY: usize = 10_000;

/// Of viewers: less than half of the places.
const VIEWERS: usize = 2000;

/// What they may leave behind. Measured: 3 MiB of 59.
const LEFT_KIB: u64 = 16 << 10;

/// What they may take together. Measured: 11 MiB over HTTP.
const MORE_MEMORY_KIB: u64 = 32 << 10;

/// Somebody who asks in between is answered within this, on a busy machine.
const SOON: Duration = Duration::from_secs(2);

#[test]
fn ten_thousand_who_do_not_finish_their_request_take_little_and_keep_nobody_out() {
    let livebox = Livebox::start(CAMERA);
    let viewer = Viewer::connect(livebox.http(), "/camera.mp4");
    viewer.wait("a picture", LIMIT, |seen| seen.fragments.len() > 25);
    let before = Taken::by(&livebox);

    let head = "GET / HTTP/1.1\r\nHost: localhost\r\nX-Padding: ";
    let halves = ["", "G", head];
    let mut crowd = Crowd::come(
        livebox.port(),
        MANY,
        |number| halves[number % 3].as_bytes(),
        || {
            assert_answers(&livebox.http());
        },
    );
    crowd.drip();

    let during = Taken::by(&livebox);
    eprintln!("{MANY} over HTTP: {before:?}, then {during:?}");
    assert!(during.files < before.files + 1200, "{before:?}, then {during:?}");
    assert!(during.memory_kib < before.memory_kib + MORE_MEMORY_KIB, "{before:?}, then {during:?}");
    for _ in 0..10 {
        assert_answers(&livebox.http());
        crowd.drip();
    }
    // The last ones are there until their time is over, and are told.
    let told = crowd.last_words();
    assert!(told.is_empty() || told.starts_with("HTTP/1.1 408 "), "{told}");
    assert_left(&livebox, &before);
    viewer.seen().assert_nothing_is_missing();
}

#[test]
fn ten_thousand_who_do_not_finish_their_handshake_take_little_and_keep_nobody_out() {
    let pair = Pair::make();
    let tls = format!(
        "server: {{tls: {{certificate: {}, key: {}}}}}\n",
        pair.certificate().display(),
        pair.key().display()
    );
    let livebox = Livebox::start(&format!("{CAMERA}{tls}"));
    let url = livebox.secure_url("/camera/pic");
    let ask = || {
        let mut curl = tool("curl");
        curl.args(["-sk", "-o", "/dev/null", "-w", "%{http_code}", &url]);
        assert_eq!(run(&mut curl, b"", LIMIT).stdout, "200");
    };
    ask();
    let before = Taken::by(&livebox);

    // A record of a handshake that says it is longer.
    let halves: [&[u8]; 3] = [b"", b"\x16", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"];
    let crowd = Crowd::come(livebox.port(), MANY, |number| halves[number % 3], ask);

    let during = Taken::by(&livebox);
    eprintln!("{MANY} over HTTPS: {before:?}, then {during:?}");
    assert!(during.files < before.files + 1200, "{before:?}, then {during:?}");
    assert!(during.memory_kib < before.memory_kib + MORE_MEMORY_KIB, "{before:?}, then {during:?}");
    ask();
    drop(crowd);
    assert_left(&livebox, &before);
}

#[test]
fn ten_thousand_who_do_not_say_what_they_want_over_rtsp_take_little_and_keep_nobody_out() {
    let livebox = Livebox::start(CAMERA);
    let playing = Client::connect(livebox.rtsp_port(), "/camera").play();
    wait::until("packets come", LIMIT, || (playing.packets() > 50).then_some(()));
    let before = Taken::by(&livebox);

    let half = format!("DESCRIBE {} RTSP/1.0\r\nCSeq: 1\r\nX: ", livebox.rtsp_url("/camera"));
    let halves = ["", "D", &half];
    let also = || drop(Client::connect(livebox.rtsp_port(), "/camera").play());
    let of = |number: usize| halves[number % 3].as_bytes();
    let mut crowd = Crowd::come(livebox.rtsp_port(), MANY, of, also);
    crowd.drip();

    let during = Taken::by(&livebox);
    eprintln!("{MANY} over RTSP: {before:?}, then {during:?}");
    assert!(during.files < before.files + 500, "{before:?}, then {during:?}");
    assert!(during.memory_kib < before.memory_kib + MORE_MEMORY_KIB, "{before:?}, then {during:?}");
    also();
    let packets = playing.packets();
    wait::until("who plays goes on", LIMIT, || (playing.packets() > packets).then_some(()));
    drop(crowd);
    assert_left(&livebox, &before);
}

#[test]
fn two_thousand_viewers_that_never_read_leave_no_memory_behind() {
    let livebox = Livebox::start(CAMERA);
    let viewer = Viewer::connect(livebox.http(), "/camera.mp4");
    viewer.wait("a picture", LIMIT, |seen| seen.fragments.len() > 25);
    let before = Taken::by(&livebox);

    let ask = |_| b"GET /camera.mp4 HTTP/1.1\r\nHost: localhost\r\n\r\n".as_slice();
    let crowd = Crowd::come(livebox.port(), VIEWERS, ask, || {});
    let during = wait::until("what they do not read is kept for them", LIMIT, || {
        let now = Taken::by(&livebox);
        (now.memory_kib > before.memory_kib + 2 * LEFT_KIB).then_some(now)
    });
    drop(crowd);
    assert_left(&livebox, &before);

    wait::until("their memory is given back", LIMIT, || {
        let memory = Taken::by(&livebox).memory_kib;
        (memory < before.memory_kib + LEFT_KIB).then_some(())
    });
    eprintln!("{VIEWERS} viewers: {before:?}, then {during:?}, then {:?}", Taken::by(&livebox));
    viewer.seen().assert_nothing_is_missing();
}

#[test]
fn a_second_request_that_is_never_finished_ends_its_connection() {
    let livebox = Livebox::start(CAMERA);
    let mut socket = TcpStream::connect(("127.0.0.1", livebox.port())).unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    let ask = "GET /nothing HTTP/1.1\r\nHost: localhost\r\n";
    socket.write_all(format!("{ask}\r\n{ask}").as_bytes()).unwrap();

    let mut answer = Vec::new();
    let ended = socket.read_to_end(&mut answer);

    assert!(ended.is_ok() || ended.is_err_and(|e| e.kind() == ErrorKind::ConnectionReset));
    assert!(answer.starts_with(b"HTTP/1.1 404"));
}

#[test]
fn a_request_without_an_end_is_refused() {
    let livebox = Livebox::start(CAMERA);
    let head = format!("GET / HTTP/1.1\r\nCookie: {}", "x".repeat(40_000));
    let mut socket = TcpStream::connect(("127.0.0.1", livebox.port())).unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    // It may end before all is said.
    socket.write_all(head.as_bytes()).ok();
    let mut answer = [0; 12];
    match socket.read_exact(&mut answer) {
        Ok(()) => assert_eq!(&answer, b"HTTP/1.1 431"),
        Err(e) => assert_eq!(e.kind(), ErrorKind::ConnectionReset),
    }
    assert_answers(&livebox.http());
}

fn assert_answers(http: &Http) {
    let begin = wait::now();
    assert_eq!(http.get("/camera/pic?width=160").status(), 200);
    assert!(wait::now() - begin < SOON, "it took {:?}", wait::now() - begin);
}

fn assert_left(livebox: &Livebox, before: &Taken) {
    wait::until("their files are closed", LIMIT, || {
        (Taken::by(livebox).files <= before.files + 2).then_some(())
    });
}

/// What the service holds.
#[derive(Debug)]
struct Taken {
    files: usize,
    memory_kib: u64,
}

impl Taken {
    fn by(livebox: &Livebox) -> Self {
        let pid = livebox.pid();
        Self { files: proc::open_files(pid), memory_kib: proc::resident_kib(pid) }
    }
}

/// Clients that have said something, and go on slowly.
struct Crowd(Vec<TcpStream>);

impl Crowd {
    /// So many connect; in between, from time to time, `also` happens.
    fn come<'a>(
        port: u16,
        count: usize,
        says: impl Fn(usize) -> &'a [u8],
        mut also: impl FnMut(),
    ) -> Self {
        let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("there is a limit");
        setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("it may be reached");
        let mut all = Vec::with_capacity(count);
        for number in 0..count {
            let mut socket = TcpStream::connect(("127.0.0.1", port)).expect("it is let in");
            // Those who came first may have had to go.
            socket.write_all(says(number)).ok();
            all.push(socket);
            if number % 1000 == 999 {
                also();
            }
        }
        Self(all)
    }

    /// One more byte from each, whether it is still wanted or not.
    fn drip(&mut self) {
        for socket in &mut self.0 {
            socket.write_all(b"x").ok();
        }
    }

    /// What the last one that had begun a request is told.
    fn last_words(mut self) -> String {
        let index = self.0.len() - 1 - (self.0.len() - 1 + 3 - 2) % 3;
        let mut last = self.0.swap_remove(index);
        last.set_read_timeout(Some(LIMIT)).expect("a limit can be set");
        let mut told = String::new();
        last.read_to_string(&mut told).ok();
        told
    }
}
