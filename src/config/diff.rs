//! The differences between two configurations. Pure.
//!
//! A change includes the dependents: a stream changes with its feed, a feed with
//! the one that it is made from. Keys that cannot change while the service runs
//! keep their values and are listed.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use super::settings::{ByteFeed, ByteStream, Feed, Push, Rtsp, Settings, Sound, Stream};
use crate::base::secret::Secret;
use crate::media::container::Container;
use crate::model::ids::{FeedName, PushName, StreamName};

/// How a reload treats an item of the new configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Kept,
    /// Differs only in keys that take effect without a restart, such as the URL.
    Adjusted,
    /// Is restarted.
    Changed,
    Added,
}

/// How a reload treats all items of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kind<N> {
    /// In the order of the new configuration.
    pub outcomes: Vec<(N, Outcome)>,
    pub removed: Vec<N>,
}

/// The differences between two configurations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diff {
    pub feeds: Kind<FeedName>,
    pub streams: Kind<StreamName>,
    pub byte_feeds: Kind<FeedName>,
    pub byte_streams: Kind<StreamName>,
    pub pushes: Kind<PushName>,
    /// Feeds with a capture pipeline of their own under the new configuration.
    pub shared: BTreeSet<FeedName>,
    /// Streams with a new password: their viewers are disconnected.
    pub locked: BTreeSet<StreamName>,
}

impl Outcome {
    /// `Changed` if a restart is needed for another reason, otherwise `self`.
    fn or_changed_if(self, needs_restart: bool) -> Self {
        if needs_restart { Outcome::Changed } else { self }
    }
}

impl<N: PartialEq + Clone> Kind<N> {
    fn of<'a, T: 'a>(
        old: &'a [T],
        new: &'a [T],
        name: impl Fn(&T) -> &N,
        outcome: impl Fn(&'a T, &'a T) -> Outcome,
    ) -> Self {
        let before = |one: &T| old.iter().find(|other| name(other) == name(one));
        let outcome = |one| before(one).map_or(Outcome::Added, |before| outcome(before, one));
        let is_removed = |one: &&T| !new.iter().any(|other| name(other) == name(one));
        Self {
            outcomes: new.iter().map(|one| (name(one).clone(), outcome(one))).collect(),
            removed: old.iter().filter(is_removed).map(|one| name(one).clone()).collect(),
        }
    }

    /// The outcome of an item; `None` if the new configuration does not have it.
    pub fn outcome(&self, name: &N) -> Option<Outcome> {
        self.outcomes.iter().find(|(known, _)| known == name).map(|(_, outcome)| *outcome)
    }

    /// Whether an item continues without a restart.
    pub fn continues(&self, name: &N) -> bool {
        matches!(self.outcome(name), Some(Outcome::Kept | Outcome::Adjusted))
    }

    /// The items with this outcome.
    pub fn with(&self, outcome: Outcome) -> impl Iterator<Item = &N> {
        self.outcomes.iter().filter(move |(_, other)| *other == outcome).map(|(name, _)| name)
    }

    /// Whether all items are kept, and none is added or removed.
    pub fn is_empty(&self) -> bool {
        self.removed.is_empty()
            && self.outcomes.iter().all(|(_, outcome)| *outcome == Outcome::Kept)
    }
}

