//! What each kind of edit changes, and what it leaves alone.

use super::*;
use crate::config::parse_text;

const FILE: &str = "\
feeds:
  door: {test: clock}
  yard: {test: clock}
  small: {feed: yard, size: 320x180}
  clip: {command: cat /a.ts}
streams:
  door: {}
  yard: {}
  small: {}
  raw: {feed: clip, type: video/mp2t, url: /raw.ts}
  cooked: {feed: clip, command: cat, url: /cooked.ts}
pushes:
  one: {stream: door, url: 'rtmp://a.example/live', key: K}
";

fn read(text: &str) -> Settings {
    parse_text(text).unwrap_or_else(|problems| panic!("{problems:?}\n{text}"))
}

fn edited(from: &str, to: &str) -> Settings {
    assert!(FILE.contains(from), "{from}");
    read(&FILE.replace(from, to))
}

fn shared(settings: &Settings) -> BTreeSet<FeedName> {
    Diff::initial(settings).shared
}

fn diff(new: &Settings) -> Diff {
    let old = read(FILE);
    Diff::between(&old, &shared(&old), new)
}

/// All that is not simply kept, as words.
fn told(diff: &Diff) -> Vec<String> {
    let mut all = Vec::new();
    let mut add = |kind: &str, name: &str, outcome: Outcome| {
        if outcome != Outcome::Kept {
            all.push(format!("{outcome:?} {kind} {name}"));
        }
    };
    diff.feeds.outcomes.iter().for_each(|(name, outcome)| add("feed", name.as_str(), *outcome));
    diff.byte_feeds
        .outcomes
        .iter()
        .for_each(|(name, outcome)| add("feed", name.as_str(), *outcome));
    diff.streams.outcomes.iter().for_each(|(name, outcome)| add("stream", name.as_str(), *outcome));
    diff.byte_streams
        .outcomes
        .iter()
        .for_each(|(name, outcome)| add("stream", name.as_str(), *outcome));
    diff.pushes.outcomes.iter().for_each(|(name, outcome)| add("push", name.as_str(), *outcome));
    let gone = diff.streams.removed.iter().chain(&diff.byte_streams.removed);
    all.extend(gone.map(|name| format!("Removed stream {name}")));
    let gone = diff.feeds.removed.iter().chain(&diff.byte_feeds.removed);
    all.extend(gone.map(|name| format!("Removed feed {name}")));
    all.extend(diff.pushes.removed.iter().map(|name| format!("Removed push {name}")));
    all
}

#[test]
fn an_equal_configuration_changes_nothing() {
    let diff = diff(&read(FILE));
    assert!(diff.is_empty(), "{:?}", told(&diff));
}

#[test]
fn a_changed_stream_restarts_alone() {
    let new = edited("  yard: {}\n", "  yard: {bitrate: 1M}\n");
    assert_eq!(told(&diff(&new)), ["Changed stream yard"]);
}

#[test]
fn dependents_of_a_feed_restart_with_it() {
    let new = edited("yard: {test: clock}", "yard: {test: clock, fps: 10}");
    let all = ["Changed feed yard", "Changed feed small", "Changed stream yard"];
    assert_eq!(told(&diff(&new)), [&all[..], &["Changed stream small"]].concat());
}

#[test]
fn a_stream_with_another_url_does_not_restart() {
    let new = edited("  door: {}\n", "  door: {url: /front}\n");
    assert_eq!(told(&diff(&new)), ["Adjusted stream door"]);
    let new = edited("url: /raw.ts", "url: /other.ts");
    assert_eq!(told(&diff(&new)), ["Adjusted stream raw"]);
}

#[test]
fn another_order_restarts_nothing() {
    let new = edited("  door: {}\n  yard: {}\n", "  yard: {}\n  door: {}\n");
    assert!(diff(&new).is_empty());
}

#[test]
fn a_command_of_a_stream_continues_while_its_feed_restarts() {
    let new = edited("cat /a.ts", "cat /b.ts");
    assert_eq!(told(&diff(&new)), ["Changed feed clip"]);
}

#[test]
fn feeds_unpacked_from_bytes_restart_with_their_byte_feed() {
    let unpacked = |command: &str| {
        read(&format!(
            "feeds: {{clip: {{command: {command}}}, door: {{feed: clip}}}}\nstreams: {{door: {{}}}}\n"
        ))
    };
    let (old, new) = (unpacked("cat /a.ts"), unpacked("cat /b.ts"));
    let diff = Diff::between(&old, &shared(&old), &new);
    assert_eq!(told(&diff), ["Changed feed door", "Changed feed clip", "Changed stream door"]);
}

