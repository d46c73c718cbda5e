//! The same service with a certificate: HTTPS, renewals, and those who do not
//! speak it.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use crate::common::browser::{Browser, Scripts};
use crate::common::http::Http;
use crate::common::livebox::{API, CAMERA, Launch, Livebox, livebox};
use crate::common::process::{Finished, run};
use crate::common::tls::{Pair, fingerprint};
use crate::common::tools::tool;
use crate::common::{probe, wait};

const LIMIT: Duration = wait::TIMEOUT;

#[test]
fn a_client_that_knows_the_certificate_gets_pages_api_and_live_video() {
    let pair = Pair::make();
    let livebox = secure(&pair);

    let line = livebox.log().wait_for("listening", LIMIT);
    assert!(line.contains(&livebox.secure_url("/")), "{line}");
    livebox.log().wait_for(&livebox.secure_url("/camera.mp4"), LIMIT);

    let status = curl(&pair, &livebox, &format!("{API}/status"), &[]);
    assert!(status.stdout.contains("\"idle\""), "{status:?}");
    let strict = livebox.secure_url("/");
    let strange = run(tool("curl").args(["--silent", &strict]), b"", LIMIT);
    assert_eq!(strange.code, Some(60), "an unknown certificate is accepted: {strange:?}");

    // Three seconds of what never ends, kept as a file.
    let film = tempfile::NamedTempFile::new().expect("there is room for a file");
    let path = film.path().to_str().expect("temporary files have plain names");
    let watched = curl_for(&pair, &livebox, "/camera.mp4", &["--max-time", "3", "-o", path]);
    assert_eq!(watched.code, Some(28), "it ended by itself: {watched:?}");
    assert_eq!(probe::streams(path, None).codecs(), ["h264", "aac"]);
    assert!(probe::packet_times(path, "v").len() > 50);
    probe::decode(&livebox.secure_url("/camera.mp4"), 3);
    probe::decode(&livebox.secure_url("/camera.m3u8"), 3);
}

#[test]
fn chromium_plays_over_https() {
    let pair = Pair::make();
    let livebox = secure(&pair);
    let browser = Browser::start(Scripts::Blocked);

    browser.open(&livebox.secure_url("/"));

    crate::browser::plays(&browser);
}

#[test]
fn only_http_1_1_is_spoken_and_tls_1_2_is_enough() {
    let pair = Pair::make();
    let livebox = secure(&pair);

    for arguments in [&["--http2"][..], &["--tls-max", "1.2"]] {
        let asked = ["-o", "/dev/null", "-w", "%{http_version} %{http_code}"];
        let answered = curl(&pair, &livebox, "/", &[arguments, &asked].concat());
        assert_eq!(answered.stdout, "1.1 200", "{arguments:?}: {answered:?}");
    }
    let old = curl_for(&pair, &livebox, "/", &["--tls-max", "1.1", "--tlsv1.0"]);
    assert_eq!(old.code, Some(35), "{old:?}");
}

#[test]
fn a_certificate_that_is_exchanged_on_the_disk_is_shown_to_the_next_client() {
    let pair = Pair::make();
    let livebox = secure(&pair);
    let first = fingerprint(livebox.port());
    assert_eq!(fingerprint(livebox.port()), first);
    // Whoever watches goes on meanwhile.
    let watched = livebox.secure_url("/camera.mp4");
    let watching = std::thread::spawn(move || probe::decode(&watched, 12));

    pair.renew();

    let second = wait::until("the new certificate is shown", LIMIT, || {
        Some(fingerprint(livebox.port())).filter(|shown| *shown != first)
    });
    livebox.log().wait_for("the certificate was reloaded", LIMIT);
    assert_eq!(curl(&pair, &livebox, "/", &["-o", "/dev/null"]).code, Some(0));

    fs::write(pair.key(), "no key at all").expect("the file is writable");

    let told = livebox.log().wait_for("server.tls.key", LIMIT);
    assert!(told.contains("WARN") && told.contains("earlier certificate"), "{told}");
    assert_eq!(fingerprint(livebox.port()), second);
    watching.join().expect("the picture went on");
}

#[test]
fn files_that_are_no_use_end_the_start_and_the_check_with_the_key_that_names_them() {
    let (pair, other) = (Pair::make(), Pair::make());
    let (certificate, key) = (pair.certificate(), pair.key());
    let nothing = Path::new("/no/such.pem");
    for (config, named, told) in [
        (config(nothing, &key), "server.tls.certificate", "No such file"),
        (config(&certificate, nothing), "server.tls.key", "No such file"),
        (config(&key, &key), "server.tls.certificate", "no certificate in it"),
        (config(&certificate, &certificate), "server.tls.key", "no private key in it"),
        (config(&certificate, &other.key()), "server.tls.key", "does not belong"),
        (
            format!("{CAMERA}server: {{tls: {{certificate: a.pem}}}}\n"),
            "server.tls.key",
            "server.tls.certificate (line 5): has no effect without",
        ),
    ] {
        let (started, checked) = (Launch::with(&config).finish(), check(&config));
        // Files that are not here may be on the machine that the configuration is for.
        let is_missing = told == "No such file";
        assert_eq!(checked.code, Some(i32::from(!is_missing)), "{config}: {checked:?}");
        assert_eq!(started.code, Some(1), "{config}: {started:?}");
        let told_of_missing = if is_missing { "is not on this machine" } else { told };
        for (finished, told) in [(started, told), (checked, told_of_missing)] {
            assert!(finished.stderr.contains(named), "{config}: {finished:?}");
            assert!(finished.stderr.contains(told), "{config}: {finished:?}");
        }
    }
}

