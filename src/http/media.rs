//! Streams as endless responses: fMP4, raw H.264, MPEG-TS and AAC.

pub(super) mod body;
pub(super) mod bytes;
mod following;
mod framing;
pub(super) mod hls;
pub(super) mod live;
pub(super) mod mjpeg;
pub(super) mod notifier;
pub(super) mod picture;
pub(super) mod recording;
pub(super) mod viewer;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use ::bytes::Bytes;
use actix_web::http::Method;
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, web};

use super::error::ApiError;
use crate::base::time::now;
use crate::engine::first_frame::FIRST_FRAME_TIMEOUT;
use crate::engine::registry::Stream;
use crate::http::media::body::Source;
use crate::http::media::following::Following;
use crate::http::media::notifier::Subscription;
use crate::http::media::viewer::{Continue, Shape, Viewer};
use crate::hub::{Client, Piece, Read, Reader};
use crate::media::packager::Init;
use crate::model::track::Tracks;
use crate::outputs::picture::PictureError;

/// `GET /<stream>.mp4`: fragmented MP4 from the live edge, one fragment per frame.
pub(in crate::http) async fn mp4(
    request: HttpRequest,
    query: web::Query<Vec<(String, String)>>,
    stream: web::ReqData<Arc<Stream>>,
) -> Result<HttpResponse, ApiError> {
    let mut shape = Shape::from_query(&query).map_err(ApiError::BadQuery)?;
    shape.client = client_kind(&request);
    if is_safari_probe(&request) {
        let url = request.path().trim_end_matches(".mp4");
        let playlist = format!("{url}.m3u8");
        return Ok(HttpResponse::Found().insert_header((header::LOCATION, playlist)).finish());
    }
    // No redirect: VLC requests the new URL without the password of the old one.
    if is_vlc_3(&request) {
        return ts(request, stream).await;
    }
    if request.method() == Method::HEAD {
        let content_type = mp4_type(stream.hub().init().as_deref(), shape);
        return Ok(body::endless(&request, endless(&content_type), Empty));
    }
    let (reader, init, burst) = match stream.hub().join_at_edge() {
        Some((reader, init, burst)) => (reader, init, Some(burst)),
        None => {
            let (reader, init) = join(&stream).await?;
            (reader, init, None)
        }
    };
    let reader = with_client(reader, &request, "mp4");
    let viewer = Viewer::new(shape, &init, burst.as_ref());
    let source = Mp4Source { following: Following::new(reader, &request), viewer };
    Ok(body::endless(&request, endless(&mp4_type(Some(&init), shape)), source))
}

/// `GET /<stream>.h264`: the access units in Annex B form, from the newest key frame.
pub(in crate::http) async fn h264(
    request: HttpRequest,
    stream: web::ReqData<Arc<Stream>>,
) -> Result<HttpResponse, ApiError> {
    if request.method() == Method::HEAD {
        return Ok(body::endless(&request, endless("video/h264"), Empty));
    }
    let (reader, init) = join(&stream).await?;
    if init.tracks.video.is_none() {
        return Err(PictureError::NoVideo.into());
    }
    let reader = with_client(reader, &request, "h264");
    let following = Following::new(reader, &request);
    let source =
        ConvertedSource { following, init, convert: |piece: &Piece, _: &Init| piece.annex_b() };
    Ok(body::endless(&request, endless("video/h264"), source))
}

/// Adds the client of `request` to `reader`, for the list of viewers.
pub(in crate::http) fn with_client(
    reader: Reader,
    request: &HttpRequest,
    way: &'static str,
) -> Reader {
    match request.peer_addr() {
        Some(peer) => {
            reader.with_client(Client { address: peer.ip().to_canonical(), way, since: now() })
        }
        None => reader,
    }
}

/// `GET /<stream>.ts`: MPEG-TS from the newest key frame.
pub(in crate::http) async fn ts(
    request: HttpRequest,
    stream: web::ReqData<Arc<Stream>>,
) -> Result<HttpResponse, ApiError> {
    if request.method() == Method::HEAD {
        return Ok(body::endless(&request, endless("video/mp2t"), Empty));
    }
    let (reader, init) = join(&stream).await?;
    let reader = with_client(reader, &request, "ts");
    let convert = |piece: &Piece, init: &Init| piece.mpeg_ts(&init.tracks);
    let source = ConvertedSource { following: Following::new(reader, &request), init, convert };
    Ok(body::endless(&request, endless("video/mp2t"), source))
}

/// `GET /<stream>.aac`: the audio track in ADTS.
pub(in crate::http) async fn aac(
    request: HttpRequest,
    stream: web::ReqData<Arc<Stream>>,
) -> Result<HttpResponse, ApiError> {
    if request.method() == Method::HEAD {
        return Ok(body::endless(&request, endless("audio/aac"), Empty));
    }
    let (reader, init) = join(&stream).await?;
    if init.tracks.audio.is_none() {
        return Err(ApiError::NoSound);
    }
    let reader = with_client(reader, &request, "aac");
    let following = Following::new(reader, &request);
    Ok(body::endless(
        &request,
        endless("audio/aac"),
        ConvertedSource { following, init, convert: adts },
    ))
}

/// Joins the stream, which starts the feed if needed, and waits for the first frame.
pub(in crate::http) async fn join(stream: &Arc<Stream>) -> Result<(Reader, Arc<Init>), ApiError> {
    join_within(stream, FIRST_FRAME_TIMEOUT).await
}

