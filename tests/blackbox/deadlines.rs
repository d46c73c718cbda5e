//! Clients that send slowly, or nonsense: they are told, and their connections end.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;

use crate::common::livebox::{API, CAMERA, Livebox};
use crate::common::wait;

#[test]
fn a_second_request_that_is_trickled_is_refused_and_its_connection_ends() {
    let livebox = Livebox::start(CAMERA);
    let mut client = Trickling::connect(&livebox);
    client.say(b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n");
    client.wait_for("HTTP/1.1 404");

    client.say(b"GET /nothing HTTP/1.1\r\nHost: localhost\r\nX-Padding: ");

    assert!(client.trickle().starts_with("HTTP/1.1 408 "), "{}", client.told);
}

#[test]
fn a_body_that_is_trickled_is_refused_and_its_connection_ends() {
    let livebox = Livebox::start(CAMERA);
    for (path, kind) in [
        (format!("{API}/control"), "application/json"),
        (format!("{API}/control"), "multipart/form-data; boundary=x"),
    ] {
        let mut client = Trickling::connect(&livebox);
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n\
             Content-Length: 60000\r\n\r\n"
        );
        client.say(head.as_bytes());

        assert!(client.trickle().starts_with("HTTP/1.1 408 "), "{kind}: {}", client.told);
    }
}

#[test]
fn a_body_that_nothing_asked_for_keeps_no_connection() {
    let livebox = Livebox::start(CAMERA);
    for more in ["Transfer-Encoding: chunked\r\n\r\n7fff\r\n", "Content-Length: 60000\r\n\r\n"] {
        let mut client = Trickling::connect(&livebox);
        client.say(format!("GET /nothing HTTP/1.1\r\nHost: localhost\r\n{more}").as_bytes());

        assert!(client.trickle().contains("HTTP/1.1 404 "), "{more}: {}", client.told);
    }
}

#[test]
fn requests_that_are_none_are_told_in_few_lines() {
    let livebox = Livebox::start(CAMERA);
    for _ in 0..50 {
        let mut client = Trickling::connect(&livebox);
        client.say(b"GET / HTTP/1.1\r\nHost localhost\r\n\r\n");
        client.wait_for("HTTP/1.1 400");
    }
    let lines = livebox.log().count("malformed requests");
    assert!((1..=6).contains(&lines), "{lines}: {}", livebox.log().text());
}

/// A client that never finishes what it says.
struct Trickling {
    socket: TcpStream,
    told: String,
}

impl Trickling {
    fn connect(livebox: &Livebox) -> Self {
        let socket = TcpStream::connect(("127.0.0.1", livebox.port())).expect("it is let in");
        socket.set_nonblocking(true).expect("it can be set");
        Self { socket, told: String::new() }
    }

    fn say(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).expect("it is taken");
    }

    /// Reads what is there; whether that is all.
    fn hear(&mut self) -> bool {
        let mut part = [0; 4096];
        loop {
            match self.socket.read(&mut part) {
                Ok(0) => return true,
                Ok(count) => self.told += &String::from_utf8_lossy(&part[..count]),
                Err(error) => return error.kind() != ErrorKind::WouldBlock,
            }
        }
    }

    fn wait_for(&mut self, start: &str) {
        wait::until("it is answered", wait::PATIENCE, || {
            self.hear();
            self.told.starts_with(start).then_some(())
        });
        self.told.clear();
    }

    /// Sends a byte again and again until the connection ends; what it was told.
    fn trickle(&mut self) -> &str {
        wait::until("the connection ends", wait::PATIENCE, || {
            self.socket.write_all(b"x").ok();
            self.hear().then_some(())
        });
        &self.told
    }
}
