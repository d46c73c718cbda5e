//! `feeds.NAME.feed`: feeds that are made from others, brought together.

use crate::base::units::{FrameRate, Size};
use crate::config::section::{Field, Report};
use crate::config::settings::{ByteFeed, Feed, FeedAudio, Source};
use crate::model::ids::FeedName;

/// A feed as it was read, before it has what it takes from another.
pub(in crate::config) struct Read {
    pub feed: Feed,
    /// What the file says; nothing where that is left to the other feed.
    pub size: Option<Size>,
    pub fps: Option<FrameRate>,
}

/// The feeds with what they take from others; `field` is that of all feeds. Who
/// names one of bytes takes what is in them.
///
/// Tells those that are made from none that exists, from a sound alone, or in
/// a circle.
pub(in crate::config) fn bring_together(
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
        kin: read.iter().map(link_of).collect(),
        strangers: byte_feeds.iter().map(|feed| feed.name.clone()).collect(),
        stranger: "gives bytes",
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
        kin: byte_feeds.iter().map(|feed| (feed.name.clone(), feed.made_from().cloned())).collect(),
        strangers: read.iter().map(|one| one.feed.name.clone()).collect(),
        stranger: "gives pictures, not bytes",
    };
    (0..byte_feeds.len()).for_each(|index| {
        chain.root(index, report);
    });
    read.into_iter().map(|one| one.feed).collect()
}

fn link_of(one: &Read) -> (FeedName, Option<FeedName>) {
    (one.feed.name.clone(), one.feed.source.made_from().cloned())
}

/// Feeds that may be made from one another in a row: each is a copy of
/// everything, so a longer row is a mistake.
const MOST: usize = 8;

/// Feeds of one kind, and what they are made from.
struct Chain<'a> {
    field: &'a Field<'a>,
    kin: Vec<(FeedName, Option<FeedName>)>,
    /// Those of the other kind, and what is wrong with them.
    strangers: Vec<FeedName>,
    stranger: &'static str,
}

impl Chain<'_> {
    /// The place of the feed at the beginning of the row that this one is in;
    /// nothing where it is made from none. Tells where there is no beginning.
    fn root(&self, index: usize, report: &mut Report) -> Option<usize> {
        let (name, from) = &self.kin[index];
        let from = from.as_ref()?;
        let at = self.field.at(name.as_str()).at("feed");
        let mut next = from;
        for _ in 0..MOST {
            let Some(found) = self.kin.iter().position(|(known, _)| known == next) else {
                // Where it is another's mistake, it is told there.
                if next == from {
                    report.add(&at, self.why_not(from));
                }
                return None;
            };
            match &self.kin[found].1 {
                Some(further) => next = further,
                None => return Some(found),
            }
        }
        let told =
            format!("{name} would be made from itself in the end, or over more than {MOST} others");
        report.add(&at, told);
        None
    }

    fn why_not(&self, from: &FeedName) -> String {
        if self.strangers.contains(from) {
            return format!("the feed {from} {}", self.stranger);
        }
        let names = self.kin.iter().map(|(name, _)| name).chain(&self.strangers);
        let names: Vec<&str> = names.map(FeedName::as_str).collect();
        let from = from.as_str();
        format!("{from:?} names no feed; the feeds are: {}", names.join(", "))
    }
}

/// Gives a feed the size, the rate and the sound of that which it is made from,
/// as far as it has none of its own.
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
