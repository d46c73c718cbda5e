//! The box in numbers: `/stat` for people, `/stat.json` for programs,
//! `/metrics` for Prometheus, `/config`. All of the first three render one snapshot.

mod exposition;
mod metrics;
mod numbers;
mod recordings;
mod rounding;

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;

use self::metrics::prometheus;
use self::numbers::{Stat, stat};
use super::access::redact_page;
use super::error::json;
use super::pages::moment::Moment;
use super::pages::{self, Links};
use crate::base::time::now;
use crate::base::units::{duration_in_words, rate_in_words, size_in_words};
use crate::http::state::State;
use crate::model::status::{Closed, Snapshot};

/// Resources of this server only. The script only refreshes the numbers; the page
/// is complete without it.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'";

/// The page for people.
#[derive(Template)]
#[template(path = "stat.html")]
struct Page<'a> {
    host: &'a str,
    version: &'a str,
    links: Links<'a>,
    stat: &'a Stat<'a>,
    box_: &'a Snapshot,
    /// Streams of which the caller sees only the name.
    closed: &'a [Closed],
    started: Moment,
    time_now: Moment,
    uptime: String,
    /// `/config`, where it is shown.
    config: Option<&'a str>,
    shows_clients: bool,
}

impl Page<'_> {
    fn size(&self, bytes: &u64) -> String {
        size_in_words(*bytes)
    }

    fn rate(&self, bps: &u64) -> String {
        rate_in_words(*bps)
    }

    fn span(&self, span: &Duration) -> String {
        duration_in_words(*span)
    }
}

/// `GET /stat`
pub(super) async fn page(request: HttpRequest, state: web::Data<State>) -> HttpResponse {
    let (snapshot, closed) = visible_snapshot(&request, &state);
    let topology = state.topology();
    let pages = &topology.settings.pages;
    let stat = stat(&snapshot, pages.clients);
    let page = Page {
        host: &snapshot.service.host,
        version: snapshot.service.version,
        links: Links::new(&state, &topology),
        stat: &stat,
        box_: &snapshot,
        closed: &closed,
        started: Moment { seconds: snapshot.service.started },
        time_now: Moment { seconds: snapshot.service.now },
        uptime: duration_in_words(snapshot.service.uptime),
        config: pages.config.as_deref(),
        shows_clients: pages.clients,
    };
    pages::html(StatusCode::OK, &page, POLICY)
}

/// `GET /stat.json`
pub(super) async fn numbers(request: HttpRequest, state: web::Data<State>) -> HttpResponse {
    let (snapshot, _) = visible_snapshot(&request, &state);
    json(&mut HttpResponse::Ok(), &stat(&snapshot, state.topology().settings.pages.clients))
}

/// `GET /metrics`
pub(super) async fn metrics(request: HttpRequest, state: web::Data<State>) -> HttpResponse {
    let (snapshot, _) = visible_snapshot(&request, &state);
    HttpResponse::Ok()
        .content_type("text/plain; version=0.0.4; charset=utf-8")
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .body(prometheus(&snapshot))
}

/// `GET /config`: the configuration without secrets.
pub(super) async fn config(state: web::Data<State>) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/plain; charset=utf-8")
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .body(state.topology().config_text.clone())
}

/// The snapshot as the caller may see it, and the streams of which it sees only
/// the name.
fn visible_snapshot(request: &HttpRequest, state: &State) -> (Snapshot, Vec<Closed>) {
    let mut snapshot = state.service.snapshot(now());
    let closed = redact_page(request, &mut snapshot);
    (snapshot, closed)
}
