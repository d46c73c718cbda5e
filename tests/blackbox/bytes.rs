//! Streams of bytes: what commands and pipes give is what viewers get.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use crate::common::http::Body;
use crate::common::livebox::{API, Livebox};
use crate::common::process::{Process, run};
use crate::common::tools::tool;
use crate::common::{proc, wait};

pub(super) const LIMIT: Duration = wait::TIMEOUT;

/// Numbers its lines, about fifty a second.
pub(super) const COUNTER: &str =
    r#"sh -c "i=0; while :; do i=$((i+1)); printf '%07d\n' $i; sleep 0.02; done""#;

/// A picture of 25 frames a second with a key frame each, as a container.
fn film(container: &str, more: &str) -> String {
    let source = "-f lavfi -i testsrc=size=320x240:rate=25 -f lavfi -i sine=r=48000";
    format!("ffmpeg -v error -re {source} -shortest {more} -f {container} -")
}

const X264: &str =
    "-c:v libx264 -preset ultrafast -tune zerolatency -pix_fmt yuv420p -g 25 -c:a aac";

/// The commands started by livebox whose arguments contain `mark`.
pub(super) fn running(livebox: &Livebox, mark: &str) -> Vec<u32> {
    // Between fork(2) and execve(2) a child shows the arguments of its parent.
    let parent = proc::command_line(livebox.pid());
    let is_meant = |pid: &u32| {
        let line = proc::command_line(*pid);
        line.contains(mark) && line != parent && !line.starts_with("livebox host ")
    };
    proc::children(livebox.pid()).into_iter().filter(is_meant).collect()
}

pub(super) fn wait_for_running(livebox: &Livebox, mark: &str, count: usize) -> Vec<u32> {
    let what = format!("{count} processes with {mark:?}");
    wait::until(&what, LIMIT, || {
        Some(running(livebox, mark)).filter(|running| running.len() == count)
    })
}

/// The next whole line of numbers.
pub(super) fn number(body: &mut Body) -> u32 {
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') {
        line.extend(body.take_bytes(1).expect("the stream goes on"));
    }
    String::from_utf8_lossy(&line).trim().parse().unwrap_or_else(|_| panic!("{line:?}"))
}

/// Reads until the numbers begin anew after `last`; returns the number that they begin with.
fn number_of_next_run(body: &mut Body, mut last: u32) -> u32 {
    wait::until("the feed is back", LIMIT, || {
        let next = number(body);
        let is_anew = next <= last;
        last = next;
        is_anew.then_some(next)
    })
}

/// Returns the last number.
fn assert_counts_on(body: &mut Body, lines: u32) -> u32 {
    let mut last = number(body);
    for _ in 0..lines {
        let next = number(body);
        assert_eq!(next, last + 1);
        last = next;
    }
    last
}

#[test]
fn every_viewer_gets_the_bytes_as_they_were_written_and_one_process_makes_them() {
    let livebox = Livebox::start(&format!(
        "feeds: {{count: {{command: {COUNTER:?}}}}}\n\
         streams:\n  plain: {{feed: count, type: text/plain, url: /a/b/plain.txt}}\n  \
         through: {{feed: count, command: cat, type: text/plain}}\n"
    ));
    let (head, mut first) = livebox.http().open("/a/b/plain.txt");
    assert_eq!(number(&mut first), 1);
    assert_eq!(head.header("Content-Type"), Some("text/plain"));
    assert_eq!(head.header("Content-Length"), None);
    let cache = "no-cache, no-store, must-revalidate, public, max-age=0";
    assert_eq!(head.header("Cache-Control"), Some(cache));

    let (_, mut second) = livebox.http().open("/stream/plain");
    let (_, mut third) = livebox.http().open("/through");
    let (_, mut fourth) = livebox.http().open("/through");
    for body in [&mut first, &mut second, &mut third, &mut fourth] {
        number(body);
        assert_counts_on(body, 20);
    }
    assert_eq!(running(&livebox, "while :").len(), 1);
    assert_eq!(running(&livebox, "cat").len(), 1);
}

#[test]
fn a_command_runs_while_somebody_watches_and_leaves_nothing_behind() {
    let livebox = Livebox::start(&format!(
        "feeds: {{count: {{command: {COUNTER:?}}}}}\n\
         streams: {{through: {{feed: count, command: cat, url: /t.txt}}}}\n"
    ));
    // At the start the system is asked about its clock.
    wait_for_running(&livebox, "", 0);
    let look = || proc::open_files(livebox.pid());
    let mut before = usize::MAX;
    for _ in 0..3 {
        let (_, mut body) = livebox.http().open("/t.txt");
        number(&mut body);
        assert_eq!(running(&livebox, "while :").len(), 1);
        body.close();
        wait_for_running(&livebox, "", 0);
        // The first round opens what stays, such as the files of the workers.
        wait::until("no file is left open", LIMIT, || (look() <= before).then_some(()));
        before = look();
    }
}

