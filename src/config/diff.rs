//! What a new configuration changes. Pure.
//!
//! Whatever depends on something that changed changes as well: a stream with
//! its feed, a feed with the one that it is made from. What cannot change
//! while the service runs is kept as it is, and named.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use super::settings::{ByteFeed, ByteStream, Feed, Push, Rtsp, Settings, Sound, Stream};
use crate::base::secret::Secret;
use crate::media::container::Container;
use crate::model::ids::{FeedName, PushName, StreamName};

/// What becomes of something that the new configuration has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Kept,
    /// It differs in what takes effect without a start: where it is found, who
    /// may see it.
    Adjusted,
    /// It is started anew.
    Changed,
    Added,
}

/// What becomes of all things of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kind<N> {
    /// In the order of the new configuration.
    pub fates: Vec<(N, Fate)>,
    pub removed: Vec<N>,
}

/// From one configuration to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diff {
    pub feeds: Kind<FeedName>,
    pub streams: Kind<StreamName>,
    pub byte_feeds: Kind<FeedName>,
    pub byte_streams: Kind<StreamName>,
    pub pushes: Kind<PushName>,
    /// Feeds that are captured in a pipeline of their own from now on.
    pub shared: BTreeSet<FeedName>,
    /// Streams with a new password: who watched without it may not go on.
    pub locked: BTreeSet<StreamName>,
}

impl Fate {
    /// This one; but what is to start anew for another reason does so.
    fn unless(self, starts_anew: bool) -> Self {
        if starts_anew { Fate::Changed } else { self }
    }
}

impl<N: PartialEq + Clone> Kind<N> {
    fn of<'a, T: 'a>(
        old: &'a [T],
        new: &'a [T],
        name: impl Fn(&T) -> &N,
        fate: impl Fn(&'a T, &'a T) -> Fate,
    ) -> Self {
        let before = |one: &T| old.iter().find(|other| name(other) == name(one));
        let fate = |one| before(one).map_or(Fate::Added, |before| fate(before, one));
        let is_gone = |one: &&T| !new.iter().any(|other| name(other) == name(one));
        Self {
            fates: new.iter().map(|one| (name(one).clone(), fate(one))).collect(),
            removed: old.iter().filter(is_gone).map(|one| name(one).clone()).collect(),
        }
    }

    /// What becomes of this one; nothing for what the new configuration lacks.
    pub fn fate(&self, name: &N) -> Option<Fate> {
        self.fates.iter().find(|(known, _)| known == name).map(|(_, fate)| *fate)
    }

    /// Whether what runs for it goes on running.
    pub fn goes_on(&self, name: &N) -> bool {
        matches!(self.fate(name), Some(Fate::Kept | Fate::Adjusted))
    }

    /// Those that have this fate.
    pub fn with(&self, fate: Fate) -> impl Iterator<Item = &N> {
        self.fates.iter().filter(move |(_, other)| *other == fate).map(|(name, _)| name)
    }

    /// Whether all of them are kept, and none is new or gone.
    pub fn is_nothing(&self) -> bool {
        self.removed.is_empty() && self.fates.iter().all(|(_, fate)| *fate == Fate::Kept)
    }
}

