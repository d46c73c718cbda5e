//! Places of RTSP: shared between addresses, and given back by those that play
//! nothing or have vanished.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::time::Duration;

use crate::common::livebox::{CAMERA, Livebox};
use crate::common::rtsp::Client;
use crate::common::{proc, sources, wait};

const LIMIT: Duration = wait::TIMEOUT;

/// Far above the 60 s after which a session without a sign of life ends.
const SESSION_LIMIT: Duration = Duration::from_secs(150);

/// What one address may have, and of it what may be idle.
const PER_ADDRESS: usize = 512;
const IDLE: usize = 256;

const GREEDY: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const OTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

/// Few bytes, so that players need not read them.
const SMALL: &str = "\
feeds:
  camera: {test: clock, size: 160x120, fps: 5, mode: continuous}
streams:
  camera: {feed: camera, bitrate: 100k}
";

#[test]
fn paused_sessions_of_one_address_neither_fill_the_places_nor_push_out_others() {
    let livebox = Livebox::start(SMALL);
    let mut other = playing(&livebox, OTHER).expect("there is a place");
    assert_eq!(other.ask("PAUSE").0, 200);
    let before = proc::open_files(livebox.pid());

    let mut kept = Vec::new();
    for _ in 0..PER_ADDRESS + IDLE {
        let mut client = playing(&livebox, GREEDY).expect("its own oldest makes room");
        assert_eq!(client.ask("PAUSE").0, 200);
        kept.push(client);
    }

    wait::until("most of them are closed", LIMIT, || {
        (proc::open_files(livebox.pid()) <= before + IDLE).then_some(())
    });
    assert_eq!(other.ask("PLAY").0, 200);
}

#[test]
fn one_address_gets_half_of_the_places_and_a_session_that_is_torn_down_frees_its_own() {
    let livebox = Livebox::start(SMALL);
    let mut playing_there: Vec<_> =
        (0..PER_ADDRESS).map(|_| playing(&livebox, GREEDY).expect("there is a place")).collect();

    assert!(playing(&livebox, GREEDY).is_none(), "it has half of the places");
    assert!(playing(&livebox, OTHER).is_some());
    livebox.log().wait_for("too many connections", LIMIT);

    // Its connection stays open.
    assert_eq!(playing_there[0].ask("TEARDOWN").0, 200);
    assert!(playing(&livebox, GREEDY).is_some());
}

#[test]
fn a_viewer_over_udp_that_has_vanished_ends_and_one_that_sends_reports_goes_on() {
    let livebox = Livebox::start(SMALL);
    let vanished = Datagrams::play(&livebox);
    let reporting = Datagrams::play(&livebox);

    let end = || {
        reporting.report();
        vanished.is_over().then_some(())
    };
    wait::until("the session of the one that is silent ends", SESSION_LIMIT, end);

    assert!(!reporting.is_over());
    reporting.wait_for_packet();
}

#[test]
fn a_multicast_group_is_sent_to_from_play_on() {
    let livebox = Livebox::start(&format!("{SMALL}rtsp: {{multicast: true}}\n"));
    let mut client = Client::connect(livebox.rtsp_port(), "/camera");
    assert_eq!(client.ask("DESCRIBE").0, 200);
    let group = UdpSocket::bind((Ipv4Addr::new(239, 255, 85, 1), 5600)).expect("it is free");
    group
        .join_multicast_v4(&Ipv4Addr::new(239, 255, 85, 1), &Ipv4Addr::LOCALHOST)
        .expect("loopback has groups");

    assert_eq!(client.set_up(0, "RTP/AVP;multicast"), 200);
    let beside = Client::connect(livebox.rtsp_port(), "/camera").play();
    wait::until("frames come", LIMIT, || (beside.packets() > 20).then_some(()));
    group.set_nonblocking(true).unwrap();
    assert!(group.recv(&mut [0; 2000]).is_err(), "nothing is sent before PLAY");

    assert_eq!(client.ask("PLAY").0, 200);
    wait::until("a packet comes", LIMIT, || group.recv(&mut [0; 2000]).ok());
}

#[test]
fn frames_without_anything_in_them_keep_no_connection() {
    let livebox = Livebox::start(CAMERA);
    let mut socket = TcpStream::connect(("127.0.0.1", livebox.rtsp_port())).unwrap();

    let ended = || socket.write_all(b"$\x00\x00\x00").err();

    wait::until("the connection ends", LIMIT, ended);
}

#[test]
fn malformed_requests_are_told_in_few_lines() {
    let livebox = Livebox::start(CAMERA);
    for _ in 0..50 {
        let answer = Client::connect(livebox.rtsp_port(), "/camera").say(b"GET / HTTP/1.1\r\n\r\n");
        assert!(answer.starts_with("RTSP/1.0 400 "), "{answer}");
    }
    let lines = livebox.log().count("malformed requests");
    assert!((1..=6).contains(&lines), "{lines}: {}", livebox.log().text());
}

/// A player that takes nothing; none where there is no place.
fn playing(livebox: &Livebox, from: Ipv4Addr) -> Option<Client> {
    let socket = sources::connect(from, livebox.rtsp_port());
    let mut client = Client::over(socket, livebox.rtsp_port(), "/camera");
    if client.try_ask("DESCRIBE")? != 200 {
        return None;
    }
    assert_eq!(client.set_up(0, "RTP/AVP/TCP;unicast;interleaved=0-1"), 200);
    assert_eq!(client.ask("PLAY").0, 200);
    Some(client)
}

/// A player over UDP.
struct Datagrams {
    client: Client,
    rtp: UdpSocket,
    rtcp: UdpSocket,
    server: u16,
}

impl Datagrams {
    fn play(livebox: &Livebox) -> Self {
        let bind = || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let (rtp, rtcp) = (bind(), bind());
        let port = |socket: &UdpSocket| socket.local_addr().expect("it is bound").port();
        let mut client = Client::connect(livebox.rtsp_port(), "/camera");
        let transport = format!("RTP/AVP;unicast;client_port={}-{}", port(&rtp), port(&rtcp));
        assert_eq!(client.ask("DESCRIBE").0, 200);
        assert_eq!(client.set_up(0, &transport), 200);
        let agreed = client.transport();
        let server = agreed.split(';').find_map(|part| part.strip_prefix("server_port="));
        let server = server.and_then(|ports| ports.split_once('-')).expect("there is a pair");
        let server = server.1.parse().expect("it is a port");
        assert_eq!(client.ask("PLAY").0, 200);
        Self { client, rtp, rtcp, server }
    }

    /// A report about nothing received (RFC 3550, section 6.4.2).
    fn report(&self) {
        let report = [0x80, 201, 0, 1, 0, 0, 0, 1];
        self.rtcp.send_to(&report, (Ipv4Addr::LOCALHOST, self.server)).expect("it is sent");
    }

    fn is_over(&self) -> bool {
        let mut socket = self.client.socket();
        socket.set_nonblocking(true).expect("it can be set");
        matches!(socket.read(&mut [0]), Ok(0))
    }

    fn wait_for_packet(&self) {
        self.rtp.set_nonblocking(true).expect("it can be set");
        while self.rtp.recv(&mut [0; 2000]).is_ok() {}
        wait::until("a packet comes", LIMIT, || self.rtp.recv(&mut [0; 2000]).ok());
    }
}