impl Diff {
    /// The differences from `old` to `new`. `shared` are the feeds with capture
    /// pipelines of their own under `old`. An unchanged feed keeps its pipeline
    /// even if a single stream is left, so that its viewers are not interrupted.
    pub fn between(old: &Settings, shared: &BTreeSet<FeedName>, new: &Settings) -> Self {
        let shared_now = shared_under(old, shared, new);
        let locked = locked_under(old, new);
        let is_locked = |name: &StreamName| locked.contains(name);
        let feed_changes = |before: &Feed, after: &Feed| {
            before != after || shared.contains(&after.name) != shared_now.contains(&after.name)
        };
        let mut feeds = Kind::of(
            &old.feeds,
            &new.feeds,
            |feed| &feed.name,
            |before, after| {
                if feed_changes(before, after) { Outcome::Changed } else { Outcome::Kept }
            },
        );
        let byte_feeds = Kind::of(
            &old.byte_feeds,
            &new.byte_feeds,
            |feed| &feed.name,
            |before, after| byte_feed_outcome((old, before), (new, after)),
        );
        propagate_changes(&mut feeds, &byte_feeds, &new.feeds);
        let streams = Kind::of(
            &old.streams,
            &new.streams,
            |stream| &stream.name,
            |before, after| {
                stream_outcome(before, after, &feeds).or_changed_if(is_locked(&after.name))
            },
        );
        let byte_streams = Kind::of(
            &old.byte_streams,
            &new.byte_streams,
            |stream| &stream.name,
            |before, after| {
                let outcome = byte_stream_outcome((old, before), (new, after));
                outcome.or_changed_if(is_locked(&after.name))
            },
        );
        let pushes = Kind::of(
            &old.pushes,
            &new.pushes,
            |push| &push.name,
            |before, after| {
                push_outcome(before, after, &streams).or_changed_if(is_locked(&after.stream))
            },
        );
        Self { feeds, streams, byte_feeds, byte_streams, pushes, shared: shared_now, locked }
    }

    /// The differences from an empty configuration: everything is added.
    pub fn initial(new: &Settings) -> Self {
        let empty = Settings {
            feeds: Vec::new(),
            streams: Vec::new(),
            byte_feeds: Vec::new(),
            byte_streams: Vec::new(),
            pushes: Vec::new(),
            ..new.clone()
        };
        Self::between(&empty, &BTreeSet::new(), new)
    }

    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        let Self { feeds, streams, byte_feeds, byte_streams, pushes, shared: _, locked: _ } = self;
        feeds.is_empty()
            && streams.is_empty()
            && byte_feeds.is_empty()
            && byte_streams.is_empty()
            && pushes.is_empty()
    }
}

fn shared_under(old: &Settings, shared: &BTreeSet<FeedName>, new: &Settings) -> BTreeSet<FeedName> {
    let stays = |feed: &Feed| shared.contains(&feed.name) && old.feeds.contains(feed);
    let is_shared = |feed: &&Feed| new.is_shared(feed) || stays(feed);
    new.feeds.iter().filter(is_shared).map(|feed| feed.name.clone()).collect()
}

fn locked_under(old: &Settings, new: &Settings) -> BTreeSet<StreamName> {
    let is_new = |(name, hash): &&(StreamName, Secret)| old.access.of_stream(name) != Some(hash);
    new.access.streams.iter().filter(is_new).map(|(name, _)| name.clone()).collect()
}

/// Marks feeds as changed that are made from a changed feed.
fn propagate_changes(feeds: &mut Kind<FeedName>, byte_feeds: &Kind<FeedName>, new: &[Feed]) {
    // A chain is at most as long as the list.
    for _ in new {
        for feed in new {
            let of_pictures = feed.source.made_from().is_none_or(|from| feeds.continues(from));
            let of_bytes =
                feed.source.unpacked_from().is_none_or(|from| byte_feeds.continues(from));
            if feeds.continues(&feed.name) && !(of_pictures && of_bytes) {
                let own = feeds.outcomes.iter_mut().find(|(name, _)| *name == feed.name);
                if let Some((_, outcome)) = own {
                    *outcome = Outcome::Changed;
                }
            }
        }
    }
}

fn stream_outcome(before: &Stream, after: &Stream, feeds: &Kind<FeedName>) -> Outcome {
    let sound_continues = match &after.sound {
        Sound::Of(feed) => feeds.continues(feed),
        Sound::Feed | Sound::None => true,
    };
    let (url, record) = (after.url.clone(), after.record.clone());
    let placed = Stream { url, record, ..before.clone() };
    if placed != *after || !feeds.continues(&after.feed) || !sound_continues {
        Outcome::Changed
    } else {
        kept_if(before == after)
    }
}