impl Diff {
    /// `shared` are the feeds that are captured in pipelines of their own
    /// under `old`. One that stays the same stays so, even where a single
    /// stream is left of it: nobody who watches that shall notice.
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
            |before, after| if feed_changes(before, after) { Fate::Changed } else { Fate::Kept },
        );
        let byte_feeds = Kind::of(
            &old.byte_feeds,
            &new.byte_feeds,
            |feed| &feed.name,
            |before, after| byte_feed_fate((old, before), (new, after)),
        );
        follow_bases(&mut feeds, &byte_feeds, &new.feeds);
        let streams = Kind::of(
            &old.streams,
            &new.streams,
            |stream| &stream.name,
            |before, after| stream_fate(before, after, &feeds).unless(is_locked(&after.name)),
        );
        let byte_streams = Kind::of(
            &old.byte_streams,
            &new.byte_streams,
            |stream| &stream.name,
            |before, after| {
                let fate = byte_stream_fate((old, before), (new, after));
                fate.unless(is_locked(&after.name))
            },
        );
        let pushes = Kind::of(
            &old.pushes,
            &new.pushes,
            |push| &push.name,
            |before, after| push_fate(before, after, &streams).unless(is_locked(&after.stream)),
        );
        Self { feeds, streams, byte_feeds, byte_streams, pushes, shared: shared_now, locked }
    }

    /// Everything is new.
    pub fn from_nothing(new: &Settings) -> Self {
        let nothing = Settings {
            feeds: Vec::new(),
            streams: Vec::new(),
            byte_feeds: Vec::new(),
            byte_streams: Vec::new(),
            pushes: Vec::new(),
            ..new.clone()
        };
        Self::between(&nothing, &BTreeSet::new(), new)
    }

    /// Whether everything stays as it is.
    pub fn is_nothing(&self) -> bool {
        let Self { feeds, streams, byte_feeds, byte_streams, pushes, shared: _, locked: _ } = self;
        feeds.is_nothing()
            && streams.is_nothing()
            && byte_feeds.is_nothing()
            && byte_streams.is_nothing()
            && pushes.is_nothing()
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

/// A feed that is made from one that starts anew does so, too.
fn follow_bases(feeds: &mut Kind<FeedName>, byte_feeds: &Kind<FeedName>, new: &[Feed]) {
    // As many rounds as a chain can be long.
    for _ in new {
        for feed in new {
            let of_pictures = feed.source.made_from().is_none_or(|from| feeds.goes_on(from));
            let of_bytes = feed.source.unpacked_from().is_none_or(|from| byte_feeds.goes_on(from));
            if feeds.goes_on(&feed.name) && !(of_pictures && of_bytes) {
                let own = feeds.fates.iter_mut().find(|(name, _)| *name == feed.name);
                if let Some((_, fate)) = own {
                    *fate = Fate::Changed;
                }
            }
        }
    }
}

fn stream_fate(before: &Stream, after: &Stream, feeds: &Kind<FeedName>) -> Fate {
    let sound_goes_on = match &after.sound {
        Sound::Of(feed) => feeds.goes_on(feed),
        Sound::Feed | Sound::None => true,
    };
    let (url, record) = (after.url.clone(), after.record.clone());
    let placed = Stream { url, record, ..before.clone() };
    if placed != *after || !feeds.goes_on(&after.feed) || !sound_goes_on {
        Fate::Changed
    } else {
        kept_if(before == after)
    }
}

/// A command goes on while the feed that it reads is started anew; bytes in
/// another container cannot.
fn byte_feed_fate(before: (&Settings, &ByteFeed), after: (&Settings, &ByteFeed)) -> Fate {
    let container = |(settings, feed): (&Settings, &ByteFeed)| {
        (
            container_of(settings, &feed.name),
            feed.made_from().map(|from| container_of(settings, from)),
        )
    };
    let stays = before.1 == after.1 && container(before) == container(after);
    if stays { Fate::Kept } else { Fate::Changed }
}

/// As with feeds of bytes.
fn byte_stream_fate(before: (&Settings, &ByteStream), after: (&Settings, &ByteStream)) -> Fate {
    let (url, record) = (after.1.url.clone(), after.1.record.clone());
    let placed = ByteStream { url, record, ..before.1.clone() };
    let container = |(settings, stream): (&Settings, &ByteStream)| {
        stream.feed.as_ref().and_then(|feed| container_of(settings, feed))
    };
    if placed != *after.1 || container(before) != container(after) {
        Fate::Changed
    } else {
        kept_if(before.1 == after.1)
    }
}

fn push_fate(before: &Push, after: &Push, streams: &Kind<StreamName>) -> Fate {
    let is_new = streams.fate(&after.stream).is_none_or(|fate| fate == Fate::Added);
    if (Push { start: after.start, ..before.clone() }) != *after || is_new {
        Fate::Changed
    } else {
        kept_if(before == after)
    }
}

fn kept_if(is_same: bool) -> Fate {
    if is_same { Fate::Kept } else { Fate::Adjusted }
}

/// What the bytes of a feed are: the first stream that shows them as they are
/// knows, if any.
pub fn container_of(settings: &Settings, feed: &FeedName) -> Option<Container> {
    let shows =
        |stream: &&ByteStream| stream.command.is_none() && stream.feed.as_ref() == Some(feed);
    let mut shown = settings.byte_streams.iter().filter(shows);
    shown.find_map(|stream| Container::of(&stream.content_type))
}

/// `new` with what cannot change while the service runs as it is in `running`;
/// and the keys in which they differ there.
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
        // Whether it is there at all.
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
