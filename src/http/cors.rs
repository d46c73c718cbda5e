//! Cross-origin reads: players on other sites may read the media of streams
//! without a password, errors included. Pages, the figures of the box and
//! everything behind a password are readable for this origin only.

use actix_web::HttpResponse;
use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;

use super::access;
use super::guards;

/// How long a browser may cache a preflight response, in seconds; Chromium caches
/// it for at most two hours.
const PREFLIGHT_MAX_AGE_S: &str = "7200";

/// Middleware: adds the headers of the CORS protocol (Fetch, section 3.3) to
/// responses that every site may read, and answers their preflight requests.
pub(super) async fn add_headers(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<EitherBody<impl MessageBody>>, actix_web::Error> {
    let is_shared = guards::is_for_media(&request) && access::is_open(&request);
    if is_shared && request.method() == Method::OPTIONS {
        return Ok(request.into_response(preflight()).map_into_right_body());
    }
    let mut response = next.call(request).await?.map_into_left_body();
    if is_shared {
        let (headers, all) = (response.headers_mut(), HeaderValue::from_static("*"));
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, all.clone());
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, all);
    }
    Ok(response)
}

fn preflight() -> HttpResponse {
    HttpResponse::build(StatusCode::NO_CONTENT)
        .insert_header((header::ALLOW, "GET, HEAD, OPTIONS"))
        .insert_header((header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"))
        .insert_header((header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD"))
        .insert_header((header::ACCESS_CONTROL_ALLOW_HEADERS, "*"))
        .insert_header((header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_MAX_AGE_S))
        .finish()
}
