//! Commands and pipes that break, and viewers that do not read: only they suffer.

use std::fs;
use std::time::Duration;

use super::bytes::{COUNTER, LIMIT, curl, make_pipe, number, running, wait_for_running, write_to};
use crate::common::http::Body;
use crate::common::livebox::{Launch, Livebox};
use crate::common::{proc, wait};

/// A second stream beside the one that breaks.
fn with_witness(feeds: &str, streams: &str) -> String {
    format!("feeds: {{{feeds}}}\nstreams:\n  witness: {{command: {COUNTER:?}}}\n  {streams}\n")
}

/// Fails unless the service answers and its other stream goes on.
fn assert_serves(livebox: &Livebox) {
    assert_eq!(livebox.get("/").status(), 200);
    let (_, mut body) = livebox.http().open("/witness");
    assert!(number(&mut body) > 0);
}

#[test]
fn a_command_that_dies_at_once_for_ever_is_tried_again_and_told_of_a_few_times() {
    let folder = tempfile::tempdir().unwrap();
    let config = with_witness(
        "bad: {command: \"sh -c 'echo boom >&2; exit 3'\", mode: continuous}",
        "bad: {}",
    );
    let livebox = Launch::with(&format!("{config}log: {{folder: {}}}\n", folder.path().display()));
    let livebox = livebox.start();
    let (code, body) = curl(&livebox.url("/bad"));
    assert_eq!(code, "503");
    assert!(body.contains("The command failed with exit status 3"), "{body}");
    livebox.log().wait_for("failures=8", LIMIT);
    let told = livebox.log().text().lines().filter(|line| line.contains("feed bad")).count();
    assert!(told <= 5, "{}", livebox.log().text());
    assert_serves(&livebox);
    let log = fs::read_to_string(folder.path().join("feed_bad.log")).unwrap();
    assert!(log.lines().next().is_some_and(|line| line.ends_with("] Log opened")), "{log}");
    assert!(log.matches("boom").count() >= 8, "{log}");
}

#[test]
fn a_command_that_says_the_same_for_ever_is_a_few_lines_in_the_log() {
    // `quiet` tells that all before it was heard.
    let script = "seq 20000 | sed \"s/$/: frame lost/\" >&2; echo quiet >&2; sleep 600";
    let command = format!("sh -c '{script}'");
    let feed = format!("bad: {{command: {command:?}, mode: continuous}}");
    let config = with_witness(&feed, "bad: {}");
    let livebox = Livebox::start(&format!("{config}log: {{level: debug}}\n"));
    livebox.log().wait_for("feed bad says: quiet", LIMIT);
    livebox.log().wait_for("16384: frame lost [16384 times]", LIMIT);
    let told = livebox.log().count("frame lost");
    assert!(told < 20, "{}", livebox.log().text());
    assert_serves(&livebox);
}

#[test]
fn a_command_that_does_not_exist_is_named() {
    let livebox = Livebox::start(&with_witness(
        "bad: {command: /no/such/program -i x}",
        "bad: {}\n  own: {command: no-such-program, client: exclusive}\n  \
         shared: {command: no-such-program}",
    ));
    for path in ["/bad", "/own", "/shared"] {
        let (code, body) = curl(&livebox.url(path));
        assert_eq!(code, "503", "{path}");
        assert!(body.contains("is not installed"), "{path}: {body}");
    }
    assert_serves(&livebox);
}

#[test]
fn a_pipe_that_nobody_writes_to_is_waited_for_and_viewers_are_told_to_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("feed");
    make_pipe(&pipe);
    let fifo = format!("fifo: {{pipe: {}, mode: 60}}", pipe.display());
    let livebox = Livebox::start(&with_witness(&fifo, "fifo: {}"));
    let (code, body) = curl(&livebox.url("/fifo"));
    assert_eq!(code, "503");
    assert!(body.contains("has no data yet"), "{body}");
    assert_serves(&livebox);
    // It is still open for a writer, who then need not wait.
    write_to(&pipe, b"late");
    livebox.log().wait_for("feed fifo is live", LIMIT);
    assert!(!livebox.log().contains("feed fifo failed"));
}

#[test]
fn a_pipe_that_is_missing_is_told() {
    let livebox = Livebox::start(&with_witness("gone: {pipe: /no/such/pipe}", "gone: {}"));
    let (code, body) = curl(&livebox.url("/gone"));
    assert_eq!(code, "503");
    assert!(body.contains("cannot be read"), "{body}");
    assert_serves(&livebox);
}

