//! Recordings in the livebox API: `/api/livebox/v1/recordings/…` and
//! `/api/livebox/v1/streams/{name}/record/…`.
//!
//! A caller that may watch a stream may watch its recordings. Other callers do not
//! learn that they exist: [`access::are_recordings_listed`] is checked first.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};

use super::livebox::{answer, changed, next_retry};
use crate::base::time::{iso_s, now};
use crate::http::access::{self, Caller};
use crate::http::error::ApiError;
use crate::http::state::State;
use crate::model::failure::Failure;
use crate::model::ids::StreamName;
use crate::model::status;
use crate::outputs::picture::BadParameter;
use crate::outputs::recordings::{Entry, Name, Recordings};

/// Recordings per response: by default, and at most.
const DEFAULT_LIMIT: usize = 200;
const MAX_LIMIT: usize = 1000;

/// The path below which the files are.
pub(in crate::http) const FILES: &str = "/recordings";

/// `GET /api/livebox/v1/recordings`
#[derive(Serialize)]
struct List {
    /// The newest first.
    recordings: Vec<Shown>,
    /// The value of `before` for older recordings; `null` if there are none.
    next: Option<String>,
    /// Streams that can be recorded.
    streams: Vec<Recorded>,
}

/// One recording.
#[derive(Serialize)]
struct Shown {
    name: String,
    stream: String,
    /// ISO 8601, UTC.
    begin: String,
    /// `null` until the recording is finished.
    duration_s: Option<f64>,
    bytes: u64,
    /// `recording`, `finishing`, `finished`.
    state: &'static str,
    url: String,
}

/// Whether a stream is recorded.
#[derive(Serialize)]
struct Recorded {
    stream: String,
    /// `off`, `always`, or the hours of the week.
    record: String,
    wanted: bool,
    /// `idle`, `starting`, `live`, `stopping`, `waiting`.
    state: &'static str,
    next_retry_seconds: Option<f64>,
    file: Option<String>,
    last_error: Option<String>,
    last_error_details: Option<String>,
}

#[derive(Deserialize)]
pub(in crate::http) struct Query {
    before: Option<String>,
    limit: Option<String>,
}

/// `GET /api/livebox/v1/recordings`
pub(in crate::http) async fn all(
    request: HttpRequest,
    query: web::Query<Query>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let limit = query.limit.as_deref().map_or(Ok(DEFAULT_LIMIT), limit)?;
    let recordings = state.service.recordings()?;
    let (found, next) = listed(&request, recordings, query.before.as_deref(), limit)?;
    let streams = listed_streams(&request, recordings.status(now()).streams);
    let streams = streams.iter().map(shown_stream).collect();
    let recordings = found.iter().map(|(name, entry)| shown(name, entry)).collect();
    Ok(answer(&List { recordings, next: next.map(|next| next.to_string()), streams }))
}

/// `PUT /api/livebox/v1/streams/{name}/record/start`
pub(in crate::http) async fn start(
    caller: Caller,
    name: web::Path<String>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    caller.require_operator().await?;
    let recorded = state.service.start_recording(&name, now()).await?;
    Ok(changed(&state, &shown_stream(&recorded)))
}

/// `PUT /api/livebox/v1/streams/{name}/record/stop`
pub(in crate::http) async fn stop(
    caller: Caller,
    name: web::Path<String>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    caller.require_operator().await?;
    let recorded = state.service.stop_recording(&name, now()).await?;
    Ok(changed(&state, &shown_stream(&recorded)))
}

/// `DELETE /api/livebox/v1/recordings/{name}`
pub(in crate::http) async fn delete(
    caller: Caller,
    request: HttpRequest,
    name: web::Path<String>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    caller.require_operator().await?;
    state.service.delete_recording(&named(&name, &request)?).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Parses a name from a URL.
pub(in crate::http) fn named(text: &str, request: &HttpRequest) -> Result<Name, ApiError> {
    text.parse().map_err(|_| ApiError::NoSuchPath(request.path().to_owned()))
}

pub(in crate::http) type Found = Vec<(Name, Entry)>;

/// The recordings that the caller may see, and where the next page starts: after
/// the last of them, so that it names none that the caller may not see.
pub(in crate::http) fn listed(
    request: &HttpRequest,
    recordings: &Recordings,
    before: Option<&str>,
    limit: usize,
) -> Result<(Found, Option<Name>), ApiError> {
    let before = before.map(str::parse::<Name>).transpose();
    let before = before.map_err(|_| ApiError::BadBefore)?;
    let may_show = |stream: &StreamName| access::are_recordings_listed(request, stream);
    // One more shows whether there is another page.
    let mut found = recordings.list(before.as_ref(), limit + 1, may_show);
    let is_last = found.len() <= limit;
    found.truncate(limit);
    let next = found.last().filter(|_| !is_last).map(|(name, _)| name.clone());
    Ok((found, next))
}

/// Parses the number of recordings requested.
fn limit(text: &str) -> Result<usize, BadParameter> {
    let number = text.parse().ok().filter(|number| (1..=MAX_LIMIT).contains(number));
    number.ok_or(BadParameter { field: "limit", valid: "1 to 1000" })
}

/// Of these streams, those that the caller may see.
pub(in crate::http) fn listed_streams(
    request: &HttpRequest,
    mut streams: Vec<status::Recorded>,
) -> Vec<status::Recorded> {
    streams.retain(|stream| access::is_listed(request, &stream.stream));
    streams
}

fn shown(name: &Name, entry: &Entry) -> Shown {
    Shown {
        name: name.to_string(),
        stream: name.stream().to_string(),
        begin: iso_s(u64::try_from(entry.started.as_second()).unwrap_or(0)),
        duration_s: entry.span.map(|span| (span.as_secs_f64() * 1000.0).round() / 1000.0),
        bytes: entry.bytes,
        state: entry.state.word(),
        url: format!("{FILES}/{name}"),
    }
}

fn shown_stream(one: &status::Recorded) -> Recorded {
    Recorded {
        stream: one.stream.to_string(),
        record: one.plan.clone(),
        wanted: one.wanted,
        state: one.state.word(),
        next_retry_seconds: next_retry(&one.state),
        file: one.file.clone(),
        last_error: one.last_failure.as_ref().map(Failure::say),
        last_error_details: one.last_failure.as_ref().and_then(Failure::details),
    }
}
