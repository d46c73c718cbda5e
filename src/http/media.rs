//! Streams as endless answers: fMP4 and raw H.264.

pub(super) mod body;
pub(super) mod bytes;
pub(super) mod hls;
pub(super) mod live;
pub(super) mod mjpeg;
pub(super) mod notifier;
pub(super) mod picture;
pub(super) mod viewer;

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ::bytes::Bytes;
use actix_web::http::Method;
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, web};

use super::error::ApiError;
use crate::base::time::now;
use crate::engine::registry::{FIRST_FRAME_TIMEOUT, Stream};
use crate::http::listen::connection::Connection;
use crate::http::media::body::Source;
use crate::http::media::notifier::{Notifier, Notifiers, Subscription};
use crate::http::media::viewer::{Continue, Shape, Viewer};
use crate::hub::{Client, Piece, Read, Reader};
use crate::media::packager::Init;
use crate::model::status::State;
use crate::model::track::Tracks;
use crate::outputs::picture::PictureError;

/// `GET /<stream>.mp4`: fragmented MP4, a fragment a frame, from the live edge on.
pub(in crate::http) async fn mp4(
    request: HttpRequest,
    query: web::Query<Vec<(String, String)>>,
    stream: web::ReqData<Arc<Stream>>,
) -> Result<HttpResponse, ApiError> {
    let mut shape = Shape::of(&query).map_err(ApiError::BadQuery)?;
    shape.client = client(&request);
    if is_safaris_probe(&request) {
        let url = request.path().trim_end_matches(".mp4");
        let playlist = format!("{url}.m3u8");
        return Ok(HttpResponse::Found().insert_header((header::LOCATION, playlist)).finish());
    }
    // Not by a redirect: VLC asks the new address without the password in the old one.
    if is_vlc_3(&request) {
        return ts(request, stream).await;
    }
    if request.method() == Method::HEAD {
        let content_type = mp4_type(stream.hub().init().as_deref(), shape);
        return Ok(body::endless(&request, endless(&content_type), Nothing));
    }
    let (reader, init, burst) = match stream.hub().join_at_edge() {
        Some((reader, init, burst)) => (reader, init, Some(burst)),
        None => {
            let (reader, init) = joined(&stream).await?;
            (reader, init, None)
        }
    };
    let reader = listed(reader, &request, "mp4");
    let viewer = Viewer::new(shape, &init, burst.as_ref());
    let source = Watching { following: Following::new(reader, &request), viewer };
    Ok(body::endless(&request, endless(&mp4_type(Some(&init), shape)), source))
}

/// `GET /<stream>.h264`: the access units in Annex B form, from the newest key frame.
pub(in crate::http) async fn h264(
    request: HttpRequest,
    stream: web::ReqData<Arc<Stream>>,
) -> Result<HttpResponse, ApiError> {
    if request.method() == Method::HEAD {
        return Ok(body::endless(&request, endless("video/h264"), Nothing));
    }
    let (reader, init) = joined(&stream).await?;
    if init.tracks.video.is_none() {
        return Err(PictureError::NoVideo.into());
    }
    let reader = listed(reader, &request, "h264");
    let following = Following::new(reader, &request);
    let source = Shaped { following, init, shape: |piece: &Piece, _: &Init| piece.annex_b() };
    Ok(body::endless(&request, endless("video/h264"), source))
}

/// `reader`, listed as the one who asks.
pub(in crate::http) fn listed(reader: Reader, request: &HttpRequest, way: &'static str) -> Reader {
    match request.peer_addr() {
        Some(peer) => {
            reader.with_client(Client { address: peer.ip().to_canonical(), way, since: now() })
        }
        None => reader,
    }
}

/// `GET /<stream>.ts`: MPEG-TS from the newest key frame on.
pub(in crate::http) async fn ts(
    request: HttpRequest,
    stream: web::ReqData<Arc<Stream>>,
) -> Result<HttpResponse, ApiError> {
    if request.method() == Method::HEAD {
        return Ok(body::endless(&request, endless("video/mp2t"), Nothing));
    }
    let (reader, init) = joined(&stream).await?;
    let reader = listed(reader, &request, "ts");
    let shape = |piece: &Piece, init: &Init| piece.mpeg_ts(&init.tracks);
    let source = Shaped { following: Following::new(reader, &request), init, shape };
    Ok(body::endless(&request, endless("video/mp2t"), source))
}

/// `GET /<stream>.aac`: the sound alone, in ADTS.
pub(in crate::http) async fn aac(
    request: HttpRequest,
    stream: web::ReqData<Arc<Stream>>,
) -> Result<HttpResponse, ApiError> {
    if request.method() == Method::HEAD {
        return Ok(body::endless(&request, endless("audio/aac"), Nothing));
    }
    let (reader, init) = joined(&stream).await?;
    if init.tracks.audio.is_none() {
        return Err(ApiError::NoSound);
    }
    let reader = listed(reader, &request, "aac");
    let following = Following::new(reader, &request);
    Ok(body::endless(&request, endless("audio/aac"), Shaped { following, init, shape: adts }))
}

/// Joins the stream, which starts the feed if need be, and waits until it shows a picture.
pub(in crate::http) async fn joined(stream: &Arc<Stream>) -> Result<(Reader, Arc<Init>), ApiError> {
    joined_within(stream, FIRST_FRAME_TIMEOUT).await
}

/// As [`joined`], for at most `patience`.
pub(in crate::http) async fn joined_within(
    stream: &Arc<Stream>,
    patience: Duration,
) -> Result<(Reader, Arc<Init>), ApiError> {
    stream.join_within(patience).await.ok_or_else(|| no_picture(stream))
}

