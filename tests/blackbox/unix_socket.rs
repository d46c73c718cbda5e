//! The Unix socket: the way in of operators on the box.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::common::http::read_answer;
use crate::common::livebox::{API, CAMERA, Launch, Livebox, livebox};
use crate::common::process::run;
use crate::common::tools::tool;
use crate::common::wait::TIMEOUT;

#[test]
fn the_unix_socket_needs_no_password_for_anything() {
    let (folder, livebox) = locked();
    let socket = socket_in(&folder);
    let mode = fs::metadata(&socket).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let control = format!("{API}/control");

    for (path, arguments) in [
        (control.as_str(), &[][..]),
        (&control, &["-H", "Content-Type: application/json", "-d", "{\"fps\":15}"]),
        (&format!("{API}/reload"), &["-X", "POST"]),
        ("/dashboard", &[]),
        ("/camera/pic", &[]),
        ("/stat", &[]),
    ] {
        assert_eq!(livebox.get("/camera/pic").status(), 401);
        assert_eq!(status(&socket, path, arguments), 200, "{path}");
    }
    assert_eq!(livebox.get(&control).status(), 401);
    // A proxy or a page that has found the socket.
    assert_eq!(status(&socket, &control, &["-H", "X-Forwarded-For: 192.0.2.9"]), 401);
    assert_eq!(status(&socket, &control, &["-H", "Origin: http://evil.example"]), 403);
    livebox.log().wait_for("listening on the Unix socket", TIMEOUT);
    // The log tells whose program it was.
    livebox.log().wait_for(&format!("user {} POST {API}/reload 200", own_user()), TIMEOUT);
}

#[test]
fn a_stream_is_watched_over_the_unix_socket() {
    let (folder, _livebox) = locked();
    let mut socket = UnixStream::connect(socket_in(&folder)).expect("it listens");
    socket.set_read_timeout(Some(TIMEOUT)).expect("a limit can be set");
    let request = "GET /camera.mp4?pad=0 HTTP/1.1\r\nHost: localhost\r\n\r\n";
    socket.write_all(request.as_bytes()).expect("it is read");

    let (head, mut body) = read_answer(socket).expect("it is answered");

    assert_eq!(head.status, 200);
    // More than the burst, so that chunks as they come are among it.
    let mut seen = vec![0; 500_000];
    body.read_exact(&mut seen).expect("the stream goes on");
    let count = |kind: &[u8]| seen.windows(4).filter(|four| *four == kind).count();
    assert!(count(b"moov") == 1 && count(b"moof") > 50, "{} fragments", count(b"moof"));
}

#[test]
fn the_unix_socket_is_replaced_after_a_crash_and_removed_at_the_end() {
    let (folder, mut livebox) = locked();
    let socket = socket_in(&folder);
    livebox.process().kill();
    assert!(fs::symlink_metadata(&socket).expect("it is left behind").file_type().is_socket());

    let mut again = launch(&folder).start();
    assert_eq!(status(&socket, "/", &[]), 200);
    let taken = launch(&folder).finish();
    assert_eq!(taken.code, Some(1));
    assert!(taken.stderr.contains("server.socket"), "{}", taken.stderr);
    again.process().signal("TERM");
    again.process().wait(TIMEOUT);
    assert!(!socket.exists());
}

#[test]
fn a_pipeline_host_is_refused_at_the_unix_socket() {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let socket = socket_in(&folder);
    // A sound device of ALSA that connects to a socket.
    let device = format!(
        "pcm.spy {{ type shm server spy pcm \"null\" }}\n\
         server.spy {{ host \"localhost\" socket \"{}\" }}\n",
        socket.display()
    );
    fs::write(folder.path().join(".asoundrc"), device).expect("it is writable");
    let config = "feeds:\n  camera: {test: clock, size: 320x180, fps: 25}\n  \
                  mic: {audio: {alsa: spy}, mode: continuous}\n\
                  streams:\n  both: {feeds: {video: camera, audio: mic}}\n";
    let launch = Launch::with(config).env("RUNTIME_DIRECTORY", folder.path());

    let livebox = launch.env("HOME", folder.path()).start();

    livebox.log().wait_for("a pipeline host has connected to the Unix socket", TIMEOUT);
    assert_eq!(status(&socket, "/dashboard", &[]), 200, "operators are not");
}

/// Everything has a password.
fn locked() -> (TempDir, Livebox) {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let livebox = launch(&folder).start();
    (folder, livebox)
}

fn launch(folder: &TempDir) -> Launch {
    let hash = livebox(&["password"], "correct horse\n").stdout;
    let config = CAMERA.replace("750k}", &format!("750k, password: '{}'}}", hash.trim()));
    let config = format!(
        "{config}access: {{password: '{hash}'}}\npages: {{password: '{hash}'}}\n",
        hash = hash.trim()
    );
    Launch::with(&config).env("RUNTIME_DIRECTORY", folder.path())
}

fn socket_in(folder: &TempDir) -> PathBuf {
    folder.path().join("livebox.sock")
}

/// `/proc/self` belongs to the user of this process.
fn own_user() -> u32 {
    fs::metadata("/proc/self").expect("/proc is mounted").uid()
}

/// The status of the answer; what is behind it may have no end.
fn status(socket: &Path, path: &str, arguments: &[&str]) -> u16 {
    let mut curl = tool("curl");
    // Of several outputs the first counts.
    curl.args(arguments).args(["-s", "-o", "/dev/null", "-w", "\n%{http_code}"]);
    curl.arg("--unix-socket").arg(socket).arg(format!("http://localhost{path}"));
    let fetched = run(&mut curl, b"", TIMEOUT);
    let code = fetched.stdout.lines().last().and_then(|code| code.parse().ok());
    code.unwrap_or_else(|| panic!("{path}: {fetched:?}"))
}