#[test]
fn a_feed_that_a_command_makes_of_another_begins_and_ends_with_it() {
    let livebox = Livebox::start(&format!(
        "feeds:\n  first: {{command: {COUNTER:?}}}\n  second: {{feed: first, command: sed -u s/^/1/}}\n\
         streams:\n  second: {{type: text/plain}}\n  third: {{feed: second, command: cat, type: text/plain}}\n"
    ));
    let (_, mut body) = livebox.http().open("/third");
    let first = number(&mut body);
    assert_eq!(first, 10_000_001, "nothing of the beginning is lost");
    assert_counts_on(&mut body, 20);

    // One in the middle that dies takes nobody with it.
    let source = running(&livebox, "while :");
    let middle = running(&livebox, "sed")[0];
    proc::signal(middle, "KILL");
    wait::until("it is started again", LIMIT, || {
        running(&livebox, "sed").first().filter(|pid| **pid != middle).copied()
    });
    assert!(number(&mut body) > first);
    assert_eq!(running(&livebox, "while :"), source);

    body.close();
    wait_for_running(&livebox, "", 0);
}

#[test]
fn a_feed_that_lingers_is_still_there_for_the_next_viewer() {
    let livebox = Livebox::start(&format!(
        "feeds: {{count: {{command: {COUNTER:?}, mode: 60}}}}\nstreams: {{count: {{}}}}\n"
    ));
    let (_, mut body) = livebox.http().open("/count");
    let before = number(&mut body);
    body.close();
    let (_, mut body) = livebox.http().open("/count");
    assert!(number(&mut body) > before);
    assert_eq!(running(&livebox, "while :").len(), 1);
}

#[test]
fn a_continuous_feed_runs_without_viewers() {
    let livebox = Livebox::start(&format!(
        "feeds: {{count: {{command: {COUNTER:?}, mode: continuous}}}}\nstreams: {{count: {{}}}}\n"
    ));
    wait_for_running(&livebox, "while :", 1);
}

#[test]
fn a_feed_that_is_killed_comes_back_and_its_viewers_stay_connected() {
    let livebox = Livebox::start(&format!(
        "feeds: {{count: {{command: {COUNTER:?}}}}}\n\
         streams:\n  plain: {{feed: count}}\n  through: {{feed: count, command: cat}}\n"
    ));
    let (_, mut plain) = livebox.http().open("/plain");
    let (_, mut through) = livebox.http().open("/through");
    let mut viewers = [&mut plain, &mut through].map(|body| (number(body), body));
    let cat = wait_for_running(&livebox, "cat", 1);
    for _ in 0..2 {
        let feed = wait_for_running(&livebox, "while :", 1)[0];
        proc::signal(feed, "KILL");
        for (last, body) in &mut viewers {
            let first = number_of_next_run(body, *last);
            assert_eq!(first, 1, "nothing of the beginning is lost");
            *last = assert_counts_on(body, 5);
        }
    }
    assert_eq!(running(&livebox, "cat"), cat, "the stream's command keeps its input");
}

#[test]
fn an_operator_starts_a_feed_afresh_and_its_viewers_stay_connected() {
    let livebox = Livebox::start(&format!(
        "feeds: {{count: {{command: {COUNTER:?}}}}}\nstreams: {{count: {{}}}}\n"
    ));
    let (_, mut body) = livebox.http().open("/count");
    let last = assert_counts_on(&mut body, 10);
    let path = format!("{API}/streams/count/restart");
    assert_eq!(livebox.http().request("POST", &path).answer().status(), 200);
    number_of_next_run(&mut body, last);
    assert_counts_on(&mut body, 5);
}

#[test]
fn a_feed_that_is_not_resurrected_ends_its_streams_and_starts_for_the_next_viewer() {
    let livebox = Livebox::start(
        "feeds: {hello: {command: 'echo hello', resurrect: false}}\n\
         streams:\n  hello: {}\n  loud: {feed: hello, command: 'tr a-z A-Z'}\n",
    );
    for _ in 0..2 {
        assert_eq!(livebox.get("/hello").text(), "hello\n");
        wait::until("it rests", LIMIT, || {
            (livebox.get("/").text().matches(">idle<").count() == 2).then_some(())
        });
    }
    assert_eq!(livebox.get("/loud").text(), "HELLO\n");
}

