//! Streams of bytes, passed on as they come.

use std::convert::Infallible;
use std::sync::Arc;

use actix_web::http::{Method, header};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, web};
use bytes::Bytes;
use futures_util::stream::{empty, unfold};

use super::body::SLICE;
use crate::config::settings::Client;
use crate::engine::process::bytes::{Stream, Viewer};
use crate::engine::registry::{FIRST_FRAME_TIMEOUT, MAX_FAILED_RUNS, first_or_end};
use crate::http::error::ApiError;
use crate::http::media::endless;
use crate::hub::bytes::Begin;

/// `GET` of a byte stream's URL: what its feed or its command gives, for as
/// long as the viewer stays.
pub(in crate::http) async fn bytes(
    request: HttpRequest,
    query: web::Query<Vec<(String, String)>>,
    stream: web::ReqData<Arc<Stream>>,
) -> Result<HttpResponse, ApiError> {
    let begin = begin_of(&query, &stream)?;
    if request.method() == Method::HEAD {
        return Ok(answer(&stream).streaming(empty::<Result<Bytes, Infallible>>()));
    }
    if stream.settings().client == Client::Shot {
        let shot = stream.run_shot().await?;
        stream.count_bytes_out(shot.len());
        return Ok(answer(&stream).body(shot));
    }
    let mut viewer = stream.join(begin)?;
    // Bytes that are there are sent, however often the feed fails otherwise.
    let first =
        first_or_end(viewer.next(), FIRST_FRAME_TIMEOUT, stream.wait_failed(MAX_FAILED_RUNS)).await;
    let first = first.unwrap_or(Err(None));
    let first = first.map_err(|cause| ApiError::NoBytes { cause: cause.or(stream.cause()) })?;
    let stream = Arc::clone(&stream);
    Ok(answer(&stream).streaming(sent(stream, viewer, first)))
}

/// Where the viewer wants to begin; keys that mean nothing here are let pass.
fn begin_of(query: &[(String, String)], stream: &Stream) -> Result<Begin, ApiError> {
    let mut begin = Begin::Edge;
    for (key, value) in query {
        let wish = match key.as_str() {
            "header" => Begin::Header,
            "keyframe" => Begin::Key,
            _ => continue,
        };
        match value.as_str() {
            "0" => continue,
            "1" => {}
            _ => return Err(ApiError::BadQuery(key.clone())),
        }
        if !stream.has_marks() {
            let content_type = stream.settings().content_type.clone();
            return Err(ApiError::NoMarks { key: key.clone(), content_type });
        }
        // An intra frame comes with the header anyway.
        if begin != Begin::Key {
            begin = wish;
        }
    }
    Ok(begin)
}

/// The headers that players of such streams are used to.
fn answer(stream: &Stream) -> HttpResponseBuilder {
    let mut response = endless(&stream.settings().content_type);
    response
        .insert_header((
            header::CACHE_CONTROL,
            "no-cache, no-store, must-revalidate, public, max-age=0",
        ))
        .insert_header((header::PRAGMA, "no-cache"))
        .insert_header((header::EXPIRES, "0"));
    response
}

fn sent(
    stream: Arc<Stream>,
    viewer: Viewer,
    first: Bytes,
) -> impl futures_util::Stream<Item = Result<Bytes, Infallible>> {
    unfold((stream, viewer, Some(first)), |(stream, mut viewer, rest)| async move {
        let mut bytes = match rest {
            Some(rest) => rest,
            None => viewer.next().await.ok()?,
        };
        let slice = bytes.split_to(bytes.len().min(SLICE));
        stream.count_bytes_out(slice.len());
        let rest = Some(bytes).filter(|rest| !rest.is_empty());
        Some((Ok(slice), (stream, viewer, rest)))
    })
}
