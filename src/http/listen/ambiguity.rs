//! Rejects ambiguous requests, and requests for other hosts, before any other
//! check.
//!
//! A proxy, a browser and this server must read the same host, origin and
//! password from a request. With a repeated header or an invalid `Host` they
//! might not (RFC 9112, 3.2).

use actix_web::HttpRequest;
use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{AUTHORIZATION, HOST, HeaderName, ORIGIN};
use actix_web::middleware::Next;
use actix_web::web;

use super::connection::OverUnixSocket;
use crate::base::authority::{Authority, Host};
use crate::http::error::ApiError;
use crate::http::state::State;

pub(in crate::http) const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Headers on which access depends: each may be there once.
const UNIQUE_HEADERS: [HeaderName; 4] = [HOST, ORIGIN, FETCH_SITE, AUTHORIZATION];

/// Middleware: rejects requests as the module says.
pub(in crate::http) async fn reject(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<EitherBody<impl MessageBody>>, actix_web::Error> {
    match check(request.request()) {
        Ok(()) => Ok(next.call(request).await?.map_into_left_body()),
        Err(error) => Ok(request.error_response(error).map_into_right_body()),
    }
}

fn check(request: &HttpRequest) -> Result<(), ApiError> {
    let headers = request.headers();
    for name in UNIQUE_HEADERS {
        let mut values = headers.get_all(&name);
        let first = values.next();
        if values.next().is_some() || first.is_some_and(|value| value.to_str().is_err()) {
            return Err(ApiError::Ambiguous(name));
        }
    }
    let text = headers.get(HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let in_target = request.uri().authority().map(|authority| authority.as_str());
    if in_target.is_some_and(|authority| authority != text) {
        return Err(ApiError::Ambiguous(HOST));
    }
    let over_unix_socket = request.conn_data::<OverUnixSocket>().is_some();
    // HTTP/1.0 has no `Host`, and the server rejects HTTP/1.1 without one. Some
    // clients send an empty one over a Unix socket.
    if headers.get(HOST).is_none() || (text.is_empty() && over_unix_socket) {
        return Ok(());
    }
    let authority = Authority::parse(text).ok_or(ApiError::Ambiguous(HOST))?;
    if !over_unix_socket && !is_served(request, &authority.host) {
        return Err(ApiError::OtherHost);
    }
    Ok(())
}

/// Whether the server answers to this host. Addresses always pass: only names
/// can be pointed at other machines (DNS rebinding).
fn is_served(request: &HttpRequest, host: &Host<'_>) -> bool {
    let Some(state) = request.app_data::<web::Data<State>>() else { return false };
    let topology = state.topology();
    let hosts = &topology.settings.server.hosts;
    let is_own = |own: &String| Host::parse(own).as_ref() == Some(host);
    hosts.is_empty()
        || matches!(host, Host::Address(_))
        || host.is_loopback()
        || hosts.iter().any(is_own)
}
