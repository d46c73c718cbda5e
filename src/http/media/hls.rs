//! HLS: playlists and segments, all from memory.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, web};
use bytes::Bytes;

use super::body;
use crate::engine::registry::{MAX_FAILED_RUNS, Stream, first_or_end};
use crate::http::error::ApiError;
use crate::http::media::{is_chromium, is_gstreamer_1_22, no_picture};
use crate::media::hls::{FEWEST, Window};

/// The first segment of a cold feed is there after its start and one group of
/// pictures; who waits for longer is told to come back.
const FIRST_SEGMENT_TIMEOUT: Duration = Duration::from_secs(15);

/// A segment is not held back for longer, where none follows it.
const FOLLOWED_WITHIN: Duration = Duration::from_secs(3);

/// `GET /<stream>.m3u8`: the multivariant playlist.
pub(in crate::http) async fn multivariant(
    stream: web::ReqData<Arc<Stream>>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let media = format!("{}live.m3u8", prefix(&request, stream.url()));
    let bound = stream.peak_bitrate();
    let text = ready(&stream, &request, |window| window.multivariant(&media, bound)).await?;
    Ok(playlist(text))
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
    let mark = stream.hub().instance_id();
    let text = ready(&stream, &request, |window| Some(window.playlist(&prefix, mark))).await?;
    Ok(playlist(text))
}

/// `GET /<stream>/hls/<mark>-<number>.m4s` and `…/init-<mark>-<generation>.mp4`
pub(in crate::http) async fn piece(
    stream: web::ReqData<Arc<Stream>>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    stream.hub().lease();
    let missing = || ApiError::NoSuchPath(request.path().to_owned());
    let name = request.path().rsplit('/').next().unwrap_or_default();
    let pieces = match named(name, stream.hub().instance_id()).ok_or_else(missing)? {
        Name::Init(generation) => {
            stream.hub().with_window(|window| Some(vec![window.init_of(generation)?.bytes.clone()]))
        }
        Name::Segment(number) => {
            if plays_by_itself(&request) {
                followed(&stream, number).await;
            }
            stream.hub().with_window(|window| Some(window.segment(number)?.pieces.clone()))
        }
    };
    let pieces = pieces.ok_or_else(missing)?;
    let length: usize = pieces.iter().map(Bytes::len).sum();
    stream.hub().count_bytes_out(length);
    Ok(body::whole(&request, shared("video/mp4", "public, max-age=3600, immutable"), pieces))
}

/// What a name below `hls/` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    Init(u32),
    Segment(u64),
}

/// Reads a name; nothing of an earlier stream, whose numbers mean other things.
fn named(name: &str, mark: &str) -> Option<Name> {
    if let Some(init) = name.strip_prefix("init-") {
        let number = init.strip_prefix(mark)?.strip_prefix('-')?.strip_suffix(".mp4")?;
        return number.parse().ok().map(Name::Init);
    }
    let number = name.strip_prefix(mark)?.strip_prefix('-')?.strip_suffix(".m4s")?;
    number.parse().ok().map(Name::Segment)
}

/// What leads from a playlist at the path that was asked to the stream's
/// segments. Relative, so that it also holds behind a proxy.
fn prefix(request: &HttpRequest, url: &str) -> String {
    let depth = request.path().matches('/').count().saturating_sub(1);
    format!("{}{}/hls/", "../".repeat(depth), url.trim_start_matches('/'))
}

/// Waits until there is something to play, and reads it off the window.
async fn ready<T>(
    stream: &Arc<Stream>,
    request: &HttpRequest,
    read: impl Fn(&mut Window) -> Option<T>,
) -> Result<T, ApiError> {
    stream.hub().lease();
    let fewest = if plays_by_itself(request) {
        FEWEST
    } else if is_gstreamer_1_22(request) {
        2
    } else {
        1
    };
    let look = |window: &mut Window| {
        let is_ready = window.listed_count() >= fewest;
        is_ready.then(|| read(window)).flatten()
    };
    let found = first_or_end(
        until(stream, look),
        FIRST_SEGMENT_TIMEOUT,
        stream.wait_failed(MAX_FAILED_RUNS),
    )
    .await;
    found.ok_or_else(|| no_picture(stream))
}

/// Waits until another segment has followed this one.
///
/// Chromium's own player fails if it has loaded everything before it begins to
/// play: `HlsRenditionImpl::CheckState` then throws its buffer away. So one
/// segment is always on its way to it. It plays three segments behind the
/// newest, so that nothing is late.
async fn followed(stream: &Arc<Stream>, number: u64) {
    let next = until(stream, |window| (window.newest()? != number).then_some(()));
    tokio::time::timeout(FOLLOWED_WITHIN, next).await.ok();
}

/// Waits until `look` finds something in the window.
async fn until<T>(stream: &Arc<Stream>, look: impl Fn(&mut Window) -> Option<T>) -> T {
    let mut ends = stream.hub().subscribe();
    loop {
        match stream.hub().with_window(&look) {
            Some(found) => return found,
            // The sender lives in the stream.
            None => ends.changed().await.ok(),
        };
    }
}

/// Whether the player asks that Chromium has for HLS, which asks for a range of
/// everything; what scripts load does not.
fn plays_by_itself(request: &HttpRequest) -> bool {
    let range = request.headers().get(header::RANGE);
    is_chromium(request) && range.is_some_and(|range| range == "bytes=0-")
}

fn playlist(text: String) -> HttpResponse {
    shared("application/vnd.apple.mpegurl", "no-cache").body(text)
}

fn shared(content_type: &str, cached: &str) -> HttpResponseBuilder {
    let mut response = HttpResponse::Ok();
    response.content_type(content_type).insert_header((header::CACHE_CONTROL, cached));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_this_stream_are_read_and_no_others() {
        assert_eq!(named("5f-12.m4s", "5f"), Some(Name::Segment(12)));
        assert_eq!(named("init-5f-3.mp4", "5f"), Some(Name::Init(3)));
        for other in ["5e-12.m4s", "5f-12.mp4", "init-5f-.mp4", "5f--1.m4s", "../5f-1.m4s", ""] {
            assert_eq!(named(other, "5f"), None, "{other}");
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
