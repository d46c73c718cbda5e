//! Middleware: errors as HTML for browsers. Programs get the JSON of the handlers.

use actix_web::body::{BoxBody, EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap, HeaderValue};
use actix_web::middleware::Next;
use askama::Template;

use crate::base::system;
use crate::http::error::ApiError;
use crate::http::pages;

#[derive(Template)]
#[template(path = "error.html")]
struct Page<'a> {
    host: &'a str,
    version: &'a str,
    title: &'static str,
    reason: &'a str,
    /// The link to retry, if that may help.
    again: Option<&'a str>,
}

/// Replaces the JSON of an error by a page.
pub(in crate::http) async fn show(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<EitherBody<impl MessageBody, BoxBody>>, actix_web::Error> {
    let is_for_people = !request.path().starts_with("/api/") && is_navigation(request.headers());
    let response = next.call(request).await?;
    let error = response.response().error().filter(|_| is_for_people);
    let Some(error) = error.and_then(|error| error.as_error::<ApiError>()) else {
        return Ok(response.map_into_left_body());
    };
    // The output of a command is a page already.
    if response.headers().get(header::CONTENT_TYPE) != Some(&HeaderValue::from_static(JSON)) {
        return Ok(response.map_into_left_body());
    }
    let (status, reason) = (response.status(), error.to_string());
    let again = response.request().uri().path_and_query().map(|again| again.as_str());
    let host = system::hostname();
    let page = Page {
        host: &host,
        version: env!("CARGO_PKG_VERSION"),
        title: title(status),
        reason: &sentence(reason),
        again: again.filter(|_| may_help(status)),
    };
    let mut page = pages::html(status, &page, pages::POLICY);
    for (name, value) in response.headers() {
        if !page.headers().contains_key(name) {
            page.headers_mut().insert(name.clone(), value.clone());
        }
    }
    let (request, _) = response.into_parts();
    Ok(ServiceResponse::new(request, page).map_into_right_body())
}

const JSON: &str = "application/json";

/// Adds a full stop, unless the text ends with punctuation.
fn sentence(mut text: String) -> String {
    if !text.ends_with(['.', '!', '?']) {
        text.push('.');
    }
    text
}

/// Whether a browser requests a document for a tab; media elements and scripts do
/// not accept HTML.
fn is_navigation(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/html"))
}

fn title(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => "A password is needed",
        StatusCode::FORBIDDEN => "Not allowed",
        StatusCode::NOT_FOUND => "Nothing here",
        StatusCode::SERVICE_UNAVAILABLE => "Not available now",
        _ => "Not possible",
    }
}

fn may_help(status: StatusCode) -> bool {
    matches!(status, StatusCode::UNAUTHORIZED | StatusCode::SERVICE_UNAVAILABLE)
}
