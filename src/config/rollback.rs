//! Restores a part of the previous configuration in a new one. Pure.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use super::settings::{ByteStream, Settings, Sound, Stream};
use crate::model::ids::{FeedName, StreamName};

/// `new` with the values of `old` for `feeds` with their streams, and for
/// `streams`. Streams keep their URLs in `new`, and those that `new` lacks are
/// not restored. `None` if the result is not consistent.
pub fn rolled_back(
    new: &Settings,
    old: &Settings,
    feeds: &[FeedName],
    streams: &[StreamName],
) -> Option<Settings> {
    let mut merged = new.clone();
    for feed in feeds {
        restore_feed(&mut merged, old, feed);
    }
    let is_named =
        |feed: &FeedName, name: &StreamName| feeds.contains(feed) || streams.contains(name);
    let tracks = old.streams.iter().filter(|stream| is_named(&stream.feed, &stream.name));
    tracks.for_each(|stream| restore_stream(&mut merged, stream));
    let bytes = old.byte_streams.iter().filter(|stream| {
        let of_feed = stream.feed.as_ref().is_some_and(|feed| feeds.contains(feed));
        of_feed || streams.contains(&stream.name)
    });
    bytes.for_each(|stream| restore_byte_stream(&mut merged, stream));
    is_consistent(&merged).then_some(merged)
}

fn restore_feed(merged: &mut Settings, old: &Settings, name: &FeedName) {
    let index = merged.feeds.iter().position(|feed| feed.name == *name);
    let byte_index = merged.byte_feeds.iter().position(|feed| feed.name == *name);
    merged.feeds.retain(|feed| feed.name != *name);
    merged.byte_feeds.retain(|feed| feed.name != *name);
    if let Some(feed) = old.feeds.iter().find(|feed| feed.name == *name) {
        let end = merged.feeds.len();
        merged.feeds.insert(index.unwrap_or(end).min(end), feed.clone());
    }
    if let Some(feed) = old.byte_feeds.iter().find(|feed| feed.name == *name) {
        let end = merged.byte_feeds.len();
        merged.byte_feeds.insert(byte_index.unwrap_or(end).min(end), feed.clone());
    }
}

fn restore_stream(merged: &mut Settings, old: &Stream) {
    if let Some(stream) = merged.streams.iter_mut().find(|stream| stream.name == old.name) {
        let url = stream.url.clone();
        *stream = Stream { url, ..old.clone() };
    } else if merged.byte_streams.iter().any(|stream| stream.name == old.name) {
        merged.byte_streams.retain(|stream| stream.name != old.name);
        merged.streams.push(old.clone());
    }
}

fn restore_byte_stream(merged: &mut Settings, old: &ByteStream) {
    if let Some(stream) = merged.byte_streams.iter_mut().find(|stream| stream.name == old.name) {
        let url = stream.url.clone();
        *stream = ByteStream { url, ..old.clone() };
    } else if merged.streams.iter().any(|stream| stream.name == old.name) {
        merged.streams.retain(|stream| stream.name != old.name);
        merged.byte_streams.push(old.clone());
    }
}

/// Whether names and URLs are unique and all references resolve.
fn is_consistent(settings: &Settings) -> bool {
    let Settings { feeds, streams, byte_feeds, byte_streams, pushes, .. } = settings;
    let feed = |name: &FeedName| feeds.iter().find(|feed| feed.name == *name);
    let byte_feed = |name: &FeedName| byte_feeds.iter().find(|feed| feed.name == *name);
    let has = |name: &FeedName| feed(name).is_some();
    let has_bytes = |name: &FeedName| byte_feed(name).is_some();
    let base = |name: &FeedName| feed(name)?.source.made_from().cloned();
    let byte_base = |name: &FeedName| byte_feed(name)?.made_from().cloned();
    let names = feeds.iter().map(|feed| &feed.name);
    let names: Vec<_> = names.chain(byte_feeds.iter().map(|feed| &feed.name)).collect();
    let urls = streams.iter().map(|stream| &stream.url);
    let urls: Vec<_> = urls.chain(byte_streams.iter().map(|stream| &stream.url)).collect();
    is_unique(&names)
        && is_unique(&urls)
        && feeds.iter().all(|feed| is_chain_valid(&feed.name, feeds.len(), has, base))
        && byte_feeds
            .iter()
            .all(|feed| is_chain_valid(&feed.name, byte_feeds.len(), has_bytes, byte_base))
        && streams.iter().all(|stream| {
            let sounds = match &stream.sound {
                Sound::Of(feed) => has(feed),
                Sound::Feed | Sound::None => true,
            };
            has(&stream.feed) && sounds
        })
        && feeds.iter().all(|feed| feed.source.unpacked_from().is_none_or(has_bytes))
        && byte_streams.iter().all(|stream| stream.feed.as_ref().is_none_or(has_bytes))
        && pushes.iter().all(|push| streams.iter().any(|stream| stream.name == push.stream))
}

/// Whether the chain of feeds that `feed` is made from is complete and acyclic.
fn is_chain_valid(
    feed: &FeedName,
    max_length: usize,
    has: impl Fn(&FeedName) -> bool,
    base: impl Fn(&FeedName) -> Option<FeedName>,
) -> bool {
    let mut chain = std::iter::successors(Some(feed.clone()), base);
    chain.by_ref().take(max_length).all(|feed| has(&feed)) && chain.next().is_none()
}

fn is_unique<T: Ord>(all: &[T]) -> bool {
    all.iter().collect::<BTreeSet<_>>().len() == all.len()
}
