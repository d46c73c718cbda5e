//! `feeds.NAME.feed`: feeds that are made from others, brought together.

use crate::base::units::{FrameRate, Size};
use crate::config::section::{Report, Spot};
use crate::config::settings::{ByteFeed, Feed, FeedAudio, Source};
use crate::model::ids::FeedName;

/// A feed as it was read, before it has what it takes from another.
pub(in crate::config) struct Read {
    pub feed: Feed,
    /// What the file says; nothing where that is left to the other feed.
    pub size: Option<Size>,
    pub fps: Option<FrameRate>,
}

/// The feeds with what they take from others; `spot` is that of all feeds. Who
/// names one of bytes takes what is in them.
///
/// Tells those that are made from none that exists, from a sound alone, or in
/// a circle.
pub(in crate::config) fn bring_together(
    mut read: Vec<Read>,
    byte_feeds: &[ByteFeed],
    spot: &Spot<'_>,
    report: &mut Report,
) -> Vec<Feed> {
    for one in &mut read {
        let of_bytes = |from: &&FeedName| byte_feeds.iter().any(|feed| feed.name == **from);
        if let Some(from) = one.feed.source.made_from().filter(of_bytes).cloned() {
            one.feed.source = Source::Unpacked(from);
        }
    }
    for index in 0..read.len() {
        let name = read[index].feed.name.clone();
        let at = spot.at(name.as_str()).at("feed");
        let Some(from) = read[index].feed.source.made_from().cloned() else { continue };
        match root(&read, &from) {
            Ok(root) if read[root].feed.source == Source::SoundOnly => {
                report.tell(&at, format!("the feed {from} has no picture"));
            }
            Ok(_) => inherit(&mut read, index),
            Err(Lost::Missing(missing)) if missing == from => {
                let names = read.iter().map(|other| other.feed.name.as_str());
                let names = names.chain(byte_feeds.iter().map(|feed| feed.name.as_str()));
                let names: Vec<&str> = names.collect();
                let (from, names) = (from.as_str(), names.join(", "));
                report.tell(&at, format!("{from:?} names no feed; the feeds are: {names}"));
            }
            // Told where it is.
            Err(Lost::Missing(_)) => {}
            Err(Lost::Circle) => {
                report.tell(&at, format!("{name} would be made from itself in the end, or over more than {MOST} others"));
            }
        }
    }
    read.into_iter().map(|one| one.feed).collect()
}

/// Feeds that may be made from one another in a row: each is a copy of every
/// picture, so a longer row is a mistake.
const MOST: usize = 8;

/// Why there is nothing at the beginning of a chain of feeds.
enum Lost {
    Missing(FeedName),
    /// Or a row that is too long.
    Circle,
}

/// The place of the feed at the beginning of the chain that `name` is in.
fn root(read: &[Read], name: &FeedName) -> Result<usize, Lost> {
    let mut name = name.clone();
    for _ in 0..MOST {
        let found = read.iter().position(|one| one.feed.name == name);
        let found = found.ok_or_else(|| Lost::Missing(name.clone()))?;
        match read[found].feed.source.made_from() {
            Some(next) => name = next.clone(),
            None => return Ok(found),
        }
    }
    Err(Lost::Circle)
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
