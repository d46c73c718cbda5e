//! Pages for people, rendered here. They are complete without JavaScript; the
//! player's page recovers by itself where scripts run.

pub(super) mod assets;
pub(super) mod dashboard;
pub(super) mod docroot;
pub(super) mod error_page;

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, ResponseError, web};
use askama::Template;

use super::access::{Caller, close, may_see};
use super::error::ApiError;
use super::media::join_within;
use crate::accounts::Scope;
use crate::base::system;
use crate::base::time::now;
use crate::engine::registry::Stream;
use crate::http::state::State;
use crate::model::status::{self, Closed, Failure, Snapshot};
use crate::service::topology::Topology;

/// Only what this server has, and no scripts at all. Other sites may frame the
/// pages: that is how a camera gets onto one's home page.
pub(in crate::http) const POLICY: &str = "default-src 'none'; style-src 'self'; media-src 'self'; img-src 'self'; \
                      form-action 'self'; base-uri 'none'";

/// The same with a script: one that watches over the player, or keeps a list fresh.
pub(in crate::http) const POLICY_WITH_SCRIPT: &str = "default-src 'none'; style-src 'self'; media-src 'self'; img-src 'self'; \
                      script-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'";

/// How long a page waits for the first picture of a feed that it has started.
/// A camera takes a second or two; one that is away says so at once.
const FIRST_PICTURE_TIMEOUT: Duration = Duration::from_secs(2);

/// How soon a page without a picture looks again where no script does.
const LOOK_AGAIN_S: u32 = 2;

/// Plays one stream and lists the rest of the box.
#[derive(Template)]
#[template(path = "player.html")]
struct Player<'a> {
    host: &'a str,
    version: &'a str,
    links: Links<'a>,
    /// Whether more is shown than viewers need.
    is_operator: bool,
    /// The one that is played; absent where livebox encodes none.
    stream: Option<&'a status::Stream>,
    box_: &'a Snapshot,
    /// Streams that only show their name.
    closed: &'a [Closed],
    /// Why there is nothing to play.
    away: Option<&'a Failure>,
    look_again_s: u32,
}

/// Where the pages of this box lead.
pub(in crate::http) struct Links<'a> {
    pub(in crate::http) home: bool,
    pub(in crate::http) recordings: bool,
    /// The state page, where it is shown.
    pub(in crate::http) stat: Option<&'a str>,
    pub(in crate::http) control: bool,
}

impl<'a> Links<'a> {
    pub(in crate::http) fn of(state: &State, topology: &'a Topology) -> Self {
        let pages = &topology.settings.pages;
        Self {
            home: pages.home,
            recordings: state.service.may_record(),
            stat: pages.stat.as_deref(),
            control: topology.livebox.is_some(),
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

/// `GET /`: the first stream, for those who may see it.
pub(in crate::http) async fn home(
    caller: Caller,
    request: HttpRequest,
    state: web::Data<State>,
) -> HttpResponse {
    let topology = state.topology();
    let mut first = topology.registry.first();
    if let Some(stream) = first {
        let place = Scope::Stream(stream.hub().name().clone());
        if !may_see(&request, &place).await {
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

/// Every path that nothing answers.
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
    let away = match stream {
        Some(stream) => away(stream).await,
        None => None,
    };
    // First: what it finds out opens the lists as well.
    let is_operator = caller.is_operator().await;
    let (now, host) = (now(), system::hostname());
    let shown = stream.map(|stream| stream.status(now));
    let mut snapshot = state.service.snapshot(now);
    let closed = close(request, &mut snapshot);
    let topology = state.topology();
    let page = Player {
        host: &host,
        version: env!("CARGO_PKG_VERSION"),
        links: Links::of(state, &topology),
        is_operator,
        stream: shown.as_ref(),
        box_: &snapshot,
        closed: &closed,
        away: away.as_ref(),
        look_again_s: LOOK_AGAIN_S,
    };
    html(StatusCode::OK, &page, POLICY_WITH_SCRIPT)
}

/// Why the stream shows nothing; nothing where it does, or may do so soon.
///
/// A `<video>` tag gives up for ever when its stream fails, and no script is
/// there to notice. So the page starts the feed itself, and keeps it wanted
/// until its video, or its next look, comes.
async fn away(stream: &Arc<Stream>) -> Option<Failure> {
    if let status::State::Live { .. } = stream.state(now()) {
        return None;
    }
    stream.hub().lease();
    match join_within(stream, FIRST_PICTURE_TIMEOUT).await {
        Ok(_) => None,
        Err(_) => stream.last_failure(),
    }
}

/// A page under the content security policy `policy`.
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