#[test]
fn a_new_password_disconnects_viewers_and_a_removed_one_does_not() {
    let hash = "'$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA'";
    let open = read(FILE);
    let locked = edited("  yard: {}\n", &format!("  yard: {{password: {hash}}}\n"));

    let diff = Diff::between(&open, &shared(&open), &locked);
    assert_eq!(told(&diff), ["Changed stream yard"]);
    assert!(diff.locked.contains(&"yard".parse().unwrap()));
    let back = Diff::between(&locked, &shared(&locked), &open);
    assert!(back.is_empty() && back.locked.is_empty(), "{:?}", told(&back));
}

#[test]
fn a_command_between_byte_feeds_continues_while_the_first_one_restarts() {
    let chain = |command: &str| {
        read(&format!(
            "feeds: {{raw: {{command: {command}}}, cooked: {{feed: raw, command: cat}}}}\n\
             streams: {{cooked: {{}}}}\n"
        ))
    };
    let (old, new) = (chain("cat /a"), chain("cat /b"));
    let diff = Diff::between(&old, &shared(&old), &new);
    assert_eq!(told(&diff), ["Changed feed raw"]);
}

#[test]
fn another_container_restarts_all_readers_of_the_bytes() {
    let new = edited("type: video/mp2t", "type: video/mp4");
    let all = ["Changed feed clip", "Changed stream raw", "Changed stream cooked"];
    assert_eq!(told(&diff(&new)), all);
}

#[test]
fn a_second_stream_of_a_feed_restarts_its_first_one() {
    let new = edited("  door: {}\n", "  door: {}\n  tiny: {feed: door, bitrate: 200k}\n");
    let all = ["Changed feed door", "Changed stream door", "Added stream tiny"];
    assert_eq!(told(&diff(&new)), all);
}

#[test]
fn the_last_stream_of_a_shared_feed_does_not_restart() {
    let two = edited("  door: {}\n", "  door: {}\n  tiny: {feed: door, bitrate: 200k}\n");
    let one = read(FILE);
    let diff = Diff::between(&two, &shared(&two), &one);
    assert_eq!(told(&diff), ["Removed stream tiny"]);
    assert!(diff.shared.contains(&"door".parse().unwrap()), "{:?}", diff.shared);

    // And so it is with a third one after that.
    let again = Diff::between(&one, &diff.shared, &two);
    assert_eq!(told(&again), ["Added stream tiny"]);
}

#[test]
fn pushes_restart_for_another_receiver_or_stream_but_not_for_start() {
    let other = edited("key: K", "key: L");
    assert_eq!(told(&diff(&other)), ["Changed push one"]);
    let start = edited("key: K", "key: K, start: true");
    assert_eq!(told(&diff(&start)), ["Adjusted push one"]);
    let gone = edited("  one: {stream: door, url: 'rtmp://a.example/live', key: K}\n", "");
    assert_eq!(told(&diff(&gone)), ["Removed push one"]);
    // The encoder of its stream starts anew; the push goes on with what comes.
    let stream = edited("  door: {}\n", "  door: {bitrate: 1M}\n");
    assert_eq!(told(&diff(&stream)), ["Changed stream door"]);
}

#[test]
fn a_renamed_item_is_removed_and_added() {
    let new = edited("  yard: {}\n", "  garden: {feed: yard}\n");
    assert_eq!(told(&diff(&new)), ["Added stream garden", "Removed stream yard"]);
}

#[test]
fn a_feed_that_becomes_a_byte_feed_is_removed_and_added() {
    let push = "  one: {stream: door, url: 'rtmp://a.example/live', key: K}\n";
    let text = FILE.replace("door: {test: clock}", "door: {command: cat}").replace(push, "");
    let new = read(&text);
    let all = ["Added feed door", "Added stream door", "Removed stream door"];
    assert_eq!(told(&diff(&new)), [&all[..], &["Removed feed door", "Removed push one"]].concat());
}

#[test]
fn keys_that_need_a_restart_of_the_service_are_listed_and_kept() {
    let running = read(FILE);
    let text = format!(
        "server: {{port: 8001, mdns: true}}\nrtsp: {{port: 8555, multicast: true}}\n{FILE}"
    );
    let (new, later) = taking_effect(&running, read(&text));
    assert_eq!(later, ["server.port", "server.mdns", "rtsp.port"]);
    assert_eq!(new.server, running.server);
    let (rtsp, before) = (new.rtsp.unwrap(), running.rtsp.clone().unwrap());
    assert_eq!((rtsp.port, rtsp.multicast), (before.port, true));

    let off = read(&format!("rtsp: {{port: off}}\n{FILE}"));
    let (new, later) = taking_effect(&running, off);
    assert_eq!((later.as_slice(), new.rtsp.is_some()), (["rtsp.port"].as_slice(), true));
}
