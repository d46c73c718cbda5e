//! Byte streams over HTTP, passed on unchanged.

use std::convert::Infallible;
use std::sync::Arc;

use actix_web::http::{Method, header};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, web};
use bytes::Bytes;
use futures_util::stream::{empty, unfold};

use super::body::MAX_SLICE_BYTES;
use crate::config::settings::Client;
use crate::engine::first_frame::{FIRST_FRAME_TIMEOUT, MAX_FAILED_RUNS, first_or_end};
use crate::engine::process::bytes::{Stream, Viewer};
use crate::http::error::ApiError;
use crate::http::media::endless;
use crate::hub::bytes::Begin;

/// `GET` of a byte stream's URL: the bytes of its feed or command, until the
/// viewer disconnects.
pub(in crate::http) async fn bytes(
    request: HttpRequest,
    query: web::Query<Vec<(String, String)>>,
    stream: web::ReqData<Arc<Stream>>,
) -> Result<HttpResponse, ApiError> {
    let begin = requested_begin(&query, &stream)?;
    if request.method() == Method::HEAD {
        return Ok(response(&stream).streaming(empty::<Result<Bytes, Infallible>>()));
    }
    if stream.settings().client == Client::Shot {
        let shot = stream.run_shot().await?;
        stream.count_bytes_out(shot.len());
        return Ok(response(&stream).body(shot));
    }
    let mut viewer = stream.join(begin)?;
    // Bytes that have arrived win over failures of the feed.
    let first =
        first_or_end(viewer.next(), FIRST_FRAME_TIMEOUT, stream.wait_failed(MAX_FAILED_RUNS)).await;
    let first = first.unwrap_or(Err(None));
    let first = first.map_err(|cause| ApiError::NoBytes { cause: cause.or(stream.cause()) })?;
    let stream = Arc::clone(&stream);
    Ok(response(&stream).streaming(body(stream, viewer, first)))
}

/// The requested position to begin at; unknown keys are ignored.
fn requested_begin(query: &[(String, String)], stream: &Stream) -> Result<Begin, ApiError> {
    let mut begin = Begin::Edge;
    for (key, value) in query {
        let requested = match key.as_str() {
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
        // `Key` includes the header.
        if begin != Begin::Key {
            begin = requested;
        }
    }
    Ok(begin)
}

/// A response with the headers that players of byte streams expect.
fn response(stream: &Stream) -> HttpResponseBuilder {
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

fn body(
    stream: Arc<Stream>,
    viewer: Viewer,
    first: Bytes,
) -> impl futures_util::Stream<Item = Result<Bytes, Infallible>> {
    unfold((stream, viewer, Some(first)), |(stream, mut viewer, rest)| async move {
        let mut bytes = match rest {
            Some(rest) => rest,
            None => viewer.next().await.ok()?,
        };
        let slice = bytes.split_to(bytes.len().min(MAX_SLICE_BYTES));
        stream.count_bytes_out(slice.len());
        let rest = Some(bytes).filter(|rest| !rest.is_empty());
        Some((Ok(slice), (stream, viewer, rest)))
    })
}