#[test]
fn garbage_and_half_a_packet_are_passed_on_and_a_silent_feed_is_started_again() {
    let garbage = "sh -c \"head -c 1000 /dev/urandom; printf G; head -c 93 /dev/zero; sleep 60\"";
    let livebox = Livebox::start(&with_witness(
        &format!("noise: {{command: '{garbage}'}}"),
        "noise: {url: /noise.ts}",
    ));
    let (_, mut body) = livebox.http().open("/noise.ts");
    let bytes = body.take_bytes(1094).unwrap();
    assert_eq!((bytes[1000], bytes[1093]), (b'G', 0));
    let (_, mut witness) = livebox.http().open("/witness");
    let first = wait_for_running(&livebox, "urandom", 1);
    wait::until("it is started again", LIMIT, || {
        number(&mut witness);
        let now = running(&livebox, "urandom");
        (now.len() == 1 && now != first).then_some(())
    });
    assert_eq!(body.take_bytes(1094).unwrap().len(), 1094);
    let waiting = livebox.log().text();
    assert!(waiting.contains("nothing came out for 10 s"), "{waiting}");
    end(livebox);
}

#[test]
fn a_viewer_that_never_reads_is_dropped_and_nobody_else_notices() {
    let lavish = "sh -c \"while head -c 100000 /dev/zero; do sleep 0.02; done\"";
    let livebox = Livebox::start(&format!(
        "streams:\n  own: {{command: '{lavish}', client: exclusive}}\n  \
         shared: {{command: {COUNTER:?}}}\n"
    ));
    let (_, _stalled) = livebox.http().open("/own");
    let (_, mut reading) = livebox.http().open("/own");
    let (_, mut counting) = livebox.http().open("/shared");
    reading.take_bytes(100_000).unwrap();
    wait_for_running(&livebox, "dev/zero; do sleep", 2);
    let before = wait::now();
    let mut last = number(&mut counting);
    // Ten seconds, and what the kernel's timers take on top.
    wait::until("the stalled viewer's process ends", LIMIT * 2, || {
        reading.take_bytes(100_000).unwrap();
        let next = number(&mut counting);
        assert_eq!(next, last + 1);
        last = next;
        (running(&livebox, "dev/zero; do sleep").len() == 1).then_some(())
    });
    assert!(wait::now() - before > Duration::from_secs(8));
    reading.take_bytes(100_000).unwrap();
}

#[test]
fn fifty_viewers_stay_while_feed_and_command_are_killed_again_and_again() {
    let livebox = Livebox::start(&format!(
        "feeds: {{count: {{command: {COUNTER:?}}}}}\n\
         streams:\n  plain: {{feed: count}}\n  through: {{feed: count, command: cat}}\n"
    ));
    let paths = ["/plain", "/through"].into_iter().cycle().take(50);
    let mut viewers: Vec<_> = paths.map(|path| livebox.http().open(path).1).collect();
    let files = || proc::open_files(livebox.pid());
    viewers.iter_mut().for_each(|body| assert!(number(body) > 0));
    let before = files();
    for mark in ["while :", "cat", "while :", "while :", "cat", "while :"] {
        let one = wait_for_running(&livebox, mark, 1)[0];
        proc::signal(one, "KILL");
        wait::until("another runs", LIMIT, || {
            let now = running(&livebox, mark);
            (now.len() == 1 && now[0] != one).then_some(())
        });
        viewers.iter_mut().for_each(|body| assert!(number(body) > 0));
    }
    assert_eq!(livebox.get("/").text().matches("<td>25</td>").count(), 2);
    wait::until("no file is left open", LIMIT, || (files() <= before).then_some(()));
    viewers.into_iter().for_each(Body::close);
    wait_for_running(&livebox, "", 0);
}

#[test]
fn as_many_viewers_as_may_have_a_process_have_one() {
    let command = "sh -c \"echo 1; exec sleep 60\"";
    let livebox =
        Livebox::start(&format!("streams: {{own: {{command: '{command}', client: exclusive}}}}\n"));
    let mut viewers: Vec<_> = (0..32).map(|_| livebox.http().open("/own").1).collect();
    let refused = livebox.get("/own");
    assert_eq!(refused.status(), 503);
    assert!(refused.text().contains("limit of viewers is reached"), "{}", refused.text());
    viewers.pop().unwrap().close();
    wait::until("a place is free", LIMIT, || {
        livebox.get("/").text().contains("<td>31</td>").then_some(())
    });
    assert!(number(&mut livebox.http().open("/own").1) > 0);
    end(livebox);
}

/// Ends the service in order: silent commands would not notice that it is gone.
fn end(mut livebox: Livebox) {
    livebox.process().signal("TERM");
    livebox.process().wait(LIMIT);
}
