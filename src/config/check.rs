//! Converts the merged tree to settings, or to the list of all problems.

use super::keys::{
    SECTIONS, feeds, limits, pages, pushes, recordings, refuse_templates, service, streams,
};
use super::layers::Layered;
use super::problem::Problem;
use super::section::{Field, Report};
use super::settings::{
    ByteFeed, ByteStream, Feed, FeedAudio, Pages, Push, Settings, Sound, Source, Stream,
};
use super::urls::{byte_streams_collide, collide, shadows};
use crate::model::ids::{FeedName, StreamName};

/// Checks all keys. `earlier` are the problems of the text.
pub(super) fn check(layers: &Layered, earlier: Vec<Problem>) -> Result<Settings, Vec<Problem>> {
    let mut report = Report { problems: earlier };
    let root = Field::root(layers);
    report.keys(&root, &SECTIONS);
    refuse_templates(&root, &mut report);
    let server = service::server(&root.at("server"), &mut report);
    let access = service::passwords(&root, &mut report);
    let rtsp = service::rtsp(&root.at("rtsp"), &mut report);
    let (feeds, byte_feeds) = feeds::feeds(&root.at("feeds"), &mut report);
    let both = (feeds.as_slice(), byte_feeds.as_slice());
    let (streams, byte_streams) = streams::streams(&root.at("streams"), both, &mut report);
    let pushes = pushes::pushes(&root.at("pushes"), &streams, &mut report);
    let recordings = recordings::recordings(&root.at("recordings"), &mut report);
    let pages = pages::pages(&root.at("pages"), &mut report);
    let limits = limits::limits(&root.at("limits"), &mut report);
    let log = service::log(&root.at("log"), &mut report);
    let all = All {
        feeds: &feeds,
        byte_feeds: &byte_feeds,
        streams: &streams,
        byte_streams: &byte_streams,
    };
    all.check_feeds(&root, &mut report);
    check_pushes(&root, &feeds, &streams, &pushes, &mut report);
    all.check_urls(&root, &mut report);
    check_pages(&root, &all, &pages, &mut report);
    if report.problems.is_empty() {
        return Ok(Settings {
            server,
            access,
            rtsp,
            feeds,
            streams,
            byte_feeds,
            byte_streams,
            pushes,
            recordings,
            pages,
            limits,
            log,
        });
    }
    // By line, those without one last: the order in which a file is corrected.
    report.problems.sort_by_key(|problem| problem.line().unwrap_or(usize::MAX));
    report.problems.dedup();
    Err(report.problems)
}

/// All feeds and streams.
struct All<'a> {
    feeds: &'a [Feed],
    byte_feeds: &'a [ByteFeed],
    streams: &'a [Stream],
    byte_streams: &'a [ByteStream],
}

