//! `feeds.NAME.feed`: feeds that are made from others.

use crate::base::units::{FrameRate, Size};
use crate::config::section::{Field, Report};
use crate::config::settings::{ByteFeed, Feed, FeedAudio, Source};
use crate::model::ids::FeedName;

/// A feed as read, before it inherits values from another.
pub(in crate::config) struct Read {
    pub feed: Feed,
    /// As configured; `None` to inherit it.
    pub size: Option<Size>,
    pub fps: Option<FrameRate>,
}

/// Resolves the feeds that are made from others; `field` is `feeds`. A feed that
/// names a byte feed is unpacked from it.
///
/// Reports feeds that are made from an unknown feed, from audio only, or in a
/// cycle.
pub(in crate::config) fn resolve(
    mut read: Vec<Read>,
    byte_feeds: &[ByteFeed],
    field: &Field<'_>,
    report: &mut Report,
) -> Vec<Feed> {
    for one in &mut read {
        let of_bytes = |from: &&FeedName| byte_feeds.iter().any(|feed| feed.name == **from);
        if let Some(from) = one.feed.source.made_from().filter(of_bytes).cloned() {
            one.feed.source = Source::Unpacked(from);
        }
    }
    let chain = Chain {
        field,
        feeds: read.iter().map(link_of).collect(),
        others: byte_feeds.iter().map(|feed| feed.name.clone()).collect(),
        why_not: "gives bytes",
    };
    let roots: Vec<_> = (0..read.len()).map(|index| chain.root(index, report)).collect();
    for (index, root) in roots.into_iter().enumerate() {
        let Some(root) = root else { continue };
        if read[root].feed.source == Source::SoundOnly {
            let (name, from) = link_of(&read[index]);
            let from = from.expect("it has a root");
            let at = field.at(name.as_str()).at("feed");
            report.add(&at, format!("the feed {from} has no picture"));
        } else {
            inherit(&mut read, index);
        }
    }
    let chain = Chain {
        field,
        feeds: byte_feeds
            .iter()
            .map(|feed| (feed.name.clone(), feed.made_from().cloned()))
            .collect(),
        others: read.iter().map(|one| one.feed.name.clone()).collect(),
        why_not: "gives pictures, not bytes",
    };
    (0..byte_feeds.len()).for_each(|index| {
        chain.root(index, report);
    });
    read.into_iter().map(|one| one.feed).collect()
}

fn link_of(one: &Read) -> (FeedName, Option<FeedName>) {
    (one.feed.name.clone(), one.feed.source.made_from().cloned())
}

/// The maximum length of a chain of feeds. Each feed copies all frames, so a
/// longer chain is a mistake.
const MAX_CHAIN: usize = 8;

/// Feeds of one kind, and what they are made from.
struct Chain<'a> {
    field: &'a Field<'a>,
    feeds: Vec<(FeedName, Option<FeedName>)>,
    /// Feeds of the other kind, and why they do not fit.
    others: Vec<FeedName>,
    why_not: &'static str,
}

impl Chain<'_> {
    /// The index of the first feed of the chain; `None` if the feed is not made
    /// from another. Reports a chain without a beginning.
    fn root(&self, index: usize, report: &mut Report) -> Option<usize> {
        let (name, from) = &self.feeds[index];
        let from = from.as_ref()?;
        let at = self.field.at(name.as_str()).at("feed");
        let mut next = from;
        for _ in 0..MAX_CHAIN {
            let Some(found) = self.feeds.iter().position(|(known, _)| known == next) else {
                // A mistake further up the chain is reported there.
                if next == from {
                    report.add(&at, self.message(from));
                }
                return None;
            };
            match &self.feeds[found].1 {
                Some(further) => next = further,
                None => return Some(found),
            }
        }
        let message =
            format!("{name} is made from itself, or through more than {MAX_CHAIN} others");
        report.add(&at, message);
        None
    }

    fn message(&self, from: &FeedName) -> String {
        if self.others.contains(from) {
            return format!("the feed {from} {}", self.why_not);
        }
        let names = self.feeds.iter().map(|(name, _)| name).chain(&self.others);
        let names: Vec<&str> = names.map(FeedName::as_str).collect();
        let from = from.as_str();
        format!("{from:?} names no feed; the feeds are: {}", names.join(", "))
    }
}

/// Sets the size, the frame rate and the audio from the feed that this one is
/// made from, where they are not configured.
fn inherit(read: &mut [Read], index: usize) {
    let Some(from) = read[index].feed.source.made_from().cloned() else { return };
    let Some(base) = read.iter().position(|one| one.feed.name == from) else { return };
    inherit(read, base);
    let base = read[base].feed.clone();
    let one = &mut read[index];
    one.feed.size = one.size.unwrap_or(base.turned_size());
    one.feed.fps = one.fps.unwrap_or(base.fps);
    if one.feed.audio == FeedAudio::Own && base.audio == FeedAudio::None {
        one.feed.audio = FeedAudio::None;
    }
}
