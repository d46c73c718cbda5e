//! Clients that send slowly, or nonsense: they are told, and their connections end.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use crate::common::livebox::{API, CAMERA, Livebox};
use crate::common::tls::Authority;
use crate::common::wait;
use crate::https::secure;

#[test]
fn a_second_request_that_is_trickled_is_refused_and_its_connection_ends() {
    let livebox = Livebox::start(CAMERA);
    assert_trickled_requests_are_refused(|| Trickling::connect(&livebox));
}

#[test]
fn a_body_that_is_trickled_is_refused_and_its_connection_ends() {
    let livebox = Livebox::start(CAMERA);
    assert_trickled_bodies_are_refused(|| Trickling::connect(&livebox));
}

#[test]
fn who_trickles_over_tls_is_told_as_well() {
    let authority = Authority::make();
    let livebox = secure(&authority.sign("IP:127.0.0.1"));
    let connect = || Trickling::over(authority.connect(livebox.port()));
    assert_trickled_requests_are_refused(connect);
    assert_trickled_bodies_are_refused(connect);
    let mut client = connect();
    client.say(b"GET /nothing HTTP/1.1\r\nHost: ");
    assert!(client.trickle().starts_with("HTTP/1.1 408 "), "{}", client.told);
}

fn assert_trickled_requests_are_refused(connect: impl Fn() -> Trickling) {
    let mut client = connect();
    client.say(b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n");
    client.wait_for("HTTP/1.1 404");

    client.say(b"GET /nothing HTTP/1.1\r\nHost: localhost\r\nX-Padding: ");

    assert!(client.trickle().starts_with("HTTP/1.1 408 "), "{}", client.told);
}

fn assert_trickled_bodies_are_refused(connect: impl Fn() -> Trickling) {
    for kind in ["application/json", "multipart/form-data; boundary=x"] {
        let mut client = connect();
        let head = format!(
            "POST {API}/control HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n\
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
    socket: Box<dyn Duplex>,
    told: String,
}

trait Duplex: Read + Write {}
impl<T: Read + Write> Duplex for T {}

impl Trickling {
    fn connect(livebox: &Livebox) -> Self {
        let socket = TcpStream::connect(("127.0.0.1", livebox.port())).expect("it is let in");
        socket.set_nonblocking(true).expect("it can be set");
        Self::over(socket)
    }

    /// Over a connection whose reads do not wait.
    fn over(socket: impl Duplex + 'static) -> Self {
        Self { socket: Box::new(socket), told: String::new() }
    }

    fn say(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).expect("it is taken");
        self.socket.flush().expect("it is taken");
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
        wait::until("it is answered", wait::TIMEOUT, || {
            self.hear();
            self.told.starts_with(start).then_some(())
        });
        self.told.clear();
    }

    /// Sends a byte again and again until the connection ends; what it was told.
    fn trickle(&mut self) -> &str {
        wait::until("the connection ends", wait::TIMEOUT, || {
            self.socket.write_all(b"x").and_then(|()| self.socket.flush()).ok();
            self.hear().then_some(())
        });
        &self.told
    }
}