impl All<'_> {
    /// Reports streams without their feeds, and, if all names are right, feeds
    /// without a stream.
    fn check_feeds(&self, root: &Field<'_>, report: &mut Report) {
        let streams_found = self.pair_streams(root, report);
        let bytes_found = self.pair_byte_streams(root, report);
        let any = !self.streams.is_empty() || !self.byte_streams.is_empty();
        // With a mistyped name, the unused feed would be reported without need.
        if !(streams_found && bytes_found && any) {
            return;
        }
        for name in self.feed_names() {
            let by_tracks = self.streams.iter().any(|stream| {
                let of = |feed: &FeedName| feed.as_str() == name;
                of(&stream.feed) || matches!(&stream.sound, Sound::Of(other) if of(other))
            });
            let by_feeds = self.feeds.iter().any(|other| {
                let from = other.source.made_from().or(other.source.unpacked_from());
                from.is_some_and(|from| from.as_str() == name)
            });
            let by_feeds = by_feeds
                || self
                    .byte_feeds
                    .iter()
                    .any(|other| other.made_from().is_some_and(|from| from.as_str() == name));
            let shows = |stream: &&ByteStream| {
                stream.feed.as_ref().is_some_and(|feed| feed.as_str() == name)
            };
            if !by_tracks && !by_feeds && self.byte_streams.iter().find(shows).is_none() {
                let field = root.at("feeds").at(name);
                let message = "no stream shows this feed; add one to `streams`, or remove the feed";
                report.add(&field, message);
            }
        }
    }

    fn feed_names(&self) -> Vec<&str> {
        let pictures = self.feeds.iter().map(|feed| feed.name.as_str());
        pictures.chain(self.byte_feeds.iter().map(|feed| feed.name.as_str())).collect()
    }

    /// Returns whether every stream has its feeds.
    fn pair_streams(&self, root: &Field<'_>, report: &mut Report) -> bool {
        let mut all_found = true;
        for stream in self.streams {
            let field = root.at("streams").at(stream.name.as_str());
            let fields = [field.at("feed"), field.at("feeds").at("video")];
            let of_video = fields.iter().find(|field| field.is_given()).unwrap_or(&field);
            let video = self.find_feed(of_video, &stream.feed, report);
            all_found &= video.is_some();
            let Sound::Of(audio) = &stream.sound else { continue };
            if video.is_some_and(|feed| feed.source == Source::SoundOnly) {
                report.add(of_video, format!("the feed {} has no picture", stream.feed));
            }
            let of_audio = field.at("feeds").at("audio");
            let audio = self.find_feed(&of_audio, audio, report);
            all_found &= audio.is_some();
            if let Some(feed) = audio.filter(|feed| feed.audio == FeedAudio::None) {
                report.add(&of_audio, format!("the feed {} has no sound", feed.name));
            }
        }
        all_found
    }

    /// The track feed of this name; reports if there is none.
    fn find_feed(&self, field: &Field<'_>, name: &FeedName, report: &mut Report) -> Option<&Feed> {
        let found = self.feeds.iter().find(|feed| feed.name == *name);
        if found.is_none() {
            report.add(field, self.names_no_feed(name.as_str()));
        }
        found
    }

    fn pair_byte_streams(&self, root: &Field<'_>, report: &mut Report) -> bool {
        let mut all_found = true;
        for stream in self.byte_streams {
            let Some(feed) = &stream.feed else { continue };
            let field = at_key(root, stream.name.as_str(), "feed");
            let feed = feed.as_str();
            if self.byte_feeds.iter().any(|known| known.name.as_str() == feed) {
                continue;
            }
            all_found = false;
            if self.feed_names().contains(&feed) {
                let message = format!(
                    "the feed {feed} gives pictures, not bytes; the `command` of a stream reads a \
                     feed that is a `command` or a `pipe`"
                );
                report.add(&field, message);
            } else {
                report.add(&field, self.names_no_feed(feed));
            }
        }
        all_found
    }

    fn names_no_feed(&self, feed: &str) -> String {
        format!("{feed:?} names no feed; the feeds are: {}", self.feed_names().join(", "))
    }

    /// Reports streams whose URLs collide.
    fn check_urls(&self, root: &Field<'_>, report: &mut Report) {
        let tracks = self.streams.iter().filter(|stream| !stream.url.is_empty());
        let tracks: Vec<_> = tracks.map(|stream| (&stream.name, &stream.url)).collect();
        let bytes = self.byte_streams.iter().filter(|stream| !stream.url.is_empty());
        let bytes: Vec<_> = bytes.map(|stream| (&stream.name, &stream.url)).collect();
        for (index, (name, url)) in tracks.iter().enumerate() {
            let taken = tracks[..index].iter().find(|(_, other)| collide(other, url));
            report_collision(root, (name, url), taken, report);
        }
        for (index, (name, url)) in bytes.iter().enumerate() {
            let by_tracks = tracks.iter().find(|(_, other)| shadows(url, other));
            let mut earlier = bytes[..index].iter();
            let taken = by_tracks.or_else(|| earlier.find(|(_, o)| byte_streams_collide(o, url)));
            report_collision(root, (name, url), taken, report);
        }
    }
}

/// A stream by its name and URL.
type Place<'a> = (&'a StreamName, &'a String);

fn report_collision(
    root: &Field<'_>,
    (name, url): Place<'_>,
    taken: Option<&Place<'_>>,
    report: &mut Report,
) {
    if let Some((other, at)) = taken {
        let field = at_key(root, name.as_str(), "url");
        report.add(&field, format!("{url} collides with {at} of the stream {other}"));
    }
}

/// The key of a stream, or the stream if the key is not given.
fn at_key<'a>(root: &Field<'a>, stream: &str, key: &str) -> Field<'a> {
    let field = root.at("streams").at(stream);
    if field.at(key).is_given() { field.at(key) } else { field }
}

/// Reports pages whose paths collide with a stream or another page.
fn check_pages(root: &Field<'_>, all: &All<'_>, pages: &Pages, report: &mut Report) {
    let places = [
        ("stat", &pages.stat),
        ("stat_json", &pages.stat_json),
        ("metrics", &pages.metrics),
        ("config", &pages.config),
    ];
    let placed = places.iter().filter_map(|(key, page)| Some((*key, page.as_ref()?)));
    for (index, (key, page)) in placed.clone().enumerate() {
        let field = root.at("pages").at(key);
        let tracks = all.streams.iter().find(|stream| collide(&stream.url, page));
        let bytes = all.byte_streams.iter().find(|stream| stream.url == *page);
        let name = tracks.map(|stream| &stream.name).or(bytes.map(|stream| &stream.name));
        if let Some(name) = name {
            report.add(&field, format!("{page} collides with the stream {name}"));
        }
        if let Some((other, _)) = placed.clone().take(index).find(|(_, taken)| *taken == page) {
            report.add(&field, format!("{page} collides with the page {other}"));
        }
    }
}

/// Reports pushes without video: receivers refuse them.
fn check_pushes(
    root: &Field<'_>,
    feeds: &[Feed],
    streams: &[Stream],
    pushes: &[Push],
    report: &mut Report,
) {
    for push in pushes {
        let feed =
            streams.iter().find(|stream| stream.name == push.stream).map(|stream| &stream.feed);
        let feed = feeds.iter().find(|known| Some(&known.name) == feed);
        if feed.is_some_and(|feed| feed.source == Source::SoundOnly) {
            let field = root.at("pushes").at(push.name.as_str());
            let stream = &push.stream;
            report.add(&field, format!("the stream {stream} has no picture, and a push needs one"));
        }
    }
}