#[test]
fn a_stream_without_a_feed_may_have_a_process_for_each_viewer() {
    let sound = "ffmpeg -v error -re -f lavfi -i sine=r=8000 -f wav -";
    let livebox = Livebox::start(&format!(
        "streams: {{tone: {{command: '{sound}', client: exclusive, url: /tone.wav}}}}\n"
    ));
    let mut viewers: Vec<_> = (0..3).map(|_| livebox.http().open("/tone.wav")).collect();
    for (head, body) in &mut viewers {
        assert_eq!(head.header("Content-Type"), Some("audio/wav"));
        assert_eq!(body.take_bytes(4).unwrap(), b"RIFF");
        body.take_bytes(4000).unwrap();
    }
    assert_eq!(running(&livebox, "ffmpeg").len(), 3);
    for (_, body) in viewers {
        body.close();
    }
    wait_for_running(&livebox, "ffmpeg", 0);
}

#[test]
fn a_transport_stream_that_is_joined_late_begins_with_a_packet_and_plays() {
    let feed = film("mpegts", X264);
    let livebox = Livebox::start(&format!(
        "feeds: {{film: {{command: '{feed}', mode: continuous}}}}\n\
         streams:\n  film: {{url: /film.ts}}\n  copy: {{feed: film, command: cat, url: /copy.ts}}\n"
    ));
    let (_, mut early) = livebox.http().open("/film.ts");
    early.take_bytes(200_000).unwrap();
    for path in ["/film.ts", "/copy.ts"] {
        let (head, mut body) = livebox.http().open(path);
        assert_eq!(head.header("Content-Type"), Some("video/mp2t"));
        let bytes = body.take_bytes(188 * 100).unwrap();
        assert!(bytes.chunks(188).all(|packet| packet[0] == 0x47));
        body.close();
        assert_shows(&livebox.url(path), false);
        assert_shows(&livebox.url(&format!("{path}?keyframe=1")), true);
        let (_, mut body) = livebox.http().open(&format!("{path}?header=1"));
        let tables = body.take_bytes(376).unwrap();
        assert_eq!(tables[1] & 0x5f, 0x40, "the first packet is of the program association");
    }
}

#[test]
fn every_container_can_be_joined_late_with_its_header_and_at_an_intra_frame() {
    let vp8 = "-c:v libvpx -deadline realtime -g 25 -c:a libopus";
    let fragmented = format!("{X264} -movflags frag_keyframe+empty_moov+default_base_moof");
    let lavish = "-c:v flv1 -g 25 -c:a pcm_s16le -ar 44100";
    for (container, more, url) in [
        ("mp4", fragmented.as_str(), "/film.mp4"),
        ("webm", vp8, "/film.webm"),
        ("matroska", X264, "/film.mkv"),
        ("flv", X264, "/film.flv"),
        ("flv", lavish, "/old.flv"),
    ] {
        let command = film(container, more);
        let livebox =
            Livebox::start(&format!("streams: {{film: {{command: '{command}', url: {url}}}}}\n"));
        let (_, mut early) = livebox.http().open(url);
        early.take_bytes(60_000).unwrap();
        assert_shows(&livebox.url(&format!("{url}?header=1&keyframe=1")), true);
        drop(early);
    }
}

#[test]
fn sound_that_is_joined_late_plays_with_its_header() {
    let livebox = Livebox::start(
        "streams: {tone: {command: 'ffmpeg -v error -re -f lavfi -i sine -f wav -', url: /t.wav}}\n",
    );
    let (_, mut early) = livebox.http().open("/t.wav");
    early.take_bytes(100_000).unwrap();
    let (_, mut late) = livebox.http().open("/t.wav?header=1");
    let bytes = late.take_bytes(60_000).unwrap();
    assert_eq!(&bytes[..4], b"RIFF");
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), bytes).unwrap();
    let sound = crate::common::probe::listen(&file.path().display().to_string(), 1);
    assert!((sound.pitch - 440.0).abs() < 10.0, "{sound:?}");
}

#[test]
fn what_cannot_be_had_of_a_stream_is_told() {
    let livebox = Livebox::start(&format!("streams: {{count: {{command: {COUNTER:?}}}}}\n"));
    let answer = livebox.get("/count?header=1");
    assert_eq!(answer.status(), 400);
    assert!(answer.text().contains("application/octet-stream"), "{}", answer.text());
    assert_eq!(livebox.get("/count?keyframe=yes").status(), 400);
    assert_eq!(livebox.http().request("POST", "/count").answer().status(), 405);
    let head = livebox.http().request("HEAD", "/count").answer();
    assert_eq!((head.status(), head.body.len()), (200, 0));
    assert_eq!(running(&livebox, "while :").len(), 0, "a look at the headers starts nothing");
    let ranged = livebox.http().request("GET", "/count").header("Range", "bytes=0-10");
    assert_eq!(ranged.send().unwrap().0.status, 200);
    assert_eq!(livebox.get("/").status(), 200);
    assert!(livebox.get("/").text().contains("/count"));
    assert_eq!(livebox.get("/dashboard").status(), 404);
    assert_eq!(livebox.state(), "idle");
}