/// As [`join`], for at most `timeout`.
pub(in crate::http) async fn join_within(
    stream: &Arc<Stream>,
    timeout: Duration,
) -> Result<(Reader, Arc<Init>), ApiError> {
    stream.join_within(timeout).await.ok_or_else(|| no_picture(stream))
}

/// The error where no frame arrives, with the stream's failure if there is one.
pub(in crate::http) fn no_picture(stream: &Stream) -> ApiError {
    ApiError::NoPicture { cause: stream.cause(now()) }
}

/// The body of an endless fMP4 response.
struct Mp4Source {
    following: Following,
    viewer: Viewer,
}

impl Source for Mp4Source {
    fn more(&mut self, out: &mut VecDeque<Bytes>) -> Option<Continue> {
        loop {
            while let Some((bytes, is_media)) = self.viewer.next() {
                if is_media {
                    self.following.count(&bytes);
                }
                out.push_back(bytes);
            }
            if !out.is_empty() {
                return Some(Continue::On);
            }
            let read = self.following.try_next()?;
            if self.viewer.take(read) == Continue::End {
                return Some(Continue::End);
            }
        }
    }

    fn subscription(&self) -> Option<&Subscription> {
        Some(self.following.subscription())
    }
}

/// The body of an endless response in another container: every piece is
/// converted with the newest init segment.
struct ConvertedSource<F> {
    following: Following,
    init: Arc<Init>,
    convert: F,
}

impl<F: Fn(&Piece, &Init) -> Bytes + Unpin + 'static> Source for ConvertedSource<F> {
    fn more(&mut self, out: &mut VecDeque<Bytes>) -> Option<Continue> {
        loop {
            match self.following.try_next()? {
                Read::Chunk(piece) => {
                    let bytes = (self.convert)(&piece, &self.init);
                    if !bytes.is_empty() {
                        self.following.count(&bytes);
                        out.push_back(bytes);
                        return Some(Continue::On);
                    }
                }
                Read::Init(new) => self.init = new,
                Read::Skipped(_) => {}
                Read::End => return Some(Continue::End),
            }
        }
    }

    fn subscription(&self) -> Option<&Subscription> {
        Some(self.following.subscription())
    }
}

/// The audio frames of a piece, each with its ADTS header.
fn adts(piece: &Piece, init: &Init) -> Bytes {
    init.tracks.audio.as_ref().map(|info| piece.adts(info)).unwrap_or_default()
}

/// The body of a response to `HEAD`.
pub(in crate::http) struct Empty;

impl Source for Empty {
    fn more(&mut self, _: &mut VecDeque<Bytes>) -> Option<Continue> {
        Some(Continue::End)
    }

    fn subscription(&self) -> Option<&Subscription> {
        None
    }
}

/// Whether this is the first request of Safari, which asks for two bytes and
/// rejects a response without a length.
fn is_safari_probe(request: &HttpRequest) -> bool {
    request.headers().get(header::RANGE).is_some_and(|range| range == "bytes=0-1")
}

/// Whether the client is VLC 3, which seeks in MP4 and cannot play it endless.
fn is_vlc_3(request: &HttpRequest) -> bool {
    user_agent(request).contains("LibVLC/3")
}

/// Whether the client is GStreamer 1.22, whose hlsdemux2 fails on a playlist that
/// began with one segment.
pub(in crate::http) fn is_gstreamer_1_22(request: &HttpRequest) -> bool {
    user_agent(request).starts_with("GStreamer souphttpsrc 1.22.")
}

/// The header `User-Agent`, or an empty string.
fn user_agent(request: &HttpRequest) -> &str {
    let agent = request.headers().get(header::USER_AGENT);
    agent.and_then(|agent| agent.to_str().ok()).unwrap_or_default()
}

/// The kind of client. All browsers have "Mozilla" in `User-Agent`, programs do not.
fn client_kind(request: &HttpRequest) -> viewer::Client {
    if is_chromium(request) {
        return viewer::Client::Chromium;
    }
    match user_agent(request).contains("Mozilla/") {
        true => viewer::Client::OtherBrowser,
        false => viewer::Client::Program,
    }
}

/// Whether the client is a Chromium browser: Safari and Firefox do not have
/// "Chrome" in `User-Agent`. A false match costs a `free` box and some padding.
pub(in crate::http) fn is_chromium(request: &HttpRequest) -> bool {
    user_agent(request).contains("Chrome/")
}

fn mp4_type(init: Option<&Init>, shape: Shape) -> String {
    match init {
        Some(init) => {
            let audio = init.tracks.audio.clone().filter(|_| shape.audio);
            let codecs = Tracks { audio, ..init.tracks.clone() }.codecs();
            let kind = if init.tracks.video.is_some() { "video" } else { "audio" };
            format!("{kind}/mp4; codecs=\"{codecs}\"")
        }
        None => "video/mp4".to_owned(),
    }
}

/// The head of an endless response, which no cache or proxy may store.
pub(in crate::http) fn endless(content_type: &str) -> HttpResponseBuilder {
    let mut response = HttpResponse::Ok();
    response
        .content_type(content_type)
        .insert_header((header::CACHE_CONTROL, "no-cache, no-store, must-revalidate"))
        .insert_header((header::ACCEPT_RANGES, "none"))
        // Without it, nginx would buffer the response and delay it.
        .insert_header(("X-Accel-Buffering", "no"));
    response
}
