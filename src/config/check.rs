//! From the merged tree to settings, or to the list of all that is wrong.

use super::keys::{SECTIONS, feeds, pages, pushes, service, streams};
use super::layers::Layered;
use super::problem::Problem;
use super::section::{Report, Spot};
use super::settings::{Feed, Pages, Settings, Stream};
use super::urls::collide;

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
    let pages = pages::pages(&root.at("pages"), &mut report);
    let log = service::log(&root.at("log"), &mut report);
    pair(&root, &feeds, &streams, &mut report);
    keep_apart(&root, &streams, &mut report);
    keep_free(&root, &streams, &pages, &mut report);
    if report.problems.is_empty() {
        return Ok(Settings { server, access, rtsp, feeds, streams, pushes, pages, log });
    }
    // By line, and what has none last: the order in which a person mends a file.
    report.problems.sort_by_key(|problem| problem.line().unwrap_or(usize::MAX));
    report.problems.dedup();
    Err(report.problems)
}

/// Tells streams without their feed, feeds with two streams, and, if nobody
/// has mistyped a name, feeds with none.
fn pair(root: &Spot<'_>, feeds: &[Feed], streams: &[Stream], report: &mut Report) {
    let names: Vec<&str> = feeds.iter().map(|feed| feed.name.as_str()).collect();
    let mut all_found = true;
    for (index, stream) in streams.iter().enumerate() {
        let spot = root.at("streams").at(stream.name.as_str());
        let spot = if spot.at("feed").is_given() { spot.at("feed") } else { spot };
        let (name, feed) = (stream.name.as_str(), stream.feed.as_str());
        if !names.contains(&feed) {
            all_found = false;
            let known = names.join(", ");
            report.tell(&spot, format!("{feed:?} names no feed; the feeds are: {known}"));
        } else if let Some(first) = streams[..index].iter().find(|other| other.feed == stream.feed)
        {
            let first = &first.name;
            let message = format!(
                "the streams {first} and {name} both show the feed {feed}; in this version a feed \
                 has one stream"
            );
            report.tell(&spot, message);
        }
    }
    // Where a stream or its feed is named wrongly, that feed is not to blame.
    let all_found = all_found && !streams.is_empty();
    let is_shown = |feed: &&Feed| streams.iter().any(|stream| stream.feed == feed.name);
    for feed in feeds.iter().filter(|feed| all_found && !is_shown(feed)) {
        let spot = root.at("feeds").at(feed.name.as_str());
        report.tell(&spot, "no stream shows this feed; add one to `streams`, or remove the feed");
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

/// Tells pages that stand where a stream or another page answers.
fn keep_free(root: &Spot<'_>, streams: &[Stream], pages: &Pages, report: &mut Report) {
    let all = [
        ("stat", &pages.stat),
        ("stat_json", &pages.stat_json),
        ("metrics", &pages.metrics),
        ("config", &pages.config),
    ];
    let placed = all.iter().filter_map(|(key, page)| Some((*key, page.as_ref()?)));
    for (index, (key, page)) in placed.clone().enumerate() {
        let spot = root.at("pages").at(key);
        let stream = streams.iter().find(|stream| collide(&stream.url, page));
        if let Some(stream) = stream {
            report.tell(&spot, format!("{page} collides with the stream {}", stream.name));
        }
        if let Some((other, _)) = placed.clone().take(index).find(|(_, taken)| *taken == page) {
            report.tell(&spot, format!("{page} is where the page {other} stands"));
        }
    }
}
