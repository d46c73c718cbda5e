//! Viewers that never read, from addresses that take all places they get: they
//! make room for others, and the service can be operated meanwhile.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use crate::common::hosts::{BOX, Hosts};
use crate::common::livebox::{API, LAVISH, Launch, Livebox, livebox};
use crate::common::tools::{path_of, tool};
use crate::common::wait;

/// Leaves 172 places, of which 21 are reserved and 86 are for one address.
const FILES: &str = "--nofile=600";
const PER_ADDRESS: usize = 86;
const EACH: usize = 100;

/// So few bits that whoever does not take them is not noticed for minutes.
const CALM: &str = "\
feeds: {calm: {test: clock, size: 160x90, fps: 5}}
streams: {calm: {bitrate: 100k}}
";

/// Connects, asks, and reads nothing until its input ends.
const NEVER_READS: &str = r#"
use IO::Socket::INET;
my ($from, $to, $port, $count) = @ARGV;
my @all;
for (1..$count) {
    my $one = IO::Socket::INET->new(LocalAddr => $from, PeerAddr => $to, PeerPort => $port) or next;
    syswrite($one, "GET /camera.mp4 HTTP/1.1\r\nHost: box\r\n\r\n");
    push @all, $one;
}
<STDIN>;
"#;

#[test]
fn viewers_that_never_read_lock_out_neither_operators_nor_viewers() {
    let hosts = Hosts::new();
    let (greedy, operator, viewer) = (["192.0.2.3", "192.0.2.4"], "192.0.2.5", "192.0.2.6");
    greedy.iter().chain([&operator, &viewer]).for_each(|address| hosts.add_to_other(address));
    let livebox = start(&hosts);
    let ask = |from: &str, path: &str, more: &[&str]| {
        let arguments = [&["--interface", from], more].concat();
        hosts.curl_from_other(livebox.port(), path, &arguments).status
    };
    let control = format!("{API}/control");
    assert_eq!(ask(operator, &control, &["--user", "any:woodpecker"]), 200);

    let crowds: Vec<_> = greedy.iter().map(|from| Crowd::come(&hosts, from, &livebox)).collect();
    livebox.log().wait_for("too many connections", wait::TIMEOUT);

    for _ in 0..20 {
        let known = ["--user", "any:woodpecker"];
        let from_the_box = hosts.curl_on_box(livebox.port(), &format!("{API}/status"), &known);
        assert_eq!(from_the_box.status, 200);
        assert_eq!(ask(operator, &control, &["--user", "any:woodpecker"]), 200);
    }
    wait::until("a viewer is let in", wait::TIMEOUT, || {
        (ask(viewer, "/camera/pic?width=160", &[]) == 200).then_some(())
    });
    drop(crowds);
}

#[test]
fn the_box_has_reserved_places_where_it_needs_no_password_and_an_operator_on_it_always() {
    let hash = livebox(&["password"], "woodpecker\n").stdout;
    let start = |access: &str| {
        let mut runner = tool("prlimit");
        runner.arg(FILES);
        Launch::with(&format!("{CALM}{access}")).run_by(runner).start()
    };
    let open = start("");
    let all: Vec<_> = (0..EACH).filter_map(|_| let_in(&open, "")).collect();
    assert_eq!(all.len(), EACH);
    drop(open);

    let locked = start(&format!("access: {{password: '{}'}}\n", hash.trim()));
    let secret = "Authorization: Basic YW55Ondvb2RwZWNrZXI=\r\n";
    let control = locked.http().request("GET", &format!("{API}/control"));
    let (name, value) = secret.trim().split_once(": ").expect("it is a header");
    assert_eq!(control.header(name, value).answer().status(), 200);
    let all: Vec<_> = (0..EACH).filter_map(|_| let_in(&locked, "")).collect();
    assert_eq!(all.len(), PER_ADDRESS);
    assert!(let_in(&locked, secret).is_some() && let_in(&locked, "").is_none());
}

/// A viewer from loopback with these headers, if it is let in.
fn let_in(livebox: &Livebox, more: &str) -> Option<TcpStream> {
    let mut socket = TcpStream::connect(livebox.http().address).expect("it listens");
    socket.set_read_timeout(Some(wait::TIMEOUT)).expect("a limit can be set");
    let request = format!("GET /calm.mp4 HTTP/1.1\r\nHost: localhost\r\n{more}\r\n");
    socket.write_all(request.as_bytes()).expect("it is taken");
    let mut status = [0; 12];
    socket.read_exact(&mut status).expect("it is answered");
    (&status == b"HTTP/1.1 200").then_some(socket)
}

fn start(hosts: &Hosts) -> Livebox {
    let hash = livebox(&["password"], "woodpecker\n").stdout;
    let config = format!("{LAVISH}access: {{password: '{}'}}\n", hash.trim());
    let mut runner = hosts.on_box();
    runner.arg(path_of("prlimit")).arg(FILES);
    Launch::with(&config).bind("0.0.0.0").run_by(runner).start()
}

/// Viewers from one address.
struct Crowd(Child);

impl Crowd {
    fn come(hosts: &Hosts, from: &str, livebox: &Livebox) -> Self {
        let mut command: Command = hosts.on_other();
        command.arg(tool("perl").get_program()).args(["-e", NEVER_READS]);
        command.args([from, BOX, &livebox.port().to_string(), &EACH.to_string()]);
        Self(command.stdin(Stdio::piped()).spawn().expect("perl starts"))
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
