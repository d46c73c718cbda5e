//! What comes back, and what stays new.

use super::*;
use crate::config::parse_text;

const OLD: &str = "\
feeds:
  door: {test: clock, fps: 20}
  yard: {test: clock}
streams:
  door: {bitrate: 1M}
  yard: {}
";

fn read(text: &str) -> Settings {
    parse_text(text).unwrap_or_else(|problems| panic!("{problems:?}\n{text}"))
}

fn name<T: std::str::FromStr>(text: &str) -> T {
    text.parse().ok().expect("a plain word is a name")
}

fn back(new: &str, feeds: &[&str], streams: &[&str]) -> Option<Settings> {
    let feeds: Vec<_> = feeds.iter().map(|feed| name(feed)).collect();
    let streams: Vec<_> = streams.iter().map(|stream| name(stream)).collect();
    rolled_back(&read(new), &read(OLD), &feeds, &streams)
}

#[test]
fn a_feed_is_restored_with_its_streams_only() {
    let new = "\
feeds:
  door: {file: /no/film.mp4}
  yard: {test: clock, fps: 5}
streams:
  new: {feed: yard}
  door: {bitrate: 2M, url: /front}
  yard: {}
";
    let merged = back(new, &["door"], &[]).unwrap();
    let wanted = "\
feeds:
  door: {test: clock, fps: 20}
  yard: {test: clock, fps: 5}
streams:
  new: {feed: yard}
  door: {bitrate: 1M, url: /front}
  yard: {}
";
    assert_eq!(format!("{merged:#?}"), format!("{:#?}", read(wanted)));
}

#[test]
fn a_stream_is_restored_alone() {
    let new = OLD.replace("bitrate: 1M", "encoder: x264enc").replace("fps: 20", "fps: 21");
    let merged = back(&new, &[], &["door"]).unwrap();
    let wanted = read(&OLD.replace("fps: 20", "fps: 21"));
    assert_eq!(format!("{merged:#?}"), format!("{wanted:#?}"));
}

#[test]
fn a_removed_stream_is_not_restored() {
    let new = "feeds: {door: {test: clock}, yard: {test: clock}}\n\
        streams: {front: {feed: door}, yard: {}}\n";
    let merged = back(new, &["door"], &[]).unwrap();
    assert_eq!(merged.streams, read(new).streams);
    assert_eq!(merged.feeds[0], read(OLD).feeds[0]);
}

#[test]
fn a_feed_of_another_kind_is_restored_with_its_stream() {
    let new = OLD.replace("door: {test: clock, fps: 20}", "door: {command: cat}");
    let merged = back(&new.replace("{bitrate: 1M}", "{}"), &["door"], &[]).unwrap();
    assert!(merged.byte_feeds.is_empty() && merged.byte_streams.is_empty());
    assert_eq!((merged.feeds.len(), merged.streams.len()), (2, 2));
}

#[test]
fn an_inconsistent_result_is_not_rolled_back() {
    // The old stream needs a feed that is gone.
    let new = "feeds: {yard: {test: clock}}\nstreams: {door: {feed: yard, bitrate: 2M}}\n";
    assert!(back(new, &[], &["door"]).is_none());
}
