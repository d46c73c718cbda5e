//! HLS: playlists and segments, from memory.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, web};
use bytes::Bytes;

use super::body;
use crate::engine::first_frame::{MAX_FAILED_RUNS, first_or_end};
use crate::engine::registry::Stream;
use crate::http::error::ApiError;
use crate::http::media::{is_chromium, is_gstreamer_1_22, no_picture};
use crate::media::hls::{MIN_LISTED, Window};

/// Time to wait for the first segment: the feed's start and one group of
/// pictures. A request that waits longer gets an error.
const FIRST_SEGMENT_TIMEOUT: Duration = Duration::from_secs(15);

/// The longest delay of a segment that waits for the next one.
const NEXT_SEGMENT_TIMEOUT: Duration = Duration::from_secs(3);

/// `GET /<stream>.m3u8`: the multivariant playlist.
pub(in crate::http) async fn multivariant(
    stream: web::ReqData<Arc<Stream>>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let media = format!("{}live.m3u8", prefix(&request, stream.url()));
    let bound = stream.peak_bitrate();
    let listed = read_when_ready(&stream, &request, |window| window.multivariant_playlist());
    Ok(playlist(listed.await?.text(&media, bound)))
}

/// `GET /<stream>/hls/live.m3u8`, and `/streaminf.m3u8` for the first stream.
pub(in crate::http) async fn media(
    stream: web::ReqData<Arc<Stream>>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let prefix = match request.path().contains("/hls/") {
        true => String::new(),
        false => prefix(&request, stream.url()),
    };
    let listed = read_when_ready(&stream, &request, |window| Some(window.media_playlist()));
    Ok(playlist(listed.await?.text(&prefix, stream.hub().instance_id())))
}

/// `GET /<stream>/hls/<instance>-<number>.m4s` and `…/init-<instance>-<generation>.mp4`
pub(in crate::http) async fn file(
    stream: web::ReqData<Arc<Stream>>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    stream.hub().lease();
    let missing = || ApiError::NoSuchPath(request.path().to_owned());
    let name = request.path().rsplit('/').next().unwrap_or_default();
    let pieces = match parse_name(name, stream.hub().instance_id()).ok_or_else(missing)? {
        File::Init(generation) => {
            stream.hub().with_window(|window| Some(vec![window.init_of(generation)?.bytes.clone()]))
        }
        File::Segment(number) => {
            if is_chromium_player(&request) {
                wait_for_next(&stream, number).await;
            }
            stream.hub().with_window(|window| Some(window.segment(number)?.pieces.clone()))
        }
    };
    let pieces = pieces.ok_or_else(missing)?;
    let length: usize = pieces.iter().map(Bytes::len).sum();
    stream.hub().count_bytes_out(length);
    Ok(body::whole(&request, response("video/mp4", "public, max-age=3600, immutable"), pieces))
}

/// A file below `hls/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum File {
    Init(u32),
    Segment(u64),
}

/// Parses a file name; `None` for names of another instance, whose numbers mean
/// other segments.
fn parse_name(name: &str, instance: &str) -> Option<File> {
    if let Some(init) = name.strip_prefix("init-") {
        let number = init.strip_prefix(instance)?.strip_prefix('-')?.strip_suffix(".mp4")?;
        return number.parse().ok().map(File::Init);
    }
    let number = name.strip_prefix(instance)?.strip_prefix('-')?.strip_suffix(".m4s")?;
    number.parse().ok().map(File::Segment)
}

/// The relative path from the requested playlist to the stream's segments.
/// Relative, so that it holds behind a proxy with a path prefix.
fn prefix(request: &HttpRequest, url: &str) -> String {
    let depth = request.path().matches('/').count().saturating_sub(1);
    format!("{}{}/hls/", "../".repeat(depth), url.trim_start_matches('/'))
}

/// Waits until the window has enough segments for the client, and reads it.
async fn read_when_ready<T>(
    stream: &Arc<Stream>,
    request: &HttpRequest,
    read: impl Fn(&mut Window) -> Option<T>,
) -> Result<T, ApiError> {
    stream.hub().lease();
    let min_segments = if is_chromium_player(request) {
        MIN_LISTED
    } else if is_gstreamer_1_22(request) {
        2
    } else {
        1
    };
    let read_if_ready = |window: &mut Window| {
        let is_ready = window.listed_count() >= min_segments;
        is_ready.then(|| read(window)).flatten()
    };
    let found = first_or_end(
        wait_until(stream, read_if_ready),
        FIRST_SEGMENT_TIMEOUT,
        stream.wait_failed(MAX_FAILED_RUNS),
    )
    .await;
    found.ok_or_else(|| no_picture(stream))
}

/// Waits until there is a segment after this one.
///
/// Chromium's own player fails if it has loaded everything before it begins to
/// play: `HlsRenditionImpl::CheckState` then discards its buffer. So one of its
/// requests is always open. It plays three segments behind the newest, so that
/// the delay has no effect.
async fn wait_for_next(stream: &Arc<Stream>, number: u64) {
    let next = wait_until(stream, |window| (window.newest()? != number).then_some(()));
    tokio::time::timeout(NEXT_SEGMENT_TIMEOUT, next).await.ok();
}

/// Waits until `read` returns something of the window.
async fn wait_until<T>(stream: &Arc<Stream>, read: impl Fn(&mut Window) -> Option<T>) -> T {
    let mut changes = stream.hub().subscribe();
    loop {
        match stream.hub().with_window(&read) {
            Some(found) => return found,
            // `stream` holds the sender.
            None => changes.changed().await.ok(),
        };
    }
}

/// Whether the client is Chromium's own HLS player, which sends a range from 0;
/// requests of scripts do not.
fn is_chromium_player(request: &HttpRequest) -> bool {
    let range = request.headers().get(header::RANGE);
    is_chromium(request) && range.is_some_and(|range| range == "bytes=0-")
}

fn playlist(text: String) -> HttpResponse {
    response("application/vnd.apple.mpegurl", "no-cache").body(text)
}

fn response(content_type: &str, cache_control: &str) -> HttpResponseBuilder {
    let mut response = HttpResponse::Ok();
    response.content_type(content_type).insert_header((header::CACHE_CONTROL, cache_control));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_instance_are_parsed() {
        assert_eq!(parse_name("5f-12.m4s", "5f"), Some(File::Segment(12)));
        assert_eq!(parse_name("init-5f-3.mp4", "5f"), Some(File::Init(3)));
        for other in ["5e-12.m4s", "5f-12.mp4", "init-5f-.mp4", "5f--1.m4s", "../5f-1.m4s", ""] {
            assert_eq!(parse_name(other, "5f"), None, "{other}");
        }
    }

    #[test]
    fn a_prefix_leads_to_the_segments_from_any_playlist() {
        let from = |path: &str| {
            prefix(&actix_web::test::TestRequest::with_uri(path).to_http_request(), "/cams/a")
        };
        assert_eq!(from("/stream.m3u8"), "cams/a/hls/");
        assert_eq!(from("/cams/a.m3u8"), "../cams/a/hls/");
    }
}