/// The answer where nothing comes, with the reason if there is one.
pub(in crate::http) fn no_picture(stream: &Stream) -> ApiError {
    let cause = match stream.state(now()) {
        State::Waiting { cause, .. } | State::Over { cause } => Some(cause),
        State::Idle | State::Starting | State::Live { .. } | State::Stopping => None,
    };
    ApiError::NoPicture { cause }
}

/// A reader on a worker thread, which is let go if it is too slow.
struct Following {
    reader: Reader,
    subscription: Subscription,
}

impl Following {
    fn new(reader: Reader, request: &HttpRequest) -> Self {
        let notifiers = request.app_data::<Notifiers>().expect("every worker has its notifiers");
        let notifier = notifiers.of(reader.stream());
        Self { reader, subscription: Notifier::listen(&notifier, Connection::of(request)) }
    }

    /// The next piece; nothing where the viewer must go.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Read>> {
        loop {
            let read = self.reader.try_next();
            self.subscription.stands_at(self.reader.position());
            match read {
                Some(Read::Skipped(_)) if self.subscription.fell_off() == Continue::End => {
                    return Poll::Ready(None);
                }
                Some(read) => return Poll::Ready(Some(read)),
                None => self.subscription.caught_up(),
            }
            ready!(self.subscription.poll_heard(cx));
        }
    }

    fn count(&self, bytes: &Bytes) {
        self.reader.stream().count_bytes_out(bytes.len());
    }
}

/// What a viewer of fMP4 is sent, for as long as it stays.
struct Watching {
    following: Following,
    viewer: Viewer,
}

impl Source for Watching {
    fn poll_more(&mut self, out: &mut VecDeque<Bytes>, cx: &mut Context<'_>) -> Poll<Continue> {
        loop {
            while let Some((bytes, is_media)) = self.viewer.next() {
                if is_media {
                    self.following.count(&bytes);
                }
                out.push_back(bytes);
            }
            if !out.is_empty() {
                return Poll::Ready(Continue::On);
            }
            let read = ready!(self.following.poll_next(cx));
            if read.is_none_or(|read| self.viewer.take(read) == Continue::End) {
                return Poll::Ready(Continue::End);
            }
        }
    }
}

/// Every piece in another shape, whatever its init says from time to time.
struct Shaped<F> {
    following: Following,
    init: Arc<Init>,
    shape: F,
}

impl<F: Fn(&Piece, &Init) -> Bytes + Unpin + 'static> Source for Shaped<F> {
    fn poll_more(&mut self, out: &mut VecDeque<Bytes>, cx: &mut Context<'_>) -> Poll<Continue> {
        loop {
            match ready!(self.following.poll_next(cx)) {
                Some(Read::Chunk(piece)) => {
                    let bytes = (self.shape)(&piece, &self.init);
                    if !bytes.is_empty() {
                        self.following.count(&bytes);
                        out.push_back(bytes);
                        return Poll::Ready(Continue::On);
                    }
                }
                Some(Read::Init(new)) => self.init = new,
                Some(Read::Skipped(_)) => {}
                Some(Read::End) | None => return Poll::Ready(Continue::End),
            }
        }
    }
}

/// The sounds of a piece, each behind its header.
fn adts(piece: &Piece, init: &Init) -> Bytes {
    init.tracks.audio.as_ref().map(|info| piece.adts(info).into()).unwrap_or_default()
}

/// What follows a head that is asked for alone.
pub(in crate::http) struct Nothing;

impl Source for Nothing {
    fn poll_more(&mut self, _: &mut VecDeque<Bytes>, _: &mut Context<'_>) -> Poll<Continue> {
        Poll::Ready(Continue::End)
    }
}

/// Whether Safari asks, which asks for two bytes first and refuses what does not tell its length.
fn is_safaris_probe(request: &HttpRequest) -> bool {
    request.headers().get(header::RANGE).is_some_and(|range| range == "bytes=0-1")
}

/// Whether VLC 3 asks, which wants to seek in MP4 and shows nothing of one without an end.
fn is_vlc_3(request: &HttpRequest) -> bool {
    agent(request).contains("LibVLC/3")
}

/// Whether GStreamer 1.22 asks, whose hlsdemux2 never finds its place in a
/// playlist that began with one segment.
pub(in crate::http) fn is_gstreamer_1_22(request: &HttpRequest) -> bool {
    agent(request).starts_with("GStreamer souphttpsrc 1.22.")
}

/// What the client calls itself.
fn agent(request: &HttpRequest) -> &str {
    let agent = request.headers().get(header::USER_AGENT);
    agent.and_then(|agent| agent.to_str().ok()).unwrap_or_default()
}

/// All browsers call themselves Mozilla, programs do not.
fn client(request: &HttpRequest) -> viewer::Client {
    if is_chromium(request) {
        return viewer::Client::Chromium;
    }
    match agent(request).contains("Mozilla/") {
        true => viewer::Client::OtherBrowser,
        false => viewer::Client::Program,
    }
}

/// Chromium and its kin name it so, Safari and Firefox do not. A program that
/// lies gets a skippable box and some padding.
pub(in crate::http) fn is_chromium(request: &HttpRequest) -> bool {
    agent(request).contains("Chrome/")
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

pub(in crate::http) fn endless(content_type: &str) -> HttpResponseBuilder {
    let mut response = HttpResponse::Ok();
    response
        .content_type(content_type)
        .insert_header((header::CACHE_CONTROL, "no-cache, no-store, must-revalidate"))
        .insert_header((header::ACCEPT_RANGES, "none"))
        // A proxy that gathers the answer would make it late.
        .insert_header(("X-Accel-Buffering", "no"));
    response
}
