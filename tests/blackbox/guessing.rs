//! Passwords that are guessed, over HTTP and RTSP: slowly, with few lines in
//! the log, and without locking anybody out.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::OnceLock;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::common::livebox::{CAMERA, Livebox, livebox};
use crate::common::rtsp::Client;
use crate::common::{sources, wait};

/// What answers at all has answered by then.
const LIMIT: Duration = wait::TIMEOUT;

/// So many wrong passwords cost an address no time, and every further one a second.
const FREE: u64 = 5;

#[test]
fn guesses_of_the_rtsp_login_are_slow_and_told_in_few_lines() {
    let livebox = Livebox::start(&format!("{CAMERA}rtsp: {{user: anna, password: woodpecker}}\n"));
    let asked = |from: Ipv4Addr, password: &str| {
        let socket = sources::connect(from, livebox.rtsp_port());
        let line = format!("Authorization: {}\r\n", basic("anna", password));
        Client::over(socket, livebox.rtsp_port(), "/camera").ask_with("DESCRIBE", &line).0
    };
    let (guesser, other) = (Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 0, 0, 3));

    let begin = wait::now();
    let guesses = 16;
    for number in 0..guesses {
        assert_eq!(asked(guesser, &format!("guess {number}")), 401);
    }

    let least = Duration::from_secs(guesses - FREE - 2);
    assert!(begin.elapsed() > least, "{guesses} guesses took {:?}", begin.elapsed());
    assert_eq!(asked(other, "woodpecker"), 200);
    let lines = livebox.log().count("wrong password");
    assert!((1..=5).contains(&lines), "{lines} lines: {}", livebox.log().text());
}

#[test]
fn guesses_from_ten_addresses_do_not_lock_out_a_right_password() {
    let livebox = Livebox::start(&protected());
    let guesses = |host: u8| (0..16).map(move |number| (host, number));
    let flying: Vec<_> = (10..20)
        .flat_map(guesses)
        .map(|(host, number)| {
            let from = Ipv4Addr::new(127, 0, 0, host);
            ask(livebox.port(), from, &format!("guess {host} {number}"))
        })
        .collect();
    for host in 10..20 {
        let line = format!("wrong password for the stream camera from 127.0.0.{host}");
        livebox.log().wait_for(&line, LIMIT);
    }

    let right = ask(livebox.port(), Ipv4Addr::new(127, 0, 0, 77), "of camera");

    assert_eq!(status(right), 200);
    drop(flying);
}

/// A stream with a password.
fn protected() -> String {
    static HASH: OnceLock<String> = OnceLock::new();
    let hash = HASH.get_or_init(|| livebox(&["password"], "of camera\n").stdout.trim().to_owned());
    CAMERA.replace("bitrate: 750k", &format!("bitrate: 750k, password: '{hash}'"))
}

/// Asks for the stream's head from this address.
fn ask(port: u16, from: Ipv4Addr, password: &str) -> TcpStream {
    let mut socket = sources::connect(from, port);
    let shown = basic("anybody", password);
    let request = format!(
        "HEAD /camera.ts HTTP/1.1\r\nHost: box\r\nAuthorization: {shown}\r\nConnection: close\r\n\r\n"
    );
    socket.write_all(request.as_bytes()).expect("the request is taken");
    socket
}

fn status(socket: TcpStream) -> u16 {
    socket.set_read_timeout(Some(LIMIT)).expect("a limit can be set");
    let mut line = String::new();
    BufReader::new(socket.take(1 << 10)).read_line(&mut line).expect("it is answered in time");
    line.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("an answer has a status")
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")))
}
