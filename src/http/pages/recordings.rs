//! The pages of recordings, for viewers and for operators, and the forms of the
//! latter.

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use serde::Deserialize;

use super::Links;
use super::dashboard::forms::{back_to, changed_at, form};
use super::dashboard::{self, Refusal};
use super::moment::Moment;
use crate::base::system;
use crate::base::time::now;
use crate::base::units::{duration_in_words, size_in_words};
use crate::http::access::{self, Caller};
use crate::http::api::recordings::{FILES, listed, listed_streams, named};
use crate::http::error::ApiError;
use crate::http::state::State;
use crate::model::status;
use crate::outputs::recordings::{Entry, Name};

/// Recordings per page.
const PAGE_LIMIT: usize = 50;

/// The path of the page for operators.
const DASHBOARD: &str = "/dashboard/recordings";

#[derive(Deserialize)]
pub(in crate::http) struct Query {
    before: Option<String>,
    notice: Option<u64>,
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
    begin: Moment,
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
    query: web::Query<Query>,
    state: web::Data<State>,
) -> Result<HttpResponse, Refusal> {
    Ok(rendered(&request, &query, &state, None, super::POLICY_WITH_SCRIPT)?)
}

/// `GET /dashboard/recordings`: with buttons, for operators.
pub(in crate::http) async fn dashboard_page(
    caller: Caller,
    request: HttpRequest,
    query: web::Query<Query>,
    state: web::Data<State>,
) -> Result<HttpResponse, Refusal> {
    caller.require_operator().await?;
    let token = Some(state.flash_messages.token());
    let page = rendered(&request, &query, &state, token, dashboard::POLICY_WITH_MEDIA)?;
    Ok(super::not_stored(page))
}

/// `POST /dashboard/recordings/{name}/delete`
pub(in crate::http) async fn delete(
    caller: Caller,
    request: HttpRequest,
    payload: web::Payload,
    name: web::Path<String>,
    state: web::Data<State>,
) -> Result<HttpResponse, Refusal> {
    form(&caller, &request, payload, &state).await?;
    let done = state.service.delete_recording(&named(&name, &request)?).await;
    back_to(DASHBOARD, &state, done)
}

/// `POST /dashboard/streams/{name}/record/start`
pub(in crate::http) async fn start(
    caller: Caller,
    request: HttpRequest,
    payload: web::Payload,
    name: web::Path<String>,
    state: web::Data<State>,
) -> Result<HttpResponse, Refusal> {
    form(&caller, &request, payload, &state).await?;
    changed_at(DASHBOARD, &state, state.service.start_recording(&name, now()).await)
}

/// `POST /dashboard/streams/{name}/record/stop`
pub(in crate::http) async fn stop(
    caller: Caller,
    request: HttpRequest,
    payload: web::Payload,
    name: web::Path<String>,
    state: web::Data<State>,
) -> Result<HttpResponse, Refusal> {
    form(&caller, &request, payload, &state).await?;
    changed_at(DASHBOARD, &state, state.service.stop_recording(&name, now()).await)
}

fn rendered(
    request: &HttpRequest,
    query: &Query,
    state: &State,
    token: Option<&str>,
    policy: &'static str,
) -> Result<HttpResponse, ApiError> {
    let recordings = state.service.recordings()?;
    let (found, next) = listed(request, recordings, query.before.as_deref(), PAGE_LIMIT)?;
    let mut status = recordings.status(now());
    let streams = listed_streams(request, std::mem::take(&mut status.streams));
    access::redact_recordings(request, &mut status);
    let total = status.total();
    let rows: Vec<_> = found.iter().map(|(name, entry)| row(name, entry)).collect();
    let (host, topology) = (system::hostname(), state.topology());
    let page = Page {
        host: &host,
        version: env!("CARGO_PKG_VERSION"),
        links: Links::new(state, &topology),
        place: if token.is_some() { DASHBOARD } else { FILES },
        token,
        notice: query
            .notice
            .filter(|_| token.is_some())
            .and_then(|number| state.flash_messages.notice(number))
            .map(|notice| notice.text),
        player: rows.iter().find(|row| row.is_video).map(|row| row.name.clone()),
        rows,
        next: next.map(|next| next.to_string()),
        streams,
        sums: Sums {
            count: total.count,
            bytes: size_in_words(total.bytes),
            free: status.free.map_or_else(|| "not known".to_owned(), size_in_words),
            today: size_in_words(total.written_today),
            yesterday: size_in_words(total.written_yesterday),
            last_error: status.last_error.filter(|_| token.is_some()),
        },
    };
    Ok(super::html(StatusCode::OK, &page, policy))
}

fn row(name: &Name, entry: &Entry) -> Row {
    let state = entry.state.word();
    Row {
        name: name.to_string(),
        stream: name.stream().to_string(),
        begin: Moment { seconds: u64::try_from(entry.started.as_second()).unwrap_or(0) },
        duration: entry.span.map_or_else(String::new, |span| {
            duration_in_words(Duration::from_secs(span.as_secs()))
        }),
        bytes: size_in_words(entry.bytes),
        state,
        deletable: state == "finished",
        is_video: name.is_mp4() && state == "finished",
    }
}
