//! Recordings: API, pages and files.
//!
//! A caller that may watch a stream may watch its recordings. Other callers do not
//! learn that they exist: [`access::require_viewer`] and
//! [`access::are_recordings_listed`] are checked first.

use std::time::Duration;

use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use serde::{Deserialize, Serialize};

use super::livebox::{answer, changed};
use crate::base::system;
use crate::base::time::iso_s;
use crate::base::time::now;
use crate::base::units::{duration_in_words, size_in_words};
use crate::http::access::{self, Caller};
use crate::http::error::ApiError;
use crate::http::files::{self, FileMeta};
use crate::http::pages::dashboard::forms::{back_to, changed_at, form};
use crate::http::pages::dashboard::{self, Refusal};
use crate::http::pages::{self, Links};
use crate::http::state::State;
use crate::model::ids::StreamName;
use crate::model::status;
use crate::outputs::picture::BadParameter;
use crate::outputs::recordings::{Entry, Name, Recordings};

/// Recordings per response: by default, and at most.
const DEFAULT_LIMIT: usize = 200;
const MAX_LIMIT: usize = 1000;

/// Recordings per HTML page.
const PAGE_LIMIT: usize = 50;

/// The paths of the page for viewers and of the one for operators.
const PAGE: &str = "/recordings";
const DASHBOARD: &str = "/dashboard/recordings";

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
    file: Option<String>,
    last_error: Option<String>,
}

#[derive(Deserialize)]
pub(in crate::http) struct Asked {
    before: Option<String>,
    limit: Option<String>,
    told: Option<u64>,
}

/// `GET /api/livebox/v1/recordings`
pub(in crate::http) async fn all(
    request: HttpRequest,
    asked: web::Query<Asked>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let limit = asked.limit.as_deref().map_or(Ok(DEFAULT_LIMIT), limit)?;
    let recordings = state.service.recordings()?;
    let (found, next) = listed(&request, recordings, asked.before.as_deref(), limit)?;
    let streams = streams(&request, recordings).iter().map(shown_stream).collect();
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

/// `GET /recordings/{name}`: whole or in ranges; up to where it is while it grows.
pub(in crate::http) async fn file(
    request: HttpRequest,
    name: web::Path<String>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let name = named(&name, &request)?;
    access::require_viewer(&request, name.stream()).await?;
    let missing = || ApiError::NoSuchPath(request.path().to_owned());
    let (file, metadata) = state.service.recordings()?.file(&name).await?.ok_or_else(missing)?;
    let found = (file, FileMeta::from_metadata(&metadata));
    Ok(files::answer(&request, found, name.content_type(), "private, no-cache"))
}

/// The page, with buttons for operators.
#[derive(Template)]
#[template(path = "recordings.html")]
struct Page<'a> {
    host: &'a str,
    version: &'a str,
    links: Links<'a>,
    place: &'static str,
    /// The token of the forms, for operators.
    token: Option<&'a str>,
    notice: Option<String>,
    rows: Vec<Row>,
    next: Option<String>,
    streams: Vec<status::Recorded>,
    sums: Sums,
    /// The recording in the player.
    player: Option<String>,
}

struct Row {
    name: String,
    stream: String,
    begin: String,
    duration: String,
    bytes: String,
    state: &'static str,
    deletable: bool,
    is_video: bool,
}

struct Sums {
    count: usize,
    bytes: String,
    free: String,
    today: String,
    yesterday: String,
    last_error: Option<String>,
}

/// `GET /recordings`: for everybody.
pub(in crate::http) async fn page(
    request: HttpRequest,
    asked: web::Query<Asked>,
    state: web::Data<State>,
) -> Result<HttpResponse, Refusal> {
    Ok(rendered(&request, &asked, &state, None, pages::POLICY_WITH_SCRIPT)?)
}

/// `GET /dashboard/recordings`: with buttons, for operators.
pub(in crate::http) async fn dashboard_page(
    caller: Caller,
    request: HttpRequest,
    asked: web::Query<Asked>,
    state: web::Data<State>,
) -> Result<HttpResponse, Refusal> {
    caller.require_operator().await?;
    let token = Some(state.flash_messages.token());
    let mut response = rendered(&request, &asked, &state, token, dashboard::POLICY_WITH_MEDIA)?;
    let never = header::HeaderValue::from_static("no-store");
    response.headers_mut().insert(header::CACHE_CONTROL, never);
    Ok(response)
}