#[test]
fn a_named_pipe_goes_on_with_its_next_writer() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("feed");
    make_pipe(&pipe);
    let livebox = Livebox::start(&format!(
        "feeds: {{fifo: {{pipe: {}, mode: continuous}}}}\nstreams: {{fifo: {{}}}}\n",
        pipe.display()
    ));
    let http = livebox.http();
    let viewer = std::thread::spawn(move || http.open("/fifo").1);
    // The viewer must be there: who comes later gets what comes later.
    wait::until("a reader", LIMIT, || livebox.get("/").text().contains("<td>1</td>").then_some(()));
    write_to(&pipe, b"first writer\n");
    let mut body = viewer.join().unwrap();
    assert_eq!(body.take_bytes(13).unwrap(), b"first writer\n");
    write_to(&pipe, b"second writer\n");
    assert_eq!(body.take_bytes(14).unwrap(), b"second writer\n");
}

#[test]
fn a_file_is_passed_on_round_after_round_as_fast_as_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("clip.bin");
    let bytes: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
    fs::write(&file, &bytes).unwrap();
    let livebox = Livebox::start(&format!(
        "feeds: {{clip: {{pipe: {}}}}}\nstreams: {{clip: {{command: cat, feed: clip}}}}\n",
        file.display()
    ));
    let (_, mut body) = livebox.http().open("/clip");
    for _ in 0..20 {
        assert!(body.take_bytes(bytes.len()).unwrap() == bytes, "bytes are missing or mixed up");
    }
}

/// Fails unless ffprobe finds a picture; with `key`, one that begins with an intra frame.
fn assert_shows(url: &str, key: bool) {
    let mut command = tool("ffprobe");
    command.args(["-v", "error", "-select_streams", "v", "-show_entries", "packet=flags"]);
    command.args(["-of", "csv=p=0", "-read_intervals", "%+#1", url]);
    let finished = run(&mut command, b"", LIMIT);
    assert_eq!(finished.code, Some(0), "{url}: {}", finished.stderr);
    assert!(!finished.stdout.is_empty(), "{url} has no picture");
    assert!(!key || finished.stdout.starts_with('K'), "{url}: {}", finished.stdout);
}

pub(super) fn make_pipe(path: &Path) {
    let made = tool("mkfifo").arg(path).status();
    assert!(made.is_ok_and(|status| status.success()));
}

/// Opens the pipe as a program would, and leaves when everything is written.
pub(super) fn write_to(pipe: &Path, bytes: &[u8]) {
    let mut pipe = fs::OpenOptions::new().write(true).open(pipe).expect("livebox reads it");
    pipe.write_all(bytes).expect("livebox reads it");
}

/// A viewer in curl, which shows the answer of a request that takes long.
pub(super) fn curl(url: &str) -> (String, String) {
    let mut command = tool("curl");
    command.args(["-s", "--max-time", "30", "-w", "\n%{http_code}", url]);
    let finished = run(&mut command, b"", LIMIT * 2);
    let (body, code) = finished.stdout.rsplit_once('\n').expect("curl writes the code");
    (code.to_owned(), body.to_owned())
}

#[test]
fn the_service_ends_its_commands_also_where_they_do_not_want_to() {
    let stubborn = r#"sh -c "trap '' TERM; while :; do echo x; sleep 0.1; done""#;
    let mut livebox = Livebox::start(&format!(
        "streams:\n  a: {{command: {stubborn:?}}}\n  \
         b: {{command: {stubborn:?}, client: exclusive}}\n"
    ));
    let (_, mut shared) = livebox.http().open("/a");
    let (_, mut own) = livebox.http().open("/b");
    shared.take_bytes(2).unwrap();
    own.take_bytes(2).unwrap();
    let all = proc::descendants(livebox.pid());
    assert!(all.len() >= 2, "{all:?}");
    let before = wait::now();
    let process: &mut Process = livebox.process();
    process.signal("TERM");
    process.wait(LIMIT);
    // It gives up after two; the commands that go on would take for ever.
    assert!(wait::now() - before < Duration::from_secs(20));
    wait::until("they are gone", LIMIT, || {
        all.iter().all(|pid| !proc::is_alive(*pid)).then_some(())
    });
}
