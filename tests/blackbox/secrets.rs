//! What other programs, other users and strangers must not learn.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::Value;

use crate::common::livebox::{API, CAMERA, Launch, Livebox, livebox};
use crate::common::wait::{self, TIMEOUT};

/// The environment of the service, its open files in memory, and its own.
const SPY: &str = "tr '\\0' '\\n' </proc/$PPID/environ; ls -l /proc/$PPID/fd; env\n";

const KEY: &str = "quiet-otter-4711-zz";

#[test]
fn a_command_finds_no_setting_of_the_environment_anywhere() {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let script = folder.path().join("spy");
    fs::write(&script, SPY).expect("the folder is writable");
    let config = format!(
        "{CAMERA}  spy: {{command: 'sh {}', client: shot, type: text/plain}}\n\
         pushes: {{tube: {{url: 'rtmp://192.0.2.1/live'}}}}\n",
        script.display()
    );
    let livebox = Launch::with(&config)
        .env("LIVEBOX__PUSHES__TUBE__KEY", KEY)
        .env("LIVEBOX__PAGES__STAT", "/state")
        .start();

    let seen = livebox.get("/spy").text();
    assert!(seen.contains("PATH="), "{seen}");
    for part in [KEY, "LIVEBOX__", "memfd"] {
        assert!(!seen.contains(part), "{part}: {seen}");
    }
    // They count all the same, also when the file is read again.
    assert_eq!(livebox.get("/state").status(), 200);
    livebox.reload(&config);
    assert_eq!(livebox.get("/state").status(), 200);
    let control = livebox.control();
    assert_eq!(control["name"].as_str().map(|name| name.ends_with("zz")), Some(true), "{control}");
}

#[test]
fn what_a_command_says_is_shown_without_secrets_and_kept_from_other_users() {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let script = folder.path().join("fail");
    let said = "rtsp://anna:SECRET@cam.local/x: Authorization: Basic SECRET\n\
                rtmp://a.example/live/SECRET stream_key=SECRET --password SECRET 401\n";
    fs::write(&script, format!("cat >&2 <<'END'\n{said}END\nexit 3\n")).expect("it is writable");
    let feed = format!("feeds: {{a: {{command: 'sh {}', mode: continuous}}}}\n", script.display());
    let config = format!("{feed}streams: {{a: {{}}}}\npages: {{config: true}}\n");
    let to_files = format!("{config}log: {{folder: {}}}\n", folder.path().display());
    let to_journal = format!("{config}log: {{level: debug}}\n");

    for config in [to_files, to_journal] {
        let livebox = Livebox::start(&config);
        let stat = wait::until("the failure is shown", TIMEOUT, || {
            let stat = livebox.get("/stat.json").text();
            stat.contains("stream_key=").then_some(stat)
        });
        livebox.log().wait_for("failures=2", TIMEOUT);
        for text in [stat, livebox.get("/stat").text(), livebox.log().text()] {
            assert!(!text.contains("SECRET"), "{text}");
        }
    }
    let log = folder.path().join("feed_a.log");
    let text = fs::read_to_string(&log).expect("there is a log");
    assert!(text.contains("cam.local/x") && !text.contains("SECRET"), "{text}");
    assert_eq!(mode(&log), 0o640);
}

#[test]
fn the_printed_configuration_has_no_secret_of_a_command() {
    let secret = "SECRET-4711";
    let commands = [
        "ffmpeg -headers 'Authorization: Basic SECRET-4711' -i http://h/v?token=SECRET-4711 -",
        "curl -u anna:SECRET-4711 --key SECRET-4711 --proxy-header=X-Token:SECRET-4711 http://h/",
        "gst-launch-1.0 rtspsrc location=rtsp://a:SECRET-4711@cam/x user-pw=SECRET-4711",
        "sh -c 'exec env TOKEN=SECRET-4711 relay rtmp://a.example/live/SECRET-4711'",
    ];
    let streams: String = (1..)
        .zip(commands)
        .map(|(number, command)| format!("  s{number}: {{command: {}}}\n", Value::from(command)))
        .collect();
    let config = format!("streams:\n{streams}pages: {{config: true}}\n");
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let file = folder.path().join("livebox.yaml");
    fs::write(&file, &config).expect("the folder is writable");

    let checked = livebox(&["check", "-f", file.to_str().expect("it is text")], "");
    let shown = Livebox::start(&config).get("/config").text();

    for text in [checked.stdout, shown] {
        assert!(text.contains("rtmp://a.example/live/") && text.contains("s4"), "{text}");
        assert!(!text.contains(secret), "{text}");
    }
}

