//! Who came, in the log: each connection's first request, and whatever changes
//! something. A player that fetches a segment a second is one line, not
//! thousands on an SD card; the rest is told at the level debug.

use std::sync::atomic::{AtomicBool, Ordering};

use actix_web::HttpRequest;
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use log::{Level, log};

use super::connection::OverUnixSocket;

/// Whether a connection has asked for something already.
#[derive(Debug, Default)]
pub(in crate::http) struct Told(AtomicBool);

/// Writes a line for a request: address, method, path and status. Never the
/// query: it may hold what is nobody's business.
pub(in crate::http) async fn note(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let told = request.conn_data::<Told>();
    let is_first = told.is_none_or(|told| !told.0.swap(true, Ordering::Relaxed));
    let is_worth_it = is_first || !request.method().is_safe();
    let level = if is_worth_it { Level::Info } else { Level::Debug };
    let peer = shown(request.request());
    let response = next.call(request).await?;
    let asked = response.request();
    let (method, path, status) = (asked.method(), asked.path(), response.status().as_u16());
    log!(level, "{} {method} {} {status}", peer, printable(path));
    Ok(response)
}

/// The address, or the user who came through the Unix socket.
fn shown(request: &HttpRequest) -> String {
    match (request.peer_addr(), request.conn_data::<OverUnixSocket>()) {
        (Some(peer), _) => peer.ip().to_canonical().to_string(),
        (None, Some(OverUnixSocket { user: Some(user) })) => format!("user {user}"),
        (None, Some(OverUnixSocket { user: None }) | None) => "somebody".to_owned(),
    }
}

/// Without what could break a line or pretend to be another, and not too long.
fn printable(path: &str) -> String {
    const LONGEST: usize = 200;
    path.chars().take(LONGEST).map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_cannot_break_the_line() {
        assert_eq!(printable("/a\r\nb"), "/a??b");
        assert_eq!(printable(&"x".repeat(5000)).len(), 200);
    }
}
