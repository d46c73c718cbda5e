//! Streams as endless answers: fMP4 and raw H.264.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::Method;
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, web};
use bytes::Bytes;
use futures_util::stream::{empty, unfold};

use super::error::ApiError;
use super::server::now;
use super::viewer::{Flow, Shape, Viewer};
use crate::engine::roster::Stream;
use crate::hub::{Read, Reader};
use crate::media::packager::Init;
use crate::model::status::State;
use crate::model::track::Tracks;
use crate::outputs::picture::NoPicture;

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
) -> Result<HttpResponse, ApiError> {
    let shape = Shape::of(&query).map_err(ApiError::BadQuery)?;
    if is_safaris_probe(&request) {
        let url = request.path().trim_end_matches(".mp4");
        let playlist = format!("{url}.m3u8");
        return Ok(HttpResponse::Found().insert_header((header::LOCATION, playlist)).finish());
    }
    if request.method() == Method::HEAD {
        return Ok(head(&mp4_type(stream.hub().init().as_deref(), shape)));
    }
    let (reader, init, burst) = match stream.hub().join_at_edge() {
        Some((reader, init, burst)) => (reader, init, Some(burst)),
        None => {
            let (reader, init) = joined(&stream).await?;
            (reader, init, None)
        }
    };
    let viewer = Viewer::new(shape, &init, burst);
    Ok(endless(&mp4_type(Some(&init), shape)).streaming(sent(reader, viewer)))
}

/// `GET /<stream>.h264`: the access units in Annex B form, from the newest key frame.
pub(super) async fn h264(
    request: HttpRequest,
    stream: web::Data<Arc<Stream>>,
) -> Result<HttpResponse, ApiError> {
    if request.method() == Method::HEAD {
        return Ok(head("video/h264"));
    }
    let (reader, init) = joined(&stream).await?;
    if init.tracks.video.is_none() {
        return Err(NoPicture::NoVideo.into());
    }
    Ok(endless("video/h264").streaming(access_units(reader)))
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

/// What a viewer is sent, for as long as it stays.
fn sent(
    reader: Reader,
    viewer: Viewer,
) -> impl futures_util::Stream<Item = Result<Bytes, Infallible>> {
    unfold((reader, viewer), |(mut reader, mut viewer)| async move {
        loop {
            if let Some((bytes, is_media)) = viewer.next() {
                if is_media {
                    reader.stream().count_bytes_out(bytes.len());
                }
                return Some((Ok(bytes), (reader, viewer)));
            }
            if viewer.take(reader.next().await) == Flow::End {
                return None;
            }
        }
    })
}

/// Every picture; the parameter sets stand before each key frame.
fn access_units(reader: Reader) -> impl futures_util::Stream<Item = Result<Bytes, Infallible>> {
    unfold(reader, |mut reader| async move {
        loop {
            if let Read::Chunk(piece) = reader.next().await
                && piece.has_video()
            {
                let bytes = piece.annex_b();
                reader.stream().count_bytes_out(bytes.len());
                return Some((Ok(bytes), reader));
            }
        }
    })
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
            let kind = if init.tracks.video.is_some() { "video" } else { "audio" };
            format!("{kind}/mp4; codecs=\"{codecs}\"")
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

/// The headers of an endless answer without one.
fn head(content_type: &str) -> HttpResponse {
    endless(content_type).streaming(empty::<Result<Bytes, Infallible>>())
}