#[test]
fn strangers_page_through_recordings_without_learning_of_protected_ones() {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    for day in 1..=9 {
        for stream in ["open", "front"] {
            let name = format!("{stream}_2026-01-0{day}_0{day}-00-00.mp4");
            fs::write(folder.path().join(name), "x").expect("the folder is writable");
        }
    }
    let hash = livebox(&["password"], "correct horse\n").stdout;
    let livebox = Livebox::start(&format!(
        "feeds: {{open: {{test: clock}}, front: {{test: clock}}}}\n\
         streams: {{open: {{}}, front: {{password: '{}'}}}}\nrecordings: {{folder: {}}}\n",
        hash.trim(),
        folder.path().display()
    ));
    let ask = |path: &str| livebox.http().request("GET", path);
    let known = "Basic YW5uYTpjb3JyZWN0IGhvcnNl";
    wait::until("they are known", TIMEOUT, || {
        let all = ask(&format!("{API}/recordings")).answer().json();
        (all["recordings"].as_array().map(Vec::len) == Some(9)).then_some(())
    });

    for limit in [1, 2, 3, 9] {
        let (mut path, mut seen) = (format!("{API}/recordings?limit={limit}"), 0);
        loop {
            let answer = ask(&path).answer();
            assert!(!answer.text().contains("front_"), "{}", answer.text());
            let page = answer.json();
            seen += page["recordings"].as_array().expect("it is a list").len();
            let Some(next) = page["next"].as_str() else { break };
            path = format!("{API}/recordings?limit={limit}&before={next}");
        }
        assert_eq!(seen, 9, "pages of {limit}");
    }
    assert!(!ask("/recordings").answer().text().contains("front_"));
    assert_eq!(ask("/front/pic").header("Authorization", known).send().unwrap().0.status, 200);
    let all = ask(&format!("{API}/recordings")).header("Authorization", known).answer().json();
    assert_eq!(all["recordings"].as_array().map(Vec::len), Some(18));
}

#[test]
fn recordings_of_a_stream_that_is_gone_are_for_operators() {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let name = "gone_2026-01-02_03-04-05.mp4";
    fs::write(folder.path().join(name), "x").expect("the folder is writable");
    let hash = livebox(&["password"], "correct horse\n").stdout;
    let livebox = Livebox::start(&format!(
        "{CAMERA}access: {{password: '{}'}}\nrecordings: {{folder: {}}}\n",
        hash.trim(),
        folder.path().display()
    ));
    let file = format!("/recordings/{name}");
    let ask = |path: &str| livebox.http().request("GET", path);
    let known = |path: &str| ask(path).header("Authorization", "Basic YW5uYTpjb3JyZWN0IGhvcnNl");

    wait::until("it is known", TIMEOUT, || (known(&file).answer().status() == 200).then_some(()));
    assert_eq!(ask(&file).answer().status(), 401);
    let list = format!("{API}/recordings");
    assert!(!ask(&list).answer().text().contains(name));
    assert!(known(&list).answer().text().contains(name));
}

#[test]
fn other_users_of_the_machine_cannot_read_recordings() {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let livebox =
        Livebox::start(&format!("{CAMERA}recordings: {{folder: {}}}\n", folder.path().display()));
    let steer = |what: &str| {
        let path = format!("{API}/streams/camera/record/{what}");
        assert_eq!(livebox.http().put(&path).status(), 200);
    };
    let files = || fs::read_dir(folder.path()).expect("it is there").flatten();

    steer("start");
    wait::until("it is recorded", TIMEOUT, || {
        files().any(|file| file.metadata().is_ok_and(|found| found.len() > 100_000)).then_some(())
    });
    files().for_each(|file| assert_eq!(mode(&file.path()), 0o640));
    steer("stop");
    wait::until("it is finished", TIMEOUT, || {
        let all = livebox.get(&format!("{API}/recordings")).json();
        (all["recordings"][0]["state"] == "finished").then_some(())
    });
    files().for_each(|file| assert_eq!(mode(&file.path()), 0o640, "{file:?}"));
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}
