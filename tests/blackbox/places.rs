//! Viewers that never read, from addresses that take all places they get: they
//! make room for others, and the service can be operated meanwhile.

use std::process::{Child, Command, Stdio};

use crate::common::hosts::{BOX, Hosts};
use crate::common::livebox::{API, LAVISH, Launch, Livebox, livebox};
use crate::common::tools::{path_of, tool};
use crate::common::wait;

/// Leaves 172 places, of which 21 are reserved and 86 are for one address.
const FILES: &str = "--nofile=600";
const EACH: usize = 100;

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
    livebox.log().wait_for("too many connections", wait::PATIENCE);

    for _ in 0..20 {
        let from_the_box = hosts.curl_on_box(livebox.port(), &format!("{API}/status"), &[]);
        assert_eq!(from_the_box.status, 200);
        assert_eq!(ask(operator, &control, &["--user", "any:woodpecker"]), 200);
    }
    wait::until("a viewer is let in", wait::PATIENCE, || {
        (ask(viewer, "/camera/pic?width=160", &[]) == 200).then_some(())
    });
    drop(crowds);
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
