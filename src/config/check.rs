//! From the merged tree to settings, or to the list of all that is wrong.

use super::keys::{SECTIONS, feeds, pushes, service, streams};
use super::layers::Layered;
use super::problem::Problem;
use super::section::{Report, Spot};
use super::settings::{Feed, FeedAudio, Push, Settings, Sound, Source, Stream};
use super::urls::collide;
use crate::model::ids::FeedName;

/// Checks every key. `earlier` are the problems of the text itself.
pub(super) fn check(layers: &Layered, earlier: Vec<Problem>) -> Result<Settings, Vec<Problem>> {
    let mut report = Report { problems: earlier };
    let root = Spot::root(layers);
    report.keys(&root, &SECTIONS);
    let server = service::server(&root.at("server"), &mut report);
    let access = service::access(&root.at("access"), &mut report);
    let rtsp = service::rtsp(&root.at("rtsp"), &mut report);
    let feeds = feeds::feeds(&root.at("feeds"), &mut report);
    let streams = streams::streams(&root.at("streams"), &feeds, &mut report);
    let pushes = pushes::pushes(&root.at("pushes"), &streams, &mut report);
    let log = service::log(&root.at("log"), &mut report);
    pair(&root, &feeds, &streams, &mut report);
    show(&root, &feeds, &streams, &pushes, &mut report);
    keep_apart(&root, &streams, &mut report);
    if report.problems.is_empty() {
        return Ok(Settings { server, access, rtsp, feeds, streams, pushes, log });
    }
    // By line, and what has none last: the order in which a person mends a file.
    report.problems.sort_by_key(|problem| problem.line().unwrap_or(usize::MAX));
    report.problems.dedup();
    Err(report.problems)
}

/// Tells streams without their feeds, and, if nobody has mistyped a name,
/// feeds without a stream.
fn pair(root: &Spot<'_>, feeds: &[Feed], streams: &[Stream], report: &mut Report) {
    let mut all_found = true;
    for stream in streams {
        let spot = root.at("streams").at(stream.name.as_str());
        let nearest = |spots: &[Spot<'_>]| spots.iter().position(Spot::is_given);
        let spots = [spot.at("feed"), spot.at("feeds").at("video")];
        let of_video = nearest(&spots).map_or(&spot, |index| &spots[index]);
        let video = known(of_video, &stream.feed, feeds, report);
        all_found &= video.is_some();
        let Sound::Of(audio) = &stream.sound else { continue };
        if video.is_some_and(|feed| feed.source == Source::SoundOnly) {
            report.tell(of_video, format!("the feed {} has no picture", stream.feed));
        }
        let of_audio = spot.at("feeds").at("audio");
        let audio = known(&of_audio, audio, feeds, report);
        all_found &= audio.is_some();
        if let Some(feed) = audio.filter(|feed| feed.audio == FeedAudio::None) {
            report.tell(&of_audio, format!("the feed {} has no sound", feed.name));
        }
    }
    // Where a stream or its feed is named wrongly, that feed is not to blame.
    let all_found = all_found && !streams.is_empty();
    let is_shown = |feed: &&Feed| {
        let sound = Sound::Of(feed.name.clone());
        streams.iter().any(|stream| stream.feed == feed.name || stream.sound == sound)
            || feeds.iter().any(|other| other.source.made_from() == Some(&feed.name))
    };
    for feed in feeds.iter().filter(|feed| all_found && !is_shown(feed)) {
        let spot = root.at("feeds").at(feed.name.as_str());
        report.tell(&spot, "no stream shows this feed; add one to `streams`, or remove the feed");
    }
}

/// The feed of this name; tells that there is none.
fn known<'a>(
    spot: &Spot<'_>,
    name: &FeedName,
    feeds: &'a [Feed],
    report: &mut Report,
) -> Option<&'a Feed> {
    let found = feeds.iter().find(|feed| feed.name == *name);
    if found.is_none() {
        let names: Vec<&str> = feeds.iter().map(|feed| feed.name.as_str()).collect();
        let (name, names) = (name.as_str(), names.join(", "));
        report.tell(spot, format!("{name:?} names no feed; the feeds are: {names}"));
    }
    found
}

/// Tells pushes of a sound alone: receivers refuse it.
fn show(root: &Spot<'_>, feeds: &[Feed], streams: &[Stream], pushes: &[Push], report: &mut Report) {
    for push in pushes {
        let feed =
            streams.iter().find(|stream| stream.name == push.stream).map(|stream| &stream.feed);
        let feed = feeds.iter().find(|known| Some(&known.name) == feed);
        if feed.is_some_and(|feed| feed.source == Source::SoundOnly) {
            let spot = root.at("pushes").at(push.name.as_str());
            let stream = &push.stream;
            report.tell(&spot, format!("the stream {stream} has no picture, and a push needs one"));
        }
    }
}

/// Tells streams whose URLs answer the same requests.
fn keep_apart(root: &Spot<'_>, streams: &[Stream], report: &mut Report) {
    for (index, stream) in streams.iter().enumerate() {
        let earlier = streams[..index].iter().find(|other| {
            !stream.url.is_empty() && !other.url.is_empty() && collide(&other.url, &stream.url)
        });
        if let Some(other) = earlier {
            let spot = root.at("streams").at(stream.name.as_str());
            let spot = if spot.at("url").is_given() { spot.at("url") } else { spot };
            let (url, name, taken) = (&stream.url, &other.name, &other.url);
            report.tell(&spot, format!("{url} collides with {taken} of the stream {name}"));
        }
    }
}
