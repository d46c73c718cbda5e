//! HTML pages, rendered on the server. They are complete without JavaScript; with
//! it, the player's page reconnects automatically.

pub(super) mod assets;
pub(super) mod dashboard;
pub(super) mod docroot;
pub(super) mod error_page;
pub(super) mod flash;
pub(super) mod moment;
pub(super) mod recordings;

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, ResponseError, web};
use askama::Template;

use super::access::{Caller, may_see, redact};
use super::error::ApiError;
use super::media::join_within;
use crate::accounts::Scope;
use crate::base::system;
use crate::base::time::now;
use crate::engine::registry::Stream;
use crate::http::state::State;
use crate::model::failure::Failure;
use crate::model::status::{self, Closed, Snapshot};
use crate::service::topology::Topology;

/// Resources of this server only, and no scripts. Other sites may frame the pages,
/// to embed a camera.
pub(in crate::http) const POLICY: &str = "default-src 'none'; style-src 'self'; media-src 'self'; img-src 'self'; \
                      form-action 'self'; base-uri 'none'";

/// The same with scripts of this server: for the player and for fresh lists.
pub(in crate::http) const POLICY_WITH_SCRIPT: &str = "default-src 'none'; style-src 'self'; media-src 'self'; img-src 'self'; \
                      script-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'";

/// How long a page waits for the first picture of a feed that it has started. A
/// camera takes a second or two; a missing one fails at once.
const FIRST_PICTURE_TIMEOUT: Duration = Duration::from_secs(2);

/// The refresh interval of a page without a picture where scripts are off.
const REFRESH_S: u32 = 2;

/// The page that plays one stream and lists the others.
#[derive(Template)]
#[template(path = "player.html")]
struct Player<'a> {
    host: &'a str,
    version: &'a str,
    links: Links<'a>,
    /// Whether the parts for operators are shown.
    is_operator: bool,
    /// The stream to play; `None` if livebox encodes none.
    stream: Option<&'a status::Stream>,
    box_: &'a Snapshot,
    /// Streams of which the caller sees only the name.
    closed: &'a [Closed],
    /// Why there is no picture.
    failure: Option<&'a Failure>,
    refresh_s: u32,
}

/// The links in the navigation of pages.
pub(in crate::http) struct Links<'a> {
    pub(in crate::http) home: bool,
    pub(in crate::http) recordings: bool,
    /// The path of the state page, if it is enabled.
    pub(in crate::http) stat: Option<&'a str>,
    pub(in crate::http) control: bool,
}

impl<'a> Links<'a> {
    pub(in crate::http) fn new(state: &State, topology: &'a Topology) -> Self {
        let pages = &topology.settings.pages;
        Self {
            home: pages.home,
            recordings: state.service.may_record(),
            stat: pages.stat.as_deref(),
            control: topology.first_push.is_some(),
        }
    }
}

#[derive(Template)]
#[template(path = "not-found.html")]
struct NotFound<'a> {
    host: &'a str,
    version: &'a str,
    path: &'a str,
}

/// `GET /`: plays the first stream, if the caller may see it.
pub(in crate::http) async fn home(
    caller: Caller,
    request: HttpRequest,
    state: web::Data<State>,
) -> HttpResponse {
    let topology = state.topology();
    let mut first = topology.registry.first();
    if let Some(stream) = first {
        let scope = Scope::Stream(stream.hub().name().clone());
        if !may_see(&request, &scope).await {
            first = None;
        }
    }
    player(&caller, &request, &state, first).await
}

/// `GET /<stream>/`
pub(in crate::http) async fn stream(
    caller: Caller,
    request: HttpRequest,
    state: web::Data<State>,
    stream: web::ReqData<Arc<Stream>>,
) -> HttpResponse {
    player(&caller, &request, &state, Some(&stream)).await
}

/// The response for unknown paths.
pub(in crate::http) async fn not_found(request: HttpRequest) -> HttpResponse {
    if request.path().starts_with("/api/") {
        return ApiError::NoSuchPath(request.path().to_owned()).error_response();
    }
    let host = system::hostname();
    let page = NotFound { host: &host, version: env!("CARGO_PKG_VERSION"), path: request.path() };
    html(StatusCode::NOT_FOUND, &page, POLICY)
}

async fn player(
    caller: &Caller,
    request: &HttpRequest,
    state: &State,
    stream: Option<&Arc<Stream>>,
) -> HttpResponse {
    let failure = match stream {
        Some(stream) => failure(stream).await,
        None => None,
    };
    // First: a password that it verifies counts for the lists as well.
    let is_operator = caller.is_operator().await;
    let (now, host) = (now(), system::hostname());
    let status = stream.map(|stream| stream.status(now));
    let mut snapshot = state.service.snapshot(now);
    let closed = redact(request, &mut snapshot);
    let topology = state.topology();
    let page = Player {
        host: &host,
        version: env!("CARGO_PKG_VERSION"),
        links: Links::new(state, &topology),
        is_operator,
        stream: status.as_ref(),
        box_: &snapshot,
        closed: &closed,
        failure: failure.as_ref(),
        refresh_s: REFRESH_S,
    };
    html(StatusCode::OK, &page, POLICY_WITH_SCRIPT)
}

/// The failure of a stream without a picture; `None` if it is live or may be soon.
///
/// A `<video>` tag never retries when its stream fails, and scripts may be off. So
/// the page starts the feed itself and takes a lease, which lasts until its video
/// or its next refresh is requested.
async fn failure(stream: &Arc<Stream>) -> Option<Failure> {
    if let status::State::Live { .. } = stream.state(now()) {
        return None;
    }
    stream.hub().lease();
    match join_within(stream, FIRST_PICTURE_TIMEOUT).await {
        Ok(_) => None,
        Err(_) => stream.cause(now()),
    }
}

/// Renders a page with the content security policy `policy`.
pub(in crate::http) fn html(
    status: StatusCode,
    page: &impl Template,
    policy: &'static str,
) -> HttpResponse {
    match page.render() {
        Ok(text) => HttpResponse::build(status)
            .content_type("text/html; charset=utf-8")
            .insert_header((header::CACHE_CONTROL, "no-cache"))
            .insert_header((header::CONTENT_SECURITY_POLICY, policy))
            .insert_header((header::REFERRER_POLICY, "same-origin"))
            .body(text),
        Err(error) => HttpResponse::InternalServerError().body(error.to_string()),
    }
}

/// Forbids caches to store a page: it is for operators.
fn not_stored(mut page: HttpResponse) -> HttpResponse {
    let value = header::HeaderValue::from_static("no-store");
    page.headers_mut().insert(header::CACHE_CONTROL, value);
    page
}