/// A command continues while the feed that it reads is restarted, unless the
/// container of the bytes changes.
fn byte_feed_outcome(before: (&Settings, &ByteFeed), after: (&Settings, &ByteFeed)) -> Outcome {
    let container = |(settings, feed): (&Settings, &ByteFeed)| {
        (
            container_of(settings, &feed.name),
            feed.made_from().map(|from| container_of(settings, from)),
        )
    };
    let stays = before.1 == after.1 && container(before) == container(after);
    if stays { Outcome::Kept } else { Outcome::Changed }
}

/// As [`byte_feed_outcome`].
fn byte_stream_outcome(
    before: (&Settings, &ByteStream),
    after: (&Settings, &ByteStream),
) -> Outcome {
    let (url, record) = (after.1.url.clone(), after.1.record.clone());
    let placed = ByteStream { url, record, ..before.1.clone() };
    let container = |(settings, stream): (&Settings, &ByteStream)| {
        stream.feed.as_ref().and_then(|feed| container_of(settings, feed))
    };
    if placed != *after.1 || container(before) != container(after) {
        Outcome::Changed
    } else {
        kept_if(before.1 == after.1)
    }
}

fn push_outcome(before: &Push, after: &Push, streams: &Kind<StreamName>) -> Outcome {
    let is_new = streams.outcome(&after.stream).is_none_or(|outcome| outcome == Outcome::Added);
    if (Push { start: after.start, ..before.clone() }) != *after || is_new {
        Outcome::Changed
    } else {
        kept_if(before == after)
    }
}

fn kept_if(is_same: bool) -> Outcome {
    if is_same { Outcome::Kept } else { Outcome::Adjusted }
}

/// The container of a feed's bytes, from the content type of the first stream
/// that passes them on unchanged.
pub fn container_of(settings: &Settings, feed: &FeedName) -> Option<Container> {
    let shows =
        |stream: &&ByteStream| stream.command.is_none() && stream.feed.as_ref() == Some(feed);
    let mut shown = settings.byte_streams.iter().filter(shows);
    shown.find_map(|stream| Container::from_content_type(&stream.content_type))
}

/// `new` with the values of `running` for keys that cannot change while the
/// service runs; and those keys that differ.
pub fn taking_effect(running: &Settings, mut new: Settings) -> (Settings, Vec<&'static str>) {
    let mut later = Vec::new();
    let (old, server) = (&running.server, &mut new.server);
    keep("server.bind", &old.bind, &mut server.bind, &mut later);
    keep("server.port", &old.port, &mut server.port, &mut later);
    keep("server.socket", &old.socket, &mut server.socket, &mut later);
    keep("server.docroot", &old.docroot, &mut server.docroot, &mut later);
    keep("server.mdns", &old.mdns, &mut server.mdns, &mut later);
    keep("server.priority", &old.priority, &mut server.priority, &mut later);
    keep("server.state", &old.state, &mut server.state, &mut later);
    keep("server.tls", &old.tls, &mut server.tls, &mut later);
    match (&running.rtsp, &mut new.rtsp) {
        (Some(Rtsp { port, tls_port, .. }), Some(rtsp)) => {
            keep("rtsp.port", port, &mut rtsp.port, &mut later);
            keep("rtsp.tls_port", tls_port, &mut rtsp.tls_port, &mut later);
        }
        // RTSP is switched on or off.
        (old, new) => keep("rtsp.port", old, new, &mut later),
    }
    let (old, recordings) = (&running.recordings, &mut new.recordings);
    keep("recordings.folder", &old.folder, &mut recordings.folder, &mut later);
    keep("log.folder", &running.log.folder, &mut new.log.folder, &mut later);
    (new, later)
}

fn keep<T: Clone + PartialEq>(
    key: &'static str,
    running: &T,
    new: &mut T,
    later: &mut Vec<&'static str>,
) {
    if running != new {
        later.push(key);
        *new = running.clone();
    }
}
