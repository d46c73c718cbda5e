//! Streams as endless answers: fMP4 and raw H.264.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_web::http::Method;
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, web};
use bytes::Bytes;

use super::bell::{Bell, Ear};
use super::body::{self, Source};
use super::connection::Connection;
use super::error::ApiError;
use super::server::now;
use super::viewer::{Flow, Shape, Viewer};
use crate::engine::roster::Stream;
use crate::hub::{Read, Reader};
use crate::media::packager::Init;
use crate::model::status::State;
use crate::model::track::Tracks;

/// A cold feed has this long to show its first frame before the viewer is
/// told to come back; the feed goes on trying meanwhile.
const PATIENCE: Duration = Duration::from_secs(10);

/// A feed that has failed this often in a row is not waited for.
pub(super) const HOPELESS: u32 = 2;

/// `GET /<stream>.mp4`: fragmented MP4, a fragment a frame, from the live edge on.
pub(super) async fn mp4(
    request: HttpRequest,
    query: web::Query<Vec<(String, String)>>,
    stream: web::Data<Arc<Stream>>,
    bell: web::Data<Bell>,
) -> Result<HttpResponse, ApiError> {
    let shape = Shape::of(&query).map_err(ApiError::BadQuery)?;
    if is_safaris_probe(&request) {
        let url = request.path().trim_end_matches(".mp4");
        let playlist = format!("{url}.m3u8");
        return Ok(HttpResponse::Found().insert_header((header::LOCATION, playlist)).finish());
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
    let viewer = Viewer::new(shape, &init, burst);
    let source = Watching { following: Following::new(reader, &bell, &request), viewer };
    Ok(body::endless(&request, endless(&mp4_type(Some(&init), shape)), source))
}

/// `GET /<stream>.h264`: the access units in Annex B form, from the newest key frame.
pub(super) async fn h264(
    request: HttpRequest,
    stream: web::Data<Arc<Stream>>,
    bell: web::Data<Bell>,
) -> Result<HttpResponse, ApiError> {
    if request.method() == Method::HEAD {
        return Ok(body::endless(&request, endless("video/h264"), Nothing));
    }
    let (reader, _) = joined(&stream).await?;
    let source = AccessUnits(Following::new(reader, &bell, &request));
    Ok(body::endless(&request, endless("video/h264"), source))
}

/// Joins the stream, which starts the feed if need be, and waits until it shows a picture.
pub(super) async fn joined(stream: &Arc<Stream>) -> Result<(Reader, Arc<Init>), ApiError> {
    let mut reader = stream.hub().join();
    let first = tokio::select! {
        read = reader.next() => Some(read),
        () = tokio::time::sleep(PATIENCE) => None,
        () = stream.fails(HOPELESS) => None,
    };
    match first {
        Some(Read::Init(init)) => Ok((reader, init)),
        Some(Read::Chunk(_) | Read::Skipped(_)) | None => Err(no_picture(stream)),
    }
}

/// The answer where nothing comes, with the reason if there is one.
pub(super) fn no_picture(stream: &Stream) -> ApiError {
    let cause = match stream.state(now()) {
        State::Waiting { cause, .. } => Some(cause),
        State::Idle | State::Starting | State::Live { .. } | State::Stopping => None,
    };
    ApiError::NoPicture { cause }
}

/// A reader on a worker thread, which is let go if it is too slow.
struct Following {
    reader: Reader,
    ear: Ear,
}

impl Following {
    fn new(reader: Reader, bell: &web::Data<Bell>, request: &HttpRequest) -> Self {
        Self { reader, ear: Bell::listen(bell, Connection::of(request)) }
    }

    /// The next piece; nothing where the viewer must go.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Read>> {
        loop {
            let read = self.reader.try_next();
            self.ear.stands_at(self.reader.position());
            match read {
                Some(Read::Skipped(_)) if self.ear.fell_off() == Flow::End => {
                    return Poll::Ready(None);
                }
                Some(read) => return Poll::Ready(Some(read)),
                None => self.ear.caught_up(),
            }
            ready!(self.ear.poll_heard(cx));
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
    fn poll_more(&mut self, out: &mut VecDeque<Bytes>, cx: &mut Context<'_>) -> Poll<Flow> {
        loop {
            while let Some((bytes, is_media)) = self.viewer.next() {
                if is_media {
                    self.following.count(&bytes);
                }
                out.push_back(bytes);
            }
            if !out.is_empty() {
                return Poll::Ready(Flow::On);
            }
            let read = ready!(self.following.poll_next(cx));
            if read.is_none_or(|read| self.viewer.take(read) == Flow::End) {
                return Poll::Ready(Flow::End);
            }
        }
    }
}

/// Every picture; the parameter sets stand before each key frame.
struct AccessUnits(Following);

impl Source for AccessUnits {
    fn poll_more(&mut self, out: &mut VecDeque<Bytes>, cx: &mut Context<'_>) -> Poll<Flow> {
        loop {
            let Some(read) = ready!(self.0.poll_next(cx)) else { return Poll::Ready(Flow::End) };
            if let Read::Chunk(piece) = read
                && piece.has_video()
            {
                let bytes = piece.annex_b();
                self.0.count(&bytes);
                out.push_back(bytes);
                return Poll::Ready(Flow::On);
            }
        }
    }
}

/// What follows a head that is asked for alone.
struct Nothing;

impl Source for Nothing {
    fn poll_more(&mut self, _: &mut VecDeque<Bytes>, _: &mut Context<'_>) -> Poll<Flow> {
        Poll::Ready(Flow::End)
    }
}

/// Safari asks for two bytes first and refuses what does not tell its length:
/// it plays the playlist instead.
fn is_safaris_probe(request: &HttpRequest) -> bool {
    request.headers().get(header::RANGE).is_some_and(|range| range == "bytes=0-1")
}

fn mp4_type(init: Option<&Init>, shape: Shape) -> String {
    match init {
        Some(init) => {
            let audio = init.tracks.audio.clone().filter(|_| shape.audio);
            let codecs = Tracks { audio, ..init.tracks.clone() }.codecs();
            format!("video/mp4; codecs=\"{codecs}\"")
        }
        None => "video/mp4".to_owned(),
    }
}

fn endless(content_type: &str) -> HttpResponseBuilder {
    let mut response = HttpResponse::Ok();
    response
        .content_type(content_type)
        .insert_header((header::CACHE_CONTROL, "no-cache, no-store, must-revalidate"))
        .insert_header((header::ACCEPT_RANGES, "none"))
        // A proxy that gathers the answer would make it late.
        .insert_header(("X-Accel-Buffering", "no"));
    response
}
