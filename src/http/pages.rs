//! Pages for people, rendered here; they need no JavaScript.

use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, ResponseError, web};
use askama::Template;

use super::error::ApiError;
use super::server::{State, now};
use crate::base::system;
use crate::engine::roster::Stream;
use crate::model::status::{self, Snapshot};

/// Only what this server has, and no scripts at all. Other sites may frame the
/// pages: that is how a camera gets onto one's home page.
const POLICY: &str = "default-src 'none'; style-src 'self'; media-src 'self'; img-src 'self'; \
                      form-action 'self'; base-uri 'none'";

/// Plays one stream and lists the rest of the box.
#[derive(Template)]
#[template(path = "player.html")]
struct Player<'a> {
    host: &'a str,
    version: &'a str,
    /// The one that is played; absent where livebox encodes none.
    stream: Option<&'a status::Stream>,
    box_: &'a Snapshot,
}

#[derive(Template)]
#[template(path = "not-found.html")]
struct NotFound<'a> {
    host: &'a str,
    version: &'a str,
    path: &'a str,
}

/// `GET /`: the first stream.
pub(super) async fn home(state: web::Data<State>) -> HttpResponse {
    player(&state, state.roster.first().map(AsRef::as_ref))
}

/// `GET /<stream>/`
pub(super) async fn stream(
    state: web::Data<State>,
    stream: web::Data<Arc<Stream>>,
) -> HttpResponse {
    player(&state, Some(&stream))
}

/// Every path that nothing answers.
pub(super) async fn not_found(request: HttpRequest) -> HttpResponse {
    if request.path().starts_with("/api/") {
        return ApiError::NoSuchPath(request.path().to_owned()).error_response();
    }
    let host = system::hostname();
    let page = NotFound { host: &host, version: env!("CARGO_PKG_VERSION"), path: request.path() };
    html(StatusCode::NOT_FOUND, &page, POLICY)
}

fn player(state: &State, stream: Option<&Stream>) -> HttpResponse {
    let (now, host) = (now(), system::hostname());
    let shown = stream.map(|stream| stream.status(now));
    let page = Player {
        host: &host,
        version: env!("CARGO_PKG_VERSION"),
        stream: shown.as_ref(),
        box_: &state.snapshot(now),
    };
    html(StatusCode::OK, &page, POLICY)
}

/// A page under the content security policy `policy`.
pub(super) fn html(status: StatusCode, page: &impl Template, policy: &'static str) -> HttpResponse {
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