#[test]
fn a_key_that_everybody_may_read_is_warned_of() {
    use std::os::unix::fs::PermissionsExt;

    let pair = Pair::make();
    fs::set_permissions(pair.key(), fs::Permissions::from_mode(0o644)).expect("it is ours");

    let livebox = secure(&pair);

    let line = livebox.log().wait_for("everybody on this machine", LIMIT);
    assert!(line.contains("WARN") && line.contains("server.tls.key"), "{line}");
    let key = fs::read_to_string(pair.key()).expect("it is readable");
    let secret = key.lines().nth(1).expect("a key has lines");
    assert!(!livebox.log().contains(secret), "the key is in the log");

    let checked = check(&config(&pair.certificate(), &pair.key()));
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert!(checked.stderr.contains("server.tls.key: everybody"), "{checked:?}");
    assert!(checked.stdout.contains("key.pem"), "{checked:?}");
}

#[test]
fn who_speaks_plain_http_is_sent_to_https() {
    let pair = Pair::make();
    let livebox = secure(&pair);
    let plain = Http::local(livebox.port());

    let answer = plain.get("/camera/?x=1");
    assert_eq!(answer.status(), 307);
    assert_eq!(answer.header("Location"), Some(livebox.secure_url("/camera/?x=1").as_str()));

    let changed = plain.put(&format!("{API}/start"));
    assert_eq!(changed.status(), 400);
    assert!(changed.text().contains("https://"), "{}", changed.text());

    let mut command = tool("curl");
    command.args(["--silent", "--fail", "--location", "--cacert"]).arg(pair.certificate());
    let page = run(command.arg(livebox.url("/")), b"", LIMIT);
    assert!(page.stdout.contains("/camera.mp4"), "{page:?}");
}

#[test]
fn two_hundred_handshakes_that_are_never_finished_keep_nobody_out_and_are_ended() {
    let pair = Pair::make();
    let livebox = secure(&pair);
    let hesitant: Vec<TcpStream> = (0..200)
        .map(|number| {
            let mut socket = TcpStream::connect(("127.0.0.1", livebox.port())).expect("it listens");
            // Some say nothing, some begin, some begin to speak plainly.
            let words: &[u8] = [&b""[..], &[22, 3, 1, 2, 0, 1], b"GET / HT"][number % 3];
            socket.write_all(words).expect("it takes a few bytes");
            socket
        })
        .collect();

    // Well below the time after which hesitation ends by itself.
    let page = curl(&pair, &livebox, "/", &["--max-time", "5"]);

    assert!(page.stdout.contains("/camera.mp4"), "{page:?}");
    for mut socket in hesitant {
        socket.set_read_timeout(Some(LIMIT)).expect("it is a socket");
        let end = socket.read_to_end(&mut Vec::new()).map_err(|error| error.kind());
        assert!(matches!(end, Ok(_) | Err(ErrorKind::ConnectionReset)), "it stays open: {end:?}");
    }
}

#[test]
fn the_box_itself_may_change_things_and_an_unencrypted_page_may_not() {
    let pair = Pair::make();
    let livebox = secure(&pair);
    let control = format!("{API}/control");
    let change = ["-X", "POST", "-d", "fps=15", "-o", "/dev/null", "-w", "%{http_code}"];
    let from = |origin: String| {
        let header = format!("Origin: {origin}");
        curl(&pair, &livebox, &control, &[&change[..], &["-H", &header]].concat()).stdout
    };

    assert_eq!(curl(&pair, &livebox, &control, &change).stdout, "200");
    assert_eq!(from(livebox.secure_url("")), "200");
    assert_eq!(from(livebox.url("")), "403");
}

fn check(config: &str) -> Finished {
    let file = tempfile::NamedTempFile::new().expect("there is room for a file");
    fs::write(file.path(), config).expect("the file is writable");
    livebox(&["check", "-f", &file.path().display().to_string()], "")
}

fn config(certificate: &Path, key: &Path) -> String {
    let (certificate, key) = (certificate.display(), key.display());
    format!("{CAMERA}server: {{tls: {{certificate: {certificate}, key: {key}}}}}\n")
}

/// The service with this certificate, ready.
pub(crate) fn secure(pair: &Pair) -> Livebox {
    Livebox::start(&config(&pair.certificate(), &pair.key()))
}

/// Fetches `path` with a client that knows the certificate; it has to succeed.
fn curl(pair: &Pair, livebox: &Livebox, path: &str, arguments: &[&str]) -> Finished {
    let finished = curl_for(pair, livebox, path, arguments);
    assert_eq!(finished.code, Some(0), "{path} {arguments:?}: {finished:?}");
    finished
}

fn curl_for(pair: &Pair, livebox: &Livebox, path: &str, arguments: &[&str]) -> Finished {
    let mut command = tool("curl");
    command.args(["--silent", "--show-error", "--cacert"]).arg(pair.certificate());
    run(command.args(arguments).arg(livebox.secure_url(path)), b"", LIMIT)
}