/// `POST /dashboard/recordings/{name}/delete`
pub(in crate::http) async fn delete_form(
    caller: Caller,
    request: HttpRequest,
    payload: web::Payload,
    name: web::Path<String>,
    state: web::Data<State>,
) -> Result<HttpResponse, Refusal> {
    form(&caller, &request, payload, &state).await?;
    let deleted = state.service.delete_recording(&named(&name, &request)?).await;
    back_to(DASHBOARD, &state, deleted.map_err(ApiError::from))
}

/// `POST /dashboard/streams/{name}/record/start`
pub(in crate::http) async fn start_form(
    caller: Caller,
    request: HttpRequest,
    payload: web::Payload,
    name: web::Path<String>,
    state: web::Data<State>,
) -> Result<HttpResponse, Refusal> {
    form(&caller, &request, payload, &state).await?;
    let started = state.service.start_recording(&name, now()).await.map(drop);
    changed_at(DASHBOARD, &state, started.map_err(ApiError::from))
}

/// `POST /dashboard/streams/{name}/record/stop`
pub(in crate::http) async fn stop_form(
    caller: Caller,
    request: HttpRequest,
    payload: web::Payload,
    name: web::Path<String>,
    state: web::Data<State>,
) -> Result<HttpResponse, Refusal> {
    form(&caller, &request, payload, &state).await?;
    let stopped = state.service.stop_recording(&name, now()).await.map(drop);
    changed_at(DASHBOARD, &state, stopped.map_err(ApiError::from))
}

/// Parses a name from a URL.
fn named(text: &str, request: &HttpRequest) -> Result<Name, ApiError> {
    text.parse().map_err(|_| ApiError::NoSuchPath(request.path().to_owned()))
}

type Found = Vec<(Name, Entry)>;

/// The recordings that the caller may see, and where the next page starts: after
/// the last of them, so that it names none that the caller may not see.
fn listed(
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

fn streams(request: &HttpRequest, recordings: &Recordings) -> Vec<status::Recorded> {
    let mut streams = recordings.status(now()).streams;
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
        url: format!("{PAGE}/{name}"),
    }
}

fn shown_stream(one: &status::Recorded) -> Recorded {
    Recorded {
        stream: one.stream.to_string(),
        record: one.plan.clone(),
        wanted: one.wanted,
        state: one.state.word(),
        file: one.file.clone(),
        last_error: one.last_failure.as_ref().map(ToString::to_string),
    }
}

fn rendered(
    request: &HttpRequest,
    asked: &Asked,
    state: &State,
    token: Option<&str>,
    policy: &'static str,
) -> Result<HttpResponse, ApiError> {
    let recordings = state.service.recordings()?;
    let (found, next) = listed(request, recordings, asked.before.as_deref(), PAGE_LIMIT)?;
    let mut status = recordings.status(now());
    access::redact_recordings(request, &mut status);
    let total = status.total();
    let rows: Vec<_> = found.iter().map(|(name, entry)| row(name, entry)).collect();
    let (host, topology) = (system::hostname(), state.topology());
    let page = Page {
        host: &host,
        version: env!("CARGO_PKG_VERSION"),
        links: Links::new(state, &topology),
        place: if token.is_some() { DASHBOARD } else { PAGE },
        token,
        notice: asked
            .told
            .filter(|_| token.is_some())
            .and_then(|told| state.flash_messages.notice(told))
            .map(|notice| notice.text),
        player: rows.iter().find(|row| row.is_video).map(|row| row.name.clone()),
        rows,
        next: next.map(|next| next.to_string()),
        streams: streams(request, recordings),
        sums: Sums {
            count: total.count,
            bytes: size_in_words(total.bytes),
            free: status.free.map_or_else(|| "not known".to_owned(), size_in_words),
            today: size_in_words(total.written_today),
            yesterday: size_in_words(total.written_yesterday),
            last_error: status.last_error.filter(|_| token.is_some()),
        },
    };
    Ok(pages::html(StatusCode::OK, &page, policy))
}

fn row(name: &Name, entry: &Entry) -> Row {
    let state = entry.state.word();
    Row {
        name: name.to_string(),
        stream: name.stream().to_string(),
        begin: name.stamp().strftime("%a %Y-%m-%d %H:%M:%S").to_string(),
        duration: entry.span.map_or_else(String::new, |span| {
            duration_in_words(Duration::from_secs(span.as_secs()))
        }),
        bytes: size_in_words(entry.bytes),
        state,
        deletable: state == "finished",
        is_video: name.is_mp4() && state == "finished",
    }
}
